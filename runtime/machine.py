"""The machine at hand: its processor, and how much of it this process may use. Standard library only."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_ROOT = Path("/")


def processor_name(root: Path = _ROOT) -> str:
    """Return the CPU's name and its number of threads, as the system gives them."""
    names = _cpuinfo(root, "model name")
    return f"CPU, {len(names)} threads ({names[0]})" if names else platform.processor() or platform.machine()


def cpu_flags(root: Path = _ROOT) -> frozenset[str]:
    """Return the instruction-set flags that Linux lists; empty on other systems."""
    lists = _cpuinfo(root, "flags") or _cpuinfo(root, "Features")
    return frozenset(lists[0].split()) if lists else frozenset()


def usable_cores(root: Path = _ROOT) -> int | None:
    """Return how many physical cores this process may keep busy: affinity and container quota counted.

    None where the system does not say (not Linux): the engine's own default is right there. Two threads of one core
    count once, because they share its multipliers.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = os.sched_getaffinity(0)
    cores = {_text(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or cpu for cpu in allowed}
    quota = _quota_cores(root)
    return max(1, len(cores) if quota is None else min(len(cores), int(quota)))


def limit_threads() -> None:
    """Hold torch and its like, which count the machine's cores, to those that this process may use; before imports."""
    if (cores := usable_cores()) is not None:
        os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or str(cores)


def _quota_cores(root: Path) -> float | None:
    """Return the tightest CPU quota of this process's control groups and of those above them, in cores."""
    found = []
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        controllers, _, group = line.partition(":")[2].partition(":")  # "0::/a" is version 2, "4:cpu:/a" version 1
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        folder = top / group.lstrip("/")
        levels = [level for level in (folder, *folder.parents) if level.is_relative_to(top)]
        found += [cores for level in levels if (cores := _quota_of(level)) is not None]
    return min(found, default=None)


def _quota_of(level: Path) -> float | None:
    """Return one group's quota in cores; None where it has none."""
    text = _text(level / "cpu.max") or f"{_text(level / 'cpu.cfs_quota_us')} {_text(level / 'cpu.cfs_period_us')}"
    quota, _, period = text.partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _cpuinfo(root: Path, field: str) -> list[str]:
    """Return the field's value of every processor that /proc/cpuinfo lists."""
    pairs = (line.partition(":") for line in (_text(root / "proc/cpuinfo") or "").splitlines())
    return [value.strip() for name, _, value in pairs if name.strip() == field]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
