"""The one place where onnxruntime is imported for use and its sessions are made; runtime/backends lists its defaults.

ORT_DISABLE_TELEMETRY only counts before the import: runtime/__init__.py sets it. With its own default of threads,
onnxruntime takes twice as long on one core of a container.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError, first_line
from ..files import utf8_path
from ..machine import usable_cores

CPU_PROVIDER = "CPUExecutionProvider"
_LEVELS = {"all": "ORT_ENABLE_ALL", "basic": "ORT_ENABLE_BASIC", "none": "ORT_DISABLE_ALL"}
_LOG_FATAL = 4


def import_onnxruntime() -> Any:
    """Import onnxruntime, or raise a UserError that says what to install."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"onnxruntime cannot be imported ({first_line(error)}): pip install onnxruntime") from None
    return onnxruntime


def open_session(
    model: str | Path | bytes,
    threads: int | None = None,
    *,
    providers: Sequence[str] = (CPU_PROVIDER,),
    optimise: Literal["all", "basic", "none"] = "all",
    optimised_path: Path | None = None,
    profile_prefix: Path | None = None,
) -> Any:
    """Open an onnxruntime InferenceSession on a file or on a serialised model.

    threads: None for the physical cores that this process may use. optimised_path: where the optimised graph is
    written. profile_prefix: where `end_profiling` writes. Raises what onnxruntime raises, which has a class for every
    status without a common one.
    """
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = _LOG_FATAL
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[optimise])
    options.inter_op_num_threads = 1
    if (count := threads or usable_cores()) is not None:
        options.intra_op_num_threads = count
    if optimised_path is not None:
        options.optimized_model_filepath = str(optimised_path)
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_prefix)
    source = model if isinstance(model, bytes) else utf8_path(model)
    return ort.InferenceSession(source, options, providers=list(providers))
