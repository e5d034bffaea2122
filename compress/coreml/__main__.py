"""What a Core ML package is, without a Mac: operations, rank, what leaves the Neural Engine, weights.

`python -m compress.coreml exports/er-s_224_fp16.mlpackage`
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from compress.coreml.neural_engine import counted, leaving
from compress.coreml.package import TensorType, package_bytes, read_program
from runtime.errors import CommandParser, run_command


def describe(path: Path) -> list[str]:
    """Return lines for the screen; a UserError of one line where the package is damaged."""
    program = read_program(path)
    ranks = [len(kind.shape) for operation in program.operations for kind in operation.outputs]
    rules = [
        f"may leave the Neural Engine: {sum(rule.kinds.values())} by {rule.rule} ({counted(rule.kinds)})"
        for rule in leaving(program)
    ]
    lines = [
        f"{path.name}: {package_bytes(path) / 1e6:.2f} MB",
        *(f"takes {_typed(name, kind)}" for name, kind in program.inputs.items()),
        *(f"gives {_typed(name, kind)}" for name, kind in program.outputs.items()),
        f"{len(program.operations)} operations: {counted(Counter(op.kind for op in program.operations))}",
        f"largest rank {max(ranks, default=0)}",
        *(rules or ["nothing that is known to leave the Neural Engine"]),
        *(f"weights: {count} numbers as {way}" for way, count in program.stored.items()),
    ]
    return ["".join(c if c.isprintable() else "?" for c in line) for line in lines]


def _typed(name: str, kind: TensorType) -> str:
    return f"{name} {'x'.join(map(str, kind.shape)) or '1'} {kind.dtype}"


def main(arguments: list[str] | None = None) -> int:
    """Print the facts of each package."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("packages", type=Path, nargs="+", metavar="FILE.mlpackage")
    for path in parser.parse_args(arguments).packages:
        print("\n".join(describe(path)))
    return 0


if __name__ == "__main__":
    run_command(main)
