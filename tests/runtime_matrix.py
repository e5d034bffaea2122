"""The runtime's tests with old and new Pythons, numpys and onnxruntimes: one environment each, with pip.

python -m tests.runtime_matrix [--list] [--only 3.10] [--folder build/runtime-matrix]

An environment has numpy, OpenCV and onnxruntime, what the tests need (pytest, hypothesis, and onnx, which writes their
models), and nothing else of the project's: tests that import more than the runtime are left out, and counted.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.errors import CommandParser, UserError, run_command

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "runtime"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
INSTALL_SECONDS, TEST_SECONDS = 600, 900
TOOLS = ("pytest>=8", "hypothesis>=6.100")
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
        return re.sub(r"[^a-z0-9.]+", "-", f"py{self.python}-numpy{self.numpy}-ort{self.onnxruntime}".lower()).strip(
            "-"
        )

    @property
    def packages(self) -> list[str]:
        """What pip installs."""
        named = {
            "numpy": self.numpy,
            "onnxruntime": self.onnxruntime,
            "opencv-python-headless": self.opencv,
            "onnx": self.onnx,
        }
        return [name + version for name, version in named.items()] + list(TOOLS)


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


@dataclass(frozen=True)
class Outcome:
    """What came of a combination."""

    combination: Combination
    status: str  # passed, failed, not made
    versions: dict[str, str]
    detail: str


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; `arguments` without the program's name."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("--list", action="store_true", help="show the combinations and what would be left out")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="combinations whose name contains one of these")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "runtime-matrix", help="environments go there")
    parser.add_argument("-k", dest="which", metavar="EXPRESSION", help="which tests, as for pytest; default: all")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the outcomes as JSON")
    options = parser.parse_args(arguments)
    wanted = [c for c in COMBINATIONS if not options.only or any(text in c.name for text in options.only)]
    if not wanted:
        raise UserError(f"no combination's name contains {' or '.join(options.only)}: see --list")
    fit, left_out = sort_tests()
    print(f"{len(fit)} test files; left out, as they import more than the runtime: {', '.join(left_out) or 'none'}")
    if options.list:
        print("\n".join(f"{c.name}: {' '.join(c.packages)}" for c in wanted))
        return 0
    outcomes = []
    for combination in wanted:
        outcome = try_combination(combination, options.folder, fit, options.which)
        outcomes.append(outcome)
        shown = ", ".join(f"{name} {version}" for name, version in outcome.versions.items())
        print(f"{outcome.status:8}  {combination.name}  [{shown}]  {outcome.detail}", flush=True)
    if options.output is not None:
        options.output.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=2) + "\n")
    made = [outcome for outcome in outcomes if outcome.status != "not made"]
    print(f"{len(made)} of {len(outcomes)} could be made, {sum(o.status == 'passed' for o in made)} passed")
    return 0 if made and all(outcome.status == "passed" for outcome in made) else 1


def sort_tests() -> tuple[list[Path], list[str]]:
    """Test files that need nothing but the runtime, and the names of the others."""
    fit, left_out = [], []
    for path in sorted(TESTS.glob("test_*.py")):
        outside = {module for module in _imported(path, set()) if module not in PRESENT}
        if outside:
            left_out.append(path.name)
        else:
            fit.append(path)
    return fit, left_out


def _imported(path: Path, seen: set[Path]) -> Iterator[str]:
    """Top-level names of what a file imports, and of what the files of tests/ that it imports import."""
    seen.add(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        else:
            continue
        for module in modules:
            yield module.split(".")[0]
            file = ROOT / (module.replace(".", "/") + ".py")
            if module.startswith("tests.") and file.is_file() and file not in seen:
                yield from _imported(file, seen)


def try_combination(combination: Combination, folder: Path, tests: list[Path], which: str | None = None) -> Outcome:
    """Make the environment, run the tests in it, or those that fit pytest's expression."""
    python = find_python(combination.python)
    if python is None:
        return Outcome(combination, "not made", {}, f"there is no Python {combination.python} here")
    home = folder / combination.name
    done = _run([python, "-m", "venv", "--clear", str(home)], INSTALL_SECONDS)
    interpreter = str(home / "bin" / "python")
    if done.returncode == 0:
        install = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
        done = _run([*install, *combination.packages], INSTALL_SECONDS)
    if done.returncode != 0:
        shutil.rmtree(home, ignore_errors=True)
        return Outcome(combination, "not made", {}, _last_error(done))
    versions = _versions(interpreter)
    files = [str(path.relative_to(ROOT)) for path in tests]
    options = ["-q", "-p", "no:cacheprovider", "-m", "not slow", "--no-header", *(["-k", which] if which else [])]
    done = _run([interpreter, "-m", "pytest", *options, *files], TEST_SECONDS)
    lines = done.stdout.strip().splitlines() or ["pytest said nothing"]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    detail = "; ".join([lines[-1].strip("= "), *failed[:10]])
    return Outcome(combination, "passed" if done.returncode == 0 else "failed", versions, detail)


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


def _versions(interpreter: str) -> dict[str, str]:
    say = (
        "import json, platform, importlib.metadata as m; names = ('numpy', 'onnxruntime', 'opencv-python-headless'); "
        "print(json.dumps({'python': platform.python_version(), **{name: m.version(name) for name in names}}))"
    )
    found: dict[str, str] = json.loads(_run([interpreter, "-c", say], 60).stdout)
    return found


def _run(command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}
    try:
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", f"{type(error).__name__}: {str(error)[-200:]}")


def _last_error(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.strip().splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
    return lines[-1][:300] if lines else f"exit {done.returncode}"


if __name__ == "__main__":
    run_command(main)
