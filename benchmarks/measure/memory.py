"""Memory and load time of one candidate, in a process of its own: `measure_fresh`.

The module is also that process: it reads a candidate as JSON from its input and prints figures as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.candidates.candidate import Candidate, noise_picture
from benchmarks.records.record import LoadMs, MemoryMb

REPEATS = 3
RUNS = 10  # after which memory has seen its peak
LIMIT_SECONDS = 300
_STATUS = Path("/proc/self/status")
_LIBRARIES = {"openvino": ("openvino",), "torch-eager": ("torch",), "torch-compile": ("torch",)}


@dataclass(frozen=True)
class Fresh:
    """What fresh processes say; `reason` where something is None."""

    load_ms: LoadMs | None
    memory_mb: MemoryMb | None
    reason: str | None = None


def measure_fresh(candidate: Candidate, threads: int | None) -> Fresh:
    """Load the candidate in new processes, alternately with its files out of the page cache and in it."""
    cold: list[float] = []
    warm: list[float] = []
    memory: list[dict[str, float | None]] = []
    reads_files = candidate.engine not in ("torch-eager", "torch-compile")
    for _ in range(REPEATS if reads_files else 1):
        for kept, evicts in ((cold, True), (warm, False)):
            if evicts and not (reads_files and evict(candidate.files)):
                continue
            try:
                told = _ask(candidate, threads)
            except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
                return Fresh(None, None, f"the fresh process failed: {_last_line(error)}")
            kept.append(told["load_ms"])
            memory.append(told["memory_mb"])
    load = LoadMs(median(cold) if cold else None, median(warm) if warm else None)
    if any(part["rss_before"] is None for part in memory):
        return Fresh(load, None, "this system has no /proc/self/status")
    return Fresh(load, MemoryMb(**{key: _median_of(memory, key) for key in memory[0]}))  # type: ignore[arg-type]


def evict(files: tuple[str, ...]) -> bool:
    """Take files out of the page cache; False where the system cannot."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for file in set(files):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # pages that are not on disk yet stay
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    return True


def _ask(candidate: Candidate, threads: int | None) -> dict[str, Any]:
    question = json.dumps({"candidate": candidate.to_json(), "threads": threads})
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.measure.memory"],
        input=question,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])},
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _last_line(error: Exception) -> str:
    lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
    return lines[-1][:200] if lines else type(error).__name__


def _median_of(memory: list[dict[str, float | None]], key: str) -> float | None:
    known = [value for part in memory if (value := part[key]) is not None]
    return median(known) if known else None


def status_mb(key: str) -> float | None:
    """VmRSS or VmHWM of this process, 10^6 bytes."""
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None


def answer(candidate: Candidate, threads: int | None) -> dict[str, Any]:
    """What the fresh process does."""
    import runtime.runner  # noqa: F401 (numpy and OpenCV: every user of the runner has them)
    from benchmarks.candidates.engines import open_candidate

    picture = noise_picture()
    rss_before = status_mb("VmRSS")
    for library in _LIBRARIES.get(candidate.engine, ("onnxruntime",)):
        with suppress(ImportError):
            __import__(library)
    start = time.perf_counter()
    opened = open_candidate(candidate, threads, picture)
    load_ms = (time.perf_counter() - start) * 1000
    rss_after_load = status_mb("VmRSS")
    for _ in range(RUNS):
        opened.run()
    device_bytes = opened.device_memory_bytes
    memory = {
        "rss_before": rss_before,
        "rss_after_load": rss_after_load,
        "rss_peak": status_mb("VmHWM"),
        "device_delta": None if device_bytes is None else device_bytes / 1e6,
    }
    return {"load_ms": load_ms, "memory_mb": memory}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps(answer(Candidate.from_json(asked["candidate"]), asked["threads"])))
