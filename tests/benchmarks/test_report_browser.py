"""The page in a real browser, headless and offline: it loads, sorts, draws, and fits a phone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.report import main
from tests.fixtures.browser import PHONE, needs_browser, open_browser
from tests.fixtures.made_records import made_report

pytestmark = [pytest.mark.slow, needs_browser]
MPJPE = "MPJPE mm, made (synthetic)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("page")
    assert main([str(made_report(folder)), "-o", str(folder / "report.html")]) == 0
    with open_browser(folder) as driver:
        driver.get((folder / "report.html").as_uri())
        yield driver


def ask(browser: Any, expression: str) -> Any:
    return browser.execute_script(f"return {expression}")


def names(browser: Any) -> list[str]:
    found: list[str] = ask(browser, "[...document.querySelectorAll('#rows tbody tr')].map(r => r.cells[0].innerText)")
    return found


def test_plots_and_verdicts_are_seen(browser: Any) -> None:
    svgs = "[...document.querySelectorAll('.plot svg')]"
    tips = ask(browser, f"{svgs}.map(s => s.querySelectorAll('title').length)")
    assert len(tips) == 6 and min(tips) >= 1 and tips[0] == 3
    assert all(w > 300 and h > 100 for w, h in ask(browser, f"{svgs}.map(s => [s.clientWidth, s.clientHeight])"))
    verdict = browser.find_elements("css selector", "#rows th")[1]
    assert verdict.text == "verdict" and verdict.rect["x"] + verdict.rect["width"] <= 1280


def test_sorting(browser: Any) -> None:
    given = ["er-xs_224_int8", "er-xs_224_fp32", "er-s_224_int8", "er-s_224_int8", "a peer"]
    assert names(browser) == given
    upwards = ["er-xs_224_int8", "er-xs_224_fp32", "er-s_224_int8", "a peer", "er-s_224_int8"]
    for title, first, last in (
        *(("p50 ms", upwards[0], upwards[-1]), ("p50 ms", upwards[-1], upwards[0])),
        *((MPJPE, "er-s_224_int8", "a peer"), (MPJPE, "er-xs_224_int8", "a peer")),  # nothing measured: last
        ("row", "a peer", "er-xs_224_int8"),
    ):
        browser.find_element("xpath", f"//th/button[text()='{title}']").click()
        assert (names(browser)[0], names(browser)[-1]) == (first, last)


def test_on_a_phone(browser: Any) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    browser.refresh()
    assert ask(browser, "document.documentElement.scrollWidth") <= 390  # wide tables scroll by themselves
    assert max(ask(browser, "[...document.querySelectorAll('.plot svg')].map(s => s.clientWidth)")) <= 390
    assert ask(browser, "parseFloat(getComputedStyle(document.querySelector('#rows td')).fontSize)") >= 12
