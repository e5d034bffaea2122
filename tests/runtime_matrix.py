"""The runtime's tests with old and new Pythons, numpys and onnxruntimes: one environment each, with pip.

python -m tests.runtime_matrix [--only 3.10] [--folder build/runtime-matrix]

An environment has numpy, OpenCV and onnxruntime, what the tests need (pytest, hypothesis, and onnx, which writes their
models), and nothing else of the project's: tests that import more than the runtime skip themselves.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import CommandParser, run_command

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "runtime"
MOST_SECONDS = 900
TOOLS = ("pytest>=8", "hypothesis>=6.100", "setuptools>=77")
LIBRARIES = ("numpy", "onnxruntime", "opencv-python-headless", "onnx")
# Python, then the libraries' versions as pip takes them: the oldest and the newest of each, and what lies between.
COMBINATIONS = (
    ("3.10", "==1.23.5", "==1.17.0", "==4.8.1.78", "==1.17.0"),  # onnxruntime 1.17 and 1.18 know numpy 1 alone
    ("3.10", "==2.0.2", "==1.20.1", "==4.10.0.84", "==1.17.0"),
    ("3.10", "<2.4", "", "", ""),
    ("3.11", "==1.23.5", "==1.18.1", "==4.9.0.80", "==1.17.0"),
    ("3.11", "==1.26.4", "==1.22.1", "==4.11.0.86", "==1.17.0"),
    ("3.11", "<2.4", "", "", ""),
    ("3.12", "==1.26.4", "==1.17.3", "==4.9.0.80", "==1.17.0"),
    ("3.12", "==2.1.3", "==1.19.2", "==4.10.0.84", "==1.17.0"),
    ("3.12", "<2.4", "", "", ""),
    ("3.13", "==2.1.3", "==1.20.1", "==4.10.0.84", "==1.18.0"),
    ("3.13", "<2.4", "", "", ""),
    ("3.13", "", "", "", ""),  # whatever is newest, ahead of what the project allows
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; `arguments` without the program's name."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("--only", default="", metavar="PYTHON", help="combinations of one Python; default: all")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "runtime-matrix", help="environments go there")
    options = parser.parse_args(arguments)
    statuses = []
    for version, *libraries in (c for c in COMBINATIONS if c[0].startswith(options.only)):
        packages = [name + wanted for name, wanted in zip(LIBRARIES, libraries, strict=True)]
        status, detail = try_combination(version, packages, options.folder / f"{version}-{len(statuses)}")
        statuses.append(status)
        print(f"{status:8}  Python {version} {' '.join(packages)}  {detail}", flush=True)
    print(f"{statuses.count('passed')} passed, {statuses.count('failed')} failed, of {len(statuses)}")
    return int("passed" not in statuses or "failed" in statuses)


def try_combination(version: str, packages: list[str], home: Path) -> tuple[str, str]:
    """Make the environment and run the tests in it: "not made", "passed" or "failed", and details."""
    python = find_python(version)
    if python is None:
        return "not made", "there is no such Python here"
    interpreter = str(home / "bin" / "python")
    install = [interpreter, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary=:all:"]
    for command in ([python, "-m", "venv", "--clear", str(home)], [*install, *packages, *TOOLS]):
        done = _run(command)
        if done.returncode != 0:
            return "not made", done.stderr.strip()[-300:]
    done = _run([interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", str(TESTS)])
    lines = done.stdout.strip().splitlines() or ["pytest said nothing"]
    failed = [line for line in lines[:-1] if line.startswith(("FAILED", "ERROR"))]
    return "failed" if done.returncode else "passed", "; ".join([lines[-1], *failed[:10]])


def find_python(version: str) -> str | None:
    """An interpreter of that version: this one, on the path, pyenv's, or uv's."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return str(getattr(sys, "_base_executable", sys.executable))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    uv = _run(["uv", "python", "find", version]).stdout.strip() if shutil.which("uv") else None
    candidates = [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"{version}.*/bin/python")), uv]
    say = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    return next((c for c in candidates if c and _run([c, "-c", say]).stdout.strip() == version), None)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}
    try:
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=MOST_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", f"{type(error).__name__}: {str(error)[-200:]}")


if __name__ == "__main__":
    run_command(main)
