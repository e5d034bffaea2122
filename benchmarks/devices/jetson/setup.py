"""Before anything runs on a Jetson: is it the board that was named, which files become which engines, the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.devices import tegra
from benchmarks.devices.tegra import Board
from runtime.backends.opening import Outputs, open_backend
from runtime.errors import UserError
from targets import Target, TargetError, load_target

PRECISIONS = ("fp32", "fp16", "int8")
JETSON_FLAVOUR = "trt"


@dataclass(frozen=True)
class Plan:
    """One engine to build."""

    label: str  # fp32, fp16, int8; with -weak where TensorRT 10 chooses precisions by flags
    precision: str
    source: str  # precision of the ONNX file
    onnx: Path

    @property
    def weak(self) -> str | None:
        """The precision that flags choose; None where the graph has it."""
        return self.precision if self.label.endswith("-weak") else None


def jetson_target(name: str) -> Target:
    """A profile that engines can be built for."""
    try:
        target = load_target(name)
    except TargetError as error:
        raise UserError(str(error)) from None
    if target.kind != "jetson" or "tensorrt" not in target.formats:
        reason = target.absent.get("tensorrt", "it is no Jetson")
        raise UserError(f"{name} runs no TensorRT engines here: {reason}")
    return target


def check_board(name: str, root: Path, run: tegra.Run) -> tuple[Target, Board, str | None]:
    """The target `NAME` or `NAME@MODE` in the power mode that the board is in, the board, the mode's name.

    UserError where this is another board or another mode.
    """
    target = jetson_target(name)
    board = tegra.read_board(root)
    name, _, asked = name.partition("@")
    if board is None:
        raise UserError(f"this is no Jetson: run this command on the {name} itself (docs/jetson.md)")
    if board.profile is not None and board.profile != name:
        raise UserError(f"this board is {board.profile} ({board.model}), not {name}: give --target {board.profile}")
    mode = tegra.power_mode(root, run)
    if asked and mode != asked:
        raise UserError(
            f"this board is in power mode {mode or 'unknown'}, not {asked}: sudo nvpmodel -m ID (docs/jetson.md)"
        )
    if mode is not None and mode in {known.name for known in target.power_modes}:
        target = target.in_mode(mode)
    return target, board, mode


def choose_files(models: Sequence[Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """One ONNX file per precision, all of one variant; and why others are left out."""
    from compress.tensorrt.engine_file import read_model_passport

    chosen: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    variants = set()
    for path in models:
        if path.suffix.lower() != ".onnx":
            left_out[path.name] = "not an ONNX file"
            continue
        facts, precision = read_model_passport(path)
        flavour = (facts.get("quantisation") or {}).get("flavour", "cpu")
        if precision == "int8" and flavour != JETSON_FLAVOUR:
            left_out[path.name] = f"int8 of flavour {flavour}: export it with --target for TensorRT's"
            continue
        if precision in chosen:
            raise UserError(f"{path} and {chosen[precision]} are both {precision}: give one file per precision")
        chosen[precision] = path
        variants.add(facts["variant"])
    if not chosen:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise UserError(f"there is no file to build engines from ({why or 'none was given'})")
    if len(variants) > 1:
        raise UserError(f"the files are of several variants ({', '.join(sorted(variants))}): give those of one")
    return {precision: chosen[precision] for precision in PRECISIONS if precision in chosen}, left_out


def model_crop_px(files: Mapping[str, Path]) -> int:
    """Side of the crop that the network looks at."""
    backend = open_backend(next(iter(files.values())), "cpu")
    try:
        return backend.info.input_px
    finally:
        backend.close()


def run_onnx(path: Path, images: Sequence[NDArray[np.float32]]) -> list[Outputs]:
    """The reference: onnxruntime on the CPU."""
    backend = open_backend(path, "cpu")
    try:
        return [backend.run(image) for image in tqdm(images, desc=path.name, unit="img", leave=False)]
    finally:
        backend.close()


def engine_plans(files: Mapping[str, Path], weak: bool) -> tuple[Plan, ...]:
    """What to build: each file as it is typed, and with flags, where TensorRT has them, what the files leave out.

    That is fp16 from the fp32 file, and int8 whose float rest may be fp16.
    """
    plans = [Plan(precision, precision, precision, path) for precision, path in files.items()]
    if weak and "fp16" not in files and "fp32" in files:
        plans.append(Plan("fp16-weak", "fp16", "fp32", files["fp32"]))
    if weak and "int8" in files:
        plans.append(Plan("int8-weak", "int8", "int8", files["int8"]))
    if all(plan.precision == "fp32" for plan in plans):
        raise UserError("there is only an fp32 file: export fp16 (--fp16) and int8 (--int8 --target) ones, too")
    return tuple(plans)
