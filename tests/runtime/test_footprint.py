"""How small and quick the runtime is, in a fresh process, held against generous bounds. `pytest -s` shows the figures.

The network is tiny: what is measured is Python, the libraries and the runtime itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Four times what an idle x86 machine of 2026 takes, as other programs run beside the tests, and memory + 30 MB.
MOST = {
    "import_s": 0.5,
    "load_s": 0.5,
    "resident_mb": 120.0,  # after 100 frames; 86 on that machine
    "growth_mb": 2.0,  # over FRAMES more
    "allocated_bytes": 480 * 640 * 3,  # at once, by Python in a later frame: less than the picture
}
FRAMES = 1500
PROGRAM = """
import json, re, sys, time, tracemalloc
from pathlib import Path

def resident_mb():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", status)[1]) * 1024 / 1e6

model, frames = sys.argv[1], int(sys.argv[2])
start = time.perf_counter()
from runtime import load
import numpy, cv2, onnxruntime
imported = time.perf_counter()
runner = load(model, threads=1)
loaded = time.perf_counter()
rgb = numpy.add.outer(numpy.arange(480) * 7, numpy.arange(640) * 13).astype(numpy.uint8)
rgb = numpy.ascontiguousarray(numpy.dstack([rgb, rgb.T.reshape(480, 640), rgb[::-1]]))

def run(count):
    for number in range(count):  # a tracked box wanders
        runner(rgb, (170 + number % 17, 90 - number % 11, 300 + number % 7, 300))

run(100)
settled_mb = resident_mb()
run(frames)
grown_mb = resident_mb() - settled_mb
tracemalloc.start()
run(5)
tracemalloc.reset_peak()
before = tracemalloc.get_traced_memory()[0]
run(20)
peak = tracemalloc.get_traced_memory()[1] - before
figures = (imported - start, loaded - imported, settled_mb, grown_mb, peak)
print(json.dumps(dict(zip(("import_s", "load_s", "resident_mb", "growth_mb", "allocated_bytes"), figures))))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone says how much memory is resident")
def test_the_runtime_is_small_and_quick(tiny_model: Path) -> None:
    words = [sys.executable, "-c", PROGRAM, str(tiny_model), str(FRAMES)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    print(figures)
    assert {name: value for name, value in figures.items() if value > MOST[name]} == {}
