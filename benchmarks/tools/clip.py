"""The short clip of the README: rendered hands, found, tracked and smoothed by an exported model.

python -m benchmarks.tools.clip --model exports/er-xs_224_int8.onnx -o docs/clip.webp
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_bytes_atomic
from runtime.image.draw import draw_hands
from runtime.image.reading import Rgb
from runtime.runner import load
from runtime.video.outputs import write_text
from runtime.video.smoothing import Smoother
from runtime.video.tracking import Tracker
from training.data.synthhands.film import Film, Move
from training.data.synthhands.frame import build_studio

FPS, SHOWN_FPS = 30, 15
SECONDS = 6
SCENE = (600_004, 0)  # capture and frame of the held-out split
MAX_BYTES = 2_000_000
QUALITY = 60  # of WebP
LABEL = "synthetic"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; `arguments` without the program's name."""
    options = _parse(arguments)
    try:
        capture, frame = options.scene
        film = Film(build_studio(), capture, frame, widen=1.3)
    except ValueError as error:
        raise UserError(f"no clip of that scene: {error}; give another --scene") from None
    with load(options.model, threads=options.threads) as runner:
        tracker, smoother = Tracker(runner), Smoother(runner.models)
        frames = []
        for number in range(FPS * SECONDS):
            rgb = film.shoot(*choreography(number / FPS)).rgb
            hands = smoother(tracker(rgb), number / FPS)
            if number % (FPS // SHOWN_FPS) == 0:
                frames.append(side_by_side(rgb, draw_hands(rgb, hands), runner.info.variant))
    content = animation(frames)
    if len(content) > MAX_BYTES:
        raise UserError(f"the clip has {len(content)} bytes, at most {MAX_BYTES} are committed: take a shorter one")
    write_bytes_atomic(options.output, content)
    print(f"{options.output}: {len(frames)} frames, {len(content) / 1e6:.2f} MB")
    return 0


def choreography(time_s: float) -> tuple[Move, Move]:
    """The hands part, open, leave one after the other, and come back; a loop of `SECONDS`."""
    phase = 2 * np.pi * time_s / SECONDS
    apart = 0.05 + 0.05 * (1 - np.cos(phase)) / 2
    bend = 0.35 - 0.35 * np.cos(2 * phase)
    out = float(np.interp(time_s, [2.4, 3.0, 3.6, 4.2], [0, 1, 1, 0]))
    right = Move((-apart, 0.02 * np.sin(2 * phase), 0.0), bend)
    left = Move((apart + 0.45 * out, 0.02 * np.sin(3 * phase), 0.0), bend)
    return right, left


def side_by_side(rgb: Rgb, drawn: Rgb, variant: str) -> Rgb:
    """The picture and the picture with its hands, labelled."""
    joined = np.concatenate([rgb, drawn], axis=1)
    for text, x in ((f"{LABEL} picture", 8), (f"{variant}, tracked and smoothed", rgb.shape[1] + 8)):
        write_text(joined, text, (x, 20))
    return joined


def animation(frames: list[Rgb]) -> bytes:
    """An endless animated WebP."""
    from PIL import Image

    first, *others = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    milliseconds = round(1000 / SHOWN_FPS)
    first.save(
        buffer, "WEBP", save_all=True, append_images=others, duration=milliseconds, loop=0, quality=QUALITY, method=4
    )
    return buffer.getvalue()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__ or "")
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="an exported model (.onnx)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the clip (.webp)")
    parser.add_argument(
        "--scene", type=int, nargs=2, default=SCENE, metavar=("CAPTURE", "FRAME"), help="of the synthetic set"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU; default: the engine's choice")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(main)
