"""An exported file and the runtime's own tests on an emulated aarch64 CPU: python -m tests.arm64.emulated FILE.onnx

The hands of most shipped crops must lie within 0.05 mm of this machine's. Single images of an int8 file differ by
millimetres on exact CPUs, too: where the float parts differ in their last bit, a sum between two integers may round the
other way, and every later layer amplifies that. A CPU that computes something else differs in all; hence the median.
Needs Debian's packages once (arm64_system.sh); where they cannot be had, it says so in one line and ends with 0.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.devices.shipped_crops import shipped_crops
from runtime.errors import CommandParser, run_command
from runtime.runner import load
from training.data.cache import cache_dir

ROOT = Path(__file__).parents[2]
MAKE, CONSTRAINTS = Path(__file__).with_name("arm64_system.sh"), ROOT / "constraints.txt"
# With dotprod, as phones and the Raspberry Pi 5. Not `max`: numpy's OpenBLAS errs with the emulated SME of qemu 10.0.
CPU = "cortex-a76"
LIMIT_MM = 0.05
# Without those that start Python again, which an emulator cannot, that need training/, or that watch long sequences.
TESTS = ("hand", "image", "backends/test_contract.py", "test_files.py", "test_runner.py")
FIND_HANDS = """
import sys
import numpy as np
from runtime import load
model, crops, result = sys.argv[1:]
with load(model, device="cpu", threads=1) as runner:
    pairs = [(hands.right, hands.left) for hands in map(runner.run_crop, np.load(crops))]
vertices = [[hand.vertices for hand in pair] for pair in pairs]
np.savez(result, vertices=vertices, present=[[hand.present for hand in pair] for pair in pairs])
"""


def main(arguments: list[str] | None = None) -> int:
    """Return 0 where all agree, or where emulation cannot be set up here; 1 where not."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("model", type=Path, metavar="FILE.onnx")
    options = parser.parse_args(arguments)
    folder = cache_dir() / "arm64" / hashlib.sha256(MAKE.read_bytes() + CONSTRAINTS.read_bytes()).hexdigest()[:16]
    if not folder.exists() and (reason := make_system(folder)):
        print(f"skipped: {reason}")
        return 0
    emulator = [str(folder / "qemu-aarch64"), "-cpu", CPU, "-L", str(folder / "system"), str(folder / "python")]
    return int(not run_tests(emulator, folder) or not agree(emulator, folder, options.model.absolute()))


def make_system(folder: Path) -> str | None:
    """Make the system under another name, so that a half one is never used; return why there is none."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        making = Path(temporary) / "system"
        print("making an emulated aarch64 system: minutes, once", file=sys.stderr)
        command = ["bash", str(MAKE), str(making), str(CONSTRAINTS), sys.executable]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            making.rename(folder)
            return None
    return (done.stderr.strip().splitlines() or [f"bash ended with {done.returncode}"])[-1][:200]


def run(command: list[str], path: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the project's root on one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": path}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


def run_tests(emulator: list[str], folder: Path) -> bool:
    """Say whether the runtime's own tests pass there; print what pytest says, shortly where they do."""
    with tempfile.TemporaryDirectory() as temporary:
        words = ["-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--basetemp", f"{temporary}/tests"]
        done = run([*emulator, *words, *(f"tests/runtime/{name}" for name in TESTS)], str(folder / "wheels"))
    lines = done.stdout.strip().splitlines() or ["nothing"]
    print(f"the runtime's tests: {lines[-1] if done.returncode == 0 else done.stdout + done.stderr}")
    return done.returncode == 0


def agree(emulator: list[str], folder: Path, model: Path) -> bool:
    """Say whether the file finds the same hands there as here."""
    with tempfile.TemporaryDirectory() as temporary, load(model) as runner:
        crops, here, there = (f"{temporary}/{name}" for name in ("crops.npy", "here.npz", "there.npz"))
        np.save(crops, shipped_crops(runner.input_px))
        for python, path, result in (([sys.executable], "", here), (emulator, str(folder / "wheels"), there)):
            words = ["-c", FIND_HANDS, str(model), crops, result]
            run([*python, *words], os.pathsep.join([path, str(ROOT)])).check_returncode()
        own, other = (dict(np.load(path)) for path in (here, there))
    distance_mm = 1000 * np.linalg.norm(own["vertices"] - other["vertices"], axis=-1).mean(axis=-1)  # (N, 2)
    present = own["present"] | other["present"]
    median_mm = float(np.median(distance_mm[present]))
    print(f"{model.name}: {present.sum()} hands apart by {median_mm:.5f} mm in the median (at most {LIMIT_MM}),")
    print(f"by {distance_mm[present].max():.3f} mm in the worst")
    return median_mm <= LIMIT_MM


if __name__ == "__main__":
    run_command(main)
