"""What `benchmarks/run.py --target jetson-...` does on a Jetson: build, check, time, weigh, and say what wins.

Engines of every precision are built from the exported ONNX files, compared with onnxruntime on the shipped crops, and
run in turn, block by block, so that warming up hits all alike. The report goes into one file, to send home; it is
written anew before every long step, so that a run that was cut off leaves what it had.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.devices import tegra
from benchmarks.devices.ina3221 import find_ina3221
from benchmarks.devices.jetson.parity import EngineParity, compare
from benchmarks.devices.jetson.setup import (
    Plan,
    check_board,
    choose_files,
    engine_plans,
    model_crop_px,
    run_onnx,
)
from benchmarks.devices.shipped_crops import shipped_crops
from benchmarks.devices.tegra import Board
from benchmarks.measure.power import PowerLog
from benchmarks.records.record import PowerW
from runtime.backends.engine_passport import EnginePassport
from runtime.backends.opening import Outputs
from runtime.runner import graph_input
from targets import Target

ROUNDS = 6
BLOCK_SECONDS = 5.0
WARM_UP_SECONDS = 1.0
IDLE_SECONDS = 5.0

Floats = NDArray[np.float64]


class Engine(Protocol):
    """A loaded engine: runtime.backends.tensorrt_engine.TensorRTBackend."""

    provider: str

    def run_timed(self, image: NDArray[np.float32]) -> tuple[Outputs, float]:
        """Outputs and the GPU's own time, ms."""

    @property
    def device_memory_bytes(self) -> int | None:
        """That running takes."""

    def free_bytes(self) -> int:
        """cudaMemGetInfo."""

    def close(self) -> None:
        """Free it."""


@dataclass(frozen=True)
class Memory:
    """Of a Jetson, where CPU and GPU share it: four figures that are not the same, 10^6 bytes."""

    process_peak_mb: float | None  # VmHWM, after all engines ran
    available_drop_mb: float | None  # MemAvailable, by loading this engine
    cuda_free_drop_mb: float | None  # cudaMemGetInfo, by loading this engine; None for the first, which brings CUDA
    engine_device_mb: float | None  # what TensorRT says one context takes


@dataclass(frozen=True)
class Candidate:
    """One engine and what was measured of it."""

    plan: Plan
    engine: Path
    passport: EnginePassport
    provider: str
    parity: EngineParity  # with onnxruntime on the same file
    lost: EngineParity | None  # with onnxruntime on the fp32 file: what the precision costs
    memory: Memory
    end_to_end_ms: tuple[Floats, ...]  # by block: numpy in, numpy out, synchronised
    device_ms: tuple[Floats, ...]  # by block: the network between two CUDA events
    power: PowerW | None  # over all blocks; None: no sensor

    @property
    def passed(self) -> bool:
        """Whether TensorRT computes what the file says."""
        return self.parity.passed(self.plan.precision)


@dataclass(frozen=True)
class State:
    """Of the device at one moment."""

    clocks: dict[str, Any]
    temperatures_c: dict[str, float]
    throttle_events: int | None


@dataclass(frozen=True)
class Measured:
    """A whole run."""

    target: Target
    board: Board
    power_mode: str | None
    before: State
    after: State
    candidates: tuple[Candidate, ...]
    left_out: dict[str, str] = field(default_factory=dict)  # file -> why


@dataclass(frozen=True)
class Tools:
    """What touches the device, so that the procedure can be tested without one."""

    build: Callable[[Plan, str, bool], tuple[Path, EnginePassport]]  # plan, target, overwrite
    open: Callable[[Path], Engine]
    weak: Callable[[], bool]  # whether this TensorRT still takes flags
    root: Path = Path("/")
    run_command: tegra.Run = tegra.run_command
    block_seconds: float = BLOCK_SECONDS
    warm_up_seconds: float = WARM_UP_SECONDS
    idle_seconds: float = IDLE_SECONDS
    rounds: int = ROUNDS


def device_tools(cuda_graph: bool = False) -> Tools:
    """The real ones."""

    def build(plan: Plan, target: str, overwrite: bool) -> tuple[Path, EnginePassport]:
        from compress.tensorrt.engine_file import EngineRequest, find_or_make_engine

        return find_or_make_engine(EngineRequest(plan.onnx, target, plan.weak, overwrite=overwrite))

    def open_engine(path: Path) -> Engine:
        from runtime.backends.tensorrt_engine import TensorRTBackend

        return TensorRTBackend(path, "cuda", None, cuda_graph=cuda_graph)

    def weak() -> bool:
        from compress.tensorrt.builder import abilities
        from compress.tensorrt.gpu import probe_gpu
        from runtime.backends.trt_api import import_tensorrt

        probe_gpu()
        return abilities(import_tensorrt()).weak

    return Tools(build, open_engine, weak)


