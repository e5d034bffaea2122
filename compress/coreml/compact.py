"""A smaller program of the same computation: equal constants written once, under short names.

coremltools writes the strides of every convolution, and names a dozen words long: a tenth of a small package.
"""

from __future__ import annotations

from typing import Any

_CONST = "const"
_CONSTEXPR = "constexpr_"


def compact(model: Any) -> None:
    """Change a model (protobuf) whose program has one block, which is what convert writes. Operations keep their names.

    Weights in the file are told apart by where they lie there, all others by their value.
    """
    for function in model.mlProgram.functions.values():
        for block in function.block_specializations.values():
            _share(block)
            _shorten(block)


def _share(block: Any) -> None:
    """The first of all constants of the same type and value stands for them."""
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    kept = []
    for operation in block.operations:
        if operation.type == _CONST and (name := operation.outputs[0].name) not in block.outputs:
            value = operation.attributes["val"].SerializeToString(deterministic=True)
            if first.setdefault(value, name) != name:
                same[name] = first[value]
                continue
        kept.append(type(operation).FromString(operation.SerializeToString()))
    del block.operations[:]
    block.operations.extend(kept)
    _rename_inputs(block, same)


def _shorten(block: Any) -> None:
    """Constants are numbered; nothing that is already there has such a name."""
    taken = {value.name for operation in block.operations for value in operation.outputs}
    prefix = "c"
    while any(name.startswith(prefix) and name[len(prefix) :].isdigit() for name in taken):
        prefix += "_"
    short: dict[str, str] = {}
    for operation in block.operations:
        if operation.type != _CONST and not operation.type.startswith(_CONSTEXPR):
            continue
        output = operation.outputs[0]
        if output.name in block.outputs:
            continue
        short[output.name] = f"{prefix}{len(short)}"
        output.name = short[output.name]
        if "name" in operation.attributes:
            operation.attributes["name"].immediateValue.tensor.strings.values[:] = [output.name]
    _rename_inputs(block, short)


def _rename_inputs(block: Any, names: dict[str, str]) -> None:
    for operation in block.operations:
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "name":
                    binding.name = names.get(binding.name, binding.name)
