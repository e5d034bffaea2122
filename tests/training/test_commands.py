"""Command lines where no package of the extras is installed."""

from __future__ import annotations

import os
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
    assert "cannot be imported (No module named" in refused.stderr and refused.stderr.count("\n") == 1
    assert refused.stderr.endswith("pip install -e '.[train]'\n")


TOOLS = (
    "compress.export compress.prune compress.sensitivity compress.onnx.lint benchmarks.run "
    "training.data.synthhands training.data.contact_sheet"
)


@pytest.mark.parametrize("module", TOOLS.split())
def test_an_opencv_without_a_library_of_the_system(module: str, tmp_path: Path) -> None:
    """As in a slim container: its import fails long before the command line is read."""
    reason = "libGL.so.1: cannot open shared object file"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({reason!r}, name='cv2')")
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    refused = subprocess.run(
        [sys.executable, "-m", module, "--help"], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: ") and refused.stderr.count("\n") == 1
    assert reason in refused.stderr and "pip install opencv-python-headless" in refused.stderr
