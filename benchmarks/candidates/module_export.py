"""Any torch module -> ONNX, as whole networks are exported (compress/onnx/to_onnx.py), without the graph contract."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def write_module(module: nn.Module, shape: tuple[int, int, int, int], path: Path) -> None:
    """Export a module in eval mode for images of one shape, constants folded."""
    import torch

    from compress.onnx.to_onnx import OPSET, fold_constants

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same deprecated, plainer path as compress.onnx.to_onnx
        torch.onnx.export(
            module, (torch.zeros(shape),), str(path), input_names=["image"], opset_version=OPSET, dynamo=False
        )
    fold_constants(path)
