"""Making sure that a synthetic set is on disk: missing shards are made, then the official annotation files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
from tqdm import tqdm

from runtime.errors import UserError
from runtime.files import write_bytes_atomic
from runtime.machine import usable_cores
from training.data.cache import cache_dir, cache_error, locked
from training.data.synthhands.frame import Studio, build_studio, draw_frame, make_frame
from training.data.synthhands.schedule import SEED, SHARD_IMAGES, SPLIT_CAPTURES, Shard, shards_for
from training.data.synthhands.shards import compact, make_shard, read_shard
from training.data.synthhands.table import V2, Table

ANNOTATION_PARTS = ("data", "camera", "joint_3d", "MANO_NeuralAnnot")
DATASET_FILE = "dataset.json"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def default_root(table: Table = V2) -> Path:
    """The set's folder in the project's cache."""
    return cache_dir() / f"synthhands-{table.name}"


def ensure_synthetic(
    split: str,
    n_images: int,
    *,
    table: Table = V2,
    photographs: tuple[Path, ...] = (),
    root: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Makes sure the set below `root` holds at least the first `n_images` of `split`; returns the root.

    Only missing shards are made, in `workers` processes (None: one per core; 1: in this process). May be killed at any
    time and asked again; where nothing is missing, nothing is written. Raises UserError where the disk does not allow
    it, or holds another set. `photographs` are the user's, for backgrounds: such a set needs a root of its own.
    """
    shards = shards_for(split, n_images)
    if workers is not None and workers < 1:
        raise UserError(f"cannot work with {workers} processes: give --workers 1 or more")
    if root is None and photographs:
        raise UserError("a set with your own backgrounds is kept apart from the usual one: give it a --root")
    root = default_root(table) if root is None else Path(root)
    studio = build_studio(table, photographs)
    try:
        if not _is_complete(root, studio, shards):
            root.mkdir(parents=True, exist_ok=True)
            with locked(root / ".lock"):
                if not _is_complete(root, studio, shards):  # by whoever had the lock before
                    _complete(root, studio, shards, workers or usable_cores() or os.cpu_count() or 1, progress)
    except OSError as error:
        raise cache_error(root, error) from error
    return root


def annotation_path(root: Path, split: str, part: str) -> Path:
    """One of the official annotation files."""
    return root / "annotations" / split / f"InterHand2.6M_{split}_{part}.json"


def _identity(studio: Studio) -> dict[str, Any]:
    model = studio.models[0]
    names = "\n".join(path.name for path in studio.photographs)
    return {
        "name": f"SynthHands {studio.table.name}",
        "synthetic": True,
        "generator_version": studio.table.version,
        "seed": SEED,
        "hand_model": {"name": model.name, "sha256": model.sha256},
        "renderer": 2 + studio.table.revision,
        **({"backgrounds_sha256": hashlib.sha256(names.encode()).hexdigest()} if names else {}),
    }


def _is_complete(root: Path, studio: Studio, shards: list[Shard]) -> bool:
    """Whether all shards are there, of this generator, and listed in the annotation files."""
    try:
        found = json.loads((root / DATASET_FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except ValueError:
        found = None
    wanted = _identity(studio)
    # Version 1 as an earlier renderer drew it is read, but not added to.
    earlier = found == {key: value for key, value in wanted.items() if key != "renderer"}
    if found != wanted and not earlier:  # another generator's or hand model's pictures are not mixed in
        raise UserError(f"{root} holds another data set or version: delete it or choose another folder")
    last = ""
    for shard in shards:
        if (content := read_shard(root, shard)) is None:
            break
        last = content["images"][-1]["file_name"]
    else:
        lists = [annotation_path(root, shards[0].split, part) for part in ANNOTATION_PARTS]
        if all(path.is_file() for path in lists) and last.encode() in lists[0].read_bytes():
            return True
    if earlier:
        raise UserError(f"{root} holds fewer images, drawn by an earlier version: ask for fewer or delete it")
    return False


def _complete(root: Path, studio: Studio, shards: list[Shard], workers: int, progress: bool) -> None:
    """Makes what is missing."""
    missing = [shard for shard in shards if read_shard(root, shard) is None]
    write_bytes_atomic(root / DATASET_FILE, json.dumps(_identity(studio), indent=2).encode() + b"\n")
    if workers == 1 or len(missing) <= 1:
        made = (make_shard(root, studio.table, studio.photographs, shard) for shard in missing)
    else:
        made = _in_processes(root, studio, missing, workers)
    total, name = len(missing) * SHARD_IMAGES, f"SynthHands {shards[0].split}"
    with contextlib.closing(made), tqdm(total=total, unit="img", desc=name, disable=not progress) as bar:
        for count in made:
            bar.update(count)
    _assemble(root, shards[0].split)


def _in_processes(root: Path, studio: Studio, shards: list[Shard], workers: int) -> Generator[int, None, None]:
    # Compiles the kernels once: workers load them from numba's cache.
    next(draw_frame(studio, make_frame(studio, SPLIT_CAPTURES["train"][0], 0)))
    # The workers are the parallelism; their libraries count threads when they are loaded.
    one_thread = mock.patch.dict(os.environ, dict.fromkeys(_THREAD_VARIABLES, "1"))
    context = multiprocessing.get_context("spawn")
    try:
        with one_thread, ProcessPoolExecutor(min(workers, len(shards)), context, start_worker) as pool:
            # In order, and what has not begun is dropped at an interruption: a finished beginning is left.
            yield from pool.map(partial(make_shard, root, studio.table, studio.photographs), shards)
    except BrokenProcessPool:
        problem = "a worker process died (out of memory?): run again with fewer --workers; what is done is kept"
        raise UserError(problem) from None


def start_worker() -> None:
    """One thread per process; it ends with the one that started it."""
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
    by_capture: dict[str, Any] = {part: defaultdict(dict) for part in ANNOTATION_PARTS[1:]}
    index = 0
    while (content := read_shard(root, Shard(split, index))) is not None:
        data["images"] += content["images"]
        data["annotations"] += content["annotations"]
        capture = str(content["capture"])
        for part in ("joint_3d", "MANO_NeuralAnnot"):
            by_capture[part][capture] |= content[part]
        cameras = by_capture["camera"][capture]
        for key, values in content["camera"].items():
            cameras[key] = cameras.get(key, {}) | values
        index += 1
    annotation_path(root, split, "data").parent.mkdir(parents=True, exist_ok=True)
    # The list of images comes last: whoever finds it finds the rest.
    for part in reversed(ANNOTATION_PARTS):
        write_bytes_atomic(annotation_path(root, split, part), compact(data if part == "data" else by_capture[part]))
