"""The folder: what is in it, what must not be trusted, and that it is replaced as a whole."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compress.coreml import package as module
from compress.coreml.package import embed, package_bytes, package_sha256, read_package, replace_package
from runtime.backends.contract import METADATA_KEY
from runtime.errors import UserError


def refuse(path: Path) -> str:
    """The one line that reading it ends with."""
    with pytest.raises(UserError) as raised:
        read_package(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_package_is_read(small_package: Path) -> None:
    package = read_package(small_package)
    assert package.model.WhichOneof("Type") == "mlProgram"
    assert package.weights.dtype == np.uint8 and len(package.weights) > 64
    assert package_bytes(small_package) == sum(f.stat().st_size for f in small_package.rglob("*") if f.is_file())


def test_the_passport_is_embedded_and_replaced(copied: Path) -> None:
    before = package_sha256(copied)
    embed(copied, {"variant": "er-s"})
    embed(copied, {"variant": "er-nano", "unit": "μm"})
    metadata = read_package(copied).model.description.metadata.userDefined
    assert json.loads(metadata[METADATA_KEY]) == {"variant": "er-nano", "unit": "μm"}
    assert "com.github.apple.coremltools.version" in metadata
    assert package_sha256(copied) != before


def test_the_digest_is_of_content_alone(small_package: Path, copied: Path) -> None:
    manifest = json.loads((copied / "Manifest.json").read_text())
    (copied / "Manifest.json").write_text(json.dumps(manifest, indent=1))
    assert package_sha256(copied) == package_sha256(small_package)


def test_what_is_no_package(tmp_path: Path, tiny_model: Path) -> None:
    assert "is no package" in refuse(tmp_path / "absent.mlpackage")
    assert "is no package" in refuse(tiny_model)
    (tmp_path / "empty.mlpackage").mkdir()
    assert "lacks Manifest.json" in refuse(tmp_path / "empty.mlpackage")


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ("", "names no model"),
        ("[]", "names no model"),
        ("{}", "names no model"),
        ("\xff", "names no model"),
        ("[" * 30_000, "names no model"),
        ('{"rootModelIdentifier": ["a"], "itemInfoEntries": {}}', "names no model"),
        ('{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": 7}}}', "names no model"),
        ('{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": ""}}}', "is not a file of the package"),
        ('{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": "x\\u0000y"}}}', "cannot be read"),
        ('{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": "\\ud800"}}}', "cannot be read"),
        ('{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": "../../x"}}}', "points outside"),
        ('{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": "/etc/passwd"}}}', "points outside"),
        ('{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": "' + "n" * 300 + '"}}}', "cannot be read"),
        ('{"pad": "' + "x" * 70_000 + '"}', "more than any package"),
    ],
)
def test_bad_manifests(copied: Path, manifest: str, says: str) -> None:
    (copied / "Manifest.json").write_text(manifest, encoding="latin-1")
    assert says in refuse(copied)


def model_of(path: Path) -> Path:
    return read_package(path).model_path


def test_links_out_of_the_package_are_not_followed(copied: Path, tmp_path: Path) -> None:
    model = model_of(copied)
    outside = tmp_path / "outside.mlmodel"
    shutil.move(model, outside)
    model.symlink_to(outside)
    assert "is not a file of the package" in refuse(copied)
    model.unlink()
    model.symlink_to(model)
    assert "cannot be read" in refuse(copied)


def test_things_that_are_no_files(copied: Path) -> None:
    model = model_of(copied)
    model.unlink()
    assert "cannot be read" in refuse(copied)
    os.mkfifo(model)
    assert "is not a file of the package" in refuse(copied)
    model.unlink()
    model.mkdir()
    assert "is not a file of the package" in refuse(copied)


def test_too_large(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_WEIGHT_BYTES", 100)
    assert "weight.bin has" in refuse(copied)
    monkeypatch.setattr(module, "_MAX_MODEL_BYTES", 100)
    assert "model.mlmodel has" in refuse(copied)


def test_weights_may_be_missing_or_empty(copied: Path) -> None:
    weights = model_of(copied).parent / "weights" / "weight.bin"
    weights.write_bytes(b"")
    assert len(read_package(copied).weights) == 0
    weights.unlink()
    assert len(read_package(copied).weights) == 0
    weights.mkdir()
    assert "is not a file" in refuse(copied)


def test_other_models_are_refused(copied: Path) -> None:
    package = read_package(copied)
    package.model.neuralNetwork.SetInParent()
    package.model_path.write_bytes(package.model.SerializeToString())
    assert "holds no ML program" in refuse(copied)
    package.model_path.write_bytes(b"\xff" * 100)
    assert "is damaged" in refuse(copied)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=300), st.text(max_size=100).map(str.encode)))
def test_any_manifest_gives_a_package_or_one_line(copied: Path, content: bytes) -> None:
    (copied / "Manifest.json").write_bytes(content)
    refuse(copied)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda x: st.lists(x, max_size=3))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(root=JSON, entries=JSON | st.fixed_dictionaries({"a": JSON | st.fixed_dictionaries({"path": JSON})}))
def test_any_json_in_the_manifest(copied: Path, root: Any, entries: Any) -> None:
    (copied / "Manifest.json").write_text(json.dumps({"rootModelIdentifier": root, "itemInfoEntries": entries}))
    refuse(copied)


def test_replacing(copied: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.mlpackage"
    replace_package(shutil.copytree(copied, tmp_path / "first"), target)
    (target / "old").write_text("old")
    replace_package(shutil.copytree(copied, tmp_path / "second"), target)
    assert not (target / "old").exists() and read_package(target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["damaged.mlpackage", "target.mlpackage"]


def test_a_failed_replacement_leaves_the_old_package(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        replace_package(tmp_path / "absent", copied)
    assert read_package(copied)
    assert [p.name for p in tmp_path.iterdir()] == ["damaged.mlpackage"]
