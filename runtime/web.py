"""Serve a page that compress/export.py --format web wrote: python runtime/web.py exports/er-xs_224_int8.web

Installed, this is `er-edge web`.

Any static server will do; this one sends the headers that threads in WebAssembly need. Browsers give cameras and
threads to pages of this device (http://localhost) and to pages by https: docs/browser.md says how a phone gets there.
"""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket
from typing import Any

if not __package__:  # run as a file (PEP 366): the folder that holds this one is on nobody's path
    folder = Path(__file__).resolve().parent
    sys.path[0], __package__ = str(folder.parent), folder.name

from .errors import CommandParser, UserError, first_line, run_command

HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
}


class _Handler(SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def guess_type(self, path: Any) -> str:
        """Name a file's kind; scripts are scripts, whatever Windows' registry says."""
        return "text/javascript" if str(path).endswith(".js") else super().guess_type(path)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def make_server(folder: Path, host: str = "", port: int = 0, certificate: Path | None = None) -> ThreadingHTTPServer:
    """Return a server of the folder, not serving yet; port 0: a free one; `certificate`: PEM with key, for https."""
    try:
        json.loads((folder / "model.json").read_text(encoding="utf-8"))["runtime"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder} is no page: make one with python compress/export.py --format web") from None
    try:
        server = ThreadingHTTPServer((host, port), partial(_Handler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        raise UserError(f"port {port} cannot be served ({first_line(error)}): give another --port") from None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(certificate)
        except OSError as error:  # SSLError is one
            server.server_close()
            what = f"{certificate} is no PEM file with certificate and key ({first_line(error)})"
            raise UserError(f"{what}: see docs/browser.md") from None
        server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def print_addresses(port: int, secure: bool) -> None:
    """Print where the page is, and for a phone a QR code where segno is installed."""
    scheme = "https" if secure else "http"
    print(f"on this device: {scheme}://localhost:{port}")
    with socket(AF_INET, SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # of a network for documentation: only the route is looked up, nothing sent
        except OSError:
            return  # it is in no network
        url = f"{scheme}://{probe.getsockname()[0]}:{port}"
    print(f"in its network: {url}" + ("" if secure else " (pictures alone: cameras and threads want --certificate)"))
    try:
        import segno  # optional: pip install segno
    except ImportError:
        print("pip install segno shows a QR code of it here")
    else:
        segno.make(url).terminal(compact=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("folder", type=Path, help="that the export wrote: NAME.web")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--host", default="", help="an address of this machine; default: all of them")
    parser.add_argument("--certificate", type=Path, metavar="PEM", help="certificate and key in one file: https")
    args = parser.parse_args(arguments)
    with make_server(args.folder, args.host, args.port, args.certificate) as server:
        print_addresses(server.server_address[1], args.certificate is not None)
        sys.stdout.flush()
        server.serve_forever()
    return 0


if __name__ == "__main__":
    run_command(main)
