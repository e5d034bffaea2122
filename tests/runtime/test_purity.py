"""What ships inside products stays small and safe: its imports, what it never calls, what it does when it runs."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import runtime
from runtime.errors import run_command
from runtime.video.outputs import video_file

PACKAGE = Path(runtime.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ENGINES = words(
    "onnxruntime openvino ai_edge_litert tensorrt pycuda cuda coremltools"
)  # imported where a model file asks for them
# Of the standard library, by name: nothing that reaches the network, starts a process or unpickles.
STANDARD = words(
    """__future__ argparse collections contextlib dataclasses difflib errno functools hashlib importlib io itertools
    json math os pathlib platform queue re secrets shlex signal stat struct sys threading time types typing zipfile
    zlib"""
)
ALLOWED = {"numpy", "cv2", *ENGINES, *STANDARD}
# Never as a name or in a text (as for getattr), in any module.
FORBIDDEN = words(
    """eval exec compile __import__ __builtins__ builtins breakpoint globals locals vars __globals__ __subclasses__
    __loader__ __code__ exec_module load_module import_module sys.modules os.system popen Popen fork forkpty execl
    execle execlp execv execve execvp spawnv spawnl posix_spawn startfile CDLL dlopen ctypes pickle marshal shelve dill
    cloudpickle joblib subprocess multiprocessing pty runpy socket ssl urllib http requests ftplib smtplib xmlrpc
    asyncio socketserver webbrowser fromfile memmap DataSource allow_pickle loadtxt genfromtxt np.load numpy.load"""
)
EXCEPTIONS = {
    # Its own modules, and engines by the names in its source.
    "import_module": words("runtime/__init__.py backends/backend.py backends/opening.py"),
    "sys.modules": words("runtime/__init__.py"),
    "compile": words("hand/npz.py"),  # re.compile
    **dict.fromkeys(words("http http.server socket ssl segno"), words("runtime/web.py")),  # it is a server, no more
}


def offences(source: str, depth: int = 1) -> set[str]:
    """What in a module's source is not allowed there; `depth`: how many packages it lies in."""
    tree = ast.parse(source)
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            level = 0 if isinstance(node, ast.Import) else node.level
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or "."]
            found |= {name for name in names if level > depth or (not level and name.split(".")[0] not in ALLOWED)}
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant("")  # a docstring
    code = ast.unparse(tree)
    return found | {word for word in FORBIDDEN if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", code)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_sources(path: Path) -> None:
    found = offences(path.read_text(encoding="utf-8"), len(path.relative_to(PACKAGE).parts))
    assert {word for word in found if not any(map(path.match, EXCEPTIONS.get(word, ())))} == set()
    # Run as a script, a module's folder comes first on the path: no module may stand in for another.
    assert path.stem == "__init__" or path.stem not in sys.stdlib_module_names


@pytest.mark.parametrize(
    "source", ["import torch", "import runtime", "from ..a import b", "eval(x)", "getattr(os, 'popen')", "np.load(x)"]
)
def test_offences_are_found(source: str) -> None:
    assert offences(source)


RUN_DEMO = "from runtime.errors import run_command; from runtime.demo import main; run_command(main)"


def run_python(program: str, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    command = [*before, sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_an_opencv_that_cannot_be_imported() -> None:
    """As in a slim container without libGL."""
    result = run_python("import sys; sys.modules['cv2'] = None\n" + RUN_DEMO, "a.jpg", "--model", "m.onnx")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: OpenCV cannot be imported") and result.stderr.count("\n") == 1


@pytest.mark.parametrize("where", [">&-", ">/dev/full"])
def test_an_output_that_takes_nothing(where: str) -> None:
    program = "from runtime.errors import run_command; run_command(lambda: print('hands') or 0)"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} {where}"
    result = subprocess.run(command, shell=True, cwd=PACKAGE.parent, capture_output=True, text=True)
    if where == ">&-":
        assert (result.returncode, result.stderr) == (0, "")
    else:
        assert (result.returncode, result.stderr) == (2, "error: [Errno 28] No space left on device\n")


def test_what_the_system_refuses_keeps_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_command(lambda: len((tmp_path / "none").read_bytes()))
    assert capsys.readouterr().err == f"error: [Errno 2] No such file or directory: '{tmp_path / 'none'}'\n"


def test_a_console_that_lacks_a_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    result = run_python("from runtime.errors import run_command; run_command(lambda: print('\u624b.png') or 0)")
    assert (result.returncode, result.stdout) == (0, "?.png\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [
        "from runtime import load; load(sys.argv[1], threads=1); time.sleep(12)",
        "import runtime, openvino, nncf; openvino.convert_model(sys.argv[1]); time.sleep(2)",
    ],
    ids=["onnxruntime", "openvino"],
)
def test_engines_tell_nobody(program: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What native code does, no audit hook sees: onnxruntime's telemetry writes a file, then looks a host up."""
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "")  # as good as unset
    for name in ("CI", "TF_BUILD", "JENKINS_URL"):  # where the others do not report
        monkeypatch.delenv(name, raising=False)
    if "openvino" in program:
        pytest.importorskip("nncf")
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    trace = tmp_path / "trace"
    tracer = ("strace", "-f", "-qq", "-e", "trace=network", "-o", str(trace)) if shutil.which("strace") else ()
    result = run_python("import sys, time; " + program, str(tiny_model), before=tracer)
    assert (result.returncode, list((tmp_path / "home").rglob("*"))) == (0, [])
    assert not tracer or "AF_INET" not in trace.read_text(encoding="utf-8")


WHOLE_RUN = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in "torch onnx scipy numba tqdm training compress benchmarks targets".split():
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Blocker())
import runtime.errors, runtime.demo
assert "cv2" not in sys.modules and "onnxruntime" not in sys.modules
import runtime.processing

seen = []
NEVER = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "pickle.", "urllib.")
sys.addaudithook(lambda event, arguments: seen.append((event, arguments)) if event.startswith(NEVER) else None)
model, folder, example, clip = sys.argv[1:]
main = runtime.demo.main
assert main([example, "--model", model, "--output-dir", folder, "--mesh", "obj", "glb", "--json"]) == 0
assert main([clip, "--model", model, "--output-dir", folder, "--smooth"]) == 0
print("seen", seen)
"""


def test_a_whole_run_does_nothing_else(tiny_model: Path, tmp_path: Path) -> None:
    """Pictures, videos, meshes: no socket, process or pickle, nothing of the project's other packages.

    What Python itself reports, below all names: https://docs.python.org/3/library/audit_events.html
    """
    clip = tmp_path / "clip.mp4"
    with video_file(clip, 30.0) as video:
        for value in range(4):
            video.write(np.full((96, 128, 3), value, np.uint8))
    example = PACKAGE.parent / "docs" / "example.jpg"
    result = run_python(WHOLE_RUN, *map(str, (tiny_model, tmp_path, example, clip)))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "seen []"
