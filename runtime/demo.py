"""Find both hands of an image, a video or a camera.

An image gives an overlay and meshes, and prints JSON; a video or camera an overlay video, a window (--show), or a line
of JSON per frame (--json). q, Escape or Ctrl-C end it.

python runtime/demo.py photo.jpg --model exports/er-s_224_int8.onnx --box 210 80 300 260
python runtime/demo.py clip.mp4 --model exports/er-s_224_int8.onnx --smooth
python runtime/demo.py 0 --model exports/er-s_224_int8.onnx --show
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import cv2
from numpy.typing import ArrayLike

if not __package__:  # run as a file: the folder that holds `runtime` is on nobody's path where it was only copied
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_bytes_atomic, write_error
from runtime.hand.hands import Hands
from runtime.hand.mesh_files import write_glb, write_hands
from runtime.image.crop import checked_box
from runtime.image.draw import draw_hands
from runtime.image.reading import Rgb, quiet_opencv, read_image
from runtime.runner import Runner, load
from runtime.video.capture import Source, is_video, open_source, source_stem
from runtime.video.loop import FoundFrame, Frame, run_video
from runtime.video.outputs import Window, draw_times, video_file, write_json_line
from runtime.video.smoothing import Smoother
from runtime.video.tracking import Tracker

MESH_FORMATS = ("obj", "glb")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; `arguments` without the program's name."""
    options = _parse(arguments)
    quiet_opencv()
    return _video(options) if is_video(options.input) else _image(options)


def _image(options: argparse.Namespace) -> int:
    path = Path(options.input)
    rgb = read_image(path)
    with _load(options) as runner:
        formats = options.mesh or MESH_FORMATS[:1]
        folder, overlay = options.output_dir, not options.no_overlay
        facts = process_image(runner, rgb, options.box, folder, path.stem, formats, overlay=overlay)
    facts = {"image": str(path), "model": str(options.model), **facts}
    print(json.dumps(facts, indent=None if options.json else 2))
    return 0


def process_image(
    runner: Runner,
    rgb: Rgb,
    box: ArrayLike | None,
    folder: Path,
    stem: str,
    formats: Sequence[str] = MESH_FORMATS[:1],
    *,
    overlay: bool = True,
) -> dict[str, Any]:
    """Run one image and write its files into `folder`, which is made; the facts to print."""
    hands = runner(rgb, box)
    _make_folder(folder)
    files = []
    if overlay:
        files.append(folder / f"{stem}_overlay.png")
        write_png(files[-1], draw_hands(rgb, hands, skeleton=True))
    if "obj" in formats:
        files += write_hands(folder, stem, hands)
    if "glb" in formats and hands.present:
        files.append(folder / f"{stem}_hands.glb")
        write_glb(files[-1], hands)
    paths = [str(path) for path in files]
    return {"provider": runner.provider, **hands.to_json_dict(), **_data_facts(runner), "files": paths}


def _data_facts(runner: Runner) -> dict[str, Any]:
    """Say what data the model's accuracy was measured on."""
    return {"model_dataset": runner.info.dataset, "model_dataset_is_synthetic": runner.info.synthetic}


