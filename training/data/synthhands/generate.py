"""Making sure a synthetic set is on disk: which shards are missing, workers that make them, and the official files."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from training.data.cache import cache_dir
from training.data.synthhands import schedule as plan
from training.data.synthhands.files import UNFINISHED, exclusive, storage_errors, write_whole
from training.data.synthhands.shards import compact, make_shard, read_shard

ANNOTATION_PARTS = ("data", "camera", "joint_3d", "MANO_NeuralAnnot")
DATASET_FILE = "dataset.json"
# Mean size of a picture with its share of the annotations, to refuse early what cannot fit.
_BYTES_PER_IMAGE = 30_000
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def default_root() -> Path:
    return cache_dir() / f"synthhands-v{plan.GENERATOR_VERSION}"


def ensure_synthetic(
    split: str, n_images: int, *, root: Path | None = None, workers: int | None = None, progress: bool = True
) -> Path:
    """Makes sure the set below `root` holds at least the first `n_images` of `split`; returns the root.

    Only missing shards are made, in `workers` processes (None: one per core; 1: in this process). May be killed at any
    time and asked again. Raises UserError where the disk does not allow it, or holds another set.
    """
    shards = plan.shards_for(split, n_images)
    workers = _core_count() if workers is None else workers
    if workers < 1:
        raise UserError(f"cannot work with {workers} processes: give --workers 1 or more")
    root = default_root() if root is None else Path(root)
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        with exclusive(root / ".lock"):
            _check_same_set(root)
            missing = [shard for shard in shards if read_shard(root, shard) is None]
            if missing:
                _check_space(root, len(missing) * plan.SHARD_IMAGES)
                for unfinished in root.rglob(f"*{UNFINISHED}"):  # of a killed run
                    unfinished.unlink()
                write_whole(root / DATASET_FILE, _about())
                _make(root, missing, workers, progress)
            if missing or not _assembled(root, split):
                _assemble(root, split)
    return root


def annotation_path(root: Path, split: str, part: str) -> Path:
    return root / "annotations" / split / f"InterHand2.6M_{split}_{part}.json"


def _core_count() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _identity() -> dict[str, Any]:
    model = load_hand_models()[0]
    return {
        "name": f"SynthHands v{plan.GENERATOR_VERSION}",
        "synthetic": True,
        "generator_version": plan.GENERATOR_VERSION,
        "seed": plan.SEED,
        "hand_model": {"name": model.name, "sha256": model.sha256},
    }


def _about() -> bytes:
    return json.dumps(_identity(), indent=2).encode() + b"\n"


def _check_same_set(root: Path) -> None:
    """A folder holds one set: another generator's or hand model's pictures are not mixed in."""
    path = root / DATASET_FILE
    if not path.exists():
        return
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        found = None
    if found != _identity():
        raise UserError(f"{root} holds another data set or version: delete it or choose another folder")


def _check_space(root: Path, n_images: int) -> None:
    needed, free = n_images * _BYTES_PER_IMAGE, shutil.disk_usage(root).free
    if needed > free:
        raise UserError(
            f"{n_images} images need about {needed / 1e9:.1f} GB, {root} has {free / 1e9:.1f} GB free: "
            "free space or choose another folder"
        )


def _make(root: Path, shards: list[plan.Shard], workers: int, progress: bool) -> None:
    from tqdm import tqdm

    with tqdm(
        total=len(shards) * plan.SHARD_IMAGES, unit="img", desc=f"SynthHands {shards[0].split}", disable=not progress
    ) as bar:
        made = _here(root, shards) if workers == 1 or len(shards) == 1 else _in_processes(root, shards, workers)
        for count in made:
            bar.update(count)


def _here(root: Path, shards: list[plan.Shard]) -> Iterator[int]:
    from training.data.synthhands.frame import build_studio

    studio = build_studio()
    with _one_cv2_thread():
        for shard in shards:
            yield make_shard(root, shard, studio)


def _in_processes(root: Path, shards: list[plan.Shard], workers: int) -> Iterator[int]:
    _compile()
    context = multiprocessing.get_context("spawn")
    with _one_thread_each(), ProcessPoolExecutor(min(workers, len(shards)), context, _start_worker) as pool:
        # Few are handed out at a time, in order: an interrupted run leaves a finished beginning.
        waiting = iter(shards)
        running: set[Future[int]] = set()
        try:
            while True:
                while len(running) < 2 * workers and (shard := next(waiting, None)) is not None:
                    running.add(pool.submit(_make_in_worker, root, shard))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool:
            raise UserError(
                "a worker process died (out of memory?): run again with fewer --workers; what is done is kept"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _compile() -> None:
    """Compiles the kernels once, here, so that workers load them from numba's cache."""
    from training.data.synthhands.frame import build_studio, draw_frame, make_frame, person_of

    studio = build_studio()
    frame = make_frame(studio, plan.SPLIT_CAPTURES["train"][0], 0)
    next(draw_frame(studio, frame, person_of(frame)))


_worker_studio: Any = None


def _start_worker() -> None:
    global _worker_studio
    import cv2

    from training.data.synthhands.frame import build_studio

    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process: the parent decides
    cv2.setNumThreads(1)
    _worker_studio = build_studio()


def _follow(parent: Any) -> None:
    """Ends this worker when the process that started it dies, however it dies."""
    parent.join()
    os._exit(1)


def _make_in_worker(root: Path, shard: plan.Shard) -> int:
    return make_shard(root, shard, _worker_studio)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started inside run single-threaded: they are the parallelism."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _one_cv2_thread() -> Iterator[None]:
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _assembled(root: Path, split: str) -> bool:
    return all(annotation_path(root, split, part).is_file() for part in ANNOTATION_PARTS)


def _assemble(root: Path, split: str) -> None:
    """The official annotation files, from the unbroken row of shards there is."""
    data: dict[str, Any] = {"images": [], "annotations": []}
    by_capture: dict[str, dict[str, Any]] = {part: {} for part in ANNOTATION_PARTS[1:]}
    index = 0
    while (content := read_shard(root, plan.Shard(split, index))) is not None:
        data["images"] += content["images"]
        data["annotations"] += content["annotations"]
        capture = str(content["capture"])
        for part in ("joint_3d", "MANO_NeuralAnnot"):
            by_capture[part].setdefault(capture, {}).update(content[part])
        cameras = by_capture["camera"].setdefault(capture, {})
        for key, values in content["camera"].items():
            cameras.setdefault(key, {}).update(values)
        index += 1
    # The list of images comes last: whoever finds it finds the rest.
    for part in reversed(ANNOTATION_PARTS):
        write_whole(annotation_path(root, split, part), compact(data if part == "data" else by_capture[part]))
