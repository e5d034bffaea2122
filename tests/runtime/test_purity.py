"""What ships inside products stays small and safe: its imports, and what it never calls."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import runtime

PACKAGE = Path(runtime.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
ENGINES = {"onnxruntime", "tensorrt", "pycuda", "cuda"}  # imported where a model file asks for them
ALLOWED = {"numpy", "cv2", "runtime", *ENGINES, *sys.stdlib_module_names}
FORBIDDEN = {
    *("pickle", "marshal", "shelve", "dill", "ctypes", "subprocess", "multiprocessing", "pty"),
    *("socket", "ssl", "urllib", "http", "ftplib", "smtplib", "xmlrpc", "asyncio", "socketserver", "webbrowser"),
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "system", "popen"}


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports break when a module runs as a script"
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_sources(path: Path) -> None:
    tree = ast.parse(path.read_text())
    used = imports(tree)
    assert used <= ALLOWED
    assert not used & FORBIDDEN
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert name not in FORBIDDEN_CALLS, ast.unparse(node)
            allowed_pickle = [k for k in node.keywords if k.arg == "allow_pickle" and ast.unparse(k.value) != "False"]
            assert not allowed_pickle
    # Run as a script, a module's folder comes first on the path: no module may stand in for another.
    assert path.stem == "__init__" or path.stem not in sys.stdlib_module_names


BLOCKED = ("torch", "onnx", "scipy", "numba", "tqdm", "training", "compress", "benchmarks", "targets")
PROGRAM = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED}:
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Blocker())
import numpy as np
import runtime.errors
assert "cv2" not in sys.modules and "onnxruntime" not in sys.modules
from runtime import load
from runtime import demo, draw, export_mesh
assert "onnxruntime" not in sys.modules
hands = load(sys.argv[1])(np.zeros((64, 64, 3), np.uint8))
draw.draw_hands(np.zeros((64, 64, 3), np.uint8), hands, skeleton=True)
print(hands.right.present)
"""


def test_runs_without_the_rest(tiny_model: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-c", PROGRAM, str(tiny_model)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("True\n", "")
