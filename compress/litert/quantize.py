"""A float LiteRT model -> int8 or fp16, by its own quantiser: the layers, crops and ranges' method of our own int8.

With 512 crops, er-s loses 0.24 mm (300 images); by the smallest and largest values of all crops, which outermost values
set, 0.72. By the quantiser's default, which averages those of crops, er-xs and er-c lost 0.45 and 0.83. Additions in
int8 make nothing faster.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.crops import Crops
from compress.onnx.calibration import measure
from compress.onnx.quantize import QuantizedNodes, module_path
from runtime.backends.contract import INPUT_NAME
from runtime.runner import graph_input

_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_CARRIED = "PAD"  # between two layers it stays in int8


def quantize(model: Path, nodes: QuantizedNodes, crops: Crops, method: str) -> None:
    """Make a float model int8 in place: activations with a zero point, weights symmetric per channel.

    nodes: of the ONNX file of the same network. method: of the activations' ranges.
    """
    from ai_edge_quantizer import qtyping, quantizer  # they bring LiteRT

    kept = float_layers(layers_of(model), nodes)
    tool = quantizer.Quantizer(model)
    for operation in map(qtyping.TFLOperationName, (*_LAYERS, _CARRIED)):
        tool.add_static_config(".*", operation, 8, 8)
        for name in kept:
            tool.update_quantization_recipe(f"^{re.escape(name)};", operation, algorithm_key="no_quantize")
    seen = measure(_values_inside(model, crops), len(crops), method)
    ranges = {name: {"min": np.array(of.low), "max": np.array(of.high)} for name, of in seen.items()}
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # its bars
        warnings.simplefilter("ignore")
        done = tool.quantize(ranges, enable_progress_report=False)
    model.write_bytes(done.quantized_model)


def _values_inside(model: Path, crops: Crops) -> Iterator[dict[str, NDArray[Any]]]:
    """Crop by crop what goes into the layers of a model and what comes out, by the tensors' names."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.tools import flatbuffer_utils

    content = flatbuffer_utils.read_model(model)
    ends = {index for o in _operators(content, (*_LAYERS, _CARRIED)) for index in (o.inputs[0], o.outputs[0])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that values of tensors inside take memory
        interpreter = Interpreter(str(model), num_threads=1, experimental_preserve_all_tensors=True)
    run, tensors = interpreter.get_signature_runner(), content.subgraphs[0].tensors
    for crop in crops:
        run(**{INPUT_NAME: graph_input(crop)})
        yield {tensors[index].name.decode(): interpreter.get_tensor(index) for index in ends}


def halve(model: Path) -> None:
    """Store the weights of a float model as fp16, in place; CPUs compute in fp32, GPUs in fp16."""
    from ai_edge_quantizer import qtyping, quantizer

    tool = quantizer.Quantizer(model)
    tool.add_weight_only_config(".*", qtyping.TFLOperationName.ALL_SUPPORTED, 16, algorithm_key="float_casting")
    with contextlib.redirect_stderr(io.StringIO()):
        model.write_bytes(tool.quantize(enable_progress_report=False).quantized_model)


def float_layers(layers: dict[str, set[str]], nodes: QuantizedNodes) -> list[str]:
    """Which of a model's layers stay float: those with a node's path, or, where it was fused away, its module's.

    ValueError where there is none.
    """
    found, kept = set().union(*layers.values()), set()
    for node in nodes.kept_float:
        path = _bare(module_path(node))
        while path and path not in found:
            path = path.rpartition(".")[0]
        if not path:
            raise ValueError(f"the LiteRT model has no layer {node}")
        kept.add(path)
    return [name for name, paths in layers.items() if paths & kept]


def layers_of(model: Path) -> dict[str, set[str]]:
    """Operations with weights, by their output's name -> the paths of all modules that were fused into each."""
    from ai_edge_litert.tools import flatbuffer_utils

    content = flatbuffer_utils.read_model(model)
    names = [content.subgraphs[0].tensors[o.outputs[0]].name.decode() for o in _operators(content, _LAYERS)]
    return {name: {_path(part) for part in name.split(";")} for name in names}


def _operators(content: Any, types: Container[str]) -> list[Any]:
    from ai_edge_litert.tools import flatbuffer_utils

    operators = content.subgraphs[0].operators
    return [o for o in operators if flatbuffer_utils.opcode_to_name(content, o.opcodeIndex) in types]


def _path(name: str) -> str:
    """'a.Wrapper/b.ERNet_network/c.Regress_regress/d.Sequential_mlp/e.Linear_2' -> 'regress.mlp.2'."""
    return _bare(".".join(part.rpartition(".")[2].partition("_")[2] for part in name.split("/")[2:]))


def _bare(path: str) -> str:
    """Without lists of modules, which have no part in such a name."""
    return ".".join(part for part in path.split(".") if part != "layers")
