"""Where weights start: networks of this project, or public weights of a backbone, whose names are translated.

Known are TinyViT's names of Microsoft's Cream, MobileSAM and timm, ResNet-50's of torchvision and timm, and
MobileNetV4's of timm. Torch files are read with weights_only.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from runtime.errors import UserError
from runtime.files import check_regular
from training.checkpoint import MAX_WEIGHT_BYTES, load_network, read_header
from training.network import ERNet
from training.network.backbones.mobilenet import MobileNetV4, UniversalInvertedBottleneck
from training.network.blocks import ConvBN

WRAPPERS = ("model", "state_dict", "model_state_dict", "network", "average")  # `average`: of a run's checkpoint
PREFIX = re.compile(r"^((module|_orig_mod|model|network)\.)+")
OF_BACKBONE = re.compile(r"^((module|_orig_mod|model|backbone|image_encoder)\.)+")
COUNTERS = re.compile(r"num_batches_tracked$|attention_bias_idxs$")  # counted or computed anew
OTHER_PARTS = re.compile(r"^(mask_decoder|prompt_encoder|image_encoder\.neck)\.")  # of MobileSAM
TIMM_TINYVIT = (
    (r"^patch_embed\.conv(\d)\.", lambda found: f"patch_embed.seq.{2 * int(found[1]) - 2}."),
    (r"^stages\.(\d)\.downsample\.", lambda found: f"layers.{int(found[1]) - 1}.downsample."),
    (r"^stages\.", "layers."),
    (r"^head\.norm\.", "norm_head."),
    (r"\.conv\.weight$", ".c.weight"),
)
TIMM_MOBILENET_STAGES = (2, 2, 6, 6, 1)  # blocks in each
NAMED_TENSORS = 4


def initialise(network: ERNet, path: Path) -> str:
    """Fill `network`, or its backbone, from a file; says what was taken and what was left out.

    UserError where the file does not fit, naming the first difference.
    """
    if path.suffix == ".safetensors" and read_header(path) is not None:
        network.load_state_dict(load_network(path, network.variant.name)[0].state_dict())
        return f"{path}: the whole network was taken"
    state = {name: tensor for name, tensor in _read_state(path).items() if not COUNTERS.search(name)}
    whole = {PREFIX.sub("", name): tensor for name, tensor in state.items()}
    if any(name.startswith(("extract.", "regress.")) for name in whole):
        left_out = _fill(network, whole, path, "network")
        return f"{path}: the whole network was taken{left_out}"
    public = {OF_BACKBONE.sub("", name): tensor for name, tensor in state.items() if not OTHER_PARTS.search(name)}
    if "conv_stem.weight" in public and isinstance(network.backbone, MobileNetV4):
        public = _from_timm_mobilenet(network.backbone, public)
    elif "stages.0.blocks.0.conv1.conv.weight" in public:
        for pattern, spelled in TIMM_TINYVIT:
            public = {re.sub(pattern, spelled, name): tensor for name, tensor in public.items()}
    left_out = _fill(network.backbone, public, path, "backbone")
    return f"{path}: the backbone was taken, the rest of the network starts at random{left_out}"


def _fill(module: torch.nn.Module, state: dict[str, Tensor], path: Path, part: str) -> str:
    """Load the tensors that the module has; says which ones it has not."""
    own = {name: tensor for name, tensor in module.state_dict().items() if not COUNTERS.search(name)}
    wide = f"layers.{sum(TIMM_MOBILENET_STAGES)}.0." if isinstance(module, MobileNetV4) else "none"
    random = [name for name in own if name.startswith(wide) and name in state and state[name].shape != own[name].shape]
    missing = sorted(own.keys() - state.keys())
    if missing:
        raise UserError(f"{path} lacks {len(missing)} of the {part}'s {len(own)} tensors, {missing[0]} first")
    for name in own:
        if name not in random and state[name].shape != own[name].shape:
            shapes = f"{tuple(state[name].shape)}, not {tuple(own[name].shape)}"
            raise UserError(f"{path}: {name} is {shapes}: these are weights of another size")
        if not torch.isfinite(state[name]).all():
            raise UserError(f"{path}: {name} is not finite")
    module.load_state_dict({name: state[name].float() for name in own if name not in random}, strict=False)
    left_out = random + sorted(state.keys() - own.keys())
    more = ", ..." if len(left_out) > NAMED_TENSORS else ""
    return f"; left out {len(left_out)}: {', '.join(left_out[:NAMED_TENSORS])}{more}" if left_out else ""


def _from_timm_mobilenet(backbone: MobileNetV4, public: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's blocks, named by stage and part, as the flat list of layers here."""
    modules = {"conv_stem": "layers.0.0.c", "bn1": "layers.0.0.bn"}
    places = [f"blocks.{stage}.{block}" for stage, count in enumerate(TIMM_MOBILENET_STAGES) for block in range(count)]
    for index, place in enumerate(places, 1):
        layer = backbone.layers[index]
        if not isinstance(layer, UniversalInvertedBottleneck):
            modules |= {f"{place}.conv": f"layers.{index}.0.c", f"{place}.bn1": f"layers.{index}.0.bn"}
            continue
        count, start = len(layer.layers), isinstance(layer.layers[0], ConvBN)
        parts = ["dw_start"] * start + ["pw_exp"] + ["dw_mid"] * (count - 2 - start) + ["pw_proj"]
        for number, (part, block) in enumerate(zip(parts, layer.layers, strict=True)):
            own = f"layers.{index}.layers.{number}" + ("" if isinstance(block, ConvBN) else ".0")
            modules |= {f"{place}.{part}.conv": f"{own}.c", f"{place}.{part}.bn": f"{own}.bn"}
    split = {name: name.rpartition(".") for name in public}
    return {f"{modules.get(module, module)}.{leaf}": public[name] for name, (module, _, leaf) in split.items()}


def _read_state(path: Path) -> dict[str, Tensor]:
    check_regular(path, "weights", MAX_WEIGHT_BYTES)
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path} cannot be read as weights ({type(error).__name__})") from error
    while isinstance(content, dict) and (inner := [content[w] for w in WRAPPERS if isinstance(content.get(w), dict)]):
        content = inner[0]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"{path} does not hold a state dict (names and tensors)")
    return content