def write_png(path: Path, rgb: Rgb) -> None:
    """Write an RGB image atomically."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    write_bytes_atomic(path, encoded.tobytes())


def _video(options: argparse.Namespace) -> int:
    with _load(options) as runner, closing(open_source(options.input)) as source:
        facts, interrupted = process_video(
            runner,
            source,
            _finder(runner, options),
            options.output_dir / f"{source_stem(options.input)}_overlay.mp4" if _writes_video(options) else None,
            show=options.show,
            json_lines=options.json,
        )
    if not options.json:
        about = {"input": source.name, "model": str(options.model), "provider": runner.provider}
        print(json.dumps({**about, **facts, **_data_facts(runner)}, indent=2))
    if interrupted:
        raise KeyboardInterrupt
    return 0


def process_video(
    runner: Runner,
    source: Source,
    find: Callable[[Frame], Hands],
    path: Path | None,
    *,
    show: bool = False,
    json_lines: bool = False,
) -> tuple[dict[str, Any], bool]:
    """Run a whole video and write it with its hands to `path`; the facts to print, and whether Ctrl-C ended it.

    A UserError where the source has no frame. After Ctrl-C the file holds what was done until then.
    """
    with ExitStack() as stack:
        title = f"{source.name} - {runner.info.variant}"
        window = stack.enter_context(closing(Window(title))) if show else None
        if path is not None:
            _make_folder(path.parent)
        video = None if path is None else stack.enter_context(video_file(path, source.fps))

        about = _data_facts(runner)

        def show_frame(found: FoundFrame) -> bool:
            if json_lines and not write_json_line(sys.stdout, found, about):
                return False
            about.clear()  # the first line says it
            if window is None and video is None:
                return True
            drawn = draw_hands(found.frame.rgb, found.hands, skeleton=True)
            draw_times(drawn, found.fps, found.stages_ms)
            if video is not None:
                video.write(drawn, found.frame.time_s)
            return window is None or window.show(drawn)

        summary = run_video(source, find, show_frame)
        if summary.frames == 0 and not summary.interrupted:
            raise UserError(f"{source.name} gives no frames: is it whole, and does it play?")
        if summary.frames == 0:
            raise KeyboardInterrupt
    files = [] if path is None else [str(path)]
    return {**summary.to_json_dict(), "files": files}, summary.interrupted


def _finder(runner: Runner, options: argparse.Namespace) -> Callable[[Frame], Hands]:
    """How the hands of a frame are found: tracked, in a fixed box, or in the whole picture; smoothed or not."""
    tracker = None if options.box or options.whole_image else Tracker(runner)
    smoother = Smoother(runner.models) if options.smooth else None

    def find(frame: Frame) -> Hands:
        hands = runner(frame.rgb, options.box) if tracker is None else tracker(frame.rgb)
        return hands if smoother is None else smoother(hands, frame.time_s)

    return find


def _load(options: argparse.Namespace) -> Runner:
    return load(options.model, device=options.device, threads=options.threads, hand_model=options.hand_model)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from None


def _writes_video(options: argparse.Namespace) -> bool:
    return not (options.show or options.no_overlay)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__ or "")
    parser.add_argument(
        "input",
        metavar="IMAGE|VIDEO|CAMERA",
        help="an image (PNG, JPEG, BMP, WebP, TIFF), a video file, a camera's number, or an rtsp:// address",
    )
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="an exported model (.onnx)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--box",
        type=float,
        nargs=4,
        metavar=("X", "Y", "W", "H"),
        help="px around both hands, in every frame; default: the whole image, less accurate where the hands are small "
        "in it; hands of videos and cameras are tracked",
    )
    where.add_argument("--whole-image", action="store_true", help="videos and cameras: do not track")
    parser.add_argument("--smooth", action="store_true", help="videos and cameras: less jitter (One-Euro filter)")
    pictures = parser.add_mutually_exclusive_group()
    pictures.add_argument("--show", action="store_true", help="videos and cameras: a window instead of a file")
    pictures.add_argument("--no-overlay", action="store_true", help="draw nothing")
    parser.add_argument("--json", action="store_true", help="print one line of JSON per frame")
    parser.add_argument("--mesh", nargs="+", choices=MESH_FORMATS, help="images: mesh files to write; default: obj")
    parser.add_argument("--output-dir", type=Path, default=Path(), metavar="DIR", help="default: the current folder")
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU; default: the engine's choice")
    parser.add_argument("--hand-model", type=Path, metavar="FILE", help="hand model .npz; default: the embedded one")
    options = parser.parse_args(arguments)
    _check(options)
    return options


def _check(options: argparse.Namespace) -> None:
    """A UserError for what would have no effect."""
    if options.box is not None:
        checked_box(options.box)
    if is_video(options.input):
        if options.mesh:
            raise UserError("--mesh is for images: videos give an overlay and --json")
        if options.no_overlay and not options.json:
            raise UserError("--no-overlay leaves nothing of a video: add --json")
        return
    for flag in ("whole_image", "smooth", "show"):
        if getattr(options, flag):
            raise UserError(f"--{flag.replace('_', '-')} is for videos and cameras, {options.input} is an image")


if __name__ == "__main__":
    run_command(main)
