"""The command `er-edge`, and `python -m er_edge`: pictures, videos and cameras (demo.py); `er-edge web` (web.py)."""

from __future__ import annotations

import sys

from . import demo, web
from .errors import run_command


def main() -> None:
    """Run the command line and exit."""
    words = sys.argv[1:]
    run_command(lambda: web.main(words[1:]) if words[:1] == ["web"] else demo.main(words))


if __name__ == "__main__":
    main()
