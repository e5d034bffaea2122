"""The TensorRT backend on stand-ins of CUDA and TensorRT: binding, shapes, types, lifecycle, threads, errors."""

from __future__ import annotations

import gc
import re
import sys
import threading
import types
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from runtime import load
from runtime.backends.contract import OUTPUT_SHAPES
from runtime.backends.cuda_session import CudaDevice, CudaSession
from runtime.backends.opening import open_backend
from runtime.backends.tensorrt_engine import TensorRTBackend
from runtime.errors import UserError
from tests.fixtures.engine_files import install, write_engine
from tests.fixtures.fake_gpu import FakeGpu
from tests.fixtures.fake_tensorrt import IExecutionContext, fake_tensorrt

SHAPE = (1, 3, 64, 64)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    gpu = FakeGpu()
    install(monkeypatch, gpu)
    return gpu


def image(value: float) -> np.ndarray:
    return np.full(SHAPE, value, np.float32)


def opened(folder: Path, **options: Any) -> closing[TensorRTBackend]:
    return closing(TensorRTBackend(write_engine(folder), **{"device": "auto", "threads": None, **options}))


def all_freed(gpu: FakeGpu) -> bool:
    gc.collect()
    return not gpu.live and gpu.retained == 0 and not gpu.stack


def refused(path: Path, reason: str, gpu: FakeGpu | None = None, **options: Any) -> None:
    try:
        TensorRTBackend(path, **{"device": "auto", "threads": None, **options})
    except UserError as error:
        said = str(error)  # the error itself holds on to the engine by its traceback
    assert re.search(reason, said) and "\n" not in said
    assert gpu is None or all_freed(gpu)


def test_a_runner_takes_engines(tmp_path: Path, gpu: FakeGpu) -> None:
    with load(write_engine(tmp_path)) as runner:
        assert runner.provider == "TensorRT 10.3.0 on Orin (made)" and runner.input_px == 64
        hands = runner.run_crop(np.zeros((64, 64, 3), np.uint8))
        assert runner.info.synthetic and set(hands.stages_ms) == {"preprocess", "inference", "postprocess"}
    assert all_freed(gpu)


def test_frames_allocate_nothing_and_copy_once_each_way(tmp_path: Path, gpu: FakeGpu) -> None:
    with closing(open_backend(write_engine(tmp_path), "cuda")) as backend:
        made = set(gpu.live)
        first = backend.run(image(1))
        for value in range(20):
            backend.run(image(value))
        assert gpu.live == made
        assert gpu.copies == ["htod", "dtoh"] * 21
        assert_allclose(first["rotation6d"], 1)  # results are the caller's, later frames do not change them
        assert isinstance(backend, TensorRTBackend)
        outputs, device_ms = backend.run_timed(image(3))
        assert device_ms == 1.0  # the stand-in's clock counts kernels: one lies between the events
        assert {name: value.shape for name, value in outputs.items()} == OUTPUT_SHAPES
        assert [int(value.flat[0]) for value in outputs.values()] == [3, 4, 5, 6, 7, 8]
        assert backend.device_memory_bytes == 4096
        assert backend.loaded_bytes > 4 * image(0).size  # tensors, counted by what is free before and after
        assert not gpu.stack  # no context left on this thread
    assert all_freed(gpu)


def test_the_engine_binds_by_name_not_by_order(tmp_path: Path, gpu: FakeGpu) -> None:
    plan = write_engine(tmp_path).read_bytes()
    shapes = dict(reversed(OUTPUT_SHAPES.items()))
    with closing(CudaDevice(gpu.driver)) as device:
        session = CudaSession(fake_tensorrt(gpu), device, plan, {"image": SHAPE}, shapes)
        outputs, _ = session.run({"image": image(0)})
        assert [int(outputs[name].flat[0]) for name in OUTPUT_SHAPES] == list(range(6))
        session.close()


