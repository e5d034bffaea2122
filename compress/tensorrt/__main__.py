"""Build TensorRT engines on the device: `python -m compress.tensorrt er-s_224_fp16.onnx --target jetson-orin-nano`."""

from __future__ import annotations

from pathlib import Path

from compress.tensorrt.engine_file import prepare_engines
from runtime.errors import CommandParser, run_command


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and build what is not built yet."""
    parser = CommandParser(__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="exported ONNX files")
    parser.add_argument("--target", help="a device profile: workspace limit, and what does not fit")
    parser.add_argument("--workspace-mib", type=int, help="memory that building may take; default: the profile's")
    args = parser.parse_args(arguments)
    for path in prepare_engines(args.files, args.target, args.workspace_mib):
        print(path)
    return 0


if __name__ == "__main__":
    run_command(main)
