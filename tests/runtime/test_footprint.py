"""How little memory the runtime takes, in a fresh process. `pytest -s` shows the figures.

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
MOST = {
    "resident_mb": 120.0,  # after 100 frames; 86 on an x86 machine of 2026
    "growth_mb": 2.0,  # over FRAMES more
    "allocated_bytes": 480 * 640 * 3,  # at once, by Python in a later frame: less than the picture
}
FRAMES = 1500
PROGRAM = """
import json, re, sys, tracemalloc
from pathlib import Path
import numpy
from runtime import load

def resident_mb():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6

runner = load(sys.argv[1], threads=1)
rgb = numpy.random.default_rng(0).integers(0, 256, (480, 640, 3), numpy.uint8)

def run(count):
    for number in range(count):  # a tracked box wanders
        runner(rgb, (170 + number % 17, 90 - number % 11, 300 + number % 7, 300))

run(100)
settled_mb = resident_mb()
run(int(sys.argv[2]))
grown_mb = resident_mb() - settled_mb
tracemalloc.start()
run(5)
tracemalloc.reset_peak()
before = tracemalloc.get_traced_memory()[0]
run(20)
peak = tracemalloc.get_traced_memory()[1] - before
print(json.dumps({"resident_mb": settled_mb, "growth_mb": grown_mb, "allocated_bytes": peak}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone says how much memory is resident")
def test_the_runtime_is_small(tiny_model: Path) -> None:
    words = [sys.executable, "-c", PROGRAM, str(tiny_model), str(FRAMES)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    print(figures)
    assert {name: value for name, value in figures.items() if value > MOST[name]} == {}
