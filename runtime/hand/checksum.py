"""SHA-256 without OpenSSL: hashlib brings it along, four megabytes of memory for one checksum."""

from __future__ import annotations

from typing import Any


def _find_sha256() -> Any:
    """As random in the standard library does it."""
    try:
        from _sha2 import sha256  # type: ignore[import-not-found, unused-ignore] # Python 3.12 and later
    except ImportError:
        try:
            from _sha256 import sha256  # type: ignore[import-not-found, unused-ignore]
        except ImportError:  # another Python than CPython
            from hashlib import sha256
    return sha256


_SHA256 = _find_sha256()


def sha256_hex(content: bytes) -> str:
    """64 hexadecimal digits."""
    return str(_SHA256(content).hexdigest())
