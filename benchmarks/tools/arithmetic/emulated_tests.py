"""The runtime's own tests on an emulated CPU."""

from __future__ import annotations

import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

from benchmarks.tools.arithmetic.cpus import Cpu
from benchmarks.tools.arithmetic.userland import ROOT, Userland

# Without those that start Python again, which an emulator cannot, that need training/, or that watch long sequences.
TESTS = tuple(
    f"tests/runtime/test_{name}.py"
    for name in (
        *("backends", "contract", "crop", "decode", "draw", "export_mesh", "files", "glb", "hand_model", "image"),
        *("joints", "rotations", "runner"),
    )
)
ALL_PASSED = 0


def run_tests(cpu: Cpu, userland: Userland, jobs: int) -> bool:
    """Whether all of TESTS pass there; prints what pytest says, shortly where they do."""
    groups = [group for group in (TESTS[start::jobs] for start in range(jobs)) if group]

    def run(group: tuple[str, ...]) -> tuple[bool, str]:
        with tempfile.TemporaryDirectory() as folder:
            options = ["-q", "-m", "not slow", "-p", "no:cacheprovider", "--basetemp", f"{folder}/tests"]
            environment = userland.environment(cpu) | {"HYPOTHESIS_STORAGE_DIRECTORY": f"{folder}/hypothesis"}
            command = userland.command(cpu, ["-m", "pytest", *options, *group])
            result = subprocess.run(
                command, env=environment, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False
            )
        passed = result.returncode == ALL_PASSED
        lines = result.stdout.strip().splitlines() or [f"pytest ended with {result.returncode}"]
        return passed, lines[-1] if passed else f"{result.stdout}\n{result.stderr}"

    with ThreadPoolExecutor(jobs) as pool:
        outcomes = list(pool.map(run, groups))
    for _, said in outcomes:
        print(f"runtime's tests on {cpu.name}: {said}")
    return all(passed for passed, _ in outcomes)
