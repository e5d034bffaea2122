"""What a Core ML package is, without a Mac: operations, rank, what leaves the Neural Engine, weights, passport.

`python -m compress.coreml exports/er-s_224_fp16.mlpackage`; on a Mac `--compute-plan` adds which unit runs what.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from compress.coreml.neural_engine import counted, leaving, planned_units
from compress.coreml.package import TensorType, package_bytes, read_model, read_program
from runtime.backends.contract import METADATA_KEY
from runtime.errors import CommandParser, run_command

_PASSPORT_LINES = ("variant", "precision", "dataset", "target", "created_utc")


def describe(path: Path) -> list[str]:
    """Return lines for the screen; a UserError of one line where the package is damaged."""
    model = read_model(path)
    program = read_program(path, model)
    ranks = [len(kind.shape) for operation in program.operations for kind in operation.outputs]
    rules = [
        f"may leave the Neural Engine: {sum(rule.kinds.values())} by {rule.rule} ({counted(rule.kinds)})"
        for rule in leaving(program)
    ]
    lines = [
        f"{path.name}: {package_bytes(path) / 1e6:.2f} MB, opset {program.opset}",
        "takes " + ", ".join(_typed(name, kind, name in program.images) for name, kind in program.inputs.items()),
        *(f"gives {_typed(name, kind)}" for name, kind in program.outputs.items()),
        f"{len(program.operations)} operations: {counted(Counter(op.kind for op in program.operations))}",
        f"largest rank {max(ranks, default=0)}",
        *(rules or ["nothing that is known to leave the Neural Engine"]),
        *(f"weights: {count} numbers as {way}" for way, count in program.stored.items()),
        *_passport(model.description.metadata.userDefined.get(METADATA_KEY, "{}")),
    ]
    return ["".join(c if c.isprintable() else "?" for c in line) for line in lines]


def _typed(name: str, kind: TensorType, picture: bool = False) -> str:
    shape = "x".join(map(str, kind.shape)) or "1"
    return f"{name} {shape} {kind.dtype}{', a picture' if picture else ''}"


def _passport(text: str) -> list[str]:
    try:
        facts = dict(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        facts = {}
    lines = [f"{key}: {facts[key]}" for key in _PASSPORT_LINES if facts.get(key) is not None]
    return lines or ["no passport: it was not written by python compress/export.py"]


def main(arguments: list[str] | None = None) -> int:
    """Print the facts of each package."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("packages", type=Path, nargs="+", metavar="FILE.mlpackage")
    parser.add_argument("--compute-plan", action="store_true", help="which unit of this Mac runs what (macOS 14.4)")
    args = parser.parse_args(arguments)
    for path in args.packages:
        print("\n".join([*describe(path), *(planned_units(path) if args.compute_plan else ())]))
    return 0


if __name__ == "__main__":
    run_command(main)
