"""Distil a teacher into a student: `python training/distill.py --recipe training/recipes/er-xs.toml`.

The recipe's [distill] table names the teacher and weighs the terms; all else is as in train.py, which trains the same
student by the labels alone. The teacher is a variant (the weights that come with it) or a weight file.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from runtime.errors import CommandParser, run_command
from training.arguments import add_run_arguments


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and distil."""
    parser = CommandParser(__doc__)
    add_run_arguments(parser)
    parser.add_argument("--teacher", help="instead of the recipe's: a variant or FILE.safetensors")
    args = parser.parse_args(arguments)
    from training.run.runs import run  # torch takes seconds to import

    return run(args, taught=True)


if __name__ == "__main__":
    run_command(main)
