"""Memory and load time of one candidate, in a process of its own."""

from __future__ import annotations

import importlib
import multiprocessing
import re
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

from benchmarks.candidates.candidate import Candidate
from benchmarks.candidates.engines import open_candidate
from benchmarks.records.record import LoadMs, MemoryMb
from runtime.errors import first_line

RUNS = 10  # after which memory has seen its peak


def measure_fresh(candidate: Candidate, threads: int | None) -> tuple[LoadMs | None, MemoryMb | None, str]:
    """Load the candidate in a new process; its figures, and why one is None."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        try:
            load_ms, memory_mb = process.submit(load_and_run, candidate, threads).result()
        except Exception as error:  # engines have no class of errors in common, and may take the process with them
            return None, None, f"the fresh process failed: {first_line(error)}"
    return load_ms, memory_mb, "only Linux says it"


def load_and_run(candidate: Candidate, threads: int | None) -> tuple[LoadMs, MemoryMb | None]:
    """Load a candidate and run it: ms without the import of its engine, and memory at each step."""
    before = status_mb("VmRSS")  # with numpy and OpenCV: every user of the runner has them
    with suppress(ImportError):
        of_file = "openvino" if candidate.path.suffix == ".xml" else "onnxruntime"
        importlib.import_module("torch" if candidate.engine == "torch" else of_file)
    start = time.perf_counter()
    opened = open_candidate(candidate, threads)
    load_ms = LoadMs((time.perf_counter() - start) * 1000)
    loaded = status_mb("VmRSS")
    for _ in range(RUNS):
        opened.run()
    peak = status_mb("VmHWM")
    if before is None or loaded is None or peak is None:
        return load_ms, None
    device_bytes = opened.device_memory_bytes
    return load_ms, MemoryMb(before, loaded, peak, None if device_bytes is None else device_bytes / 1e6)


def status_mb(key: str) -> float | None:
    """Return VmRSS (now) or VmHWM (the most ever) of this process, 10^6 bytes; None on systems but Linux.

    psutil has no peak there, and getrusage's counts what the parent had when it started this process.
    """
    try:
        found = re.search(rf"^{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 / 1e6 if found else None
