"""Prove that a quantised graph obeys the rules of its flavour: `python -m compress.onnx.lint FILE --flavour trt`.

Every export runs it. Exit code 0: clean, 1: rules are broken (each is named with its node), 2: not a model.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from compress.onnx.flavours import FLAVOURS, get_flavour
from compress.onnx.lint_rules import Graph, Violation, forbidden_operators
from runtime.errors import CommandParser, UserError, run_command

if TYPE_CHECKING:
    from onnx import ModelProto

MAX_BYTES = 2 << 30


def lint(model: ModelProto, flavour: str, tensorrt: tuple[int, int] | None = None) -> tuple[Violation, ...]:
    """Every violation of the flavour's rules, and operators that a version of TensorRT lacks."""
    graph = Graph(model)
    found = [violation for rule in get_flavour(flavour).rules for violation in rule(graph)]
    if tensorrt is not None:
        found += forbidden_operators(graph, tensorrt)
    return tuple(dict.fromkeys(found))


def read_model(path: Path) -> ModelProto:
    """An ONNX file with all its weights inside; a UserError for anything else."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than 2 GiB: not a model of this project")
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise UserError(f"{path} is not a whole ONNX model: {str(error).splitlines()[0]}") from error
    if any(tensor.external_data for tensor in model.graph.initializer):
        raise UserError(f"{path} keeps weights in other files: put them inside first")
    return model


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and print what is wrong."""
    parser = CommandParser(__doc__)
    parser.add_argument("file", type=Path, help="an ONNX file with Q/DQ")
    parser.add_argument("--flavour", default="cpu", help=f"one of {', '.join(FLAVOURS)}")
    parser.add_argument("--tensorrt", metavar="X.Y", help="also name operators that this version of TensorRT lacks")
    args = parser.parse_args(arguments)
    get_flavour(args.flavour)
    version = None
    if args.tensorrt is not None:
        if not re.fullmatch(r"\d{1,2}\.\d{1,2}", args.tensorrt):
            raise UserError(f"--tensorrt {args.tensorrt!r}: give a version such as 10.3")
        version = (int(args.tensorrt.split(".")[0]), int(args.tensorrt.split(".")[1]))
    violations = lint(read_model(args.file), args.flavour, version)
    for violation in violations:
        print(violation)
    count = f"{len(violations)} violations" if violations else "clean"
    print(f"{args.file}, flavour {args.flavour}: {count}")
    return 1 if violations else 0


if __name__ == "__main__":
    run_command(main)
