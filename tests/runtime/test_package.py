"""The wheel, which is what a device installs: one import package, one command, small, and it runs without a network.

Other Pythons have no numpy here: in them the command only starts. `make test-runtime-matrix` runs all of this in each.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from tests.runtime_matrix import find_python

ROOT = Path(__file__).parents[2]
THIS = ".".join(platform.python_version_tuple()[:2])
MOST_BYTES = 3_000_000
BUILD = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index")
TRAVELS = "import pickle, sys, er_edge; runner = pickle.loads(pickle.dumps(er_edge.load(sys.argv[1]))); print(runner)"


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    left_out = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if name not in left_out}
    return subprocess.run(list(map(str, words)), env=env | environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: builds leave folders behind."""
    clone = tmp_path_factory.mktemp("clone")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, clone)
    shutil.copytree(ROOT / "runtime", clone / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
    done = run(*BUILD, clone, "-w", clone / "dist")
    assert done.returncode == 0, done.stderr
    (path,) = (clone / "dist").iterdir()
    return path


@pytest.mark.parametrize("version", dict.fromkeys(("3.10", "3.13", THIS)))
def test_the_wheel(wheel: Path, version: str, tiny_model: Path, tmp_path: Path) -> None:
    assert wheel.stat().st_size < MOST_BYTES
    python = find_python(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    assert run(python, "-m", "venv", tmp_path / "venv").returncode == 0
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    before = set(site.iterdir())
    python, command = (tmp_path / "venv/bin" / name for name in ("python", "er-edge"))
    done = run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel)
    assert done.returncode == 0, done.stderr
    package, about = sorted(path.name for path in set(site.iterdir()) - before)
    assert package == "er_edge" and about.startswith("er_edge-") and about.endswith(".dist-info")
    modules = {path.relative_to(ROOT / "runtime") for path in (ROOT / "runtime").rglob("*.py")}
    assert {path.relative_to(site / package) for path in (site / package).rglob("*.py")} == modules

    assert run(python, "-W", "error", "-m", "compileall", "-q", "-f", site / package).returncode == 0
    assert run(command, "--help").stdout.startswith("usage: er-edge")
    refused = run(command, "web", tmp_path)
    assert refused.returncode == 2 and "is no page" in refused.stderr
    if version != THIS:
        return
    libraries = os.pathsep.join({str(Path(module.__file__ or "").parents[1]) for module in (cv2, np, onnxruntime)})
    alone = ("unshare", "--user", "--map-root-user", "--net")  # a network of its own, without anything in it
    alone = alone if shutil.which(alone[0]) and run(*alone, "true").returncode == 0 else ()
    example = ROOT / "docs" / "example.jpg"
    words = (command, example, "--model", tiny_model, "--output-dir", tmp_path / "out", "--json")
    done = run(*alone, *words, PYTHONPATH=libraries)
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert facts["hands"]["right"]["present"] and all(Path(path).exists() for path in facts["files"])
    done = run(python, "-c", TRAVELS, tiny_model, PYTHONPATH=libraries)
    assert done.stdout.startswith("<er_edge.runner.Runner"), done.stderr
