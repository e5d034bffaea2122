"""The driver is asked before TensorRT is touched."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from compress.tensorrt.gpu import Gpu, describe, probe_gpu
from runtime.errors import UserError


class Library:
    """libcuda, made."""

    def __init__(self, **statuses: int) -> None:
        self._statuses = statuses

    def _status(self, call: str) -> int:
        return self._statuses.get(call, 0)

    def cuInit(self, flags: int) -> int:
        return self._status("cuInit")

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:
        return self._status("cuDeviceGet")

    def cuDeviceGetName(self, name: Any, length: int, device: Any) -> int:
        name.value = b"Orin"[: length - 1]
        return 0

    def cuDriverGetVersion(self, number: Any) -> int:
        number._obj.value = 12060
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        value._obj.value = {75: 8, 76: 7}[attribute]
        return self._status("cuDeviceGetAttribute")


def test_a_gpu_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    gpu = probe_gpu()
    assert gpu == Gpu("Orin", (8, 7), 12060)
    assert describe(gpu) == "Orin, compute capability 8.7, CUDA 12.6"


def test_no_driver() -> None:
    with pytest.raises(
        UserError, match=r"no NVIDIA driver here \(libnone\.so\): .* python -m compress.tensorrt"
    ) as error:
        probe_gpu("libnone.so")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("cuInit", r"finds no GPU \(cuInit gives 100\)"),
        ("cuDeviceGet", "cuDeviceGet gives 100"),
        ("cuDeviceGetAttribute", "cuDeviceGetAttribute gives 100"),
    ],
)
def test_no_gpu(monkeypatch: pytest.MonkeyPatch, call: str, reason: str) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library(**{call: 100}))
    with pytest.raises(UserError, match=reason):
        probe_gpu()
