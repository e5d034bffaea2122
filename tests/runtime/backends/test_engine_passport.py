"""Engine passports: written, read without trust, compared with the machine."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.backends.engine_passport import check_engine, read_engine_passport
from runtime.backends.trt_api import Machine, l4t_release, machine_here
from runtime.errors import UserError
from runtime.files import file_sha256
from tests.fixtures.engine_files import made_passport, write_engine
from tests.fixtures.fake_gpu import FakeGpu

HERE = machine_here(FakeGpu().driver, "10.3.0")


def test_a_passport_reads_as_it_was_written(tmp_path: Path) -> None:
    path = write_engine(tmp_path, workspace_mib=None)
    passport, info = read_engine_passport(path)
    assert passport == made_passport(path.read_bytes(), workspace_mib=None) and info.variant == "er-s"
    check_engine(passport, path, path.read_bytes(), HERE)
    assert Machine("10.3.0", "12.6", "8.7", None, HERE.architecture) == HERE
    command = made_passport(b"").rebuild_command(Path("my exports"))
    assert command == "python -m compress.tensorrt 'my exports/er-s_64_fp16.onnx' --workspace-mib 1024"


@pytest.mark.parametrize("field", ["tensorrt", "cuda", "compute_capability", "l4t", "architecture"])
def test_another_machine_is_refused_with_the_command(tmp_path: Path, field: str) -> None:
    path = write_engine(tmp_path, workspace_mib=None)
    passport, _ = read_engine_passport(path)
    with pytest.raises(UserError, match=f"was built for {field.replace('_', ' ')} .*, here it is 9.9") as error:
        check_engine(passport, path, path.read_bytes(), replace(HERE, **{field: "9.9"}))
    source = shlex.quote(str(tmp_path / "er-s_64_fp16.onnx"))
    assert str(error.value).endswith(f"python -m compress.tensorrt {source}")


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


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"onnx_file": "../../etc/x.onnx"}, "onnx_file"),
        ({"onnx_file": "a b; rm -rf x.onnx"}, "onnx_file"),
        ({"precision": ["fp16"]}, "precision"),
        ({"workspace_mib": -1}, "workspace_mib"),
        ({"workspace_mib": True}, "workspace_mib"),
        ({"machine": None}, ""),
        ({"machine": {"tensorrt": "10; reboot"}}, "tensorrt"),
    ],
)
def test_a_passport_is_not_trusted(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    path = write_engine(tmp_path)
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    path.with_suffix(".json").write_text(json.dumps(facts | {"engine": facts["engine"] | change}))
    with pytest.raises(UserError, match=f"unusable engine passport: .*{reason}.*python -m compress.tensorrt") as error:
        read_engine_passport(path)
    assert "\n" not in str(error.value) and "rm -rf" not in str(error.value)
    path.with_suffix(".json").write_text(json.dumps(facts | {"model": facts["model"] | {"input_px": 10**6}}))
    with pytest.raises(UserError, match="input_px"):
        read_engine_passport(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema_version": 2}', b"[" * 10000, b" " * (2**20 + 1)])
def test_what_is_no_passport(tmp_path: Path, content: bytes) -> None:
    path = write_engine(tmp_path)
    path.with_suffix(".json").write_bytes(content)
    with pytest.raises(UserError, match="unusable engine passport"):
        read_engine_passport(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(UserError, match=r"has no passport er-s_64_fp16_trt10.3.0_sm87.json"):
        read_engine_passport(path)


def test_tegra_releases(tmp_path: Path) -> None:
    assert l4t_release(tmp_path) is None
    (tmp_path / "etc").mkdir()
    for text, release in (
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: x\n", "36.4.3"),
        ("# R38 (release), REVISION: 2.0, GCID: 1", "38.2.0"),
        ("nonsense", None),
    ):
        (tmp_path / "etc/nv_tegra_release").write_text(text)
        assert l4t_release(tmp_path) == release
