"""SHA-256 without OpenSSL."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from runtime.hand.checksum import sha256_hex


@pytest.mark.parametrize("content", [b"", b"abc", bytes(range(256)) * 1000])
def test_it_is_sha256(content: bytes) -> None:
    assert sha256_hex(content) == hashlib.sha256(content).hexdigest()


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="another Python may have OpenSSL's alone")
def test_openssl_stays_out() -> None:
    program = "import sys, runtime.hand.checksum; print('_hashlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"
