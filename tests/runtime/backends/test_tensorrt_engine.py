"""The TensorRT backend on stand-ins of CUDA and TensorRT: binding, shapes, types, lifecycle, threads, errors."""

from __future__ import annotations

import gc
import re
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from runtime.backends.backend import Backend
from runtime.backends.contract import OUTPUT_SHAPES
from runtime.backends.opening import open_backend
from runtime.backends.tensorrt_engine import TensorRTBackend
from runtime.errors import UserError
from tests.fixtures.engine_files import install, write_engine
from tests.fixtures.fake_gpu import FakeGpu
from tests.fixtures.fake_tensorrt import ICudaEngine, IExecutionContext, fake_tensorrt

SHAPE = (1, 3, 64, 64)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    gpu = FakeGpu()
    install(monkeypatch, gpu)
    return gpu


def image(value: float) -> np.ndarray:
    return np.full(SHAPE, value, np.float32)


def opened(folder: Path) -> closing[Backend]:
    return closing(open_backend(write_engine(folder)))


def all_freed(gpu: FakeGpu) -> bool:
    gc.collect()
    return not gpu.live and gpu.retained == 0 and gpu.depth == 0


def refused(path: Path, reason: str, gpu: FakeGpu, device: str = "auto", threads: int | None = None) -> None:
    try:
        open_backend(path, device, threads)
    except UserError as error:
        said = str(error)  # the error itself holds on to the engine by its traceback
    assert re.search(reason, said) and "\n" not in said
    assert all_freed(gpu)


def test_frames_allocate_nothing_and_copy_once_each_way(tmp_path: Path, gpu: FakeGpu) -> None:
    with closing(open_backend(write_engine(tmp_path))) as backend:
        assert isinstance(backend, TensorRTBackend) and backend.provider == "TensorRT 10.3.0 on Orin (made)"
        made = set(gpu.live)
        first = backend.run(image(1))
        for _ in range(20):
            outputs = backend.run(image(3))
        assert gpu.live == made and gpu.copies == ["htod", "dtoh"] * 21
        assert_allclose(first["rotation6d"], 1)  # results are the caller's, later frames do not change them
        assert {name: value.shape for name, value in outputs.items()} == OUTPUT_SHAPES
        assert [int(value.flat[0]) for value in outputs.values()] == [3, 4, 5, 6, 7, 8]
        assert backend.device_memory_bytes == 4096
        assert gpu.depth == 0  # no context left on this thread
        backend.close()
        with pytest.raises(ValueError, match="closed"):
            backend.run(image(0))
    assert all_freed(gpu)


def test_threads_share_a_backend(tmp_path: Path, gpu: FakeGpu) -> None:
    def frames(backend: Backend, value: int) -> bool:
        runs = [backend.run(image(value)) for _ in range(50)]
        return gpu.depth == 0 and all(np.all(v == value + i) for run in runs for i, v in enumerate(run.values()))

    with opened(tmp_path) as backend, ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda value: frames(backend, value), range(8)))
    assert all_freed(gpu)


def test_options_without_effect_are_refused(tmp_path: Path, gpu: FakeGpu) -> None:
    path = write_engine(tmp_path)
    refused(path, "there are auto, cuda", gpu, device="cpu")
    refused(path, "did you mean cuda", gpu, device="cudaa")
    refused(path, "threads has no effect", gpu, threads=4)


@pytest.mark.parametrize(
    "tensors",
    [
        {"presence": {"mode": "NONE"}},
        {"mask": {"mode": "INPUT", "shape": [1]}},
        {"image": {"shape": [1, 3, 96, 96]}},
        {"image": {"shape": [-1, 3, 64, 64]}},
        {"camera": {"dtype": "HALF"}},
        {"camera": {"location": "HOST"}},
    ],
)
def test_engines_that_break_the_contract(tmp_path: Path, gpu: FakeGpu, tensors: Any) -> None:
    refused(
        write_engine(tmp_path, tensors),
        rf"engine: '?{next(iter(tensors))}|does not give {next(iter(tensors))}|takes .*{next(iter(tensors))}",
        gpu,
    )


def test_a_damaged_engine(tmp_path: Path, gpu: FakeGpu) -> None:
    path = write_engine(tmp_path, plan=b"no engine")
    refused(path, r"cannot load .*engine: IRuntime::deserializeCudaEngine: .* magic tag", gpu)


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
        with pytest.raises(UserError, match=r"cannot run .* could not be started"):
            backend.run(image(0))
    assert all_freed(gpu)


def test_what_is_missing_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, gpu = write_engine(tmp_path), FakeGpu(devices=0)
    monkeypatch.setitem(sys.modules, "pycuda", None)
    refused(path, "no NVIDIA driver here, or pycuda is missing .*: engines are built and run on the device", gpu)
    install(monkeypatch, gpu)
    refused(path, "no NVIDIA GPU here: engines are built", gpu)

    def no_driver() -> None:
        raise gpu.driver.Error("cuInit failed: no CUDA-capable device is detected")

    gpu.driver.init = no_driver
    refused(path, "CUDA does not start .*no CUDA-capable device", gpu)
    install(monkeypatch, FakeGpu())
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    refused(path, "TensorRT cannot be imported.*on the device", gpu)
    monkeypatch.setitem(sys.modules, "tensorrt", types.ModuleType("tensorrt"))  # what stubs alone leave
    refused(path, "tensorrt found here is empty", gpu)


def test_the_stand_in_has_nothing_that_tensorrt_lacks() -> None:
    real = pytest.importorskip("tensorrt_rtx")
    made = fake_tensorrt(FakeGpu())
    for fake in (ICudaEngine, IExecutionContext, made.Runtime, made.ILogger):
        public = {name for name in vars(fake) if not name.startswith("_")}
        assert public and public <= set(dir(getattr(real, fake.__name__)))
    for enum in (made.TensorIOMode, made.TensorLocation, made.DataType):
        values = getattr(real, enum.__name__)
        assert all(int(getattr(values, member.name)) == member.value for member in enum)