def measure_on_device(
    models: Sequence[Path], target_name: str, tools: Tools, overwrite: bool = False, step: Callable[[str], None] = print
) -> Measured:
    """The whole procedure. `step` is told before each long part. UserError for all that the user can mend."""
    target, board, mode = check_board(target_name, tools.root, tools.run_command)
    files, left_out = choose_files(models)
    plans = engine_plans(files, tools.weak())
    images = [graph_input(crop) for crop in shipped_crops(model_crop_px(files))]
    step("reference: onnxruntime on the shipped crops")
    reference = {precision: run_onnx(path, images) for precision, path in files.items()}
    engines = {}
    for plan in plans:
        step(f"building {plan.label} from {plan.onnx.name} (minutes, the first time)")
        engines[plan.label] = tools.build(plan, target.name, overwrite)
    meter = find_ina3221(tools.root)
    power = None if meter is None else PowerLog(meter)
    before = read_state(tools.root)
    if power is not None:
        step("idle power")
        power.measure_idle(tools.idle_seconds)
    with ExitStack() as stack:
        loaded, memory = load_engines(engines, tools, stack)
        step("parity with onnxruntime")
        parity = {p.label: compare_engine(loaded[p.label], reference[p.source], images) for p in plans}
        lost = {label: compare_engine(e, reference["fp32"], images) for label, e in loaded.items() if "fp32" in files}
        step(f"timing, {tools.rounds} rounds")
        blocks = time_in_turn(loaded, images[0], power, tools)
        peak_mb = tegra.process_peak_mb(tools.root)
        candidates = tuple(
            Candidate(
                plan=plan,
                engine=engines[plan.label][0],
                passport=engines[plan.label][1],
                provider=loaded[plan.label].provider,
                parity=parity[plan.label],
                lost=lost.get(plan.label),
                memory=Memory(peak_mb, *memory[plan.label]),
                end_to_end_ms=tuple(block.end_to_end_ms for block in blocks[plan.label]),
                device_ms=tuple(block.device_ms for block in blocks[plan.label]),
                power=None if power is None else power.result(plan.label),
            )
            for plan in plans
        )
    after = read_state(tools.root)
    return Measured(target, board, mode, before, after, candidates, left_out)


def compare_engine(engine: Engine, reference: Sequence[Outputs], images: Sequence[NDArray[np.float32]]) -> EngineParity:
    """An engine with onnxruntime's outputs for the same images."""
    return compare(lambda image: engine.run_timed(image)[0], reference, images)


def load_engines(
    engines: Mapping[str, tuple[Path, EnginePassport]], tools: Tools, stack: ExitStack
) -> tuple[dict[str, Engine], dict[str, tuple[float | None, float | None, float | None]]]:
    """All of them at once, and what loading each took: drop of MemAvailable, of CUDA's free memory, TensorRT's own."""
    loaded: dict[str, Engine] = {}
    memory = {}
    for label, (path, _) in engines.items():
        available = tegra.available_mb(tools.root)
        free = next((engine.free_bytes() for engine in loaded.values()), None)
        engine = tools.open(path)
        stack.callback(engine.close)
        loaded[label] = engine
        own = engine.device_memory_bytes
        memory[label] = (
            _drop(available, tegra.available_mb(tools.root)),
            _drop(None if free is None else free / 1e6, engine.free_bytes() / 1e6),
            None if own is None else own / 1e6,
        )
    return loaded, memory


def _drop(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else round(before - after, 3)


def read_state(root: Path) -> State:
    """Clocks, temperatures and throttling now."""
    return State(tegra.clocks(root), tegra.temperatures_c(root), tegra.throttle_events(root))


@dataclass(frozen=True)
class Block:
    """Runs of one engine without a pause."""

    end_to_end_ms: Floats
    device_ms: Floats


def time_in_turn(
    engines: Mapping[str, Engine], image: NDArray[np.float32], power: PowerLog | None, tools: Tools
) -> dict[str, list[Block]]:
    """Blocks of all engines in turn, A B C A B C, each warmed up before it counts."""
    blocks: dict[str, list[Block]] = {label: [] for label in engines}
    with tqdm(total=tools.rounds * len(engines), desc="timing", unit="block", leave=False) as bar:
        for _ in range(tools.rounds):
            for label, engine in engines.items():
                bar.set_postfix_str(label)
                timed(engine, image, tools.warm_up_seconds)
                with nullcontext() if power is None else power.during(label):
                    samples = timed(engine, image, tools.block_seconds)
                end_to_end, device = np.array(samples, np.float64).T
                blocks[label].append(Block(end_to_end, device))
                bar.update()
    return blocks


def timed(engine: Engine, image: NDArray[np.float32], seconds: float) -> list[tuple[float, float]]:
    """(end to end, on the device), ms, for as long as given; one run at least."""
    samples: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while not samples or time.perf_counter() < end:
        start = time.perf_counter()
        _, device_ms = engine.run_timed(image)
        samples.append((1000 * (time.perf_counter() - start), device_ms))
    return samples
