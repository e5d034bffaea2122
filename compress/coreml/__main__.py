"""What a Core ML package is, without a Mac: operations, rank, what leaves the Neural Engine, weights.

`python -m compress.coreml exports/er-s_224_fp16.mlpackage`
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.coreml.package import computing, dtype_of, leaving, read_function, size_bytes, stored_numbers
from runtime.errors import CommandParser, run_command


def describe(path: Path) -> list[str]:
    """Return lines for the screen; a UserError of one line where the package is damaged."""
    function = read_function(path)
    operations = computing(function)
    rules = [
        f"may leave the Neural Engine: {sum(kinds.values())} by {rule} ({_counted(kinds)})"
        for rule, kinds in leaving(function).items()
    ]
    lines = [
        f"{path.name}: {size_bytes(path) / 1e6:.2f} MB",
        *(f"takes {_typed(value)}" for value in function.inputs.values()),
        *(f"gives {_typed(value)}" for value in function.outputs),
        f"{len(operations)} operations: {_counted(Counter(op.op_type for op in operations))}",
        f"largest rank {max((value.rank for op in operations for value in op.outputs), default=0)}",
        *(rules or ["nothing that is known to leave the Neural Engine"]),
        *(f"weights: {count} numbers as {way}" for way, count in stored_numbers(function).items()),
    ]
    return ["".join(c if c.isprintable() else "?" for c in line) for line in lines]


def _typed(value: Any) -> str:
    return f"{value.name} {'x'.join(map(str, value.shape)) or '1'} {dtype_of(value)}"


def _counted(kinds: Mapping[str, int]) -> str:
    """Write operations by kind in words, the most frequent first."""
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {kind}" for kind, count in ordered)


def main(arguments: list[str] | None = None) -> int:
    """Print the facts of each package."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("packages", type=Path, nargs="+", metavar="FILE.mlpackage")
    for path in parser.parse_args(arguments).packages:
        print("\n".join(describe(path)))
    return 0


if __name__ == "__main__":
    run_command(main)
