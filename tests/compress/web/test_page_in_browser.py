"""The page in Chromium: hands in pictures and camera frames, a record that the report reads, what may be missing."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.records.record import read_records
from benchmarks.report import main as report
from benchmarks.tools.web_records import measure_page
from runtime.files import file_sha256
from runtime.web import make_server
from tests.fixtures.browser import INSECURE_HOST, PHONE, needs_browser, open_browser

pytestmark = [pytest.mark.slow, needs_browser]
PICTURE = Path(__file__).parents[3] / "docs" / "example.jpg"
FRAMES, SIZE = 30, (640, 480)
SECONDS = 120.0  # a loaded machine takes its time


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Its port."""
    with make_server(folder, "127.0.0.1") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def port(page: Path) -> Iterator[int]:
    with serving(page) as port:
        yield port


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered hands that move, as a camera gives them."""
    path = tmp_path_factory.mktemp("clip") / "hands.mjpeg"
    picture = cv2.imread(str(PICTURE))
    with path.open("wb") as file:
        for turn in np.linspace(0, 2 * np.pi, FRAMES, endpoint=False):
            moved = np.array([[1, 0, 150 + 20 * np.sin(turn)], [0, 1, -20 + 10 * np.cos(turn)]], np.float32)
            frame = cv2.warpAffine(picture, moved, SIZE, borderMode=cv2.BORDER_REPLICATE)
            file.write(cv2.imencode(".jpg", frame)[1].tobytes())
    return path


@pytest.fixture
def opened(port: int, clip: Path, tmp_path: Path) -> Iterator[Any]:
    """The page on a phone's screen with a camera that shows the clip; not loaded yet."""
    camera = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={clip}")
    with open_browser(tmp_path, "--use-fake-ui-for-media-stream", *camera) as browser:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
        yield browser


def text(browser: Any, name: str) -> str:
    found: str = browser.find_element("id", name).get_attribute("textContent")
    return found


def wait(browser: Any, name: str, words: str) -> None:
    """Until an element's text has the words."""
    end = time.monotonic() + SECONDS
    while words not in (found := text(browser, name)):
        assert time.monotonic() < end, f"{name} is '{found}', without '{words}'; {text(browser, 'message')}"
        time.sleep(0.1)


def load(browser: Any, port: int, host: str = "localhost", words: str = "Nothing leaves this device.") -> None:
    browser.get(f"http://{host}:{port}/?engine=wasm")
    wait(browser, "message", words)


def open_picture(browser: Any) -> None:
    browser.find_element("id", "picture").send_keys(str(PICTURE))
    wait(browser, "hands", "right hand")
    assert "left hand" in text(browser, "hands")


def test_pictures_camera_and_record(opened: Any, port: int, tmp_path: Path) -> None:
    load(opened, port)
    assert text(opened, "engine").startswith("er-xs_224_fp32 in WASM, SIMD, ")
    open_picture(opened)
    assert opened.execute_script("return document.documentElement.scrollWidth") <= PHONE["width"]

    opened.find_element("id", "camera").click()
    wait(opened, "fps", "fps")
    wait(opened, "hands", "left hand")
    assert "right hand" in text(opened, "hands")
    # The overlay has the colours of both sides; the clip does not.
    data = "document.getElementById('view').getContext('2d').getImageData(0, 0, 640, 480).data"
    pixels = np.array(opened.execute_script(f"return [...{data}]"), int).reshape(-1, 4)
    red, blue = pixels[:, 0], pixels[:, 2]
    assert (red > 2 * blue + 60).sum() > 500 and (blue > red + 60).sum() > 500
    assert set(re.findall("[a-z]+", text(opened, "times"))) >= {"crop", "network", "mesh", "draw"}

    opened.find_element("id", "save").click()
    wait(opened, "message", "Saved")
    path, end = tmp_path / "er-xs_224_fp32_wasm.jsonl", time.monotonic() + SECONDS
    while not path.exists():  # the browser is still writing it
        assert time.monotonic() < end
        time.sleep(0.1)
    (record,) = read_records(path)
    facts = json.loads(opened.execute_script("return fetch('model.json').then(answer => answer.text())"))
    assert record.artifact.sha256 == facts["artifact"]["sha256"] and record.runtime.name == "onnxruntime-web"
    assert record.verdict.status == "FINISHED" and record.stages_ms is not None and record.latency_ms is not None
    assert record.latency_ms.min <= record.latency_ms.p50_low <= record.latency_ms.p50_high <= record.latency_ms.max
    assert len(record.latency_ms.blocks_p50) == record.protocol.rounds
    assert report([str(path), "-o", str(tmp_path / "report.html")]) == 0


@pytest.mark.parametrize("relaxed", [True, False])
def test_litert_js_where_relaxed_simd_is(opened: Any, litert_page: Path, tmp_path: Path, relaxed: bool) -> None:
    old = "{const all = WebAssembly.validate; WebAssembly.validate = (b) => !`${b}`.includes('253,128,2') && all(b);}"
    if not relaxed:
        opened.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": old})
    with serving(litert_page) as port:
        load(opened, port)
        engine = text(opened, "engine")
        assert ("in LiteRT.js, WASM" in engine, "lacks WebAssembly's relaxed SIMD" in engine) == (relaxed, not relaxed)
        open_picture(opened)
        opened.find_element("id", "camera").click()
        wait(opened, "fps", "fps")
        wait(opened, "hands", "left hand")
        opened.find_element("id", "save").click()
        wait(opened, "message", "Saved")
    (record,) = read_records(next(tmp_path.glob("*.jsonl")))
    name, model = ("LiteRT.js", "model.tflite") if relaxed else ("onnxruntime-web", "model.onnx")
    assert record.runtime.name == name and record.artifact.sha256 == file_sha256(litert_page / model)


def test_it_measures_itself_without_a_visitor(page: Path) -> None:
    record = measure_page(page)
    assert (record.runtime.name, record.runtime.threads) == ("onnxruntime-web", 1) and record.latency_ms is not None


def test_by_http_from_another_device_pictures_work(port: int, tmp_path: Path) -> None:
    with open_browser(tmp_path, expected="Cross-Origin-Opener-Policy header has been ignored") as browser:
        load(browser, port, INSECURE_HOST)
        assert "1 thread, as this page is not isolated" in text(browser, "engine")
        browser.find_element("id", "camera").click()
        wait(browser, "message", "by https or on this device alone")
        open_picture(browser)


def test_without_permission_pictures_work(port: int, tmp_path: Path) -> None:
    with open_browser(tmp_path, "--deny-permission-prompts", "--use-fake-device-for-media-stream") as browser:
        load(browser, port)
        browser.find_element("id", "camera").click()
        wait(browser, "message", "The camera was not allowed")
        open_picture(browser)


def test_without_simd_the_page_says_what_it_needs(opened: Any, port: int) -> None:
    old = {"source": "WebAssembly.validate = () => false"}
    opened.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", old)
    load(opened, port, words="lacks WebAssembly SIMD")
    assert not opened.find_element("id", "camera").is_enabled()


def test_what_is_no_picture(opened: Any, port: int, tmp_path: Path) -> None:
    load(opened, port)
    (tmp_path / "text.jpg").write_text("no picture")
    opened.find_element("id", "picture").send_keys(str(tmp_path / "text.jpg"))
    wait(opened, "message", "cannot read that file as a picture")