def test_threads_share_a_backend(tmp_path: Path, gpu: FakeGpu) -> None:
    wrong: list[object] = []

    def frames(backend: TensorRTBackend, value: int) -> None:
        try:
            for _ in range(50):
                outputs = backend.run(image(value))
                if not all(np.all(v == value + i) for i, v in enumerate(outputs.values())) or gpu.stack:
                    wrong.append(value)
        except Exception as error:
            wrong.append(error)

    with opened(tmp_path) as backend:
        threads = [threading.Thread(target=frames, args=(backend, value)) for value in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
    assert all_freed(gpu)


def test_closing_twice_and_running_after(tmp_path: Path, gpu: FakeGpu) -> None:
    with opened(tmp_path) as backend:
        backend.close()
    assert all_freed(gpu)
    with pytest.raises(ValueError, match="closed"):
        backend.run(image(0))


@pytest.mark.parametrize("wrong", [image(0).astype(np.float64), image(0)[:, :2], image(0)[0]])
def test_only_the_right_image(tmp_path: Path, gpu: FakeGpu, wrong: np.ndarray) -> None:
    with opened(tmp_path) as backend, pytest.raises(ValueError, match=r"not float32 \(1, 3, 64, 64\)"):
        backend.run(wrong)


def test_options_without_effect_are_refused(tmp_path: Path, gpu: FakeGpu) -> None:
    path = write_engine(tmp_path)
    refused(path, "give the .onnx file", gpu, device="cpu")
    refused(path, "did you mean cuda", gpu, device="cudaa")
    refused(path, "threads has no effect", gpu, threads=4)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"presence": {"mode": "NONE"}}, "gives image, .*, not image, .*presence"),
        ({"depth": {"mode": "OUTPUT", "shape": [1]}}, "gives .*depth, not"),
        ({"mask": {"mode": "INPUT", "shape": [1]}}, "takes and gives .*mask, not"),
        ({"image": {"shape": [1, 3, 96, 96]}}, r"'image' is .*\[1, 3, 96, 96\], not float32 \[1, 3, 64, 64\]"),
        ({"image": {"shape": [-1, 3, 64, 64]}}, r"\[-1, 3, 64, 64\], not float32"),
        ({"camera": {"dtype": "HALF"}}, "'camera' is .*, not float32"),
        ({"camera": {"location": "HOST"}}, "'camera' is not in the device's memory"),
    ],
)
def test_engines_that_break_the_contract(tmp_path: Path, gpu: FakeGpu, tensors: Any, reason: str) -> None:
    refused(write_engine(tmp_path, tensors), reason, gpu)


def test_a_damaged_engine(gpu: FakeGpu) -> None:
    reason = r"cannot load the engine: IRuntime::deserializeCudaEngine: .* magic tag"
    with closing(CudaDevice(gpu.driver)) as device, pytest.raises(UserError, match=reason):
        CudaSession(fake_tensorrt(gpu), device, b"no engine", {}, {})
    assert all_freed(gpu)


def test_out_of_memory_frees_what_was_made(tmp_path: Path, gpu: FakeGpu) -> None:
    def fails(size: int) -> object:
        raise MemoryError("out of memory")

    allocate, calls = gpu.driver.mem_alloc, []
    gpu.driver.mem_alloc = lambda size: calls.append(size) or (allocate(size) if len(calls) < 2 else fails(size))
    with pytest.raises(MemoryError):
        opened(tmp_path)
    assert len(calls) == 2 and all_freed(gpu)


def test_a_failed_run_is_an_error(tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as backend:
        monkeypatch.setattr(IExecutionContext, "execute_async_v3", lambda self, stream_handle: False)
        with pytest.raises(UserError, match="could not run"):
            backend.run(image(0))
    assert all_freed(gpu)


def test_what_is_missing_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_engine(tmp_path)
    monkeypatch.setitem(sys.modules, "pycuda", None)
    refused(path, "no NVIDIA driver here, or pycuda is missing .*: engines are built and run on the device")
    gpu = FakeGpu(devices=0)
    install(monkeypatch, gpu)
    refused(path, "no NVIDIA GPU here: engines are built", gpu)

    def no_driver() -> None:
        raise gpu.driver.Error("cuInit failed: no CUDA-capable device is detected")

    gpu.driver.init = no_driver
    refused(path, "CUDA does not start .*no CUDA-capable device", gpu)
    install(monkeypatch, FakeGpu())
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    refused(path, "TensorRT cannot be imported.*on the device")
    monkeypatch.setitem(sys.modules, "tensorrt", types.ModuleType("tensorrt"))  # what stubs alone leave
    refused(path, "tensorrt found here is empty")
