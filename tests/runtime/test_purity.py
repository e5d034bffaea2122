"""What ships inside products stays small and safe: its imports, what it never calls, what it does when it runs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import runtime

PACKAGE = Path(runtime.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
ENGINES = {"onnxruntime", "tensorrt", "pycuda", "cuda", "coremltools"}  # imported where a model file asks for them
# Of the standard library, by name: nothing that reaches the network, starts a process or unpickles.
STANDARD = {
    *("__future__", "argparse", "collections", "contextlib", "dataclasses", "difflib", "errno", "functools", "hashlib"),
    *("importlib", "io", "itertools", "json", "math", "mmap", "os", "pathlib", "platform", "re", "secrets", "shlex"),
    *(
        "stat",
        "struct",
        "sys",
        "threading",
        "time",
        "types",
        "typing",
        "weakref",
        "zipfile",
        "zlib",
        "_sha2",
        "_sha256",
    ),
}
ALLOWED = {"numpy", "cv2", "runtime", *ENGINES, *STANDARD}
# Never as a name, an attribute or a whole text (as for getattr), in any module.
FORBIDDEN = {
    *("eval", "exec", "__import__", "__builtins__", "builtins", "breakpoint", "globals", "locals", "vars", "execfile"),
    *("__globals__", "__subclasses__", "__loader__", "__reduce__", "__code__", "exec_module", "load_module", "modules"),
    *("system", "popen", "Popen", "fork", "forkpty", "execv", "execve", "execvp", "spawnv", "spawnl", "posix_spawn"),
    *("startfile", "CDLL", "dlopen", "ctypes", "pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"),
    *("subprocess", "multiprocessing", "pty", "runpy", "socket", "ssl", "urllib", "http", "requests"),
    *("ftplib", "smtplib", "xmlrpc", "asyncio", "socketserver", "webbrowser", "fromfile", "memmap", "DataSource"),
}
OS_ALLOWED = {
    *("PathLike", "fspath", "environ", "open", "close", "fsync", "replace", "dup2", "devnull", "path", "fsdecode"),
    "sched_getaffinity",
    *("O_RDONLY", "O_WRONLY", "O_CREAT", "O_EXCL"),
}
# The package's one import by name, of its own modules.
LAZY_IMPORT = "getattr(importlib.import_module(f'runtime.{_HOME[name]}'), name)"


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (
                "a relative import, which breaks when a module runs as a script"
                if node.level
                else ((node.module or "").split(".")[0])
            )


def offences(source: str, name: str = "module.py") -> list[str]:
    """What in a module's source is not allowed there."""
    tree = ast.parse(source)
    found = [module for module in imports(tree) if module not in ALLOWED]
    modules = {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    exempt: set[int] = set()
    if name == "__init__.py":
        lazy = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node) == LAZY_IMPORT]
        exempt = {id(inner) for node in lazy for inner in ast.walk(node)}
        directory = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "__dir__"]
        exempt |= {id(inner) for node in directory for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in exempt:
            continue
        if isinstance(node, ast.Name) and (node.id in FORBIDDEN or node.id == "compile"):
            found.append(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in FORBIDDEN:
            found.append(repr(node.value))
        elif isinstance(node, ast.ImportFrom):
            found += [alias.name for alias in node.names if alias.name in FORBIDDEN]
            if node.module in ("os", "importlib", "sys"):
                found.append(f"from {node.module} import: say {node.module}.name")
        elif isinstance(node, ast.Attribute):
            found += _attribute_offences(node)
        elif isinstance(node, ast.Call):
            found += _call_offences(node, modules)
    return found


def _attribute_offences(node: ast.Attribute) -> list[str]:
    owner = ast.unparse(node.value)
    shown = f"{owner}.{node.attr}"
    if node.attr in FORBIDDEN or owner == "importlib" or (node.attr == "compile" and owner != "re"):
        return [shown]
    if owner == "os" and node.attr not in OS_ALLOWED:
        return [shown]
    if owner in ("np", "numpy") and node.attr in ("load", "save", "savez", "loadtxt", "genfromtxt"):
        return [shown]
    return []


def _call_offences(node: ast.Call, modules: set[str]) -> list[str]:
    name = getattr(node.func, "id", "")
    found = []
    if name in ("getattr", "setattr", "delattr") and (
        not isinstance(node.args[0], ast.Name | ast.Attribute) or ast.unparse(node.args[0]).split(".")[0] in modules
    ):
        found.append(ast.unparse(node))
    found += [f"allow_pickle={ast.unparse(k.value)}" for k in node.keywords if k.arg == "allow_pickle"]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_sources(path: Path) -> None:
    assert offences(path.read_text(), path.name) == []
    # Run as a script, a module's folder comes first on the path: no module may stand in for another.
    assert path.stem == "__init__" or path.stem not in sys.stdlib_module_names


@pytest.mark.parametrize(
    "source",
    [
        "import subprocess",
        "import socket as s",
        "from urllib.request import urlopen",
        "def f():\n    import pickle",
        "from . import image",
        "import torch",
        "eval('1')",
        "run = exec",
        "compile('1', '', 'eval')",
        "__import__('os')",
        "import importlib\nimportlib.import_module('x')",
        "from importlib import import_module",
        "import os\nos.system('ls')",
        "import os\nos.posix_spawn('ls', [], {})",
        "import os\nos.execlp('ls')",
        "from os import system",
        "import os\ngetattr(os, 'sys' + 'tem')('ls')",
        "import os as o\ngetattr(o.path, name)",
        "getattr(__builtins__, name)",
        "getattr(f(), 'x')",
        "x['__builtins__']",
        "import sys\nsys.modules['x']",
        "().__class__.__base__.__subclasses__()",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.lib.format.read_array(f, allow_pickle=True)",
        "globals()['x']",
    ],
)
def test_offences_are_found(source: str) -> None:
    assert offences(source)


def test_the_packages_own_lazy_import_is_allowed_there_alone() -> None:
    source = (PACKAGE / "__init__.py").read_text()
    assert offences(source, "__init__.py") == []
    assert offences(source, "other.py")


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
from runtime import demo
from runtime.image import draw
from runtime.hand import obj
assert "onnxruntime" not in sys.modules
hands = load(sys.argv[1])(np.zeros((64, 64, 3), np.uint8))
draw.draw_hands(np.zeros((64, 64, 3), np.uint8), hands, skeleton=True)
print(hands.right.present)
"""


def run_python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_runs_without_the_rest(tiny_model: Path) -> None:
    result = run_python(PROGRAM, str(tiny_model))
    assert (result.stdout, result.stderr) == ("True\n", "")


# What Python itself reports of what a process does, below all names: https://docs.python.org/3/library/audit_events.html
WATCHED = """
import sys

NEVER = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile",
         "pickle.", "marshal.", "ftplib.", "smtplib.", "urllib.", "http.", "webbrowser.", "pty.", "ctypes.dlopen",
         "exec", "compile")
LOADING = ("marshal.", "ctypes.dlopen", "exec", "compile")  # how Python imports modules
seen = []

def imports_something():
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False

def watch(event, arguments):
    if event.startswith(NEVER) and not (event.startswith(LOADING) and imports_something()):
        seen.append((event, str(arguments)[:200]))

import cv2, numpy, onnxruntime
import runtime.runner, runtime.video.tracking, runtime.video.smoothing, runtime.demo
sys.addaudithook(watch)
"""
WHOLE_RUN = """
model, folder, picture, clip = sys.argv[1:]
main = runtime.demo.main
assert main([picture, "--model", model, "--output-dir", folder, "--mesh", "obj", "glb", "--json"]) == 0
assert main([clip, "--model", model, "--output-dir", folder, "--smooth"]) == 0
assert main([clip, "--model", model, "--json", "--no-overlay", "--whole-image"]) == 0
print("seen", seen)
"""


def write_pictures(folder: Path) -> tuple[Path, Path]:
    import cv2
    import numpy as np

    rgb = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    picture, clip = folder / "picture.png", folder / "clip.mp4"
    cv2.imwrite(str(picture), rgb)
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), 30, (128, 96))
    for shift in range(4):
        writer.write(np.roll(rgb, shift, axis=1))
    writer.release()
    return picture, clip


def test_a_whole_run_does_nothing_else(tiny_model: Path, tmp_path: Path) -> None:
    """Pictures, videos, meshes: no socket is made, no process started, nothing unpickled, no code compiled."""
    picture, clip = write_pictures(tmp_path)
    result = run_python(WATCHED + WHOLE_RUN, str(tiny_model), str(tmp_path), str(picture), str(clip))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "seen []"


@pytest.mark.parametrize("deed", ["import socket; socket.socket()", "eval('1')", "import os; os.system('true')"])
def test_the_watch_sees(deed: str) -> None:
    result = run_python(WATCHED + deed + "\nprint('seen', len(seen) > 0)")
    assert result.stdout.splitlines()[-1] == "seen True", result.stderr
