"""How far a file's hands on another CPU's arithmetic are from those on this machine's."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.tools.arithmetic.cpus import Cpu
from benchmarks.tools.arithmetic.predict import predict
from benchmarks.tools.arithmetic.userland import ROOT, Userland
from compress.crops import Crops, load_crops
from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from runtime.runner import load
from training.data.dataset import SYNTHETIC, open_frames
from training.data.frames import Frames
from training.evaluate import Predictor, dataset_label, evaluate
from training.evaluation.protocols import HandBatch

LIMIT_MM = 0.05
CROPS_PER_PROCESS = 20
PREDICT = "benchmarks.tools.arithmetic.predict"

Found = Mapping[str, NDArray[Any]]  # as predict writes it


@dataclass(frozen=True)
class Agreement:
    """Of one file on one CPU with this machine, on the same crops.

    Where the float parts of a network differ in their last bit, a sum between two integers may round the other way, and
    every later layer amplifies that: single images of an int8 file differ by millimetres on exact CPUs, too. A CPU that
    computes something else differs in all images; hence the median.
    """

    cpu: str
    n_images: int
    dataset: str  # with "(synthetic)" where it is
    mpjpe_here_mm: float
    mpjpe_there_mm: float
    vertex_median_mm: float  # over images, of the mean distance between the vertices of hands that are there
    vertex_mean_mm: float
    vertex_max_mm: float
    images_beyond_limit: int  # whose mean distance is more than LIMIT_MM
    presence_changes: int  # of hands that are there on one and not on the other

    @property
    def mpjpe_difference_mm(self) -> float:
        """The other CPU's less this machine's."""
        return self.mpjpe_there_mm - self.mpjpe_here_mm

    @property
    def passed(self) -> bool:
        """Whether the accuracy is the same within LIMIT_MM."""
        return abs(self.mpjpe_difference_mm) <= LIMIT_MM

    @property
    def same_hands(self) -> bool:
        """Whether those of most images are, too. Not so where float parts come first and feed every integer: er-s."""
        return self.vertex_median_mm <= LIMIT_MM

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {
            "mpjpe_difference_mm": self.mpjpe_difference_mm,
            "passed": self.passed,
            "same_hands": self.same_hands,
        }


def measure_agreement(model: Path, cpus: Sequence[Cpu], userland: Userland, count: int, jobs: int) -> list[Agreement]:
    """Run the first `count` crops of the synthetic test split here and on every CPU, `jobs` processes at a time."""
    with load(model, device="cpu", threads=1) as runner:  # a UserError before long work
        crop_px = runner.input_px
    frames = open_frames(SYNTHETIC, "test", load_hand_models(), count)
    crops = load_crops(frames, len(frames), crop_px, "crops")
    with tempfile.TemporaryDirectory() as folder:
        here = _run_here(model, crops, Path(folder))
        there = {cpu.name: _run_there(model, crops, cpu, userland, jobs, Path(folder)) for cpu in cpus}
    return [compare(model, name, frames, crop_px, here, found) for name, found in there.items()]


def compare(model: Path, cpu: str, frames: Frames, crop_px: int, here: Found, there: Found) -> Agreement:
    """The figures of one CPU; here and there: of the crops of `frames`."""
    distance_mm = 1000 * np.linalg.norm(there["vertices"] - here["vertices"], axis=-1)  # (N, 2, 778)
    present = (here["present"] | there["present"]).astype(bool)
    per_image = np.array([rows[kept].mean() for rows, kept in zip(distance_mm, present, strict=True) if kept.any()])
    if len(per_image) == 0:
        raise UserError(f"{model} finds no hand in {len(frames)} crops: there is nothing to compare")
    return Agreement(
        cpu=cpu,
        n_images=len(frames),
        dataset=dataset_label(frames),
        mpjpe_here_mm=_mpjpe_mm(here, frames, crop_px),
        mpjpe_there_mm=_mpjpe_mm(there, frames, crop_px),
        vertex_median_mm=float(np.median(per_image)),
        vertex_mean_mm=float(distance_mm[present].mean()),
        vertex_max_mm=float(distance_mm[present].max()),
        images_beyond_limit=int((per_image > LIMIT_MM).sum()),
        presence_changes=int((here["present"] != there["present"]).sum()),
    )


def _mpjpe_mm(found: Found, frames: Frames, crop_px: int) -> float:
    scores = evaluate(_replay(found), frames, crop_px, load_hand_models())
    return scores.accuracy(dataset_label(frames)).mpjpe_mm


def _replay(found: Found) -> Predictor:
    """A predictor that gives what was found before, image after image."""
    position = 0

    def predict_next(images: NDArray[np.float32]) -> HandBatch:
        nonlocal position
        part = slice(position, position + len(images))
        position += len(images)
        return HandBatch(
            joints=found["joints"][part],
            vertices=found["vertices"][part],
            relative_translation=found["relative_translation"][part],
            present=found["present"][part].astype(bool),
        )

    return predict_next


def _run_here(model: Path, crops: Crops, folder: Path) -> Found:
    source, target = folder / "all.npz", folder / "here.npz"
    np.savez(source, crops=crops)
    predict(model, source, target)
    return _read(target)


def _run_there(model: Path, crops: Crops, cpu: Cpu, userland: Userland, jobs: int, folder: Path) -> Found:
    parts = [crops[start : start + CROPS_PER_PROCESS] for start in range(0, len(crops), CROPS_PER_PROCESS)]
    with tqdm(total=len(crops), desc=f"{model.stem} on {cpu.name}", unit="img", leave=False) as bar:
        run = _process(model, cpu, userland, folder, bar)
        with ThreadPoolExecutor(jobs) as pool:
            found = list(pool.map(run, range(len(parts)), parts))
    return {key: np.concatenate([part[key] for part in found]) for key in found[0]}


def _process(model: Path, cpu: Cpu, userland: Userland, folder: Path, bar: tqdm) -> Callable[[int, Crops], Found]:
    """What runs some crops in an emulated process of their own."""

    def run(index: int, crops: Crops) -> Found:
        source, target = (folder / f"{cpu.name}-{index}-{what}.npz" for what in ("crops", "found"))
        np.savez(source, crops=crops)
        command = userland.command(cpu, ["-m", PREDICT, *map(str, (model.absolute(), source, target))])
        result = subprocess.run(
            command, env=userland.environment(cpu), cwd=ROOT, capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            last = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
            raise RuntimeError(f"{model.name} fails on {cpu.name}: {last[:200]}")
        bar.update(len(crops))
        return _read(target)

    return run


def _read(path: Path) -> Found:
    with np.load(path, allow_pickle=False) as content:
        return dict(content)


def usable_cores() -> int:
    """That this process may run on."""
    return len(os.sched_getaffinity(0))
