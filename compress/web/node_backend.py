"""A page's folder as a backend of the runner: onnxruntime-web and the page's own JavaScript, in node."""

from __future__ import annotations

import math
import shutil
import subprocess
import weakref
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtime.backends.backend import Backend
from runtime.backends.contract import OUTPUT_SHAPES, ModelInfo, Outputs
from runtime.errors import UserError
from runtime.hand.hands import Floats

_SCRIPT = Path(__file__).with_name("page_runner.mjs")


class PageHands(NamedTuple):
    """What the page makes of the network's outputs, right and left; pixels are the crop's."""

    vertices: Floats  # (2, 778, 3) m
    joints: Floats  # (2, 21, 3) m
    joints_image: Floats  # (2, 21, 2) px
    joints_heatmap: Floats  # (2, 21, 3) px, px, m


_HAND_SHAPES = ((778, 3), (21, 3), (21, 2), (21, 3))
_OUTPUT_SIZES = [math.prod(shape) for shape in OUTPUT_SHAPES.values()]
_HAND_SIZES = [math.prod(shape) for shape in _HAND_SHAPES]


class NodeBackend(Backend):
    """One process of node; one image after the other. A UserError where there is no node."""

    def __init__(self, folder: Path, info: ModelInfo) -> None:
        node = shutil.which("node")
        if node is None:
            raise UserError("node is missing, which runs the page's network to check it: install Node.js")
        self.info, self.provider = info, "wasm"
        # Optimised from the start: V8 would get there while the first thousand images are slow.
        command = [node, "--no-liftoff", str(_SCRIPT), str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._end = weakref.finalize(self, _stop, self._process)
        self.page_hands: PageHands  # of the last image

    def run(self, image: NDArray[np.float32]) -> Outputs:
        """As a Backend does, but for a RuntimeError with node's own words where the page's code fails."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        count = sum(_OUTPUT_SIZES) + 2 * sum(_HAND_SIZES)
        try:
            process.stdin.write(image.tobytes())
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: why, is on its stderr
        answer = process.stdout.read(4 * count)
        if len(answer) < 4 * count:
            raise RuntimeError(f"the page's network failed in node: {process.stderr.read().decode(errors='replace')}")
        *outputs, hands = np.split(np.frombuffer(answer, np.float32), np.cumsum(_OUTPUT_SIZES))
        parts = np.split(hands.reshape(2, -1), np.cumsum(_HAND_SIZES[:-1]), axis=1)
        self.page_hands = PageHands(*(p.reshape(2, *s) for p, s in zip(parts, _HAND_SHAPES, strict=True)))
        return {name: o.reshape(shape) for o, (name, shape) in zip(outputs, OUTPUT_SHAPES.items(), strict=True)}

    def close(self) -> None:
        """End node."""
        self._end()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()
