"""Network -> ONNX by the graph contract: opset 17, static shapes, batch 1, every tensor of rank 4 or less."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from runtime.backends.session import open_session
from training.network import ERNet, Outputs
from training.network.merged import merge

OPSET = 17


def write_onnx(network: ERNet, path: Path, merged: bool = True) -> None:
    """Export `network` (eval mode) at its own crop size in fp32, constants folded, its parts merged or as they are."""
    import onnx

    size = network.variant.crop_px
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the TorchScript path is deprecated, but its opset 17 graphs are the plainest
        torch.onnx.export(
            merge(network) if merged else network,
            (torch.zeros(1, 3, size, size),),
            str(path),
            input_names=["image"],
            output_names=list(Outputs._fields),
            opset_version=OPSET,
            dynamo=False,
        )
    fold_constants(path)
    model = onnx.load(path)
    model.producer_name = "er-edge"
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in used]  # onnxruntime lists its own, too
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.save(model, path)


def fold_constants(path: Path) -> None:
    """Rewrite the file with constants folded and BN fused, by onnxruntime's basic (standard operators only) pass."""
    open_session(path, optimise="basic", optimised_path=path)
