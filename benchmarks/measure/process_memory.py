"""Memory of this process. Nothing is imported that would be measured along with it."""

from __future__ import annotations

import re
from pathlib import Path


def status_mb(key: str) -> float | None:
    """Return VmRSS (now) or VmHWM (the most ever) of this process, 10^6 bytes; None on systems but Linux.

    psutil has no peak there, and getrusage's counts what the parent had when it started this process.
    """
    try:
        found = re.search(rf"^{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 / 1e6 if found else None
