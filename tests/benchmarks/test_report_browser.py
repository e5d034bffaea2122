"""The page in a real browser, headless and offline: it loads, sorts, filters, draws, and fits a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import main
from tests.fixtures.made_records import made_report

webdriver = pytest.importorskip("selenium.webdriver")
CHROME = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    "--host-resolver-rules=MAP * ~NOTFOUND",  # offline
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROME is None or DRIVER is None, reason="no chromium with its driver: apt install chromium-driver"
    ),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    assert main([str(made_report(folder)), "-o", str(folder / "report.html")]) == 0
    return folder / "report.html"


@pytest.fixture
def browser(page: Path, tmp_path: Path) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROME
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.set_window_size(1200, 900)
        driver.get(page.as_uri())
        yield driver
        assert driver.get_log("browser") == []
    finally:
        driver.quit()


def names(browser: Any) -> list[str]:
    script = (
        "return [...document.querySelectorAll('#rows tbody tr')].filter(r => !r.hidden).map(r => r.cells[0].innerText)"
    )
    found: list[str] = browser.execute_script(script)
    return found


def click_heading(browser: Any, title: str) -> None:
    browser.find_element("xpath", f"//th/button[text()='{title}']").click()


def test_every_plot_has_its_points(browser: Any) -> None:
    tips = browser.execute_script(
        "return [...document.querySelectorAll('.plot')].map(p => p.querySelectorAll('svg title').length)"
    )
    assert len(tips) == 7 and min(tips) >= 1 and tips[0] == 3
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('.plot svg')].map(s => [s.clientWidth, s.clientHeight])"
    )
    assert all(width > 300 and height > 100 for width, height in sizes)


def test_the_verdict_is_seen(browser: Any) -> None:
    browser.set_window_size(1280, 900)
    right = browser.execute_script("return document.querySelectorAll('#rows th')[1].getBoundingClientRect().right")
    assert browser.find_elements("css selector", "#rows th")[1].text == "verdict" and right <= 1280


def test_sorting(browser: Any) -> None:
    given = ["er-xs_224_int8", "er-xs_224_fp32", "er-s_224_int8", "er-s_224_int8", "a peer"]
    assert names(browser) == given
    click_heading(browser, "p50 ms")
    assert names(browser) == ["er-xs_224_int8", "er-xs_224_fp32", "er-s_224_int8", "a peer", "er-s_224_int8"]
    click_heading(browser, "p50 ms")
    assert names(browser) == ["er-s_224_int8", "a peer", "er-s_224_int8", "er-xs_224_fp32", "er-xs_224_int8"]
    click_heading(browser, "MPJPE mm, made (synthetic)")
    assert names(browser)[0].startswith("er-s") and names(browser)[-1] == "a peer"  # nothing measured: last
    click_heading(browser, "MPJPE mm, made (synthetic)")
    assert names(browser)[0] == "er-xs_224_int8" and names(browser)[-1] == "a peer"
    click_heading(browser, "row")
    assert names(browser)[0] == "a peer"


def test_filtering(browser: Any) -> None:
    from selenium.webdriver.support.ui import Select

    choices = {
        label.text.split("\n")[0]: Select(label.find_element("tag name", "select"))
        for label in browser.find_elements("css selector", "#filters label")
    }
    assert set(choices) == {"kind", "precision", "threads", "verdict"}
    choices["precision"].select_by_visible_text("fp32")
    assert names(browser) == ["er-xs_224_fp32"]
    assert browser.find_element("id", "count").text == "1 of 5 rows"
    choices["precision"].select_by_visible_text("all")
    choices["threads"].select_by_visible_text("4")
    assert names(browser) == ["er-s_224_int8"]
    choices["kind"].select_by_visible_text("peer")
    assert names(browser) == []


def test_on_a_phone(browser: Any, tmp_path: Path) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    browser.refresh()
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width <= 390  # wide tables scroll by themselves
    plots = browser.execute_script("return [...document.querySelectorAll('.plot svg')].map(s => s.clientWidth)")
    assert plots and max(plots) <= 390
    text = browser.execute_script("return parseFloat(getComputedStyle(document.querySelector('#rows td')).fontSize)")
    assert text >= 12
    assert browser.get_screenshot_as_file(str(tmp_path / "phone.png"))
