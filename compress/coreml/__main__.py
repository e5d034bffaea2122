"""What a Core ML package is, without a Mac: operations, rank, what leaves the Neural Engine, weights, passport.

`python -m compress.coreml exports/er-s_224_fp16.mlpackage`
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from compress.coreml.neural_engine import leaving
from compress.coreml.package import Package, package_bytes, read_package
from compress.coreml.program import Program, TensorType, printable, read_program
from runtime.backends.contract import METADATA_KEY
from runtime.errors import CommandParser, run_command

_PASSPORT_LINES = ("variant", "precision", "dataset", "target", "created_utc")
# Oldest system by the specification version of a model, as coremltools 9 documents it.
_SYSTEMS = {6: "iOS15", 7: "iOS16", 8: "iOS17", 9: "iOS18", 10: "iOS26"}


def describe(path: Path) -> list[str]:
    """Lines for the screen; a UserError of one line where it is no package, or a damaged one."""
    package = read_package(path)
    program = read_program(package)
    version = package.model.specificationVersion
    types = {name: kind for operation in program.operations for name, kind in operation.outputs.items()}
    kinds = Counter(operation.kind for operation in program.operations)
    ranks = [len(kind.shape) for kind in types.values()]
    lines = [
        f"{path.name}: {package_bytes(path) / 1e6:.2f} MB, "
        f"{_SYSTEMS.get(version, f'specification {version}')} and later, opset {printable(program.opset, 20)}",
        "takes " + ", ".join(_typed(name, kind, name in program.images) for name, kind in program.inputs.items()),
        *(f"gives {_typed(name, types[name])}" for name in program.outputs if name in types),
        f"{sum(kinds.values())} operations: {_counted(kinds)}",
        f"largest rank {max(ranks, default=0)}",
    ]
    rules = leaving(program)
    lines += [f"may leave the Neural Engine: {rule.count} by {rule.rule} ({_counted(rule.kinds)})" for rule in rules]
    if not rules:
        lines.append("nothing that is known to leave the Neural Engine")
    return [*lines, *_weights(program), *_passport(package)]


def _typed(name: str, kind: TensorType, picture: bool = False) -> str:
    shape = "x".join(map(str, kind.shape)) or "1"
    return f"{printable(name, 60)} {shape} {kind.dtype}{', a picture' if picture else ''}"


def _counted(kinds: Mapping[str, int]) -> str:
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {printable(kind, 40)}" for kind, count in ordered)


def _weights(program: Program) -> list[str]:
    """How many numbers are stored in which way."""
    numbers: Counter[str] = Counter()
    for name, value in program.constants.items():
        if not isinstance(value, str) and value.dtype.kind == "f":
            numbers[program.compressed.get(name, str(value.dtype))] += prod(value.shape)
    return [f"weights: {count} numbers as {way}" for way, count in numbers.most_common()]


def _passport(package: Package) -> list[str]:
    text = package.model.description.metadata.userDefined.get(METADATA_KEY, "")
    try:
        facts: Any = json.loads(text) if text else None
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        return ["no passport: it was not written by python compress/export.py"]
    return [f"{key}: {printable(str(facts[key]))}" for key in _PASSPORT_LINES if facts.get(key) is not None]


def main(arguments: list[str] | None = None) -> int:
    """Print the facts of each package."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("packages", type=Path, nargs="+", metavar="FILE.mlpackage")
    args = parser.parse_args(arguments)
    for path in args.packages:
        print("\n".join(describe(path)))
    return 0


if __name__ == "__main__":
    run_command(main)
