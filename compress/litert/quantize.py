"""A float LiteRT model -> int8 or fp16, by its own quantiser: the layers and crops of our own int8, 8-bit weights.

On 300 images with 128 crops, er-xs and er-c lose 0.11 and 0.02 mm by the smallest and largest values of all crops, as
here; 0.45 and 0.83 by the quantiser's default, which averages those of crops; additions in int8 make nothing faster.
er-s loses 0.72 mm with 512 crops, 0.11 with 256, 1.04 with 128: outermost values set its ranges.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from pathlib import Path

from compress.crops import Crops
from compress.onnx.quantize import QuantizedNodes, module_path
from runtime.backends.contract import INPUT_NAME
from runtime.runner import graph_input

METHOD = "minmax"  # of ranges
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_CARRIED = "PAD"  # between two layers it stays in int8


def quantize(model: Path, nodes: QuantizedNodes, crops: Crops) -> None:
    """Make a float model int8 in place: activations with a zero point, weights symmetric per channel.

    nodes: of the ONNX file of the same network.
    """
    from ai_edge_quantizer import calibrator, qtyping, quantizer  # they bring LiteRT
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    kept = float_layers(layers_of(model), nodes)
    tool = quantizer.Quantizer(model)
    for operation in map(qtyping.TFLOperationName, (*_LAYERS, _CARRIED)):
        tool.add_static_config(".*", operation, 8, 8)
        for name in kept:
            tool.update_quantization_recipe(f"^{re.escape(name)};", operation, algorithm_key="no_quantize")
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # its bars
        warnings.simplefilter("ignore")
        ranges = calibrator.Calibrator(model.read_bytes(), num_threads=1, qsv_update_func=min_max_update)
        data = {next(iter(ranges.get_signature_list())): [{INPUT_NAME: graph_input(crop)} for crop in crops]}
        ranges.calibrate(data, tool._recipe_manager)
        done = tool.quantize(ranges.get_model_qsvs(), enable_progress_report=False)
    model.write_bytes(done.quantized_model)


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
    graph = content.subgraphs[0]
    of_type = (o for o in graph.operators if flatbuffer_utils.opcode_to_name(content, o.opcodeIndex) in _LAYERS)
    names = [graph.tensors[operation.outputs[0]].name.decode() for operation in of_type]
    return {name: {_path(part) for part in name.split(";")} for name in names}


def _path(name: str) -> str:
    """'a.Wrapper/b.ERNet_network/c.Regress_regress/d.Sequential_mlp/e.Linear_2' -> 'regress.mlp.2'."""
    return _bare(".".join(part.rpartition(".")[2].partition("_")[2] for part in name.split("/")[2:]))


def _bare(path: str) -> str:
    """Without lists of modules, which have no part in such a name."""
    return ".".join(part for part in path.split(".") if part != "layers")
