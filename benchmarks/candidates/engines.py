"""The engines that open a candidate, as a table. Each is imported only when it is asked for: all are heavy."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.candidates.candidate import Candidate, Picture
from runtime.backends.contract import METADATA_KEY
from runtime.backends.opening import open_backend
from runtime.backends.session import CPU_PROVIDER, import_onnxruntime, open_session
from runtime.errors import UserError
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
    device_memory_bytes: int | None = None
    close: Callable[[], None] = lambda: None


Engine = Callable[[Candidate, "int | None", Picture], Opened]


def open_candidate(candidate: Candidate, threads: int | None, picture: Picture) -> Opened:
    """Load a candidate. A UserError where the file or the engine is unusable."""
    return ENGINES[candidate.engine](candidate, threads if candidate.threaded else None, picture)


def open_artifact(candidate: Candidate, threads: int | None, picture: Picture) -> Opened:
    """Open a file of this project by the runner's own backend: what is timed is what products run."""
    models = HandPair(*load_hand_models(None if candidate.hand_model is None else Path(candidate.hand_model)))
    backend = open_backend(candidate.path, candidate.device, threads)
    image = graph_input(crop_from_box(picture.box, backend.info.input_px).apply(picture.rgb))
    is_onnx = candidate.path.suffix == ".onnx"
    return Opened(
        lambda: backend.run(image),
        image.shape,
        runtime="onnxruntime" if is_onnx else "TensorRT",
        version=installed("onnxruntime" if is_onnx else "tensorrt"),
        provider_requested=wanted_provider(candidate.device) if is_onnx else backend.provider,
        provider_used=backend.provider,
        runner=Runner(backend, models),
        device_memory_bytes=getattr(backend, "device_memory_bytes", None),
        close=backend.close,
    )


def open_onnx(candidate: Candidate, threads: int | None, picture: Picture) -> Opened:
    """Open any ONNX files by onnxruntime on the CPU."""
    sessions = {file: open_session(Path(file), threads) for file in candidate.files}
    frames = [
        (sessions[file], {node.name: seeded(node.shape, node.type) for node in sessions[file].get_inputs()})
        for file in candidate.files
    ]

    def run() -> None:
        for session, feed in frames:
            session.run(None, feed)

    session, feed = frames[0]
    shape = next(iter(feed.values())).shape
    return Opened(run, shape, "onnxruntime", installed("onnxruntime"), CPU_PROVIDER, session.get_providers()[0])


def open_openvino(candidate: Candidate, threads: int | None, picture: Picture) -> Opened:
    """Open the same ONNX file by OpenVINO on the CPU."""
    openvino = importlib.import_module("openvino")  # optional, hence without types
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.compile_model(candidate.files[0], "CPU", settings)
    feed = [seeded(list(node.shape), "tensor(float)") for node in compiled.inputs]
    request = compiled.create_infer_request()
    used = ",".join(compiled.get_property("EXECUTION_DEVICES"))
    return Opened(lambda: request.infer(feed), feed[0].shape, "OpenVINO", openvino.__version__, "CPU", used)


def open_torch(candidate: Candidate, threads: int | None, picture: Picture) -> Opened:
    """Open the network of an artefact in PyTorch, eager or compiled, in fp32; weights do not change the time."""
    import torch

    network = network_of(candidate.path)
    if threads is not None:
        torch.set_num_threads(threads)
    size = network.variant.crop_px
    image = torch.from_numpy(seeded([1, 3, size, size], "tensor(float)"))
    forward = torch.compile(network) if candidate.engine == "torch-compile" else network

    def run() -> object:
        with torch.inference_mode():
            return forward(image)

    run()  # compiles
    return Opened(run, tuple(image.shape), candidate.engine, torch.__version__, "cpu", image.device.type)


def network_of(path: Path) -> Any:
    """Build the ERNet that an ONNX file of this project was exported from: untrained, in eval mode."""
    import onnx

    from training.network import build  # brings torch

    metadata = {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
    try:
        facts = json.loads(metadata[METADATA_KEY])
        network = build(facts["variant"], facts.get("weights", {}).get("widths"))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} does not say what network it is ({error!r}): export it again") from None
    return network.eval()


def seeded(shape: list[Any], kind: str) -> NDArray[Any]:
    """Return an input between 0 and 1, or an 8-bit one between 0 and 127; sizes that are not fixed are 1."""
    sizes = [size if isinstance(size, int) and size > 0 else 1 for size in shape]
    values = np.random.default_rng(0).random(sizes, np.float32)
    return values if kind == "tensor(float)" else (values * 127).astype(kind[len("tensor(") : -1])


def wanted_provider(device: str) -> str:
    """Return what onnxruntime should take for the device: on `auto` the fastest that this build has."""
    has_cuda = CUDA_PROVIDER in import_onnxruntime().get_available_providers()
    return CUDA_PROVIDER if device == "cuda" or (device == "auto" and has_cuda) else CPU_PROVIDER


def installed(package: str) -> str | None:
    """Return a package's version; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


ENGINES: dict[str, Engine] = {
    "runner": open_artifact,
    "onnxruntime": open_onnx,
    "openvino": open_openvino,
    "torch-eager": open_torch,
    "torch-compile": open_torch,
}
