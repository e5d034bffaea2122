"""The stand-in has nothing that the real TensorRT lacks: same classes, members, parameters and enum values."""

from __future__ import annotations

import importlib.util
import inspect
import re
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.fake_gpu import FakeGpu
from tests.fixtures.fake_tensorrt import fake_tensorrt

FAKE = fake_tensorrt(FakeGpu())
CLASSES = ("ILogger", "Runtime", "ICudaEngine", "IExecutionContext")
ENUMS = ("TensorIOMode", "TensorLocation", "DataType")


def members(fake: type) -> dict[str, Any]:
    """Public members; those set in __init__ are attributes of the real class, too."""
    names = {name for name in vars(fake) if not name.startswith("_")}
    if "__init__" in vars(fake):
        names |= set(re.findall(r"self\.([a-z]\w+) = ", inspect.getsource(fake.__init__)))
    return {name: getattr(fake, name, None) for name in names}


def parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def fits(wanted: list[str], text: str) -> bool:
    """Whether a call with these arguments suits a signature as pybind11 writes it: the others have defaults."""
    found = re.findall(r"(\w+): [\w.\[\], ]+?( = [^,]+)?(?:, |$)", text)
    return [name for name, _ in found[: len(wanted)]] == wanted and all(d for _, d in found[len(wanted) :])


@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_those_of_tensorrt_rtx(name: str) -> None:
    real = getattr(pytest.importorskip("tensorrt_rtx"), name)
    assert members(getattr(FAKE, name))
    for member, value in members(getattr(FAKE, name)).items():
        if member == "fails":  # the test's own switch
            continue
        assert hasattr(real, member), f"{name}.{member}"
        if inspect.isfunction(value) and name != "ILogger":
            texts = re.findall(rf"{member}\(self: [\w.]+(?:, )?(.*?)\) ->", getattr(real, member).__doc__)
            assert any(fits(parameters(value), text) for text in texts), texts


@pytest.mark.parametrize("name", ENUMS)
def test_enums_are_those_of_tensorrt_rtx(name: str) -> None:
    real = getattr(pytest.importorskip("tensorrt_rtx"), name)
    fake: type[IntEnum] = getattr(FAKE, name)
    assert {member.name: member.value for member in fake} == {m.name: int(getattr(real, m.name)) for m in fake}


def test_severities_order_as_in_tensorrt_rtx() -> None:
    logger = pytest.importorskip("tensorrt_rtx").ILogger
    assert logger.INTERNAL_ERROR <= logger.ERROR <= logger.WARNING < logger.INFO < logger.VERBOSE


def stub_of(name: str) -> str:
    """A class of the package tensorrt-stubs (10.13), as text: not all of the file is Python."""
    spec = importlib.util.find_spec("tensorrt_bindings")
    places = list(spec.submodule_search_locations or ()) if spec else []
    stub = next((p for place in places if (p := Path(place) / "tensorrt.pyi").is_file()), None)
    if stub is None:
        pytest.skip("tensorrt-stubs is not installed (pip install --no-deps tensorrt-stubs)")
    found = re.search(rf"^class {name}\b.*?(?=^class |\Z)", stub.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_those_of_the_stubs(name: str) -> None:
    real = stub_of(name)
    for member, value in members(getattr(FAKE, name)).items():
        if member in ("fails", "Severity"):
            continue
        texts = re.findall(rf"^    def {member}\(self(?:, )?(.*?)\) ->", real, re.MULTILINE)
        if inspect.isfunction(value):
            assert any(fits(parameters(value), text) for text in texts), f"{name}.{member}: {texts}"
        else:
            assert texts or re.search(rf"^    {member}: ", real, re.MULTILINE), f"{name}.{member}"
