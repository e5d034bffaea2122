"""What engines share: a module of one has DEVICES, TAKES_THREADS, `open_model(path, device, threads) -> Backend`."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, first_line
from .contract import ModelInfo, Outputs

Infer = Callable[[NDArray[np.float32]], Outputs]


class Backend:
    """One loaded model. `run` may be called from several threads."""

    def __init__(self, engine: str, path: Path, info: ModelInfo, provider: str, infer: Infer) -> None:
        self.info = info
        self.provider = provider  # what it really runs on, in the engine's own words
        self._cannot_run = f"{engine} cannot run {path}"
        self._infer: Infer | None = infer

    def run(self, image: NDArray[np.float32]) -> Outputs:
        """NCHW, RGB, 0..1 -> the outputs of the graph contract. The caller uses both again: neither may be kept."""
        if self._infer is None:
            raise ValueError("the model is closed")
        try:
            return self._infer(image)
        except Exception as error:  # what a graph promises, it may still break
            raise _told(self._cannot_run, error) from None

    def close(self) -> None:
        """Let go of the engine's memory."""
        self._infer = None


@contextlib.contextmanager
def telling(what: str) -> Iterator[None]:
    """Turn an engine's errors, which have no class in common, into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise _told(what, error) from None


def _told(what: str, error: Exception) -> UserError:
    # OpenVINO begins with places in its source, and ends with what is wrong.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1][:200] if lines and "Exception from" in lines[0] else first_line(error)
    return UserError(f"{what}: {reason}; export it again")


def import_engine(package: str, module: str = "") -> Any:
    """Import an engine's package, or a module in it; a UserError says what to install."""
    try:
        return importlib.import_module(module or package)
    except ImportError as error:
        raise UserError(f"{package} cannot be imported ({first_line(error)}): pip install {package}") from None
