"""Weights on disk: safetensors with the facts that belong to them in the header, and weights of others to start from.

Known are TinyViT's names of Microsoft's Cream, MobileSAM and timm, ResNet-50's of torchvision and timm, and
MobileNetV4's of timm. Torch files are read with weights_only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from runtime.errors import UserError
from runtime.files import atomic_path, check_regular
from runtime.hand.hand_model import HandPair
from training.data.frames import Frames
from training.network import ERNet, build, get_variant
from training.network.backbones.mobilenet import MobileNetV4, UniversalInvertedBottleneck
from training.network.blocks import ConvBN

MAX_WEIGHT_BYTES = 2 << 30
TORCH_FILES = (".pth", ".pt", ".ckpt")
SHIPPED = Path(__file__).parent / "weights"
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


@dataclass(frozen=True)
class WeightFacts:
    """What weights were trained on; rides in the file's header under `er_edge`."""

    variant: str
    hand_model: dict[str, str]  # name, sha256
    dataset: str
    synthetic: bool
    steps: int
    samples: int
    seed: int
    teacher: dict[str, str] | None = None  # name, sha256; None: trained on labels alone
    widths: dict[str, Any] | None = None  # of a pruned network (training.network.widths); None: the variant's own
    hardware: str | None = None  # that they were trained on; None: not known


def shipped_weights(variant: str) -> Path | None:
    """The file of weights that come with the project, or None."""
    path = SHIPPED / f"{variant}.safetensors"
    return path if path.is_file() else None


def save_weights(path: Path, state: dict[str, Tensor], facts: WeightFacts) -> None:
    """Write matrices and kernels as fp16, vectors (norms, biases, running variances) as fp32; atomically."""
    stored = {
        k: v.detach().to("cpu", torch.float16 if v.dim() > 1 else torch.float32).contiguous()
        for k, v in state.items()
        if v.is_floating_point()
    }
    with atomic_path(path) as temporary:
        save_file(stored, temporary, metadata={"er_edge": json.dumps(asdict(facts))})


def read_header(path: Path) -> str | None:
    """What a safetensors file of this project has in its header; None of another's. UserError for a damaged one."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("er_edge")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}): copy or download it again") from error


def read_facts(path: Path) -> WeightFacts:
    """The facts in a weight file's header; a UserError where it is not one of this project's."""
    if path.suffix in TORCH_FILES:
        how = f"`python training/train.py --init {path}` makes one of a network of one's own"
        raise UserError(f"{path} is a torch file: give the .safetensors that a run leaves in its folder; {how}")
    check_regular(path, "a checkpoint", MAX_WEIGHT_BYTES)
    header = read_header(path)
    if header is None:
        raise UserError(f"{path} was not written by this project's training (no 'er_edge' in its header)")
    try:
        entries = dict(json.loads(header))
        rounded = entries.pop("qat", None) is not None  # older files have the entry
        facts = WeightFacts(**entries)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: header cannot be read ({error})") from error
    if rounded:
        raise UserError(f"{path} was trained to be int8, which is gone: give the float weights that it came from")
    return facts


def load_network(path: Path, variant: str) -> tuple[ERNet, WeightFacts]:
    """The network of `variant` with the weights of `path`, in eval mode, and their facts.

    Raises UserError for a missing or truncated file, another variant's weights, missing or non-finite tensors.
    """
    get_variant(variant)
    facts = read_facts(path)
    if facts.variant != variant:
        raise UserError(f"{path} holds weights of '{facts.variant}', not '{variant}': give --variant {facts.variant}")
    try:
        network = build(variant, facts.widths)
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path}: header cannot be read ({error})") from error
    stored = {name: tensor.float() for name, tensor in load_file(path).items()}
    own = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    for name in sorted(stored.keys() | own.keys()):
        if name not in stored or name not in own or stored[name].shape != own[name].shape:
            raise UserError(f"{path} does not fit '{variant}' of this version (first difference: {name})")
        if not torch.isfinite(stored[name]).all():
            raise UserError(f"{path}: {name} is not finite; this checkpoint is broken")
    network.load_state_dict(stored, strict=False)  # integer buffers (batch counters) are not stored
    return network.eval(), facts


def check_hand_model(path: Path, name: str, sha256: str, hands: HandPair) -> None:
    """A UserError unless a file trained on the hand model of that name and hash is used with it."""
    if sha256 != hands[0].sha256:
        raise UserError(
            f"{path} was trained on hand model '{name}' ({sha256[:8]}), not on '{hands[0].name}' "
            f"({hands[0].sha256[:8]}): give the matching --hand-model"
        )


def frames_sha256(parts: Sequence[Frames]) -> str:
    """What tells data sets apart: which image is which, and its box."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.file_names.tobytes() + part.bbox.tobytes())
    return digest.hexdigest()


def weights_of(variant: str) -> Path:
    """The weights that come with the project; a UserError where there are none."""
    get_variant(variant)
    if (path := shipped_weights(variant)) is None:
        raise UserError(f"no weights come with '{variant}': train it (training/train.py) and give the file")
    return path


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
