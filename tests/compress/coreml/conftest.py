"""A small package with a bit of everything: weights in the file, constants in the program, two outputs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures.mil_programs import write_program

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(8, 3, 3, 3)).astype(np.float32)
TABLE = RNG.normal(size=(8, 8)).astype(np.float32)


def small_network(mb: Any, x: Any) -> tuple[Any, Any]:
    """(1, 3, 8, 8) -> "found" (1, 8), "soft" (1, 36)."""
    x = mb.conv(x=mb.sub(x=x, y=np.float32(0.5)), weight=WEIGHT, strides=[1, 1], pad_type="valid", name="seen")
    x = mb.relu(x=x, name="bent")
    mean = mb.reduce_mean(x=x, axes=[2, 3], name="mean")
    found = mb.linear(x=mean, weight=TABLE, name="found")
    first = mb.slice_by_index(x=x, begin=[0, 0, 0, 0], end=[1, 1, 6, 6], name="first")
    return found, mb.softmax(x=mb.reshape(x=first, shape=[1, 36]), axis=-1, name="soft")


@pytest.fixture(scope="session")
def small_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return write_program(tmp_path_factory.mktemp("package") / "small.mlpackage", (1, 3, 8, 8), small_network)


@pytest.fixture
def copied(small_package: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    path = tmp_path / "damaged.mlpackage"
    shutil.copytree(small_package, path)
    return path
