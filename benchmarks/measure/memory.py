"""Memory and load time of one candidate, in processes of its own (measure/fresh_process.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.candidates.candidate import Candidate
from benchmarks.records.record import LoadMs, MemoryMb
from runtime.errors import UserError

ROOT = Path(__file__).parents[2]
REPEATS = 3
LIMIT_SECONDS = 3600


def measure_fresh(candidate: Candidate, threads: int | None) -> tuple[LoadMs | None, MemoryMb | None, str]:
    """Load the candidate in new processes, alternately with its files out of the page cache and in it.

    Returns what they say, and why something is None.
    """
    times: dict[bool, list[float]] = {True: [], False: []}  # by whether the files were evicted first
    memory: list[dict[str, float | None]] = []
    reads_files = candidate.engine != "torch"
    for _ in range(REPEATS if reads_files else 1):
        for cold in (True, False):
            if cold and not (reads_files and evict(candidate.files)):
                continue
            try:
                told = ask_fresh(candidate, threads)
            except UserError as error:
                return None, None, f"the fresh process failed: {error}"
            times[cold].append(told["load_ms"])
            memory.append(told["memory_mb"])
    load = LoadMs(*(median(values) if values else None for values in (times[True], times[False])))
    seen = {key: [value for part in memory if (value := part[key]) is not None] for key in memory[0]}
    medians = {key: median(values) for key, values in seen.items() if values}
    return load, MemoryMb(**medians) if "rss_peak" in medians else None, "only Linux says it"


def evict(files: tuple[str, ...]) -> bool:
    """Take files out of the page cache; False where the system cannot."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for file in set(files):
        with Path(file).open("rb") as opened:
            os.fsync(opened)  # pages that are not on disk yet stay
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def ask_fresh(candidate: Candidate, threads: int | None) -> dict[str, Any]:
    """Return what a new process says of the candidate. A UserError with its last words where it fails."""
    command = [sys.executable, "-m", "benchmarks.measure.fresh_process"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    question = json.dumps({"candidate": asdict(candidate), "threads": threads})
    try:
        done = subprocess.run(
            command, input=question, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True, env=environment
        )
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        raise UserError((getattr(error, "stderr", None) or str(error)).strip().rpartition("\n")[2][:200]) from None
    return told
