"""Two interacting hands as 3D meshes from one RGB image: `load(model)(image) -> Hands`.

This package ships inside products: it needs numpy, OpenCV and one inference engine, and nothing else of the project. In
a clone its name is `runtime`, installed it is `er_edge` (pyproject.toml): inside, imports are relative.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import UserError
    from .finder.finder import Finder
    from .hand.hands import Hand, Hands
    from .runner import load
    from .video.smoothing import Smoother
    from .video.tracking import Tracker

# Before any import of an engine, whoever does it: onnxruntime (from 1.29 on) and the package that OpenVINO and NNCF
# report their use by write an id into the home folder and look a host up. Both do without that package where there is
# none. Every package of the project imports this one first.
os.environ["ORT_DISABLE_TELEMETRY"] = os.environ.get("ORT_DISABLE_TELEMETRY") or "1"
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

__all__ = ["Finder", "Hand", "Hands", "Smoother", "Tracker", "UserError", "load"]

_HOME = {
    "Finder": "finder.finder",
    "Hand": "hand.hands",
    "Hands": "hand.hands",
    "Smoother": "video.smoothing",
    "Tracker": "video.tracking",
    "UserError": "errors",
    "load": "runner",
}


def __getattr__(name: str) -> object:
    """Import on first use, so that `errors` alone costs no OpenCV."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return list(__all__)
