"""Quantisation-aware training: the network computes with the rounding of the int8 file that the exporter will write.

Weights are rounded per output channel, activations in onnxruntime's placement: the inputs of int8 convolutions and
linears, and the outputs of convolutions, after their ReLU. A tensor has one quantiser, at the module that makes it, so
that a residual branch sees the rounded tensor too. Norms are folded first, as in the file. The quantisers are torch's;
their placement is not: automatic insertion rounds elsewhere (outputs of linears, inputs of additions).
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.ao.quantization import FakeQuantize, MinMaxObserver
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval
from tqdm import tqdm

from training.data.frames import Frames
from training.data.samples import load_crop
from training.network import ERNet
from training.quantisation.int8_rules import ACTIVATION_MAX, Affine, ModuleRanges, QuantizeSpec, matches

INPUT, OUTPUT = "input_quantizer", "output_quantizer"
CALIBRATION_BATCH = 16
INT32 = torch.iinfo(torch.int32)


class RoundedWeight(nn.Module):
    """A weight (C, ...) as the file holds it: multiples of each channel's scale."""

    def __init__(self, spec: QuantizeSpec) -> None:
        super().__init__()
        self.spec = spec

    def scale(self, weight: Tensor) -> Tensor:
        """(C,) of the weight before rounding."""
        # No FakeQuantize, which keeps scales: the averaged weights have their own, and these follow from them alone.
        largest = weight.detach().flatten(1).abs().amax(dim=1)
        return (largest / self.spec.weight_max).clamp(min=torch.finfo(torch.float32).eps)

    def forward(self, weight: Tensor) -> Tensor:
        scale, limit = self.scale(weight), self.spec.weight_max
        zero_point = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero_point, 0, -limit, limit)


class RoundedBias(nn.Module):
    """A bias (C,) as the file holds it: multiples of the input's scale times the weight's."""

    def __init__(self, layer: nn.Module, source: FakeQuantize, output: FakeQuantize | None) -> None:
        """`source` rounds the layer's input; `output` its output, None where nothing does."""
        super().__init__()
        self.neighbours = (layer, source, output)  # in a tuple: they are not parts of this module

    def forward(self, bias: Tensor) -> Tensor:
        layer, source, _ = self.neighbours
        if not source.fake_quant_enabled:
            return bias
        weight = layer.get_submodule("parametrizations.weight")
        step = source.scale * weight[0].scale(weight.original)  # type: ignore[index]
        zero_point = torch.zeros_like(step, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(bias, step, zero_point, 0, INT32.min, INT32.max)


def prepare(network: ERNet, spec: QuantizeSpec) -> ERNet:
    """Fold the norms of `network`, in eval mode, and put in quantisers that do not know their ranges yet; in place."""
    fold_norms(network)
    trace = _Trace(network)
    sites: dict[str, tuple[str, str | None]] = {}  # by layer: the quantisers of its input and output
    for path, module in network.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear) or matches(spec.keep_float, path):
            continue
        source = maker = None
        if isinstance(module, nn.Conv2d):
            made = trace.outputs[path]
            source, maker = trace.made_by(trace.inputs[path]), trace.made_by(trace.relu_outputs.get(made, made))
        sites[path] = (f"{source}.{OUTPUT}" if source else f"{path}.{INPUT}", f"{maker}.{OUTPUT}" if maker else None)
    for site in sorted({site for pair in sites.values() for site in pair if site}):
        _put_quantizer(network, site)
    for path, (source_site, output_site) in sites.items():
        layer = network.get_submodule(path)
        output = _quantizer(network, output_site) if output_site else None
        parametrize.register_parametrization(layer, "weight", RoundedWeight(spec))
        parametrize.register_parametrization(
            layer, "bias", RoundedBias(layer, _quantizer(network, source_site), output)
        )
    return network


def int8_spec_of(network: ERNet) -> QuantizeSpec | None:
    """What `prepare` was given; None for a float network."""
    return next((module.spec for module in network.modules() if isinstance(module, RoundedWeight)), None)


@torch.no_grad()
def calibrate(network: ERNet, images: Iterable[Tensor]) -> None:
    """Set the activations' ranges to the smallest and largest value over images (B, 3, S, S).

    They stay: weights learn to live with the ranges, ranges that moved on would be another file.
    """
    device = next(network.parameters()).device
    quantizers = [m for m in network.modules() if isinstance(m, FakeQuantize)]
    for quantizer in quantizers:
        quantizer.enable_observer()
        quantizer.disable_fake_quant()
    network.eval()
    for batch in images:
        network(batch.to(device))
    for quantizer in quantizers:
        quantizer.disable_observer()
        quantizer.enable_fake_quant()


def crop_batches(frames: Frames, crop_px: int) -> Iterator[Tensor]:
    """The images as the runner cuts them, in batches (B, 3, S, S), RGB 0..1, with a progress bar."""
    for start in tqdm(range(0, len(frames), CALIBRATION_BATCH), desc="ranges", unit="batch", leave=False):
        chosen = range(start, min(start + CALIBRATION_BATCH, len(frames)))
        crops = torch.from_numpy(np.stack([load_crop(frames, i, crop_px) for i in chosen]))
        yield crops.permute(0, 3, 1, 2).contiguous().float() / 255


