"""Engine passports: written, read without trust, compared with the machine."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.passport import file_sha256
from runtime.backends.engine_passport import check_engine, read_engine_passport
from runtime.backends.trt_api import Machine, cuda_version, describe_machine, l4t_release
from runtime.errors import UserError
from tests.fixtures.engine_files import made_passport, write_engine

HERE = Machine("10.3.0", "12.6", "8.7", None, describe_machine("10.3.0", 12060, (8, 7)).architecture)


def test_a_passport_reads_as_it_was_written(tmp_path: Path) -> None:
    path = write_engine(tmp_path, warnings=("a", "b"), target=None, device_memory_bytes=None)
    passport, info = read_engine_passport(path)
    expected = made_passport(path.read_bytes(), warnings=("a", "b"), target=None, device_memory_bytes=None)
    assert passport == expected
    assert info.variant == "er-s"
    check_engine(passport, path, path.read_bytes(), HERE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tensorrt": "10.13.0"}, "tensorrt 10.3.0, here it is 10.13.0"),
        ({"cuda": "13.0"}, "cuda 12.6, here it is 13.0"),
        ({"compute_capability": "11.0"}, "compute capability 8.7, here it is 11.0"),
        ({"l4t": "36.4.3"}, "l4t none, here it is 36.4.3"),
        ({"architecture": "sparc"}, "architecture .*, here it is sparc"),
    ],
)
def test_another_machine_is_refused_with_the_command(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    path = write_engine(tmp_path)
    passport, _ = read_engine_passport(path)
    with pytest.raises(UserError, match=f"was built for {reason}") as error:
        check_engine(passport, path, path.read_bytes(), replace(HERE, **change))
    source = shlex.quote(str(tmp_path / "er-s_64_fp16.onnx"))
    assert str(error.value).endswith(f"python -m compress.tensorrt {source} --target jetson-orin-nano --overwrite")


def test_the_command_repeats_how_it_was_built(tmp_path: Path) -> None:
    weak = made_passport(b"", strongly_typed=False, precision="int8", target=None, workspace_mib=256)
    command = weak.rebuild_command(Path("my exports"))
    source = "'my exports/er-s_64_fp16.onnx'"
    assert command == f"python -m compress.tensorrt {source} --workspace-mib 256 --weak int8 --overwrite"


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = write_engine(tmp_path)
    passport, _ = read_engine_passport(path)
    with pytest.raises(UserError, match=r"not the file its passport describes: python -m compress.tensorrt"):
        check_engine(passport, path, path.read_bytes() + b" ", HERE)
    source = tmp_path / passport.onnx_file
    source.write_bytes(b"another model")
    with pytest.raises(UserError, match=r"built from another er-s_64_fp16.onnx than the one beside it: python"):
        check_engine(passport, path, path.read_bytes(), HERE)
    check_engine(replace(passport, onnx_sha256=file_sha256(source)), path, path.read_bytes(), HERE)


def rewritten(path: Path, change: dict[str, Any], part: str = "engine") -> Path:
    beside = path.with_suffix(".json")
    facts = json.loads(beside.read_text())
    facts[part] |= change
    beside.write_text(json.dumps(facts))
    return path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"onnx_file": "../../etc/x.onnx"}, "onnx_file"),
        ({"onnx_file": "a b; rm -rf x.onnx"}, "onnx_file"),
        ({"target": "x --data y"}, "target"),
        ({"engine_sha256": "0" * 63}, "engine_sha256"),
        ({"precision": "int4"}, "precision"),
        ({"strongly_typed": 1}, "strongly_typed"),
        ({"build_seconds": float("nan")}, "build_seconds"),
        ({"workspace_mib": -1}, "workspace_mib"),
        ({"device_memory_bytes": True}, "device_memory_bytes"),
        ({"engine_layers": {"int4": 1}}, "engine_layers"),
        ({"engine_layers": {"int8": 1.5}}, "int8 is not a count"),
        ({"warnings": [1]}, "warnings"),
        ({"machine": None}, "machine is not a JSON object"),
        ({"machine": {"tensorrt": "10; reboot"}}, "tensorrt"),
    ],
)
def test_a_passport_is_not_trusted(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=f"unusable engine passport: .*{reason}.*python -m compress.tensorrt") as error:
        read_engine_passport(rewritten(write_engine(tmp_path), change))
    assert "\n" not in str(error.value) and "rm -rf" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema_version": 2}', b"[" * 10000, b" " * (2**20 + 1)])
def test_what_is_no_passport(tmp_path: Path, content: bytes) -> None:
    path = write_engine(tmp_path)
    path.with_suffix(".json").write_bytes(content)
    with pytest.raises(UserError, match="unusable engine passport"):
        read_engine_passport(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(UserError, match=r"has no passport er-s_64_fp16_trt10.3.0_sm87.json"):
        read_engine_passport(path)


def test_the_model_inside_is_checked_too(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="input_px"):
        read_engine_passport(rewritten(write_engine(tmp_path), {"input_px": 10**6}, part="model"))


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(key=st.sampled_from([*vars(made_passport(b"")), "x"]), value=json_like)
def test_any_value_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, key: str, value: object) -> None:
    path = rewritten(write_engine(tmp_path_factory.mktemp("e")), {key: value})
    try:
        passport, _ = read_engine_passport(path)
    except UserError as error:
        assert "\n" not in str(error)
        return
    words = shlex.split(passport.rebuild_command(tmp_path_factory.getbasetemp()))
    assert words[:3] == ["python", "-m", "compress.tensorrt"] and words[-1] == "--overwrite"


def test_tegra_releases(tmp_path: Path) -> None:
    assert l4t_release(tmp_path) is None
    (tmp_path / "etc").mkdir()
    release = tmp_path / "etc/nv_tegra_release"
    for text, expected in (
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: x\n", "36.4.3"),
        ("# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64", "35.4.1"),
        ("# R38 (release), REVISION: 2.0, GCID: 1", "38.2.0"),
        ("nonsense", None),
    ):
        release.write_text(text)
        assert l4t_release(tmp_path) == expected
    assert cuda_version(12060) == "12.6" and cuda_version(13020) == "13.2"
    assert re.fullmatch(r"\d+\.\d+", describe_machine("10.3.0", 11040, (5, 3)).compute_capability)
