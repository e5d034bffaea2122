"""Engine files with passports: a real parser and builder, the device itself made up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.passport import file_sha256
from compress.tensorrt.__main__ import main
from compress.tensorrt.engine_file import EngineRequest, find_or_make_engine, make_engine
from runtime.backends.engine_passport import check_engine, read_engine_passport
from runtime.errors import UserError
from tests.compress.tensorrt.conftest import FP32_LAYER, INT8_LAYER, MOVE, jetson_tensorrt, small_graph

pytestmark = pytest.mark.filterwarnings("ignore:Use Deprecated in TensorRT-RTX")  # its timing cache does nothing
LAYERS = [INT8_LAYER, INT8_LAYER, FP32_LAYER, MOVE]


@pytest.fixture
def int8_file(tmp_path: Path) -> Path:
    return small_graph(tmp_path / "er-s_64_int8-trt.onnx", "int8")


def test_an_engine_and_its_passport(int8_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jetson_tensorrt(monkeypatch, LAYERS)
    path, made = make_engine(EngineRequest(int8_file, target="jetson-orin-nano"))
    assert path.name == "er-s_64_int8_trt10.3.0_sm87.engine" and path.parent == int8_file.parent
    passport, info = read_engine_passport(path)
    assert passport == made and info.precision == "int8" and info.variant == "er-s"
    assert passport.engine_layers == {"int8": 2, "fp32": 1} and passport.graph_layers == {"int8": 1}
    assert passport.workspace_mib == 1024 and passport.strongly_typed and passport.device_memory_bytes == 123456
    assert passport.onnx_sha256 == file_sha256(int8_file) and passport.build_seconds > 0
    assert (passport.machine.tensorrt, passport.machine.compute_capability) == ("10.3.0", "8.7")
    check_engine(passport, path, path.read_bytes(), passport.machine)
    assert (path.parent / "timing_trt10.3.0_sm87.cache").is_file()
    with pytest.raises(UserError, match="exists: give --overwrite"):
        make_engine(EngineRequest(int8_file))
    make_engine(EngineRequest(int8_file, overwrite=True))


def test_an_engine_is_built_again_only_where_it_must(int8_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jetson_tensorrt(monkeypatch, LAYERS)
    request = EngineRequest(int8_file, target="jetson-orin-nano")
    path, first = find_or_make_engine(request)
    assert find_or_make_engine(request) == (path, first)
    assert find_or_make_engine(replace(request, overwrite=True))[1] != first  # at least its time is another
    path.write_bytes(path.read_bytes() + b"x")
    _, again = find_or_make_engine(request)
    assert check_engine(again, path, path.read_bytes(), again.machine) is None
    small_graph(int8_file, "int8", bias=False)
    int8_file.write_bytes(int8_file.read_bytes().replace(b"small", b"other"))
    assert find_or_make_engine(request)[1].onnx_sha256 == file_sha256(int8_file) != first.onnx_sha256
    jetson_tensorrt(monkeypatch, LAYERS, version="10.13.0")
    newer, _ = find_or_make_engine(request)
    assert newer.name == "er-s_64_int8_trt10.13.0_sm87.engine" and path.exists()


def test_the_command_of_a_refusal_builds(
    int8_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a passport tells the user to type is a command that works."""
    jetson_tensorrt(monkeypatch, LAYERS)
    path, passport = make_engine(EngineRequest(int8_file, target="jetson-orin-nano"))
    program, flag, module, *words = passport.rebuild_command(path.parent).split()
    assert (program, flag, module) == ("python", "-m", "compress.tensorrt")
    assert main(words) == 0
    assert "layers: 2 int8, 1 fp32; device memory 0.1 MB" in capsys.readouterr().out


def test_a_silent_fp32_engine_leaves_no_file(int8_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jetson_tensorrt(monkeypatch, [FP32_LAYER, FP32_LAYER])
    with pytest.raises(UserError, match=r"no layer of the engine computes in int8 \(2 in fp32\)"):
        make_engine(EngineRequest(int8_file))
    assert not list(int8_file.parent.glob("*.engine"))


def test_an_engine_that_does_not_load(int8_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jetson_tensorrt(monkeypatch, [])
    with pytest.raises(UserError, match="cannot load the engine that it built"):
        make_engine(EngineRequest(int8_file))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"target": "jetson-nano"}, "jetson-nano has no tensorrt"),
        ({"target": "raspberry-pi-5"}, "NVIDIA's GPUs alone"),
        ({"target": "jetson-orin"}, "did you mean jetson-orin-n"),
        ({"workspace_mib": 0}, "must be 1 or more"),
        ({"weak": "int4"}, "unknown precision 'int4'"),
        ({"weak": "int8"}, "from the graph alone: leave out --weak"),
        ({"onnx": Path("none.onnx")}, "there is no model"),
    ],
)
def test_requests_that_cannot_be(
    int8_file: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], reason: str
) -> None:
    jetson_tensorrt(monkeypatch, LAYERS)
    with pytest.raises(UserError, match=reason) as error:
        make_engine(EngineRequest(**{"onnx": int8_file} | changes))
    assert "\n" not in str(error.value)


def test_files_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jetson_tensorrt(monkeypatch, LAYERS)
    other = tmp_path / "model.bin"
    other.write_bytes(b"x")
    with pytest.raises(UserError, match="no ONNX file"):
        make_engine(EngineRequest(other))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"x" * 100)
    with pytest.raises(UserError, match="onnxruntime cannot load"):
        make_engine(EngineRequest(broken))


def test_without_a_gpu_the_first_thing_said_is_that(int8_file: Path) -> None:
    """Before TensorRT is imported, which would fail badly."""
    with pytest.raises(UserError, match=r"no NVIDIA driver here|finds no GPU"):
        main([str(int8_file), "--target", "jetson-orin-nano"])


def test_model_passports_stay_inside(int8_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jetson_tensorrt(monkeypatch, LAYERS)
    path, _ = make_engine(EngineRequest(int8_file, output_dir=int8_file.parent / "engines"))
    assert path.parent.name == "engines"
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["model"]["hand_model"]["sha256"] and facts["schema_version"] == 1
