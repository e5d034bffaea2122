"""Records of pages in a headless Chromium: python -m benchmarks.tools.web_records FOLDER... -o web.jsonl

FOLDER: of compress/export.py --format web. Each page measures itself in WASM on one thread and saves its record, as it
does on a phone (docs/browser.md).
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.records.record import Record, read_records, write_records
from runtime.errors import CommandParser, UserError, run_command
from runtime.web import make_server

SECONDS = 180.0  # that a page may take
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)


@contextmanager
def open_chromium(downloads: Path, *flags: str) -> Iterator[Any]:
    """Open a headless Chromium; a UserError where there is none."""
    if BROWSER is None or DRIVER is None:
        raise UserError("there is no chromium with its driver: apt install chromium-driver")
    from selenium import webdriver  # drives browsers; of no other use here

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, *flags, f"--user-data-dir={downloads / 'profile'}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    page = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield page
    finally:
        page.quit()


def measure_page(folder: Path) -> Record:
    """Open a page, let it measure itself, and return its record; a UserError where it does not."""
    with tempfile.TemporaryDirectory() as place, make_server(folder, "127.0.0.1") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with open_chromium(Path(place)) as page:
            page.get(f"http://localhost:{server.server_address[1]}/?engine=wasm&threads=1")
            _wait(page, folder, lambda: "Nothing leaves" in page.find_element("id", "message").text)
            page.find_element("id", "save").click()
            _wait(page, folder, lambda: any(Path(place).glob("*.jsonl")))
        server.shutdown()
        return read_records(next(Path(place).glob("*.jsonl")))[0]


def _wait(page: Any, folder: Path, done: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not done():
        if time.monotonic() > end:
            raise UserError(f"{folder}: the page says '{page.find_element('id', 'message').text}'")
        time.sleep(0.2)


def main(arguments: list[str] | None = None) -> int:
    """Measure all pages in turn."""
    parser = CommandParser(__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    args = parser.parse_args(arguments)
    write_records(args.output, [measure_page(folder) for folder in tqdm(args.folders, "pages", unit="page")])
    return 0


if __name__ == "__main__":
    run_command(main)
