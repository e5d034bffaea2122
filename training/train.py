"""Train a variant: `python training/train.py --variant er-xs --data synthetic`.

A run lives in one folder: `checkpoint.pt` (everything needed to go on), `<variant>.safetensors` (the moving average of
the weights), `log.csv` and `curves.png`. Started again, it goes on from its last checkpoint and ends where an
uninterrupted one does. On several GPUs: `torchrun --nproc-per-node N training/train.py ...`; the recipe's batch is
shared by the processes. A recipe's [distill] table is distill.py's; training by the labels alone leaves it out.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from runtime.errors import CommandParser, run_command
from training.arguments import add_run_arguments


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and train."""
    parser = CommandParser(__doc__)
    add_run_arguments(parser)
    args = parser.parse_args(arguments)
    from training.run.runs import run  # torch takes seconds to import

    return run(args, taught=False)


if __name__ == "__main__":
    run_command(main)
