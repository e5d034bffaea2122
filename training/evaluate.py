"""Accuracy of a checkpoint or an exported file on annotated images: `python training/evaluate.py --variant er-xs`.

Shows the protocol of cards and passports (mcp-scaled) and that of ER's own evaluator (er), with and without its quirks;
--protocol shows others; docs/data.md has the figures that papers give. Figures in the picture (2D joints, presence)
follow by kind of picture; of sets with 2D joints alone they are all there is.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from runtime.errors import CommandParser, UserError, run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and print a table or JSON."""
    parser = CommandParser(__doc__)
    parser.add_argument("--variant", help="evaluate this variant's checkpoint")
    parser.add_argument("--checkpoint", type=Path, help="weights; default: the ones that come with the project")
    parser.add_argument("--model", type=Path, help="evaluate an exported file instead")
    parser.add_argument("--data", default="synthetic", help="'synthetic' or a data set's folder")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--images", type=int, default=1000, help="the first so many")
    parser.add_argument("--hand-model", type=Path, help="a hand model .npz; default: the embedded one")
    parser.add_argument("--protocol", help="wrist, mcp-scaled, wrist-scaled, er, all; default: mcp-scaled and er")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(arguments)
    if (args.model is None) == (args.variant is None):
        raise UserError("give either --variant NAME or --model FILE")
    if args.model is not None and args.checkpoint is not None:
        raise UserError("--checkpoint has no effect with --model: an exported file holds its weights")
    if args.images < 1:
        raise UserError("--images must be 1 or more")
    from training.evaluation.accuracy_table import report  # torch and the readers take seconds to import

    return report(args)


if __name__ == "__main__":
    run_command(main)
