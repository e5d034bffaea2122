"""Build TensorRT engines on the device: `python -m compress.tensorrt er-s_224_fp16.onnx --target jetson-orin-nano`."""

from __future__ import annotations

from pathlib import Path

from compress.tensorrt.engine_file import build, prepare, read_model_passport, summary, unfit
from runtime.errors import CommandParser, UserError, run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, build, print one line per file."""
    parser = CommandParser(__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="exported ONNX files")
    parser.add_argument("--target", help="a device profile: workspace limit, and what does not fit")
    parser.add_argument("--workspace-mib", type=int, help="memory that building may take; default: the profile's")
    parser.add_argument("--overwrite", action="store_true", help="replace engines of an earlier build")
    args = parser.parse_args(arguments)
    if args.workspace_mib is not None and args.workspace_mib < 1:
        raise UserError(f"--workspace-mib {args.workspace_mib} must be 1 or more")
    for path in args.files:
        if reason := unfit(*read_model_passport(path)):
            raise UserError(f"{path}: {reason}")
        job = prepare(path, args.target, args.workspace_mib)
        if job.path.exists() and not args.overwrite:
            raise UserError(f"{job.path} exists: give --overwrite")
        print(summary(job.path, build(job)))
    return 0


if __name__ == "__main__":
    run_command(main)
