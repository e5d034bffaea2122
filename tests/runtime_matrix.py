"""The runtime's tests with old and new Pythons, numpys and onnxruntimes: one environment each, with pip.

python -m tests.runtime_matrix [--list] [--only 3.10] [--folder build/runtime-matrix]

An environment has numpy, OpenCV and onnxruntime, what the tests need (pytest, hypothesis, and onnx, which writes their
models), and nothing else of the project's: tests that import more than the runtime are left out, and counted.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import CommandParser, UserError, run_command

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "runtime"
INSTALL_SECONDS, TEST_SECONDS = 600, 900
TOOLS = ("pytest>=8", "hypothesis>=6.100")
LIBRARIES = ("numpy", "onnxruntime", "opencv-python-headless", "onnx")
# What a tests' import may start with in an environment without the rest of the project.
PRESENT = {"runtime", "tests", "numpy", "cv2", "onnxruntime", "onnx", "pytest", "hypothesis", *sys.stdlib_module_names}


@dataclass(frozen=True)
class Combination:
    """Versions as pip takes them."""

    python: str
    numpy: str
    onnxruntime: str
    opencv: str
    onnx: str  # for the tests

    @property
    def name(self) -> str:
        """Of its folder."""
        text = f"py{self.python}-numpy{self.numpy}-ort{self.onnxruntime}"
        return re.sub(r"[^a-z0-9.]+", "-", text).strip("-")

    @property
    def packages(self) -> list[str]:
        """What pip installs."""
        versions = (self.numpy, self.onnxruntime, self.opencv, self.onnx)
        return [name + version for name, version in zip(LIBRARIES, versions, strict=True)] + list(TOOLS)


# The oldest and the newest of each, and what lies between: onnxruntime 1.17 and 1.18 know numpy 1 alone.
COMBINATIONS = (
    Combination("3.10", "==1.23.5", "==1.17.0", "==4.8.1.78", "==1.17.0"),
    Combination("3.10", "==2.0.2", "==1.20.1", "==4.10.0.84", "==1.17.0"),
    Combination("3.10", "<2.4", "", "", ""),
    Combination("3.11", "==1.23.5", "==1.18.1", "==4.9.0.80", "==1.17.0"),
    Combination("3.11", "==1.26.4", "==1.22.1", "==4.11.0.86", "==1.17.0"),
    Combination("3.11", "<2.4", "", "", ""),
    Combination("3.12", "==1.26.4", "==1.17.3", "==4.9.0.80", "==1.17.0"),
    Combination("3.12", "==2.1.3", "==1.19.2", "==4.10.0.84", "==1.17.0"),
    Combination("3.12", "<2.4", "", "", ""),
    Combination("3.13", "==2.1.3", "==1.20.1", "==4.10.0.84", "==1.18.0"),
    Combination("3.13", "<2.4", "", "", ""),
    Combination("3.13", "", "", "", ""),  # whatever is newest, ahead of what the project allows
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; `arguments` without the program's name."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("--list", action="store_true", help="show the combinations and what would be left out")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="combinations whose name contains one of these")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "runtime-matrix", help="environments go there")
    parser.add_argument("-k", dest="which", metavar="EXPRESSION", help="which tests, as for pytest; default: all")
    options = parser.parse_args(arguments)
    wanted = [c for c in COMBINATIONS if not options.only or any(text in c.name for text in options.only)]
    if not wanted:
        raise UserError(f"no combination's name contains {' or '.join(options.only)}: see --list")
    tests = sorted(TESTS.rglob("test_*.py"))
    fit = [path for path in tests if set(_imported(path)) <= PRESENT]
    left_out = ", ".join(path.name for path in tests if path not in fit)
    print(f"{len(fit)} test files; left out, as they import more than the runtime: {left_out or 'none'}")
    if options.list:
        print("\n".join(f"{c.name}: {' '.join(c.packages)}" for c in wanted))
        return 0
    statuses = []
    for combination in wanted:
        status, detail = try_combination(combination, options.folder, fit, options.which)
        statuses.append(status)
        print(f"{status:8}  {combination.name}  {detail}", flush=True)
    made = [status for status in statuses if status != "not made"]
    print(f"{len(made)} of {len(statuses)} could be made, {made.count('passed')} passed")
    return 0 if made and set(made) == {"passed"} else 1


def _imported(path: Path) -> Iterator[str]:
    """Top-level names of what a file imports, and of what the files of tests/ that it imports import at their tops."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if path.is_relative_to(TESTS) else tree.body:
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        for module in modules:
            yield module.split(".")[0]
            file = ROOT / (module.replace(".", "/") + ".py")
            if module.startswith("tests.") and file.is_file():
                yield from _imported(file)


def try_combination(
    combination: Combination, folder: Path, tests: list[Path], which: str | None = None
) -> tuple[str, str]:
    """Make the environment and run the tests in it, or those that fit pytest's expression; status and details."""
    python = find_python(combination.python)
    if python is None:
        return "not made", f"there is no Python {combination.python} here"
    home = folder / combination.name
    interpreter = str(home / "bin" / "python")
    install = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    for command in ([python, "-m", "venv", "--clear", str(home)], [*install, *combination.packages]):
        done = _run(command, INSTALL_SECONDS)
        if done.returncode != 0:
            shutil.rmtree(home, ignore_errors=True)
            return "not made", (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:300]
    freeze = _run([interpreter, "-m", "pip", "freeze"], 60).stdout.split()
    versions = ", ".join(line for line in freeze if line.split("==")[0] in LIBRARIES)
    options = ["-q", "-p", "no:cacheprovider", "-m", "not slow", "--no-header", *(["-k", which] if which else [])]
    done = _run([interpreter, "-m", "pytest", *options, *map(str, tests)], TEST_SECONDS)
    lines = done.stdout.strip().splitlines() or ["pytest said nothing"]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    detail = "; ".join([f"[{versions}]", lines[-1].strip("= "), *failed[:10]])
    return "passed" if done.returncode == 0 else "failed", detail


def find_python(version: str) -> str | None:
    """An interpreter of that version: this one, on the path, pyenv's, or uv's."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return str(getattr(sys, "_base_executable", sys.executable))
    candidates = [shutil.which(f"python{version}")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates += [str(found / "bin" / "python") for found in sorted(pyenv.glob(f"{version}.*"), reverse=True)]
    if shutil.which("uv") is not None:
        candidates.append(_run(["uv", "python", "find", version], 60).stdout.strip())
    for candidate in filter(None, candidates):
        say = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
        if _run([candidate, "-c", say], 60).stdout.strip() == version:
            return candidate
    return None


def _run(command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}
    try:
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", f"{type(error).__name__}: {str(error)[-200:]}")


if __name__ == "__main__":
    run_command(main)
