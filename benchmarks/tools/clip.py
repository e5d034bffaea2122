"""The short clip of the README: rendered hands, found, tracked and smoothed by an exported model.

python -m benchmarks.tools.clip --model exports/er-xs_224_int8.onnx -o docs/clip.webp
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from runtime.errors import CommandParser, run_command
from runtime.files import atomic_path
from runtime.image.draw import draw_hands, write_text
from runtime.image.reading import Rgb
from runtime.runner import load
from runtime.video.smoothing import Smoother
from runtime.video.tracking import Tracker
from training.data.synthhands.film import Film, Move
from training.data.synthhands.frame import build_studio
from training.data.synthhands.table import V1

FPS, SHOWN_FPS = 30, 15
SECONDS = 6
CAPTURE, FRAME = 600_004, 0  # of the held-out split


def main(arguments: list[str] | None = None) -> int:
    """Write the clip."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="an exported model (.onnx)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the clip (.webp)")
    args = parser.parse_args(arguments)
    film = Film(build_studio(V1), CAPTURE, FRAME, widen=1.3)
    frames = []
    with load(args.model) as runner:
        tracker, smoother = Tracker(runner), Smoother(runner.models)
        for number in range(FPS * SECONDS):
            rgb = film.shoot(*choreography(number / FPS)).rgb
            hands = smoother(tracker(rgb), number / FPS)
            if number % (FPS // SHOWN_FPS) == 0:
                frames.append(Image.fromarray(side_by_side(rgb, draw_hands(rgb, hands), runner.info.variant)))
    pause_ms = round(1000 / SHOWN_FPS)
    with atomic_path(args.output) as temporary:
        others = {"save_all": True, "append_images": frames[1:], "duration": pause_ms, "loop": 0}
        frames[0].save(temporary, "WEBP", quality=60, method=4, **others)
    print(f"{args.output}: {len(frames)} frames, {args.output.stat().st_size / 1e6:.2f} MB")
    return 0


def choreography(time_s: float) -> tuple[Move, Move]:
    """Return how the hands part, open, leave one after the other, and come back; a loop of `SECONDS`."""
    phase = 2 * np.pi * time_s / SECONDS
    apart = 0.05 + 0.05 * (1 - np.cos(phase)) / 2
    bend = 0.35 - 0.35 * np.cos(2 * phase)
    out = float(np.interp(time_s, [2.4, 3.0, 3.6, 4.2], [0, 1, 1, 0]))
    right = Move((-apart, 0.02 * np.sin(2 * phase), 0.0), bend)
    left = Move((apart + 0.45 * out, 0.02 * np.sin(3 * phase), 0.0), bend)
    return right, left


def side_by_side(rgb: Rgb, drawn: Rgb, variant: str) -> Rgb:
    """Return the picture and the picture with its hands, labelled."""
    joined = np.concatenate([rgb, drawn], axis=1)
    write_text(joined, "synthetic picture", (8, 20))
    write_text(joined, f"{variant}, tracked and smoothed", (rgb.shape[1] + 8, 20))
    return joined


if __name__ == "__main__":
    run_command(main)
