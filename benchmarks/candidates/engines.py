"""The engines that open a candidate, as a table. Each is imported only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.candidates.candidate import Candidate, Picture
from runtime.errors import UserError

if TYPE_CHECKING:
    from runtime.runner import Runner

CPU_PROVIDER, CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"


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


Engine = Callable[[Candidate, int | None, Picture], Opened]


def open_candidate(candidate: Candidate, threads: int | None, picture: Picture) -> Opened:
    """Load it. A UserError where the file or the engine is unusable."""
    return ENGINES[candidate.engine](candidate, threads if candidate.threaded else None, picture)


def open_artifact(candidate: Candidate, threads: int | None, picture: Picture) -> Opened:
    """A file of this project, by the runner's own backend: what is timed is what products run."""
    from runtime.backends.opening import open_backend
    from runtime.hand.decode import HandPair
    from runtime.hand.hand_model import load_hand_models
    from runtime.image.crop import crop_from_box
    from runtime.runner import Runner, graph_input

    path = Path(candidate.files[0])
    models = HandPair(*load_hand_models(None if candidate.hand_model is None else Path(candidate.hand_model)))
    backend = open_backend(path, candidate.device, threads)
    image = graph_input(crop_from_box(picture.box, backend.info.input_px).apply(picture.rgb))
    if path.suffix == ".onnx":
        wanted = wanted_provider(candidate.device)
        engine: tuple[str, str | None, str] = ("onnxruntime", _version("onnxruntime"), wanted)
    else:
        engine = ("TensorRT", _version("tensorrt"), backend.provider)
    return Opened(
        lambda: backend.run(image),
        image.shape,
        *engine,
        provider_used=backend.provider,
        runner=Runner(backend, models),
        device_memory_bytes=getattr(backend, "device_memory_bytes", None),
        close=backend.close,
    )


def open_onnx(candidate: Candidate, threads: int | None, picture: Picture) -> Opened:
    """Any ONNX files by onnxruntime on the CPU, with the session options that the runner has."""
    import onnxruntime

    frames, shapes, provider = [], [], ""
    sessions: dict[str, Any] = {}
    for file in candidate.files:
        if file not in sessions:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            if threads is not None:
                options.intra_op_num_threads = threads
                options.inter_op_num_threads = 1
            sessions[file] = onnxruntime.InferenceSession(file, options, providers=[CPU_PROVIDER])
        session = sessions[file]
        feed = {node.name: seeded(node.shape, node.type) for node in session.get_inputs()}
        frames.append((session, feed))
        shapes.append(next(iter(feed.values())).shape)
        provider = session.get_providers()[0]

    def run() -> None:
        for session, feed in frames:
            session.run(None, feed)

    return Opened(run, shapes[0], "onnxruntime", _version("onnxruntime"), CPU_PROVIDER, provider)


def open_openvino(candidate: Candidate, threads: int | None, picture: Picture) -> Opened:
    """The same ONNX file by OpenVINO on the CPU."""
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
    """The network of an artefact in PyTorch, eager or compiled, in fp32; weights do not change the time."""
    import torch

    network = network_of(Path(candidate.files[0]))
    if threads is not None:
        torch.set_num_threads(threads)
    size = network.variant.crop_px
    image = torch.from_numpy(seeded([1, 3, size, size], "tensor(float)"))
    compiled = candidate.engine == "torch-compile"
    forward = torch.compile(network) if compiled else network

    def run() -> object:
        with torch.inference_mode():
            return forward(image)

    run()  # compiles
    return Opened(run, tuple(image.shape), candidate.engine, torch.__version__, "cpu", image.device.type)


def network_of(path: Path) -> Any:
    """The ERNet that an ONNX file of this project was exported from, with untrained weights, in eval mode."""
    import json

    import onnx

    from runtime.backends.contract import METADATA_KEY
    from training.network import build
    from training.network.widths import resize

    metadata = {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
    try:
        facts = json.loads(metadata[METADATA_KEY])
        network = build(facts["variant"])
        if widths := facts.get("weights", {}).get("widths"):
            resize(network, widths)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} does not say what network it is ({error!r}): export it again") from None
    return network.eval()


def seeded(shape: list[Any], kind: str) -> NDArray[Any]:
    """An input between 0 and 1, or an 8-bit one between 0 and 127."""
    sizes = [size if isinstance(size, int) and size > 0 else 1 for size in shape]
    values = np.random.default_rng(0).random(sizes, np.float32)
    return values if kind == "tensor(float)" else (values * 127).astype(kind[len("tensor(") : -1])


def wanted_provider(device: str) -> str:
    """What onnxruntime should take for the device: on `auto` the fastest that this build has."""
    import onnxruntime

    if device == "auto":
        return CUDA_PROVIDER if CUDA_PROVIDER in onnxruntime.get_available_providers() else CPU_PROVIDER
    return CUDA_PROVIDER if device == "cuda" else CPU_PROVIDER


def _version(module: str) -> str | None:
    return getattr(importlib.import_module(module), "__version__", None)


ENGINES: dict[str, Engine] = {
    "runner": open_artifact,
    "onnxruntime": open_onnx,
    "openvino": open_openvino,
    "torch-eager": open_torch,
    "torch-compile": open_torch,
}
