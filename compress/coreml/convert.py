"""Network -> .mlpackage: an ML program by the graph contract, fp32 outside, fp16 inside, weights as asked for.

The network is traced by TorchScript: torch.export gives the same program, operation for operation, takes ten times as
long and leaves a debug file in the package.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.coreml.compact import compact
from compress.coreml.library import coremltools, quiet
from compress.coreml.neural_engine import MAX_RANK, Leaving, leaving
from compress.coreml.package import SUFFIX, package_bytes, read_package, replace_package
from compress.coreml.program import Program, read_program
from compress.coreml.weight_storage import check_deployment_target, compress, get_weight_format, rounded
from runtime.backends.contract import HAND_AXIS, INPUT_NAME, OUTPUT_UNITS, input_shape
from runtime.errors import UserError, unknown_name
from runtime.files import write_error

if TYPE_CHECKING:
    from training.network import ERNet

IMAGE_UNIT = "RGB, 0..1"
IMAGE_SCALE = 1 / 255  # of an image input, whose pixels Core ML gives as 0..255

# Which weight format a precision of the command line means; fp32 computes in fp32 and stores what it was given.
PRECISIONS = {"fp32": None, "fp16": "fp16", "int8": "w8", "w8": "w8", "palette6": "palette6"}


@dataclass(frozen=True)
class PackageOptions:
    """How a package is made, beyond its precision."""

    deployment_target: str = "iOS16"  # the oldest system that must run it
    image_input: bool = False  # takes a CVPixelBuffer instead of an MLMultiArray
    keep_fp32: tuple[str, ...] = ("normalisation", "soft-argmax")  # of KEEP_FP32, where a program is fp16


@dataclass(frozen=True)
class PackageFacts:
    """What was written."""

    precision: str
    weights: str | None  # of weights.WEIGHT_FORMATS
    deployment_target: str
    opset: str
    image_input: bool
    operations: dict[str, int]  # by kind
    max_rank: int
    compressed_constants: int
    leaves_neural_engine: tuple[Leaving, ...]
    bytes: int
    keep_fp32: tuple[str, ...] = field(default=())


def _parents(op: Any) -> list[Any]:
    """The operations whose results a MIL operation takes, without constants."""
    values = [v for value in op.inputs.values() for v in (value if isinstance(value, list | tuple) else [value])]
    return [value.op for value in values if getattr(value, "op", None) is not None and value.op.op_type != "const"]


def _is_normalisation(op: Any) -> bool:
    """What has the size of the picture: its scaling to zero mean and unit variance."""
    shape: tuple[int, ...] = op.outputs[0].shape if op.outputs else ()
    return len(shape) == 4 and shape[1] == 3 and op.op_type in ("sub", "mul", "add")


def _is_soft_argmax(op: Any) -> bool:
    """From the heat maps' softmax to where the joints meet features: coordinates, which the network itself computes."""
    from coremltools.converters.mil.mil.scope import ScopeSource

    own = len(op.scopes.get(ScopeSource.TORCHSCRIPT_MODULE_TYPE) or ()) == 1  # of no module inside
    if not own or op.op_type == "matmul":
        return False
    return op.op_type == "softmax" or any(_is_soft_argmax(parent) for parent in _parents(op))


# Parts that can be kept in fp32. Rounding the picture costs most by far (docs/iphone.md); that of the joints'
# coordinates moved a hand of er-s by 0.51 mm, kept 0.18. The others cost trips off the Neural Engine and gain nothing.
KEEP_FP32: dict[str, Callable[[Any], bool]] = {
    "normalisation": _is_normalisation,
    "soft-argmax": _is_soft_argmax,
    "norms": lambda op: op.op_type == "layer_norm",
    "softmax": lambda op: op.op_type == "softmax",
}


def check_options(precision: str, options: PackageOptions) -> None:
    """A UserError for names that are unknown, and for what the deployment target does not have yet."""
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    for part in options.keep_fp32:
        if part not in KEEP_FP32:
            raise unknown_name("part to keep in fp32", part, KEEP_FP32)
    check_deployment_target(options.deployment_target, get_weight_format(PRECISIONS[precision] or "fp16"))


def write_package(network: ERNet, path: Path, precision: str, options: PackageOptions | None = None) -> PackageFacts:
    """Convert `network` (eval mode) at its own crop size; `path`, a folder, is replaced when all went well.

    UserError for options that do not fit; ValueError where the program breaks a rule of the graph contract, which is a
    fault of the network.
    """
    options = options or PackageOptions()
    check_options(precision, options)
    if path.suffix != SUFFIX:
        raise UserError(f"{path}: a Core ML package ends in {SUFFIX}")
    model = _convert(network, precision, options)
    try:
        with tempfile.TemporaryDirectory(prefix=".package-", dir=path.parent) as folder:
            written = Path(folder) / path.name
            model.save(str(written))
            _compact_package(written)
            program = read_program(read_package(written))
            _check_rules(program)
            facts = _facts(program, written, precision, options)
            replace_package(written, path)
    except OSError as error:
        raise write_error(path, error) from error
    return facts


