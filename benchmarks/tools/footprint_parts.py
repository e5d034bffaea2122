"""What `footprint` asks fresh processes: each part imports the runtime only, step by step, and prints JSON.

python -m benchmarks.tools.footprint_parts PART MODEL FRAMES
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure.process_memory import status_mb

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from runtime.runner import Runner

BOX = (170.0, 90.0, 300.0, 300.0)
SETTLED_FRAMES = 100  # after which memory is read
WARM_UP_FRAMES = 30
CALM_PART = 10

# Imports stand inside the functions: what each of them takes is what is measured.


def start(model: str, frames: int) -> dict[str, Any]:
    """Measure the seconds from an interpreter that runs to a model that is loaded, imports counted."""
    begin = time.perf_counter()
    from runtime import load

    imported = time.perf_counter()
    runner = load(model)
    done = time.perf_counter()
    runner.close()
    return {"import_s": imported - begin, "load_s": done - imported, "total_s": done - begin}


def memory(model: str, frames: int) -> dict[str, Any]:
    """Measure resident memory step by step, and its growth over `frames` more."""
    steps = {"python": resident_mb()}
    for name, module in (("numpy", "numpy"), ("opencv", "cv2"), ("onnxruntime", "onnxruntime")):
        importlib.import_module(module)
        steps[name] = resident_mb()
    from runtime.backends.opening import open_backend
    from runtime.hand.hand_model import HandPair, load_hand_models
    from runtime.runner import Runner

    models = HandPair(*load_hand_models())
    steps["runtime"] = resident_mb()
    backend = open_backend(Path(model))
    steps["model"] = resident_mb()
    runner = Runner(backend, models)
    rgb = picture(480, 640)
    run_frames(runner, rgb, SETTLED_FRAMES)
    steps["frames"] = after = resident_mb()
    run_frames(runner, rgb, frames)
    parts = dict(zip(steps, (later - earlier for earlier, later in pairwise([0.0, *steps.values()])), strict=True))
    return {"after_100_frames_mb": after, "parts_mb": parts, "frames": frames, "growth_mb": resident_mb() - after}


def stages(model: str, frames: int) -> dict[str, Any]:
    """Measure the milliseconds of each stage on one thread, the median of the fastest tenth of many frames."""
    import cv2
    import numpy as np

    from runtime import load

    cv2.setNumThreads(1)
    runner = load(model, threads=1)
    rgb = picture(480, 640)
    run_frames(runner, rgb, WARM_UP_FRAMES)
    names = ("preprocess_ms", "inference_ms", "postprocess_ms")
    spent = np.array([list(runner(rgb, moved(number)).stages_ms.values()) for number in range(frames)])
    # Other programs slow the network down most, which would flatter the rest: the frames they disturb least count.
    calm = spent[np.argsort(spent.sum(axis=1))[: max(frames // CALM_PART, 1)]]
    around = calm[:, 0] + calm[:, 2]
    return {
        **dict(zip(names, np.median(calm, axis=0).tolist(), strict=True)),
        "pre_and_post_ms": float(np.median(around)),
        "share": float(np.median(around / calm.sum(axis=1))),
        "share_of_all_frames": float(np.median((spent[:, 0] + spent[:, 2]) / spent.sum(axis=1))),
        "frames": frames,
        "calm_frames": len(calm),
    }


def allocations(model: str, frames: int) -> dict[str, Any]:
    """Measure the most bytes that are allocated at once while a frame is worked on, by kind of picture."""
    from runtime import load

    runner = load(model, threads=1)
    tracemalloc.start()
    peaks = {}
    for name, rgb in pictures().items():
        for what, box in (("a box", BOX), ("whole", None)):
            runner(rgb, box)  # the first frame allocates what is kept
            peaks[f"{name}, {what}"] = 0
            for _ in range(frames):
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                runner(rgb, box)
                peak = tracemalloc.get_traced_memory()[1] - before
                peaks[f"{name}, {what}"] = max(peaks[f"{name}, {what}"], peak)
    return {"peak_bytes": peaks, "frames": frames}


def resident_mb() -> float:
    """Return what this process has in memory, 10^6 bytes."""
    return status_mb("VmRSS") or 0.0


def picture(height: int, width: int) -> NDArray[Any]:
    """Return something with edges; without numpy's generators, which take memory of their own."""
    import numpy as np

    rgb = np.empty((height, width, 3), np.uint8)
    rows, columns = np.arange(height) // 3, np.arange(width)
    for channel, step in enumerate((13, 29, 5)):  # wraps around at 256
        np.add.outer((rows * 7).astype(np.uint8), (columns * step).astype(np.uint8), out=rgb[:, :, channel])
    return rgb


def pictures() -> dict[str, NDArray[Any]]:
    """Return every kind that the runner takes."""
    import numpy as np

    rgb = picture(480, 640)
    return {
        "RGB": rgb,
        "RGB 1920x1080": picture(1080, 1920),
        "BGR turned round": rgb[:, :, ::-1],
        "RGBA": np.ascontiguousarray(np.dstack([rgb, rgb[:, :, 0]])),
        "gray": np.ascontiguousarray(rgb[:, :, 0]),
        "16 bits": rgb.astype(np.uint16) * 257,
        "every second pixel": picture(960, 1280)[::2, ::2],
    }


def moved(number: int) -> tuple[float, ...]:
    """Return the box of a frame: it wanders and breathes as a tracked one."""
    x, y, width, height = BOX
    return (x + number % 17, y - number % 11, width + number % 7, height)


def run_frames(runner: Runner, rgb: NDArray[Any], frames: int) -> None:
    """Run that many frames of a wandering box."""
    for number in range(frames):
        runner(rgb, moved(number))


if __name__ == "__main__":
    _, asked, model_file, count = sys.argv
    parts = {part.__name__: part for part in (start, memory, stages, allocations)}
    print(json.dumps(parts[asked](model_file, int(count))))
