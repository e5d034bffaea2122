"""Engine files with passports: a real parser and builder, the device itself made up."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from compress.artefact import Artefact
from compress.passport import embed
from compress.tensorrt import tensorrt_format
from compress.tensorrt.__main__ import main
from compress.tensorrt.engine_file import build, prepare, prepare_engines
from runtime.backends.engine_passport import check_engine, read_engine_passport
from runtime.errors import UserError
from runtime.files import file_sha256
from tests.compress.tensorrt.conftest import FP32_LAYER, INT8_LAYER, MOVE, jetson_tensorrt, small_graph
from tests.conftest import tiny_passport

LAYERS = [INT8_LAYER, INT8_LAYER, FP32_LAYER, MOVE]
NANO = "jetson-orin-nano"


@pytest.fixture
def int8_file(tmp_path: Path) -> Path:
    return small_graph(tmp_path / "er-s_64_int8-trt.onnx", "int8")


def test_an_engine_and_its_passport(
    int8_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jetson_tensorrt(monkeypatch, LAYERS)
    assert main([str(int8_file), "--target", NANO]) == 0
    assert "layers: 2 int8, 1 fp32; device memory 0.1 MB" in capsys.readouterr().out
    path = int8_file.with_name("er-s_64_int8_trt10.3.0_sm87.engine")
    passport, info = read_engine_passport(path)
    assert info.precision == passport.precision == "int8" and info.variant == "er-s"
    assert passport.workspace_mib == 1024 and passport.onnx_sha256 == file_sha256(int8_file)
    assert (passport.machine.tensorrt, passport.machine.compute_capability) == ("10.3.0", "8.7")
    check_engine(passport, path, path.read_bytes(), passport.machine)
    facts = json.loads(path.with_suffix(".json").read_text())["engine"]
    assert facts["engine_layers"] == {"int8": 2, "fp32": 1}
    assert facts["build_seconds"] > 0 and facts["device_memory_bytes"] == 123456
    # What the passport tells the user to type is a command that works.
    program, flag, module, *words = passport.rebuild_command(path.parent).split()
    assert (program, flag, module) == ("python", "-m", "compress.tensorrt")
    assert main(words) == 0


def test_the_exporter_gives_the_onnx_file_its_passport_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jetson_tensorrt(monkeypatch, LAYERS)
    source = small_graph(tmp_path / "er-s_64_int8-trt.onnx", "int8")
    embed(source, tiny_passport() | {"precision": "int8"})  # as it is while the engine is built: not yet a word of int8
    job = prepare(source, None)
    build(job)
    embed(source, tiny_passport() | {"precision": "int8", "variant": "er-xs"})
    with pytest.raises(UserError, match="was built from another"):
        check_engine(read_engine_passport(job.path)[0], job.path, job.path.read_bytes(), job.machine)
    tensorrt_format.embed(Artefact("tensorrt", "int8", "int8", path=job.path), {})
    passport, info = read_engine_passport(job.path)
    check_engine(passport, job.path, job.path.read_bytes(), job.machine)
    assert info.variant == "er-xs"


def test_engines_are_built_again_only_where_they_must(
    int8_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jetson_tensorrt(monkeypatch, LAYERS)
    fp32_file = small_graph(int8_file.with_name("er-s_64_fp32.onnx"))
    w8_file = small_graph(int8_file.with_name("er-s_64_w8.onnx"), "w8")
    cpu_file = small_graph(int8_file.with_name("er-s_64_int8.onnx"), "int8", flavour="cpu")

    def built() -> tuple[list[str], list[bool]]:
        paths = prepare_engines([fp32_file, int8_file, cpu_file, w8_file], NANO)
        said = capsys.readouterr().out
        assert f"left out: {cpu_file}: int8 of flavour cpu: export it with --target" in said
        assert f"left out: {w8_file}: w8: engines are built from fp32, fp16, int8 files" in said
        return [path.name for path in paths], [f"building {path}" in said for path in paths]

    names = ["er-s_64_fp32_trt10.3.0_sm87.engine", "er-s_64_int8_trt10.3.0_sm87.engine"]
    assert built() == (names, [True, True])
    assert built() == (names, [False, False])
    engine = int8_file.with_name(names[1])
    engine.write_bytes(engine.read_bytes() + b"x")
    assert built() == (names, [False, True])
    int8_file.write_bytes(int8_file.read_bytes().replace(b"small", b"other"))
    assert built() == (names, [False, True])
    jetson_tensorrt(monkeypatch, LAYERS, version="10.13.0")
    assert built()[1] == [True, True] and engine.exists()
    with pytest.raises(UserError, match=r"would both become .*int8_trt.*give one of them"):
        prepare_engines([int8_file, small_graph(int8_file.with_name("er-s_64_w.onnx"), "int8")], NANO)
    with pytest.raises(UserError, match="no file to build engines from"):
        prepare_engines([cpu_file], NANO)


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([FP32_LAYER, FP32_LAYER], r"no layer of the engine computes in int8 \(2 in fp32\)"),
        ([], "cannot load the engine that it built"),
    ],
)
def test_an_engine_that_is_not_what_it_should_be_leaves_no_file(
    int8_file: Path, monkeypatch: pytest.MonkeyPatch, layers: list[Any], reason: str
) -> None:
    jetson_tensorrt(monkeypatch, layers)
    with pytest.raises(UserError, match=reason):
        main([str(int8_file)])
    assert not list(int8_file.parent.glob("*.engine"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("FILE --target jetson-nano", "jetson-nano has no tensorrt"),
        ("FILE --target jetson-orin", "did you mean jetson-orin-n"),
        ("FILE --workspace-mib 0", "must be 1 or more"),
        ("w8.onnx", "no file to build engines from"),
        ("none.onnx", "there is no model"),
        ("text.onnx", "onnxruntime cannot load"),
    ],
)
def test_requests_that_cannot_be(int8_file: Path, monkeypatch: pytest.MonkeyPatch, words: str, reason: str) -> None:
    jetson_tensorrt(monkeypatch, LAYERS)
    monkeypatch.chdir(int8_file.parent)
    small_graph(Path("w8.onnx"), "w8")
    Path("text.onnx").write_text("x" * 100, encoding="utf-8")
    with pytest.raises(UserError, match=reason) as error:
        main(words.replace("FILE", int8_file.name).split())
    assert "\n" not in str(error.value)


def test_without_a_gpu_the_first_thing_said_is_that(int8_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before TensorRT is imported, which would fail badly."""
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(UserError, match="no NVIDIA driver here"):
        main([str(int8_file), "--target", NANO])