def as_stored(network: ERNet, precision: str) -> ERNet:
    """The torch network with the weights that a package of this precision holds."""
    weights = PRECISIONS[precision]
    return network if weights is None else rounded(network, get_weight_format(weights))


def _convert(network: ERNet, precision: str, options: PackageOptions) -> Any:
    """coremltools' model, described."""
    import torch

    from training.network import Outputs

    ct = coremltools()
    size = network.variant.crop_px
    stored = as_stored(network, precision)
    with quiet(), torch.no_grad():
        traced = torch.jit.trace(stored, torch.zeros(input_shape(size)), check_trace=False)
        model = ct.convert(
            traced,
            inputs=[_input_type(ct, size, options)],
            outputs=[ct.TensorType(name=name, dtype=np.float32) for name in Outputs._fields],
            convert_to="mlprogram",
            minimum_deployment_target=getattr(ct.target, options.deployment_target),
            compute_precision=_compute_precision(ct, precision, options),
            skip_model_load=True,
        )
    weights = PRECISIONS[precision]
    if weights is not None:
        model = compress(model, get_weight_format(weights))
    _describe(model, network.variant.name)
    return model


def _input_type(ct: Any, size: int, options: PackageOptions) -> Any:
    if options.image_input:
        rgb = ct.colorlayout.RGB
        return ct.ImageType(name=INPUT_NAME, shape=input_shape(size), scale=IMAGE_SCALE, color_layout=rgb)
    return ct.TensorType(name=INPUT_NAME, shape=input_shape(size), dtype=np.float32)


def _compute_precision(ct: Any, precision: str, options: PackageOptions) -> Any:
    if precision == "fp32":
        return ct.precision.FLOAT32
    kept = [KEEP_FP32[part] for part in options.keep_fp32]
    return ct.transform.FP16ComputePrecision(op_selector=lambda op: not any(keep(op) for keep in kept))


def _compact_package(path: Path) -> None:
    package = read_package(path)
    compact(package.model)
    package.model_path.write_bytes(package.model.SerializeToString())


def _describe(model: Any, variant: str) -> None:
    """Units and shapes where Xcode shows them; the passport comes later (package.embed)."""
    model.short_description = f"{variant}: two interacting hands from one picture. Hand axis: {', '.join(HAND_AXIS)}"
    model.license = "Apache-2.0"
    image = model.get_spec().description.input[0].type.WhichOneof("Type") == "imageType"
    model.input_description[INPUT_NAME] = (
        "RGB picture of both hands" if image else f"{IMAGE_UNIT}; NCHW, a square crop around both hands"
    )
    for name, facts in OUTPUT_UNITS.items():
        model.output_description[name] = f"{facts['unit']}; {facts['shape']}"


def _check_rules(program: Program) -> None:
    for operation in program.operations:
        for name, kind in operation.outputs.items():
            if len(kind.shape) > MAX_RANK:
                raise ValueError(f"tensor {name} of {operation.kind} has rank {len(kind.shape)}")
    wanted = {name: tuple(facts["shape"]) for name, facts in OUTPUT_UNITS.items()}
    if set(program.outputs) != set(wanted):
        raise ValueError(f"the program gives {sorted(program.outputs)}")
    types: Mapping[str, Any] = {name: kind for op in program.operations for name, kind in op.outputs.items()}
    for name, shape in wanted.items():
        if types[name].shape != shape or types[name].dtype != "fp32":
            raise ValueError(f"output {name} is {types[name]}")


def _facts(program: Program, path: Path, precision: str, options: PackageOptions) -> PackageFacts:
    shapes = [kind.shape for operation in program.operations for kind in operation.outputs.values()]
    return PackageFacts(
        precision=precision,
        weights=PRECISIONS[precision],
        deployment_target=options.deployment_target,
        opset=program.opset,
        image_input=options.image_input,
        operations=dict(Counter(operation.kind for operation in program.operations).most_common()),
        max_rank=max(len(shape) for shape in shapes),
        compressed_constants=len(program.compressed),
        leaves_neural_engine=leaving(program),
        bytes=package_bytes(path),
        keep_fp32=() if precision == "fp32" else options.keep_fp32,
    )
