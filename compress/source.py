"""What an export starts from: weights, shipped or given, pruned first where asked for, trained to be int8 or not."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from compress.channels import IMPORTANCES
from compress.request import ExportRequest
from runtime.errors import UserError
from targets import Target

if TYPE_CHECKING:
    from runtime.hand.hand_model import HandModel
    from training.network import ERNet


def prune_first(request: ExportRequest) -> tuple[ExportRequest, dict[str, Any] | None]:
    """With --prune or --prune-to-ms: the request with the pruned checkpoint, and what pruning saved."""
    if request.prune is None and request.prune_to_ms is None:
        return request, None
    from compress.prune import PruneRequest, run

    path, figures = run(
        PruneRequest(
            request.variant,
            request.checkpoint,
            request.prune,
            request.prune_to_ms,
            importance=request.importance or IMPORTANCES[0],
            finetune_steps=request.finetune_steps or 0,
            data=request.data,
            hand_model=request.hand_model,
        )
    )
    return replace(request, checkpoint=path, prune=None, prune_to_ms=None), figures


def load_weights(request: ExportRequest, hands: tuple[HandModel, HandModel]) -> tuple[ERNet, dict[str, Any]]:
    """The network to export and what its passport says of the weights."""
    import torch

    from compress.passport import file_sha256
    from training.checkpoint import load_network, weights_of
    from training.network import build

    if request.random_weights:
        torch.manual_seed(0)
        return build(request.variant).eval(), {"random": True, "sha256": None}
    path = request.checkpoint or weights_of(request.variant)
    network, facts = load_network(path, request.variant)
    if facts.hand_model["sha256"] != hands[0].sha256:
        raise UserError(
            f"the weights were trained on hand model '{facts.hand_model['name']}', not on '{hands[0].name}': "
            "give the matching --hand-model or other weights"
        )
    return network, {"random": False, "sha256": file_sha256(path), **asdict(facts)}


def split_trained(request: ExportRequest, network: ERNet, target: Target | None) -> tuple[ERNet, ERNet | None]:
    """The float network, and for an int8 export of weights trained to be int8 the network that rounds."""
    from training.qat import float_network, quantization_of

    trained = quantization_of(network)
    if trained is None:
        return network, None
    plain = float_network(network, rounded=False)
    if request.precision != "int8":
        return plain, None
    for flag, given in request.int8_only.items():
        if given:
            raise UserError(
                f"{flag} has no effect: {request.checkpoint} was trained to be int8, its layers and ranges are set"
            )
    if any(file.flavour not in (None, "cpu") for file in request.onnx_files(target)):
        raise UserError(f"{request.checkpoint} was trained to be int8 on CPUs: give another --target, or float weights")
    if not trained.spec.reduce_range and int8_saturates(target):
        where = (
            target.name if target else "some CPU that the file may run on: give a --target whose int8 does not saturate"
        )
        raise UserError(f"{request.checkpoint} was trained for 8-bit weights, which overflow on {where}")
    return plain, network


def int8_saturates(target: Target | None) -> bool:
    """Whether weights must keep to 7 bits."""
    return target is None or target.int8_saturates
