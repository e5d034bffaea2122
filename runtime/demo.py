"""Find both hands of an image, a folder of images, a video or a camera.

An image gives an overlay, meshes, and JSON (--json); a folder, or several images, contact sheets of the overlays, on
pages of 48; a video or camera an overlay video, a window (--show), or a line of JSON per frame (--json). q, Escape or
Ctrl-C end it.

Installed, this is `er-edge`; in a clone:

python runtime/demo.py photo.jpg --model exports/er-s_224_int8.onnx
python runtime/demo.py photos --model exports/er-s_224_int8.onnx --output-dir out
python runtime/demo.py clip.mp4 --model exports/er-s_224_int8.onnx --smooth
python runtime/demo.py 0 --model exports/er-s_224_int8.onnx --show
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file (PEP 366): the folder that holds this one is on nobody's path
    folder = Path(__file__).resolve().parent
    sys.path[0], __package__ = str(folder.parent), folder.name

from .errors import CommandParser, UserError, run_command
from .video.inputs import Input, parse_input


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; `arguments` without the program's name."""
    options = _parse(arguments)
    inputs = [parse_input(text) for text in options.input]
    _check(options, inputs)
    from .processing import process  # OpenCV, after what is wrong with the command line was said

    process(inputs, options)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__ or "")
    what = """images (PNG, JPEG, BMP, WebP) and folders of them; or one video file, camera's number or path
        (/dev/...), rtsp:// address, or GStreamer pipeline that ends in appsink"""
    parser.add_argument("input", nargs="+", metavar="IMAGE|FOLDER|VIDEO|CAMERA", help=what)
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="an exported model (.onnx)")
    where = parser.add_mutually_exclusive_group()
    box = "px around both hands of an image, or in every frame; default: found by a finder, tracked in videos"
    where.add_argument("--box", type=float, nargs=4, metavar=("X", "Y", "W", "H"), help=box)
    where.add_argument("--whole-image", action="store_true", help="one look at the whole image, in every frame")
    parser.add_argument("--smooth", action="store_true", help="videos and cameras: less jitter (One-Euro filter)")
    pictures = parser.add_mutually_exclusive_group()
    pictures.add_argument("--show", action="store_true", help="videos and cameras: a window instead of a file")
    pictures.add_argument("--no-overlay", action="store_true", help="draw nothing")
    parser.add_argument("--json", action="store_true", help="print one line of JSON per image or frame")
    meshes = "images: mesh files to write; default: obj of one image"
    parser.add_argument("--mesh", nargs="+", choices=("obj", "glb"), help=meshes)
    parser.add_argument("--camera-size", type=size, metavar="WxH", help="cameras: px; default: the driver's choice")
    parser.add_argument("--camera-fps", type=float, metavar="N", help="cameras: frames/s; default: the driver's choice")
    parser.add_argument("--output-dir", type=Path, default=Path(), metavar="DIR", help="default: the current folder")
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU; default: the cores it may use")
    parser.add_argument("--hand-model", type=Path, metavar="FILE", help="hand model .npz; default: the embedded one")
    return parser.parse_args(arguments)


def size(text: str) -> tuple[int, int]:
    """Width and height of WxH; ValueError where it is none."""
    width, height = text.lower().split("x")
    return int(width), int(height)


def _check(options: argparse.Namespace, inputs: list[Input]) -> None:
    """A UserError for what would have no effect, and for inputs that do not go together."""
    wanted = inputs[0]
    if len(inputs) > 1 and (other := next((i for i in inputs if i.kind not in ("image", "folder")), None)):
        raise UserError(f"of several inputs all are images or folders of them: give {other.name} alone")
    for_videos, for_cameras = ("smooth", "show"), ("camera_size", "camera_fps")
    no_images = for_videos + for_cameras
    useless = {"image": no_images, "folder": no_images, "video": ("mesh", *for_cameras), "camera": ("mesh",)}
    for name in useless.get(wanted.kind, ("mesh", *for_cameras)):
        if getattr(options, name):
            kind = "cameras" if name in for_cameras else "images" if name == "mesh" else "videos and cameras"
            raise UserError(f"--{name.replace('_', '-')} is for {kind}, {wanted.name} is none")
    many = len(inputs) > 1 or wanted.kind == "folder"
    if many and options.box:
        raise UserError("--box is for one image or video: hands are elsewhere in the next image")
    if options.no_overlay and not options.json and not (options.mesh if many else wanted.kind == "image"):
        raise UserError("--no-overlay leaves nothing: add --json")


if __name__ == "__main__":
    run_command(main)
