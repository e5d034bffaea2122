"""Network -> .mlpackage: an ML program by the graph contract, fp32 outside, fp16 inside, weights as asked for.

The network is traced by TorchScript: torch.export gives the same program, operation for operation, takes ten times as
long and leaves a debug file in the package.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.coreml import coremltools, quiet
from compress.coreml.package import CONST
from compress.coreml.weight_storage import compress, rounded
from runtime.backends.contract import HAND_AXIS, INPUT_NAME, OUTPUT_SHAPES, OUTPUT_UNITS, input_shape
from runtime.files import write_error

if TYPE_CHECKING:
    from training.network import ERNet

IMAGE_SCALE = 1 / 255  # of an image input, whose pixels Core ML gives as 0..255
DEPLOYMENT_TARGET = "iOS16"  # the oldest system that runs a package, where no device profile names another


def _is_normalisation(op: Any) -> bool:
    """What has the size of the picture: its scaling to zero mean and unit variance."""
    shape: tuple[int, ...] = op.outputs[0].shape if op.outputs else ()
    return len(shape) == 4 and shape[1] == 3 and op.op_type in ("sub", "mul", "add")


def _is_soft_argmax(op: Any) -> bool:
    """From the heat maps' softmax to where the joints meet features: coordinates."""
    # Imported last: coremltools is optional.
    from coremltools.converters.mil.mil.scope import ScopeSource

    modules = list(op.scopes.get(ScopeSource.TORCHSCRIPT_MODULE_TYPE) or ())[:-1]  # the last is the operation itself
    if modules not in (["Extract"], ["Regress"]) or op.op_type == "matmul":  # what these two do themselves
        return False
    taken = [v for value in op.inputs.values() for v in (value if isinstance(value, list | tuple) else [value])]
    parents = [value.op for value in taken if getattr(value, "op", None) is not None and value.op.op_type != CONST]
    return op.op_type == "softmax" or any(_is_soft_argmax(parent) for parent in parents)


# Parts of fp16 programs that are computed in fp32. Rounding the picture costs most by far (docs/iphone.md); that of the
# joints' coordinates moved a hand of er-s by 0.51 mm, kept 0.18. More (norms, attention's softmax) gained nothing and
# would cost trips off the Neural Engine.
KEPT_FP32: dict[str, Callable[[Any], bool]] = {"normalisation": _is_normalisation, "soft-argmax": _is_soft_argmax}


def write_package(
    network: ERNet,
    path: Path,
    precision: str,
    deployment_target: str = DEPLOYMENT_TARGET,
    image_input: bool = False,
) -> None:
    """Convert `network` (eval mode) at its own crop size into the folder `path`.

    precision: fp32, fp16 or w8. image_input: it takes a CVPixelBuffer instead of an MLMultiArray. UserError where the
    folder cannot be written.
    """
    # torch, which takes seconds to import.
    import torch

    ct = coremltools()
    shape = input_shape(network.variant.crop_px)
    if image_input:
        given = ct.ImageType(name=INPUT_NAME, shape=shape, scale=IMAGE_SCALE, color_layout=ct.colorlayout.RGB)
    else:
        given = ct.TensorType(name=INPUT_NAME, shape=shape, dtype=np.float32)
    arithmetic = ct.precision.FLOAT32
    if precision != "fp32":
        arithmetic = ct.transform.FP16ComputePrecision(lambda op: not any(kept(op) for kept in KEPT_FP32.values()))
    passes = ct.PassPipeline()
    # Small constants, too, are written once: each convolution has its own strides. er-nano's w8 is 3 % smaller for it.
    passes.set_options("common::const_deduplication", {"const_threshold": 1})
    with quiet(), torch.no_grad():
        traced = torch.jit.trace(as_stored(network, precision), torch.zeros(shape), check_trace=False)
        model = ct.convert(
            traced,
            inputs=[given],
            outputs=[ct.TensorType(name=name, dtype=np.float32) for name in OUTPUT_SHAPES],
            convert_to="mlprogram",
            minimum_deployment_target=getattr(ct.target, deployment_target),
            compute_precision=arithmetic,
            pass_pipeline=passes,
            skip_model_load=True,
        )
    if precision == "w8":
        model = compress(model)
    # What Xcode shows; the passport comes later (package.embed).
    name, axis = network.variant.name, ", ".join(HAND_AXIS)
    model.short_description = f"{name}: two interacting hands from one picture. Hand axis: {axis}"
    model.license = "Apache-2.0"
    model.input_description[INPUT_NAME] = (
        "RGB picture of both hands" if image_input else "RGB, 0..1; NCHW, a square crop around both hands"
    )
    for name, facts in OUTPUT_UNITS.items():
        model.output_description[name] = f"{facts['unit']}; {facts['shape']}"
    try:
        model.save(str(path))
    except OSError as error:
        raise write_error(path, error) from error


def as_stored(network: ERNet, precision: str) -> ERNet:
    """Return the torch network that a package of this precision holds: its parts merged, its weights rounded."""
    # torch, which takes seconds to import.
    from training.network.merged import merge

    merged = merge(network)
    return merged if precision == "fp32" else rounded(merged, precision)
