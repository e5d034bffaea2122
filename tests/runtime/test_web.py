"""The page's server: its headers, and mistakes."""

from __future__ import annotations

import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import UserError
from runtime.web import main, make_server, print_addresses


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.json").write_text('{"runtime": {}}')
    (tmp_path / "app.js").write_text("'use strict'")
    return tmp_path


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    with make_server(folder, "127.0.0.1") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_pages_are_isolated_and_scripts_are_scripts(address: str) -> None:
    with urllib.request.urlopen(f"{address}/app.js") as answer:
        headers = dict(answer.headers)
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["Content-type"] == "text/javascript"


def test_https(folder: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    with pytest.raises(UserError, match=r"wrong\.pem is no PEM file.*docs/browser\.md"):
        make_server(folder, "127.0.0.1", certificate=wrong)
    pem = tmp_path / "both.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=er-edge -keyout both.pem -out cert.pem"
    try:
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl: apt install openssl")
    pem.write_text(pem.read_text() + (tmp_path / "cert.pem").read_text())
    import ssl

    with make_server(folder, "127.0.0.1", certificate=pem) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = ssl.create_default_context(cafile=str(pem))
        context.check_hostname = False
        with urllib.request.urlopen(f"https://127.0.0.1:{server.server_address[1]}/app.js", context=context) as answer:
            assert answer.status == 200
        server.shutdown()


def test_mistakes(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is no page: make one with python"):
        main([str(tmp_path / "empty")])
    with make_server(folder, "127.0.0.1") as server, pytest.raises(UserError, match="give another --port"):
        make_server(folder, "127.0.0.1", server.server_address[1])


def test_addresses_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_addresses(8123, secure=False)
    assert "http://localhost:8123" in capsys.readouterr().out
