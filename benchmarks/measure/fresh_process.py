"""The fresh process of `measure.memory`: it reads a candidate as JSON from its input and prints its figures as JSON."""

from __future__ import annotations

import importlib
import json
import sys
import time
from contextlib import suppress
from typing import Any

from benchmarks.candidates.candidate import Candidate, noise_picture
from benchmarks.candidates.engines import open_candidate
from benchmarks.measure.process_memory import status_mb

RUNS = 10  # after which memory has seen its peak
LIBRARIES = {"openvino": "openvino", "torch-eager": "torch", "torch-compile": "torch"}  # else onnxruntime


def answer(candidate: Candidate, threads: int | None) -> dict[str, Any]:
    """Load a candidate and run it: ms without the import of its engine, and memory at each step, 10^6 bytes."""
    rss_before = status_mb("VmRSS")  # with numpy and OpenCV: every user of the runner has them
    with suppress(ImportError):
        importlib.import_module(LIBRARIES.get(candidate.engine, "onnxruntime"))
    start = time.perf_counter()
    opened = open_candidate(candidate, threads, noise_picture())
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
