"""Find both hands of an image: writes an overlay and meshes, prints JSON.

python runtime/demo.py photo.jpg --model exports/er-s_224_int8.onnx --box 210 80 300 260
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
from numpy.typing import ArrayLike

from runtime.draw import draw_hands
from runtime.errors import CommandParser, run_command
from runtime.export_mesh import write_hands
from runtime.files import write_bytes_atomic, write_error
from runtime.image import Rgb, read_image
from runtime.runner import Runner, load


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; `arguments` without the program's name."""
    options = _parse(arguments)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it would add lines of its own to an error
    rgb = read_image(options.image)
    with load(options.model, device=options.device, threads=options.threads, hand_model=options.hand_model) as runner:
        facts = process_image(runner, rgb, options.box, options.output_dir, options.image.stem)
    print(json.dumps({"image": str(options.image), "model": str(options.model), **facts}, indent=2))
    return 0


def process_image(runner: Runner, rgb: Rgb, box: ArrayLike | None, folder: Path, stem: str) -> dict[str, Any]:
    """Run one image and write its files into `folder`, which is made; the facts to print."""
    hands = runner(rgb, box)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from None
    overlay = folder / f"{stem}_overlay.png"
    write_png(overlay, draw_hands(rgb, hands, skeleton=True))
    files = [overlay, *write_hands(folder, stem, hands)]
    return {"provider": runner.provider, **hands.to_json_dict(), "files": [str(path) for path in files]}


def write_png(path: Path, rgb: Rgb) -> None:
    """Write an RGB image atomically."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    write_bytes_atomic(path, encoded.tobytes())


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__)
    parser.add_argument("image", type=Path, metavar="IMAGE", help="PNG, JPEG, BMP, WebP or TIFF")
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="an exported model (.onnx)")
    parser.add_argument(
        "--box",
        type=float,
        nargs=4,
        metavar=("X", "Y", "W", "H"),
        help="px around both hands; default: the whole image, less accurate where the hands are small in it",
    )
    parser.add_argument("--output-dir", type=Path, default=Path(), metavar="DIR", help="default: the current folder")
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU; default: the engine's choice")
    parser.add_argument("--hand-model", type=Path, metavar="FILE", help="hand model .npz; default: the embedded one")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(main)
