"""As in a container (`make test-container`): one core, code on a read-only disk, no home, no user's name, no network.

Namespaces make it so for real. Where a kernel forbids them a warning says so, and the rest (one core, no home, sockets
of Python that fail) stays.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IMAGES = "48"  # one shard of the synthetic set
# Outside, this user is root or whoever runs the tests; inside, number 12345, whom no list knows.
ENTER = ("unshare", "--user", "--map-root-user", "--mount", "--net")
CLOSE = """
set -e
IFS=$'\\n'
for folder in $READ_ONLY; do mount --bind "$folder" "$folder"; mount -o remount,bind,ro "$folder"; done
exec unshare --user --map-user=12345 --map-group=12345 "$@"
"""
NO_SOCKETS = """
import socket
def refuse(*_, **__):
    raise OSError(101, "Network is unreachable")
socket.socket.connect = socket.getaddrinfo = refuse
"""
ON_ONE_CORE = """
import os, sys
from runtime import load
from runtime.image import read_image
runner = load(sys.argv[1])
for _ in range(5):
    runner(read_image(sys.argv[2]))
print(len(os.listdir("/proc/self/task")))
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


def refusal(folder: Path) -> str:
    """Why this kernel gives no such container; nothing where it does."""
    check = 'test "$(id -u)" = 12345 && ! touch "$0/.written" 2>/dev/null'
    try:
        tried = subprocess.run(
            [*ENTER, "bash", "-c", CLOSE, "-", "bash", "-c", check, str(folder)],
            env={**os.environ, "READ_ONLY": f"{ROOT}\n{folder}"},
            capture_output=True,
            text=True,
        )
    except FileNotFoundError as error:
        return str(error)
    return "" if tried.returncode == 0 else tried.stderr.strip() or "its folders can be written to"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs Python with arguments in such a container; `cache` is ER_EDGE_CACHE, which may be read-only."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("containers are Linux")
    work = tmp_path_factory.mktemp("work")
    refused = refusal(work)
    if refused:
        warnings.warn(
            f"no namespaces here ({refused}): code can be written to, sockets fail in Python alone", stacklevel=1
        )
    (work / "sitecustomize.py").write_text(NO_SOCKETS, encoding="utf-8")
    core = min(os.sched_getaffinity(0))

    def run_python(
        *arguments: str | Path, cache: Path | None = None, read_only: bool = False
    ) -> subprocess.CompletedProcess[str]:
        left_out = ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "OMP_NUM_THREADS", "ER_EDGE_CACHE")
        environment = {name: value for name, value in os.environ.items() if name not in left_out}
        environment["PYTHONPATH"] = os.pathsep.join(map(str, [ROOT, *([work] if refused else [])]))
        if cache is not None:
            environment["ER_EDGE_CACHE"] = str(cache)
        environment["READ_ONLY"] = f"{ROOT}\n{cache}" if read_only else str(ROOT)
        enclosed = [] if refused else [*ENTER, "bash", "-c", CLOSE, "-"]
        return subprocess.run(
            [*enclosed, sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env=environment | ({"HOME": "/proc/none"} if refused else {}),
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            capture_output=True,
            text=True,
        )

    return run_python


@pytest.fixture(scope="module")
def exported(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A cache with what an export needed, all made in there, and the exported file."""
    folder = tmp_path_factory.mktemp("container")
    samples = ("--calib-samples", IMAGES, "--test-images", IMAGES, "--max-drop-mm", "5", "--output-dir", folder)
    done = run("compress/export.py", "--variant", "er-nano", "--int8", *samples, cache=folder / "cache")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "cache", folder / "er-nano_160_int8.onnx"


@pytest.mark.parametrize("command", ["compress/export.py", "training/train.py"])
def test_without_a_home_the_cache_is_asked_for(run: Run, tmp_path: Path, command: str) -> None:
    extra = ["--output-dir", tmp_path] if "export" in command else []
    done = run(command, "--variant", "er-nano", *extra)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "set ER_EDGE_CACHE to a folder that you may write to" in done.stderr


def test_pictures_on_one_core(run: Run, exported: tuple[Path, Path], tmp_path: Path) -> None:
    model, example = exported[1], ROOT / "docs/example.jpg"
    done = run("runtime/demo.py", example, "--model", model, "--output-dir", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert {Path(path).exists() for path in json.loads(done.stdout)["files"]} == {True}
    done = run("-c", ON_ONE_CORE, model, example)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_a_set_on_a_disk_that_became_read_only(run: Run, exported: tuple[Path, Path]) -> None:
    cache, _ = exported
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    command = ("training/evaluate.py", "--variant", "er-nano", "--images", IMAGES, "--json")
    done = run(*command, cache=cache, read_only=True)
    assert done.returncode == 0 and json.loads(done.stdout), done.stderr[-3000:]
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


def test_a_training_run(run: Run, exported: tuple[Path, Path], tmp_path: Path) -> None:
    """Its workers, curves and compiled kernels find a place."""
    cache, _ = exported
    done = run("-m", "training.data.synthhands", "--split", "val", "--images", IMAGES, cache=cache)
    assert done.returncode == 0, done.stderr[-3000:]
    (data,) = cache.glob("synthhands-v*")
    arguments = ("--variant", "er-nano", "--data", data, "--batch", "8", "--minutes", "0.02", "--run-dir", tmp_path)
    done = run("training/train.py", *arguments, cache=cache)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "er-nano.safetensors").exists()
