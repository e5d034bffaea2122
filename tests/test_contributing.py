"""CONTRIBUTING.md and the Dockerfiles name what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_paths_are_there() -> None:
    paths = [path for path in re.findall(r"`([\w./-]+)`", PAGE) if "/" in path]
    assert len(paths) > 20
    for path in paths:
        folder = path if "NAME" not in path else re.split(r"/(?=[^/]*NAME)", path)[0]
        assert (ROOT / folder).exists(), path


@pytest.mark.parametrize("target", re.findall(r"make ([\w-]+)", PAGE))
def test_make_targets_are_there(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.M)


def test_what_each_list_begins_with_has_such_a_place() -> None:
    from compress.formats import FORMATS, Steps
    from runtime.backends.opening import BACKENDS
    from training.data.dataset import READERS
    from training.network import VARIANTS

    functions = {name for name in vars(Steps) if not name.startswith("_")}
    assert len(functions) == 4 and all(functions <= set(dir(row.steps)) for row in FORMATS.values())
    for reader in READERS:
        assert {"NAME", "FILES", "find_root", "read_frames"} <= set(dir(reader))
    assert {row.suffix for row in FORMATS.values()} - {".web"} == set(BACKENDS)
    trained = {path.stem for path in (ROOT / "training" / "weights").glob("*.safetensors")}
    recipes = {path.stem for path in (ROOT / "training" / "recipes").glob("*.toml")}
    assert trained <= set(VARIANTS) & recipes
