"""Command lines where no package of the extras is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Imports torch, numpy and all else that is not Python's own as if they were not installed.
WITHOUT_PACKAGES = """
import runpy, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "numpy", "cv2", "tqdm", "cattrs", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("command", ["train", "distill", "evaluate"])
def test_help_needs_no_package_and_the_run_says_which(command: str) -> None:
    script = [sys.executable, "-c", WITHOUT_PACKAGES, str(ROOT / "training" / f"{command}.py")]
    shown = subprocess.run([*script, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0 and "--variant" in shown.stdout, shown.stderr
    refused = subprocess.run([*script, "--variant", "er-xs"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "is not installed: pip install 'er-edge[train]'" in refused.stderr and "Traceback" not in refused.stderr
