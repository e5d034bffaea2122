"""Command line: python -m training.data.synthhands --split train --images 20000"""

from __future__ import annotations

from pathlib import Path

from runtime.errors import CommandParser, run_command
from training.data.synthhands.drawing.canvas import find_photographs
from training.data.synthhands.generate import ensure_synthetic
from training.data.synthhands.schedule import SPLIT_CAPTURES, SPLIT_IMAGES
from training.data.synthhands.table import TABLES


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and generate."""
    parser = CommandParser("Generate SynthHands.")
    parser.add_argument("--split", choices=list(SPLIT_CAPTURES), default="train")
    parser.add_argument("--set", choices=list(TABLES), default="synthetic", help="which version")
    parser.add_argument("--images", type=int, help=f"at least this many (default: {SPLIT_IMAGES})")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--root", type=Path, help="folder of the set (default: in the cache)")
    parser.add_argument("--backgrounds", type=Path, metavar="DIR", help="photographs of your own; needs a --root")
    options = parser.parse_args(arguments)
    n_images = SPLIT_IMAGES[options.split] if options.images is None else options.images
    photographs = () if options.backgrounds is None else find_photographs(options.backgrounds)
    table = TABLES[options.set]
    kept = {"root": options.root, "workers": options.workers}
    print(ensure_synthetic(options.split, n_images, table=table, photographs=photographs, **kept))
    return 0


if __name__ == "__main__":
    run_command(main)
