"""What the demo does with pictures and videos: hands are found, drawn, written and printed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import make_folder
from .hand.hands import Hands
from .hand.mesh_files import write_glb, write_obj
from .image.crop import box_of_image
from .image.draw import draw_hands, write_picture
from .image.reading import Rgb, quiet_opencv, read_image
from .image.sheets import photo_tile, write_sheets
from .photo_files import list_photos, print_skipped, read_photos
from .runner import Runner, load
from .video.capture import CaptureSource
from .video.inputs import Input, stems_of
from .video.loop import FoundFrame, Frame, run_video
from .video.outputs import Window, draw_times, json_line, video_file
from .video.smoothing import Smoother
from .video.tracking import Tracker

_NUMBERS = ("hands", "relative_translation_mm", "joint_names")  # of a picture's facts: many, for programs


def process(inputs: Sequence[Input], options: argparse.Namespace) -> None:
    """Find the hands of the inputs as the demo's options say. A UserError for what cannot be opened or written."""
    quiet_opencv()
    wanted, ended_by = inputs[0], None
    many = len(inputs) > 1 or wanted.kind == "folder"
    paths = list_photos([Path(given.target) for given in inputs]) if many else []
    image = read_image(wanted.target) if wanted.kind == "image" and not many else None
    with load(options.model, options.device, options.threads, options.hand_model) as runner:
        name = wanted.name if len(inputs) == 1 else f"{len(inputs)} inputs"
        facts: dict[str, Any] = {"input": name, "model": str(options.model), "provider": runner.provider}
        if many:
            facts |= _process_photos(runner, paths, options)
        elif image is not None:
            facts |= _process_image(runner, image, wanted, options)
        else:
            with closing(CaptureSource(wanted, options.camera_size, options.camera_fps)) as source:
                to_file = not (options.show or options.no_overlay)
                path = options.output_dir / f"{wanted.stem}_overlay.mp4" if to_file else None
                find = _frame_finding(runner, options)
                more, ended_by = process_video(runner, source, find, path, show=options.show, lines=options.json)
                facts |= more
    if not options.json:
        print(json.dumps(facts, indent=2))
    if ended_by is not None:
        raise ended_by


def _process_image(runner: Runner, rgb: Rgb, wanted: Input, options: argparse.Namespace) -> dict[str, Any]:
    """Run one image, write its files, none where no hand is found, and print JSON if wanted; the facts for people."""
    hands = runner(rgb, _box(rgb, options))
    facts = {**hands.to_json_dict(), **_data_facts(runner)}
    files: list[Path] = []
    if not hands.present:
        print(f"no hand found in {wanted.name}", file=sys.stderr)
    else:
        make_folder(options.output_dir)
        if not options.no_overlay:
            files.append(options.output_dir / f"{wanted.stem}_overlay.png")
            write_picture(files[-1], draw_hands(rgb, hands, skeleton=True))
        files += _write_meshes(options.output_dir, wanted.stem, hands, options.mesh or ("obj",))
    facts["files"] = [str(path) for path in files]
    if options.json:
        about = {"image": wanted.name, "model": str(options.model), "provider": runner.provider}
        print(json.dumps({**about, **facts}))
    scores = {hand.side: round(hand.presence, 2) for hand in hands.present}
    return {"hands": scores, **{key: value for key, value in facts.items() if key not in _NUMBERS}}


def _process_photos(runner: Runner, paths: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    """Run many images, write contact sheets, and meshes where they are wanted; the facts to print."""
    skipped: list[str] = []
    files: list[Path] = []
    hands_in: list[int] = []
    stems = dict(zip(paths, stems_of(paths), strict=True))

    def look() -> Iterator[tuple[str, Rgb, Hands]]:
        for path, rgb in read_photos(paths, skipped):
            hands = runner(rgb, _box(rgb, options))
            hands_in.append(len(hands.present))
            if options.json:
                print(json.dumps({"image": str(path), **hands.to_json_dict()}), flush=True)
            if options.mesh or not options.no_overlay:
                make_folder(options.output_dir)
            if hands.present:
                files.extend(_write_meshes(options.output_dir, stems[path], hands, options.mesh or ()))
            yield path.name, rgb, hands

    if options.no_overlay:
        for _ in look():
            pass
    else:
        files += write_sheets(options.output_dir, options.model.name, (photo_tile(*seen) for seen in look()))
    print_skipped(skipped)
    found = {"images": len(hands_in), "images_with_hands": sum(map(bool, hands_in)), "hands": sum(hands_in)}
    return {**_data_facts(runner), **found, "skipped": skipped, "files": [str(path) for path in files]}


def _write_meshes(folder: Path, stem: str, hands: Hands, formats: Sequence[str]) -> list[Path]:
    """Write the hands that are present; the files' paths."""
    files = write_obj(folder, stem, hands) if "obj" in formats else []
    return [*files, write_glb(folder / f"{stem}_hands.glb", hands)] if "glb" in formats else files


def process_video(
    runner: Runner,
    source: CaptureSource,
    find: Callable[[Frame], Hands],
    path: Path | None,
    *,
    show: bool = False,
    lines: bool = False,
) -> tuple[dict[str, Any], BaseException | None]:
    """Run a whole video and write it with its hands to `path`; the facts to print, and what ended it before its end.

    A UserError where the source has no frame. After Ctrl-C, or where a camera is gone, the file holds what was done.
    """
    about = _data_facts(runner)
    with ExitStack() as stack:
        title = f"{source.name} - {runner.info.variant}"
        window = stack.enter_context(closing(Window(title))) if show else None
        if path is not None:
            make_folder(path.parent)
        video = None if path is None else stack.enter_context(video_file(path, source.fps))
        said = dict(about)

        def show_frame(found: FoundFrame) -> bool:
            if lines:
                try:
                    print(json_line(found, said), flush=True)
                except BrokenPipeError:  # nobody reads any more
                    return False
                said.clear()  # the first line says it
            if window is None and video is None:
                return True
            drawn = draw_hands(found.frame.rgb, found.hands, skeleton=True)
            if video is not None:
                video.write(drawn, found.frame.time_s)
            if window is None:
                return True
            draw_times(drawn, found.fps, found.stages_ms)
            return window.show(drawn)

        summary = run_video(source, find, show_frame)
        if summary.frames == 0:
            raise summary.ended_by or UserError(f"{source.name} gives no frames: is it whole, and does it play?")
    return {**summary.to_json_dict(), **about, "files": [] if path is None else [str(path)]}, summary.ended_by


def _frame_finding(runner: Runner, options: argparse.Namespace) -> Callable[[Frame], Hands]:
    """How the hands of a frame are found: tracked, in a fixed box, or in the whole picture; smoothed or not."""
    tracker = None if options.box or options.whole_image else Tracker(runner)
    smoother = Smoother(runner.models) if options.smooth else None

    def find(frame: Frame) -> Hands:
        hands = runner(frame.rgb, _box(frame.rgb, options)) if tracker is None else tracker(frame.rgb)
        return hands if smoother is None else smoother(hands, frame.time_s)

    return find


def _box(rgb: Rgb, options: argparse.Namespace) -> Any:
    """Where to look, as the options say; None: it is to be found."""
    return box_of_image(rgb.shape[1], rgb.shape[0]) if options.whole_image else options.box


def _data_facts(runner: Runner) -> dict[str, Any]:
    """Say what data the model's accuracy was measured on."""
    return {"model_dataset": runner.info.dataset, "model_dataset_is_synthetic": runner.info.synthetic}
