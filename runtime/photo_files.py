"""Many photographs: which there are, and reading them one by one, whatever some of the files hold."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .errors import UserError
from .image.reading import Rgb, read_image
from .image.sheets import NAME
from .video.inputs import VIDEO_SUFFIXES

_BAR_CELLS = 30
_MOST_SHOWN = 20


def list_photos(places: Iterable[Path]) -> list[Path]:
    """Files that are given, and all of given folders by name, except hidden ones and what the demo writes.

    Folders inside a folder are not entered. A UserError where there is none, or a folder cannot be read.
    """
    found: list[Path] = []
    for place in places:
        if not place.is_dir():
            found.append(place)
            continue
        try:
            inside = sorted(path for path in place.iterdir() if not path.is_dir())
        except OSError as error:
            raise UserError(f"cannot read the folder {place}: {error.strerror}; check its rights") from None
        found += [path for path in inside if not path.name.startswith((".", f"{NAME}_"))]
    if not found:
        raise UserError(f"there is no image in {', '.join(map(str, places))}: folders inside a folder are not entered")
    return list(dict.fromkeys(found))


def read_photos(paths: Sequence[Path], skipped: list[str]) -> Iterator[tuple[Path, Rgb]]:
    """Read file by file, with a bar on a terminal; what cannot be read is named in `skipped`, with the reason.

    A UserError at the end where nothing could be read, in the words of the first.
    """
    for number, path in enumerate(paths):
        _show_bar(number, len(paths))
        try:
            if path.suffix.lower() in VIDEO_SUFFIXES:
                raise UserError(f"{path} is a video: give it alone")
            rgb = read_image(path)
        except UserError as error:
            skipped.append(str(error))
        else:
            yield path, rgb
    _show_bar(len(paths), len(paths))
    if len(skipped) == len(paths):
        more = f" (nor can {len(paths) - 1} more)" if len(paths) > 1 else ""
        raise UserError(skipped[0] + more)


def print_skipped(skipped: Sequence[str]) -> None:
    """Name on stderr the files that were not read, as far as they fit a screen."""
    for reason in skipped[:_MOST_SHOWN]:
        print(f"skipped: {reason}", file=sys.stderr)
    if len(skipped) > _MOST_SHOWN:
        print(f"skipped: {len(skipped) - _MOST_SHOWN} more files", file=sys.stderr)


def _show_bar(done: int, total: int) -> None:
    if sys.stderr.isatty() and total > 1:
        cells = _BAR_CELLS * done // total
        end = "\n" if done == total else ""
        print(f"\r[{'#' * cells:-<{_BAR_CELLS}}] {done}/{total}", end=end, file=sys.stderr, flush=True)
