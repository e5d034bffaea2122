"""Where weights start: this project's own files, or public ImageNet weights of TinyViT and ResNet-50.

Public files are state dicts (safetensors, or torch files read with weights_only) with the official parameter names:
microsoft/Cream's TinyViT ({"model": ...}), torchvision's or timm's ResNet-50. Only the backbone is taken; classifiers
are left out.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from runtime.errors import UserError
from training.checkpoint import MAX_WEIGHT_BYTES, load_network
from training.network import ERNet

WRAPPERS = ("model", "state_dict", "model_state_dict")
PREFIX = re.compile(r"^(module\.|backbone\.)+")
# Classifiers, and tables that the network computes itself.
LEFT_OUT = re.compile(r"^(head\.|fc\.)|attention_bias_idxs$|num_batches_tracked$")


def initialise(network: ERNet, path: Path) -> None:
    """Fill `network`, or its backbone, from a file. UserError where it does not fit, naming the first difference."""
    if path.suffix == ".safetensors" and _is_own(path):
        loaded, facts = load_network(path, network.variant.name)
        if facts.qat is not None:
            raise UserError(f"{path} was trained to be int8, its norms are folded: start from the weights it came from")
        network.load_state_dict(loaded.state_dict())
        return
    public = {PREFIX.sub("", name): tensor for name, tensor in _read_state(path).items()}
    public = {name: tensor for name, tensor in public.items() if not LEFT_OUT.search(name)}
    backbone = network.backbone
    own = {name: tensor for name, tensor in backbone.state_dict().items() if not LEFT_OUT.search(name)}
    missing = sorted(set(own) - set(public))
    if missing:
        raise UserError(f"{path} lacks {len(missing)} of the backbone's {len(own)} tensors, {missing[0]} first")
    for name, tensor in own.items():
        if public[name].shape != tensor.shape:
            shapes = f"{tuple(public[name].shape)}, not {tuple(tensor.shape)}"
            raise UserError(f"{path}: {name} is {shapes}: these are weights of another size")
        if not torch.isfinite(public[name]).all():
            raise UserError(f"{path}: {name} is not finite")
    backbone.load_state_dict({name: public[name].float() for name in own}, strict=False)


def _is_own(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return "er_edge" in (file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a whole safetensors file ({error})") from error


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"no weights at {path}" + (": it is a directory" if path.is_dir() else ""))
    if path.stat().st_size > MAX_WEIGHT_BYTES:
        raise UserError(f"{path} is too large for weights of a backbone")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path} cannot be read as weights ({type(error).__name__})") from error
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"{path} does not hold a state dict (names and tensors)")
    return content
