"""Memory and load time of one candidate, in a process of its own.

Such a process is this module: it reads a candidate as JSON from its input and prints its figures as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.candidates.candidate import Candidate
from benchmarks.candidates.engines import open_candidate
from benchmarks.records.record import LoadMs, MemoryMb

ROOT = Path(__file__).parents[2]
RUNS = 10  # after which memory has seen its peak
LIMIT_SECONDS = 3600


def measure_fresh(candidate: Candidate, threads: int | None) -> tuple[LoadMs | None, MemoryMb | None, str]:
    """Load the candidate in a new process; what it says, and why something is None."""
    try:
        told = ask_fresh(candidate, threads)
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        last_words = (getattr(error, "stderr", None) or str(error)).strip().rpartition("\n")[2][:200]
        return None, None, f"the fresh process failed: {last_words}"
    known = {key: value for key, value in told["memory_mb"].items() if value is not None}
    return LoadMs(told["load_ms"]), MemoryMb(**known) if "rss_peak" in known else None, "only Linux says it"


def ask_fresh(candidate: Candidate, threads: int | None) -> dict[str, Any]:
    """Return what a new process says of the candidate."""
    command = [sys.executable, "-m", "benchmarks.measure.memory"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    question = json.dumps({"candidate": asdict(candidate), "threads": threads})
    done = subprocess.run(
        command, input=question, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True, env=environment
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def answer(candidate: Candidate, threads: int | None) -> dict[str, Any]:
    """Load a candidate and run it: ms without the import of its engine, and memory at each step, 10^6 bytes."""
    rss_before = status_mb("VmRSS")  # with numpy and OpenCV: every user of the runner has them
    with suppress(ImportError):
        of_file = "openvino" if candidate.path.suffix == ".xml" else "onnxruntime"
        importlib.import_module("torch" if candidate.engine == "torch" else of_file)
    start = time.perf_counter()
    opened = open_candidate(candidate, threads)
    load_ms = (time.perf_counter() - start) * 1000
    memory = {"rss_before": rss_before, "rss_after_load": status_mb("VmRSS")}
    if opened.device_memory_bytes is not None:
        memory["device_delta"] = opened.device_memory_bytes / 1e6
    for _ in range(RUNS):
        opened.run()
    memory["rss_peak"] = status_mb("VmHWM")
    return {"load_ms": load_ms, "memory_mb": memory}


def status_mb(key: str) -> float | None:
    """Return VmRSS (now) or VmHWM (the most ever) of this process, 10^6 bytes; None on systems but Linux.

    psutil has no peak there, and getrusage's counts what the parent had when it started this process.
    """
    try:
        found = re.search(rf"^{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 / 1e6 if found else None


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps(answer(Candidate(**asked["candidate"]), asked["threads"])))
