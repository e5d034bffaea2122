"""The engines that open a candidate, as a table. Each is imported only when it is asked for: all are heavy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.candidates.candidate import BOX, Candidate, noise_picture
from benchmarks.candidates.facts import passport_text
from runtime.backends.backend import import_engine
from runtime.backends.opening import open_backend
from runtime.backends.session import CPU_PROVIDER, open_session
from runtime.hand.hand_model import HandPair, load_hand_models
from runtime.image.crop import crop_from_box
from runtime.runner import Runner, graph_input

CUDA_PROVIDER = "CUDAExecutionProvider"


@dataclass(frozen=True)
class Opened:
    """A candidate that is ready to run."""

    run: Callable[[], object]  # one frame through the network; it returns when the outputs are on the host
    input_shape: tuple[int, ...]
    runtime: str
    version: str | None
    provider_requested: str
    provider_used: str
    runner: Runner | None = None  # of artefacts: the whole way from picture to hands
    device_memory_bytes: int | None = None  # of engine files
    close: Callable[[], None] = lambda: None


def open_candidate(candidate: Candidate, threads: int | None) -> Opened:
    """Load a candidate. A UserError where the file or the engine is unusable."""
    return ENGINES[candidate.engine](candidate, threads if candidate.threaded else None)


def open_artifact(candidate: Candidate, threads: int | None) -> Opened:
    """Open a file of this project by the runner's own backend: what is timed is what products run."""
    models = HandPair(*load_hand_models(None if candidate.hand_model is None else Path(candidate.hand_model)))
    backend = open_backend(candidate.path, candidate.device, threads)
    image = graph_input(crop_from_box(BOX, backend.info.input_px).apply(noise_picture()))
    engine, _, about = backend.provider.partition(" ")  # "OpenVINO 2026.4, CPU, f32"; onnxruntime's is one word
    if about:
        ran = (engine, about.split()[0].rstrip(","), backend.provider)
    else:
        ran = ("onnxruntime", import_engine("onnxruntime").__version__, wanted_provider(candidate.device))
    return Opened(
        lambda: backend.run(image),
        image.shape,
        *ran,
        backend.provider,
        runner=Runner(backend, models),
        device_memory_bytes=getattr(backend, "device_memory_bytes", None),
        close=backend.close,
    )


def open_onnx(candidate: Candidate, threads: int | None) -> Opened:
    """Open any ONNX files by onnxruntime on the CPU."""
    sessions = {file: open_session(Path(file), threads) for file in candidate.files}
    feeds = {
        file: {node.name: seeded(node.shape, node.type) for node in s.get_inputs()} for file, s in sessions.items()
    }

    def run() -> None:
        for file in candidate.files:
            sessions[file].run(None, feeds[file])

    shape = next(iter(feeds[candidate.files[0]].values())).shape
    used = sessions[candidate.files[0]].get_providers()[0]
    return Opened(run, shape, "onnxruntime", import_engine("onnxruntime").__version__, CPU_PROVIDER, used)


def open_torch(candidate: Candidate, threads: int | None) -> Opened:
    """Open the network of an artefact in PyTorch, eager, in fp32; weights do not change the time."""
    import torch

    network = network_of(candidate.path)
    if threads is not None:
        torch.set_num_threads(threads)
    size = network.variant.crop_px
    image = torch.from_numpy(seeded([1, 3, size, size], "tensor(float)"))

    def run() -> object:
        with torch.inference_mode():
            return network(image)

    return Opened(run, tuple(image.shape), "torch-eager", torch.__version__, "cpu", image.device.type)


def network_of(path: Path) -> Any:
    """Build the ERNet that an ONNX file of this project was exported from: untrained, in eval mode."""
    from training.network import build  # brings torch

    facts = json.loads(passport_text(path) or "{}")
    return build(facts["variant"], facts.get("weights", {}).get("widths")).eval()


def seeded(shape: list[Any], kind: str) -> NDArray[Any]:
    """Return an input between 0 and 1, or an 8-bit one between 0 and 127; sizes that are not fixed are 1."""
    sizes = [size if isinstance(size, int) and size > 0 else 1 for size in shape]
    values = np.random.default_rng(0).random(sizes, np.float32)
    return values if kind == "tensor(float)" else (values * 127).astype(kind[len("tensor(") : -1])


def wanted_provider(device: str) -> str:
    """Return what onnxruntime should take for the device: on `auto` the fastest that this build has."""
    has_cuda = CUDA_PROVIDER in import_engine("onnxruntime").get_available_providers()
    return CUDA_PROVIDER if device == "cuda" or (device == "auto" and has_cuda) else CPU_PROVIDER


ENGINES: dict[str, Callable[[Candidate, int | None], Opened]] = {
    "runner": open_artifact,
    "onnxruntime": open_onnx,
    "torch": open_torch,
}
