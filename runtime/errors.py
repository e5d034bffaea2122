"""The errors a user can cause, and how command lines end on them."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from types import TracebackType
from typing import NoReturn

_MAX_REASON_CHARACTERS = 200
_OWN_PACKAGES = ("runtime", "targets", "training", "compress", "benchmarks")


class UserError(Exception):
    """A mistake the user can mend. The message is one line: what is wrong and what to do."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not among the known ones: with the nearest, and the list."""
    names = list(known)
    near = get_close_matches(name, names, n=1, cutoff=0.3)
    hint = f"; did you mean {near[0]}?" if near else ""
    return UserError(f"unknown {kind} '{name}'{hint} (there are {', '.join(names)})")


def first_line(error: BaseException) -> str:
    """A foreign error's reason, short enough for one line."""
    lines = str(error).strip().splitlines()
    return lines[0][:_MAX_REASON_CHARACTERS].rstrip() if lines else type(error).__name__


def explain_missing_packages(extra: str) -> None:
    """Let the process end in one line, exit 2, where it cannot import a package: absent, or without a system's library.

    For the tools' packages, which import much before `run_command`; `extra` is what pip installs for them in a clone.
    """

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        package = (error.name or "a package").partition(".")[0] if isinstance(error, ImportError) else ""
        if isinstance(error, UserError):
            line = str(error)
        elif package and package not in _OWN_PACKAGES:
            opencv = package == "cv2" or "libGL" in str(error)
            cure = "opencv-python-headless, which needs no screen" if opencv else f"-e '.[{extra}]'"
            line = f"{package} cannot be imported ({first_line(error)}): pip install {cure}"
        else:
            return sys.__excepthook__(kind, error, trace)
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)

    sys.excepthook = end


class CommandParser(argparse.ArgumentParser):
    """argparse without abbreviations, whose errors are one line like all others of this project."""

    def __init__(self, description: str) -> None:
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )

    def error(self, message: str) -> NoReturn:
        """A mistake on the command line, as a UserError."""
        raise UserError(f"{message} (see --help)")


def _interrupt(number: int, _: object) -> NoReturn:
    raise KeyboardInterrupt(number)


def run_command(main: Callable[[], int]) -> None:
    """Run a command line's `main` and exit: its own code, 2 for a UserError, 130 for Ctrl-C; no traceback.

    `docker stop`, the end of a service (SIGTERM) and a lost terminal (SIGHUP) are as Ctrl-C: what was done is kept.
    What the system refuses (a full disk, a folder that may not be read) is one line with its own path, too. A console
    that lacks a letter shows another one. Where nobody reads what is printed, the rest is not printed.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        if (number := getattr(signal, name, None)) is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _interrupt)
    code = 0
    try:
        code = main()
        if sys.stdout is not None:  # closed by whoever started this: print prints nothing then
            sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt as error:
        print("interrupted", file=sys.stderr)
        code = 128 + (error.args[0] if error.args else signal.SIGINT)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"error: {first_line(error)}", file=sys.stderr)
            code = 2
        if error.filename is None and sys.stdout is not None:  # standard output's, which Python flushes once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
