"""The README's picture of the report's first screen: python -m benchmarks.tools.report_picture PAGE PICTURE"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.tools.web_records import open_chromium
from runtime.errors import CommandParser, run_command
from runtime.files import write_bytes_atomic

SCREEN = {"width": 1280, "height": 960, "deviceScaleFactor": 1, "mobile": False}


def main(arguments: list[str] | None = None) -> int:
    """Write the picture."""
    parser = CommandParser(__doc__)
    parser.add_argument("page", type=Path, metavar="PAGE")
    parser.add_argument("picture", type=Path, metavar="PICTURE")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place, open_chromium(Path(place)) as browser:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SCREEN)
        browser.get(args.page.resolve().as_uri())
        write_bytes_atomic(args.picture, browser.get_screenshot_as_png())
    return 0


if __name__ == "__main__":
    run_command(main)