def restore_ranges(network: ERNet) -> None:
    """Take scales and zero points from the ranges that a checkpoint brought; ValueError for a range that is none."""
    for path, quantizer in network.named_modules():
        if isinstance(quantizer, FakeQuantize):
            seen = quantizer.activation_post_process
            if not seen.min_val < seen.max_val:
                raise ValueError(f"{path} has no range")
            scale, zero_point = quantizer.calculate_qparams()
            quantizer.scale.copy_(scale)
            quantizer.zero_point.copy_(zero_point)


def float_network(network: ERNet, rounded: bool) -> ERNet:
    """A network without quantisers, its norms folded; `rounded`: with the weights that the int8 file holds."""
    plain = fold_norms(ERNet(network.variant, network.widths).eval())
    state = {
        re.sub(r"parametrizations\.(\w+)\.original$", r"\1", name): tensor
        for name, tensor in network.state_dict().items()
        if f".{INPUT}." not in name and f".{OUTPUT}." not in name
    }
    if rounded:
        for path, module in network.named_modules():
            if parametrize.is_parametrized(module):
                state |= {f"{path}.{name}": getattr(module, name).detach() for name in ("weight", "bias")}
    plain.load_state_dict(state)
    return plain


def clipping_network(network: ERNet) -> ERNet:
    """A copy whose activations are clipped to their ranges but not rounded.

    Two exact implementations of one int8 network differ: a sum that rounds the other way is amplified by every layer
    after it. Without the rounding they must agree.
    """
    clipping = copy.deepcopy(network)
    for module in list(clipping.modules()):
        for name, quantizer in list(module.named_children()):
            if isinstance(quantizer, FakeQuantize):
                setattr(module, name, nn.Hardtanh(*affine_of(quantizer).limits))
    return clipping


def ranges_of(network: ERNet) -> dict[str, ModuleRanges]:
    """What the file has to say of every quantised module, by its path."""
    ranges = {}
    for path, bias in network.named_modules():
        if isinstance(bias, RoundedBias):
            _, source, output = bias.neighbours
            layer = path.removesuffix(".parametrizations.bias.0")
            ranges[layer] = ModuleRanges(affine_of(source), None if output is None else affine_of(output))
    return ranges


def fold_norms(network: ERNet) -> ERNet:
    """Fold every BatchNorm of a network in eval mode into the convolution before it, in place."""
    trace = _Trace(network)
    made_by = {tensor: path for path, tensor in trace.outputs.items()}
    for path, norm in list(network.named_modules()):
        if isinstance(norm, nn.BatchNorm2d):
            convolution = made_by[trace.inputs[path]]
            layer = network.get_submodule(convolution)
            assert isinstance(layer, nn.Conv2d)
            folded = fuse_conv_bn_eval(layer, norm)
            network.set_submodule(convolution, folded.requires_grad_())  # torch freezes the bias that it adds
            network.set_submodule(path, nn.Identity())
    return network


def _quantizer(network: ERNet, site: str) -> FakeQuantize:
    quantizer = network.get_submodule(site)
    assert isinstance(quantizer, FakeQuantize)
    return quantizer


def _put_quantizer(network: ERNet, site: str) -> None:
    owner, _, name = site.rpartition(".")
    module = network.get_submodule(owner)
    quantizer = FakeQuantize(MinMaxObserver, 0, ACTIVATION_MAX, dtype=torch.quint8)
    quantizer.disable_observer()
    module.add_module(name, quantizer.to(next(network.parameters()).device))
    if name == INPUT:
        module.register_forward_pre_hook(_round_input)
    else:
        module.register_forward_hook(_round_output)


# The hooks find their quantiser in the module, hence a copied network runs its own.
def _round_input(module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (module.get_submodule(INPUT)(arguments[0]), *arguments[1:])


def _round_output(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return module.get_submodule(OUTPUT)(output)


def affine_of(quantizer: FakeQuantize) -> Affine:
    """Scale and zero point of a quantiser that knows its range."""
    return Affine(float(quantizer.scale), int(quantizer.zero_point))


class _Trace:
    """Which tensor goes where in one forward pass of a network in eval mode; tensors are told apart by identity."""

    def __init__(self, network: ERNet) -> None:
        self.inputs: dict[str, int] = {}  # of a module, its last call's
        self.outputs: dict[str, int] = {}  # of a convolution
        self.relu_outputs: dict[int, int] = {}  # by what goes in
        self.makers: dict[int, list[str]] = {}  # modules that return the tensor, innermost first
        self.calls: Counter[str] = Counter()
        self.kept: list[Tensor] = []  # alive, or their identity would be given away again
        handles = [m.register_forward_hook(partial(self.note, path)) for path, m in network.named_modules()]
        with torch.no_grad():
            network(next(network.parameters()).new_zeros(1, 3, *[network.variant.crop_px] * 2))
        for handle in handles:
            handle.remove()

    def note(self, path: str, module: nn.Module, given: tuple[object, ...], made: object) -> None:
        """One call of one module."""
        if not (isinstance(made, Tensor) and isinstance(given[0], Tensor)):
            return
        self.kept += [given[0], made]
        self.calls[path] += 1
        self.inputs[path] = id(given[0])
        if not isinstance(module, nn.Sequential):
            self.makers.setdefault(id(made), []).append(path)
        if isinstance(module, nn.Conv2d):
            self.outputs[path] = id(made)
        if isinstance(module, nn.ReLU):
            self.relu_outputs[id(given[0])] = id(made)

    def made_by(self, tensor: int) -> str | None:
        """The innermost module that returns this tensor and no other; None where it is made between modules."""
        return next((path for path in self.makers.get(tensor, ()) if self.calls[path] == 1), None)
