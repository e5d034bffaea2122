"""What a Core ML package is, without a Mac: operations, rank, what leaves the Neural Engine, weights, passport.

`python -m compress.coreml exports/er-s_224_fp16.mlpackage`; on a Mac `--compute-plan` adds which unit runs what.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from compress.coreml.neural_engine import compute_plan, counted, leaving, shares
from compress.coreml.package import Package, TensorType, package_bytes, printable, read_package, read_program
from runtime.backends.contract import METADATA_KEY
from runtime.errors import CommandParser, run_command

_PASSPORT_LINES = ("variant", "precision", "dataset", "target", "created_utc")
# Oldest system by the specification version of a model, as coremltools 9 documents it.
_SYSTEMS = {6: "iOS15", 7: "iOS16", 8: "iOS17", 9: "iOS18", 10: "iOS26"}


def describe(package: Package) -> list[str]:
    """Return lines for the screen; a UserError of one line where the package is damaged."""
    program = read_program(package)
    version = package.model.specificationVersion
    kinds = Counter(operation.kind for operation in program.operations)
    ranks = [len(kind.shape) for operation in program.operations for kind in operation.outputs]
    lines = [
        f"{package.path.name}: {package_bytes(package.path) / 1e6:.2f} MB, "
        f"{_SYSTEMS.get(version, f'specification {version}')} and later, opset {printable(program.opset, 20)}",
        "takes " + ", ".join(_typed(name, kind, name in program.images) for name, kind in program.inputs.items()),
        *(f"gives {_typed(name, kind)}" for name, kind in program.outputs.items()),
        f"{len(program.operations)} operations: {counted(kinds)}",
        f"largest rank {max(ranks, default=0)}",
    ]
    for rule in leaving(program):
        lines.append(f"may leave the Neural Engine: {sum(rule.kinds.values())} by {rule.rule} ({counted(rule.kinds)})")
    if not leaving(program):
        lines.append("nothing that is known to leave the Neural Engine")
    lines += [f"weights: {count} numbers as {printable(way, 60)}" for way, count in program.stored.items()]
    return [*lines, *_passport(package)]


def _typed(name: str, kind: TensorType, picture: bool = False) -> str:
    shape = "x".join(map(str, kind.shape)) or "1"
    return f"{printable(name, 60)} {shape} {kind.dtype}{', a picture' if picture else ''}"


def _passport(package: Package) -> list[str]:
    text = package.model.description.metadata.userDefined.get(METADATA_KEY, "")
    try:
        facts: Any = json.loads(text) if text else None
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        return ["no passport: it was not written by python compress/export.py"]
    return [f"{key}: {printable(str(facts[key]))}" for key in _PASSPORT_LINES if facts.get(key) is not None]


def describe_plan(package: Package) -> list[str]:
    """Return a line for each unit of this Mac; a UserError on other machines."""
    return [
        f"{share.unit}: {sum(share.kinds.values())} operations, {share.cost:.0%} of the estimated cost "
        f"({counted(share.kinds)})"
        for share in shares(compute_plan(package))
    ]


def main(arguments: list[str] | None = None) -> int:
    """Print the facts of each package."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("packages", type=Path, nargs="+", metavar="FILE.mlpackage")
    parser.add_argument("--compute-plan", action="store_true", help="which unit of this Mac runs what (macOS 14.4)")
    args = parser.parse_args(arguments)
    for path in args.packages:
        package = read_package(path)
        print("\n".join([*describe(package), *(describe_plan(package) if args.compute_plan else ())]))
    return 0


if __name__ == "__main__":
    run_command(main)
