"""Raw samples: there and back, and archives that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.records import raw_samples as samples
from benchmarks.records.raw_samples import read_samples, row_key, samples_path, write_samples
from runtime.errors import UserError


def test_there_and_back(tmp_path: Path) -> None:
    path = samples_path(tmp_path / "records.jsonl")
    assert path.name == "records.npz" and read_samples(path) == {}
    arrays = {row_key("a", None, "runs_ms"): np.arange(3, dtype=np.float32), row_key("a", 4, "block"): np.zeros(0)}
    write_samples(path, arrays)
    found = read_samples(path)
    assert set(found) == {"a|-|runs_ms", "a|4|block"}
    assert all(np.array_equal(found[key], value) for key, value in arrays.items())


def test_pickles_and_noise_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.npz"
    np.savez(path, a=np.array([{"x": 1}], object))
    with pytest.raises(UserError, match="cannot read the raw samples"):
        read_samples(path)
    path.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(UserError, match="cannot read the raw samples"):
        read_samples(path)


def test_what_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.npz"
    write_samples(path, {"a": np.zeros(100_000)})
    monkeypatch.setattr(samples, "MAX_ARRAY_BYTES", 100_000)
    with pytest.raises(UserError, match="unpacks to too much"):
        read_samples(path)
    monkeypatch.setattr(samples, "MAX_FILE_BYTES", 100)
    with pytest.raises(UserError, match="too large"):
        read_samples(path)
