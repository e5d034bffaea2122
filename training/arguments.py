"""What the commands that train have in common. It is read without torch: --help and mistakes must be quick."""

from __future__ import annotations

import math
from pathlib import Path

from runtime.errors import CommandParser
from training.data.mixture import Source, parse_source


def add_run_arguments(parser: CommandParser) -> None:
    """What every command that trains understands."""
    parser.add_argument("--variant", help="train by this variant's own recipe")
    parser.add_argument("--recipe", type=Path, help="a recipe file instead")
    parser.add_argument("--init", type=Path, help="start from these weights: own ones, or public ones of the backbone")
    parser.add_argument(
        "--data",
        nargs="+",
        type=parse_source,
        default=[Source("synthetic")],
        metavar="DATA[:WEIGHT]",
        help="'synthetic', 'synthetic-v1' or a data set's folder; of several, each gives samples by its weight (1), "
        "and the first is the one to validate on",
    )
    parser.add_argument("--backgrounds", type=Path, metavar="DIR", help="photographs behind what is drawn on a GPU")
    parser.add_argument("--images", type=int, help="size of the synthetic train split; default: the recipe's")
    parser.add_argument("--batch", type=int, help="instead of the recipe's: as many samples, the rate scaled alike")
    parser.add_argument("--hand-model", type=Path, help="a hand model .npz; default: the embedded one")
    parser.add_argument("--run-dir", type=Path, help="default: a folder of the cache, named after the variant")
    parser.add_argument("--seed", type=int, help="default: the recipe's")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that load images or make scenes, for each GPU"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=math.inf,
        help="shorten the schedule to about so long: rate and crop size end where the recipe's do. Counted from the "
        "first step on; making data and starting come before, the last validation after",
    )
    parser.add_argument("--dry-run", action="store_true", help="show data, steps, sizes and hours, and exit")
