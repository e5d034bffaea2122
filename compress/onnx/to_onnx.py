"""Network -> ONNX by the graph contract: opset 17, static shapes, batch 1, every tensor of rank 4 or less."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from runtime.backends.session import open_session
from training.network import ERNet, Outputs
from training.network.merged import merge

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 17
MAX_RANK = 4


def write_onnx(network: ERNet, path: Path, merged: bool = True) -> None:
    """Export `network` (eval mode) at its own crop size in fp32, constants folded, its parts merged or as they are.

    Raises ValueError where the graph breaks a rule of the contract: that is a fault of the network, not of the user.
    """
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
    check_graph(model)
    onnx.save(model, path)


def fold_constants(path: Path) -> None:
    """Rewrite the file with constants folded and BN fused, by onnxruntime's basic (standard operators only) pass."""
    open_session(path, optimise="basic", optimised_path=path)


def check_graph(model: ModelProto) -> None:
    """ONNX's own checker, then the rules of the contract: standard operators, static shapes, rank."""
    import onnx

    onnx.checker.check_model(model, full_check=True)
    foreign = sorted({f"{n.domain}.{n.op_type}" for n in model.graph.node if n.domain not in ("", "ai.onnx")})
    if foreign:
        raise ValueError(f"operators outside ONNX: {foreign}")
    inferred = onnx.shape_inference.infer_shapes(model)
    for value in [*inferred.graph.input, *inferred.graph.output, *inferred.graph.value_info]:
        dims = value.type.tensor_type.shape.dim
        if len(dims) > MAX_RANK:
            raise ValueError(f"tensor {value.name} has rank {len(dims)}")
        if any(not dim.HasField("dim_value") for dim in dims):
            raise ValueError(f"tensor {value.name} has no static shape")
