"""Run one process for long: equal pictures give equal hands at its start and its end, alone and in eight threads.

python benchmarks/tools/soak.py --model exports/er-xs_224_int8.onnx --frames 20000
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure.memory import status_mb
from benchmarks.tools.footprint_parts import pictures
from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_text_atomic
from runtime.hand.hands import Hands
from runtime.runner import Runner, load

THREADS = 8
BOXES = (
    None,
    (170.0, 90.0, 300.0, 300.0),
    (-40.0, 20.0, 180.0, 400.0),
    (600.0, 440.0, 30.0, 30.0),
    (5.5, 3.25, 64.0, 48.0),
)
_ARRAYS = ("vertices", "joints", "joints_image", "joints_heatmap", "rotations", "shape", "camera")


@dataclass(frozen=True)
class Soak:
    """How it went. Frames whose bits differ are named by picture and box."""

    frames: int
    inputs: int  # that differ from each other
    seconds: float
    changed: list[str]  # against the first time the same input was seen
    threads: int
    threaded_frames: int
    changed_in_threads: list[str]
    resident_mb: dict[str, float | None]  # after each input came once, at the end, and after the threads

    @property
    def passed(self) -> bool:
        """Whether every frame was the same as the first of its kind."""
        return not self.changed and not self.changed_in_threads


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; `arguments` without the program's name."""
    options = _parse(arguments)
    with load(options.model, threads=options.threads) as runner:
        soaked = soak(runner, options.frames)
    report = {"model": options.model.name, **asdict(soaked), "passed": soaked.passed}
    text = json.dumps(report, indent=2) + "\n"
    if options.output is not None:
        write_text_atomic(options.output, text)
    print(text, end="")
    return 0 if soaked.passed else 1


def soak(runner: Runner, frames: int) -> Soak:
    """Give the runner pictures of every kind in turn, then the same from several threads at once."""
    inputs = {
        f"{name}, box {number}": (rgb, box) for name, rgb in pictures().items() for number, box in enumerate(BOXES)
    }
    names = list(inputs)
    start = time.perf_counter()
    first = {name: fingerprint(runner(*inputs[name])) for name in names}
    resident = {"start": status_mb("VmRSS")}
    changed = set()
    for number in range(len(names), frames):
        name = names[number % len(names)]
        if fingerprint(runner(*inputs[name])) != first[name]:
            changed.add(name)
    resident["end"] = status_mb("VmRSS")
    seconds = time.perf_counter() - start
    threaded = [names[number % len(names)] for number in range(max(len(names) * THREADS, frames // 10))]
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda name: fingerprint(runner(*inputs[name])), threaded))
    resident["after_threads"] = status_mb("VmRSS")
    differing = {name for name, mark in zip(threaded, found, strict=True) if mark != first[name]}
    return Soak(
        frames=max(frames, len(names)),
        inputs=len(set(first.values())),
        seconds=seconds,
        changed=sorted(changed),
        threads=THREADS,
        threaded_frames=len(threaded),
        changed_in_threads=sorted(differing),
        resident_mb=resident,
    )


def fingerprint(hands: Hands) -> str:
    """Of every bit of the result but its times."""
    digest = hashlib.sha256(np.ascontiguousarray(hands.relative_translation).tobytes())
    for hand in (hands.right, hands.left):
        values: list[Any] = [getattr(hand, name) for name in _ARRAYS]
        for value in (*values, np.array([hand.presence, hand.present])):
            digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__ or "")
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="an exported model (.onnx)")
    parser.add_argument("--frames", type=int, default=20_000, metavar="N", help="one after the other (20000)")
    parser.add_argument("--threads", type=int, metavar="N", help="of the engine; default: its own choice")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the figures as JSON")
    options = parser.parse_args(arguments)
    if options.frames < 1:
        raise UserError(f"--frames is {options.frames}: give a whole number from 1 on")
    return options


if __name__ == "__main__":
    run_command(main)
