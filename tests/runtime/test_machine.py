"""How much of the machine a process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.machine import cpu_flags, limit_threads, processor_name, usable_cores


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of four cores with two threads each, all of them allowed."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for cpu in range(8):
        write(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{cpu % 4},{cpu % 4 + 4}\n")
    write(tmp_path, "proc/cpuinfo", "processor : 0\nmodel name : A\nflags : avx2 fma\n\n" * 8)
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_two_threads_of_a_core_count_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores(root) == 4
    assert processor_name(root) == "CPU, 8 threads (A)" and cpu_flags(root) == {"avx2", "fma"}
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 6})
    assert usable_cores(root) == 2


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("-", 4)])
def test_a_quota_of_the_group_or_of_one_above_it(root: Path, quota: str, cores: int) -> None:
    write(root, "proc/self/cgroup", "0::/a/b\n")
    write(root, "sys/fs/cgroup/a/cpu.max", quota + "\n")
    write(root, "sys/fs/cgroup/a/b/cpu.max", "max 100000\n")
    assert usable_cores(root) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 4), ("100000", 1), ("300000", 3)])
def test_a_quota_of_the_old_kind(root: Path, quota: str, cores: int) -> None:
    write(root, "proc/self/cgroup", "4:cpu,cpuacct:/a\n2:memory:/a\n")
    write(root, "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", quota)
    write(root, "sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000")
    assert usable_cores(root) == cores


def test_a_system_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu_flags(tmp_path) == frozenset() and processor_name(tmp_path)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores(tmp_path) is None


@pytest.mark.parametrize(
    ("cores", "chosen", "expected"), [(3, None, "3"), (3, "", "3"), (3, "5", "5"), (None, None, None)]
)
def test_threads_of_libraries(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, chosen: str | None, expected: str | None
) -> None:
    monkeypatch.setattr("runtime.machine.usable_cores", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS")
    if chosen is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    limit_threads()
    assert os.environ.get("OMP_NUM_THREADS") == expected
