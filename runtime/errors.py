"""The errors a user can cause, and how command lines end on them."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import NoReturn

_MAX_REASON_CHARACTERS = 200


class UserError(Exception):
    """A mistake the user can mend. The message is one line: what is wrong and what to do."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not among the known ones: with the nearest, and the list."""
    names = list(known)
    near = get_close_matches(name, names, n=1, cutoff=0.3)
    hint = f"; did you mean {near[0]}?" if near else ""
    return UserError(f"unknown {kind} '{name}'{hint} (there are {', '.join(names)})")


def first_line(error: Exception) -> str:
    """A foreign error's reason, short enough for one line."""
    lines = str(error).strip().splitlines()
    return lines[0][:_MAX_REASON_CHARACTERS].rstrip() if lines else type(error).__name__


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
    """Run a command line's `main` and exit: its own code, 2 for a UserError, 130 for Ctrl-C; no traceback.

    A console that lacks a letter shows another one. Where nobody reads what is printed, the rest is not printed.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    code = 0
    try:
        code = main()
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
    sys.exit(code)
