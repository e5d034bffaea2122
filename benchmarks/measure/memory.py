"""Memory and load time of one candidate, in processes of its own (measure/fresh_process.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.candidates.candidate import Candidate
from benchmarks.records.record import LoadMs, MemoryMb
from runtime.errors import UserError

ROOT = Path(__file__).parents[2]
REPEATS = 3
LIMIT_SECONDS = 3600


@dataclass(frozen=True)
class Fresh:
    """What fresh processes say; `reason` where something is None."""

    load_ms: LoadMs | None
    memory_mb: MemoryMb | None
    reason: str | None = None


def measure_fresh(candidate: Candidate, threads: int | None) -> Fresh:
    """Load the candidate in new processes, alternately with its files out of the page cache and in it."""
    times: dict[bool, list[float]] = {True: [], False: []}  # by whether the files were evicted first
    memory: list[dict[str, float | None]] = []
    question = json.dumps({"candidate": candidate.to_json(), "threads": threads})
    reads_files = not candidate.engine.startswith("torch")
    for _ in range(REPEATS if reads_files else 1):
        for cold in (True, False):
            if cold and not (reads_files and evict(candidate.files)):
                continue
            try:
                told = ask_fresh("benchmarks.measure.fresh_process", question=question)
            except UserError as error:
                return Fresh(None, None, f"the fresh process failed: {error}")
            times[cold].append(told["load_ms"])
            memory.append(told["memory_mb"])
    load = LoadMs(*(median(values) if values else None for values in (times[True], times[False])))
    medians = {
        key: median(known)
        for key in memory[0]
        if (known := [value for part in memory if (value := part[key]) is not None])
    }
    return Fresh(load, MemoryMb(**medians)) if "rss_peak" in medians else Fresh(load, None, "only Linux says it")


def evict(files: tuple[str, ...]) -> bool:
    """Take files out of the page cache; False where the system cannot."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for file in set(files):
        with Path(file).open("rb") as opened:
            os.fsync(opened)  # pages that are not on disk yet stay
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def ask_fresh(module: str, *arguments: str, question: str = "") -> dict[str, Any]:
    """Run a module in a new process, return the JSON it prints last. A UserError with its last words where it fails."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "PYTHONPATH": paths}
    try:
        done = subprocess.run(
            command, input=question, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True, env=environment
        )
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines() or [type(error).__name__]
        raise UserError(lines[-1][:200]) from None
    return told
