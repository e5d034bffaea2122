"""What numba compiled is kept in the project's cache, or, where that cannot be written, nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.data import cache

RUN = """
import numpy as np
from training.data.synthhands.scene.contact import slide_to_gap
ones = np.ones((1, 3))
slide_to_gap(ones, np.ones(1), ones, np.ones(1), ones[0], 0.0)
"""


@pytest.mark.parametrize("writable", [True, False])
def test_where_compiled_code_is_kept(tmp_path: Path, writable: bool) -> None:
    root = Path(cache.__file__).parents[2]
    folder = tmp_path / "cache"
    if not writable:
        folder.write_bytes(b"")  # no folder
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"ER_EDGE_CACHE": str(folder), "HOME": str(tmp_path / "none")}
    before = set(root.rglob("*.nbi"))
    subprocess.run([sys.executable, "-c", RUN], check=True, cwd=root, env=environment)
    assert set(root.rglob("*.nbi")) == before
    assert bool(list(tmp_path.rglob("*.nbi"))) == writable
