"""TensorRT's Python module, pycuda and the machine an engine is bound to: found, described, or refused in one line."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, first_line

if TYPE_CHECKING:
    import tensorrt as trt

ON_THE_DEVICE = "engines are built and run on the device they are for (docs/jetson.md); elsewhere, use the .onnx file"
DEVICE = 0  # the GPU that is used
_MAX_MESSAGES = 1000
_MAX_MESSAGE_CHARACTERS = 300
_ERROR = "error: "
_TEGRA_RELEASE = r"# R(\d{1,3}) \(release\), REVISION: (\d{1,3}(?:\.\d{1,3})?)"


@dataclass(frozen=True)
class Machine:
    """What an engine is bound to."""

    tensorrt: str  # 10.3.0
    cuda: str  # that the driver speaks: 12.6
    compute_capability: str  # 8.7
    l4t: str | None  # Jetson Linux: 36.4.3; None anywhere else
    architecture: str  # aarch64, x86_64


def import_pycuda() -> Any:
    """Return pycuda.driver, initialised; a UserError where it, the driver or the GPU is missing.

    Call it before TensorRT is imported, whose library fails badly without a driver.
    """
    try:
        import pycuda.driver as cuda

        cuda.init()
        count = cuda.Device.count()
    except Exception as error:  # pycuda.driver.Error is only known once that is imported
        missing = isinstance(error, ImportError)
        reason = "there is no NVIDIA driver here, or pycuda is missing" if missing else "CUDA does not start"
        raise UserError(f"{reason} ({first_line(error)}): {ON_THE_DEVICE}") from None
    if not count:
        raise UserError(f"there is no NVIDIA GPU here: {ON_THE_DEVICE}")
    return cuda


def import_tensorrt() -> Any:
    """Return the module; a UserError that says where it comes from."""
    where = f"JetPack brings it; {ON_THE_DEVICE}"
    if l4t_release() is not None:
        where = "it comes with JetPack, not from PyPI: make the environment with python3 -m venv --system-site-packages"
    try:
        import tensorrt
    except ImportError as error:
        raise UserError(f"TensorRT cannot be imported ({first_line(error)}): {where}") from None
    if not hasattr(tensorrt, "Runtime"):  # type stubs alone make an empty package of that name
        raise UserError(f"the module tensorrt found here is empty: {where}")
    return tensorrt


def l4t_release(root: Path = Path("/")) -> str | None:
    """Return the release of Jetson Linux, such as 36.4.3; None on other machines."""
    try:
        found = re.match(_TEGRA_RELEASE, (root / "etc/nv_tegra_release").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return f"{found[1]}.{found[2]}" if found else None


def machine_here(cuda: Any, tensorrt_version: str) -> Machine:
    """Return what engines built here are bound to, by pycuda's driver; its version 12060 is CUDA 12.6."""
    version, (major, minor) = cuda.get_driver_version(), cuda.Device(DEVICE).compute_capability()
    return Machine(
        tensorrt=tensorrt_version,
        cuda=f"{version // 1000}.{version % 1000 // 10}",
        compute_capability=f"{major}.{minor}",
        l4t=l4t_release(),
        architecture=platform.machine(),
    )


def collecting_logger(trt: Any) -> tuple[trt.ILogger, list[str]]:
    """Return the logger that keeps `warning: ...` and `error: ...` instead of printing, and its list from now on.

    TensorRT goes on with the first logger of a process: so there is one, and lists take turns.
    """
    logger = _make_logger(trt)
    logger.messages = []
    return logger, logger.messages


@cache
def _make_logger(trt: Any) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc, name-defined, unused-ignore]
        messages: list[str]

        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 wants it called by name

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            # INTERNAL_ERROR is 0, VERBOSE is 4.
            if severity <= trt.ILogger.WARNING and len(self.messages) < _MAX_MESSAGES:
                kind = "warning: " if severity == trt.ILogger.WARNING else _ERROR
                self.messages.append(kind + " ".join(msg.split())[:_MAX_MESSAGE_CHARACTERS])

    return Logger()


def first_error(messages: list[str]) -> str:
    """Return the first error's text, for one line."""
    errors = (message.removeprefix(_ERROR) for message in messages if message.startswith(_ERROR))
    return next(errors, "it gave no reason")
