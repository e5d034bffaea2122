"""The errors a user can cause, and how command lines end on them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """A mistake the user can mend. The message is one line: what is wrong and what to do."""


class CommandParser(argparse.ArgumentParser):
    """argparse without abbreviations, whose errors are one line like all others of this project."""

    def __init__(self, description: str) -> None:
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )

    def error(self, message: str) -> NoReturn:
        """A mistake on the command line, as a UserError."""
        raise UserError(f"{message} (see --help)")


def run_command(main: Callable[[], int]) -> None:
    """Run a command line's `main` and exit: its own code, 2 for a UserError, 130 for Ctrl-C; no traceback."""
    try:
        code = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)
