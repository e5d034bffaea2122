"""Making sure that a synthetic set is on disk: missing shards are made, then the official annotation files."""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from runtime.errors import UserError
from runtime.files import write_bytes_atomic
from runtime.hand.hand_model import load_hand_models
from runtime.machine import usable_cores
from training.data.cache import cache_dir, cache_error, locked
from training.data.synthhands.frame import build_studio, draw_frame, make_frame, person_of
from training.data.synthhands.schedule import GENERATOR_VERSION, SEED, SHARD_IMAGES, SPLIT_CAPTURES, Shard, shards_for
from training.data.synthhands.shards import compact, make_shard, read_shard

ANNOTATION_PARTS = ("data", "camera", "joint_3d", "MANO_NeuralAnnot")
DATASET_FILE = "dataset.json"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def default_root() -> Path:
    """The set's folder in the project's cache."""
    return cache_dir() / f"synthhands-v{GENERATOR_VERSION}"


def ensure_synthetic(
    split: str, n_images: int, *, root: Path | None = None, workers: int | None = None, progress: bool = True
) -> Path:
    """Makes sure the set below `root` holds at least the first `n_images` of `split`; returns the root.

    Only missing shards are made, in `workers` processes (None: one per core; 1: in this process). May be killed at any
    time and asked again; where nothing is missing, nothing is written. Raises UserError where the disk does not allow
    it, or holds another set.
    """
    shards = shards_for(split, n_images)
    if workers is not None and workers < 1:
        raise UserError(f"cannot work with {workers} processes: give --workers 1 or more")
    root = default_root() if root is None else Path(root)
    try:
        if not _is_complete(root, shards):
            root.mkdir(parents=True, exist_ok=True)
            with locked(root / ".lock") as alone:
                _complete(root, shards, workers or usable_cores() or os.cpu_count() or 1, progress, alone)
    except OSError as error:
        raise cache_error(root, error) from error
    return root


def annotation_path(root: Path, split: str, part: str) -> Path:
    """One of the official annotation files."""
    return root / "annotations" / split / f"InterHand2.6M_{split}_{part}.json"


def _identity() -> dict[str, Any]:
    model = load_hand_models()[0]
    return {
        "name": f"SynthHands v{GENERATOR_VERSION}",
        "synthetic": True,
        "generator_version": GENERATOR_VERSION,
        "seed": SEED,
        "hand_model": {"name": model.name, "sha256": model.sha256},
    }


def _is_complete(root: Path, shards: list[Shard]) -> bool:
    """Whether all shards are there, of this generator, and listed in the annotation files."""
    try:
        found = json.loads((root / DATASET_FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except ValueError:
        found = None
    if found != _identity():  # another generator's or hand model's pictures are not mixed in
        raise UserError(f"{root} holds another data set or version: delete it or choose another folder")
    content: dict[str, Any] | None = None
    for shard in shards:
        if (content := read_shard(root, shard)) is None:
            return False
    paths = [annotation_path(root, shards[0].split, part) for part in ANNOTATION_PARTS]
    if content is None or not all(path.is_file() for path in paths):
        return False
    return content["images"][-1]["file_name"].encode() in paths[0].read_bytes()


def _complete(root: Path, shards: list[Shard], workers: int, progress: bool, alone: bool) -> None:
    """Makes what is missing. `alone`: the caller holds the lock; if not, others may be making the same files."""
    if _is_complete(root, shards):  # by whoever had the lock before
        return
    for unfinished in root.rglob(".*.part") if alone else ():  # of a killed run
        unfinished.unlink()
    missing = [shard for shard in shards if read_shard(root, shard) is None]
    write_bytes_atomic(root / DATASET_FILE, json.dumps(_identity(), indent=2).encode() + b"\n")
    here = workers == 1 or len(missing) <= 1
    made = (make_shard(root, shard) for shard in missing) if here else _in_processes(root, missing, workers)
    total, name = len(missing) * SHARD_IMAGES, f"SynthHands {shards[0].split}"
    with contextlib.closing(made), tqdm(total=total, unit="img", desc=name, disable=not progress) as bar:
        for count in made:
            bar.update(count)
    _assemble(root, shards[0].split)


def _in_processes(root: Path, shards: list[Shard], workers: int) -> Generator[int, None, None]:
    studio = build_studio()
    frame = make_frame(studio, SPLIT_CAPTURES["train"][0], 0)
    next(draw_frame(studio, frame, person_of(frame)))  # compiles the kernels once: workers load them from numba's cache
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))  # for the workers: they are the parallelism
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(min(workers, len(shards)), context, _start_worker) as pool:
            # In order, and what has not begun is dropped at an interruption: a finished beginning is left.
            yield from pool.map(make_shard, itertools.repeat(root), shards)
    except BrokenProcessPool:
        raise UserError(
            "a worker process died (out of memory?): run again with fewer --workers; what is done is kept"
        ) from None
    finally:
        for name in _THREAD_VARIABLES:
            os.environ.pop(name)
            os.environ.update({name: before[name]} if name in before else {})


def _start_worker() -> None:
    threading.Thread(target=_follow, args=(multiprocessing.parent_process(),), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process: the parent decides
    cv2.setNumThreads(1)


def _follow(parent: Any) -> None:
    """Ends this worker when the process that started it dies, however it dies."""
    parent.join()
    os._exit(1)


def _assemble(root: Path, split: str) -> None:
    """The official annotation files, from the unbroken row of shards there is."""
    data: dict[str, Any] = {"images": [], "annotations": []}
    by_capture: dict[str, dict[str, Any]] = {part: {} for part in ANNOTATION_PARTS[1:]}
    index = 0
    while (content := read_shard(root, Shard(split, index))) is not None:
        data["images"] += content["images"]
        data["annotations"] += content["annotations"]
        capture = str(content["capture"])
        for part in ("joint_3d", "MANO_NeuralAnnot"):
            by_capture[part].setdefault(capture, {}).update(content[part])
        cameras = by_capture["camera"].setdefault(capture, {})
        for key, values in content["camera"].items():
            cameras.setdefault(key, {}).update(values)
        index += 1
    annotation_path(root, split, "data").parent.mkdir(parents=True, exist_ok=True)
    # The list of images comes last: whoever finds it finds the rest.
    for part in reversed(ANNOTATION_PARTS):
        write_bytes_atomic(annotation_path(root, split, part), compact(data if part == "data" else by_capture[part]))
