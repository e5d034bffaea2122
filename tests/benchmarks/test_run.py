"""The benchmark from end to end on two small files, and what it is asked wrongly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.candidates.engines import open_candidate
from benchmarks.candidates.facts import artifact_candidate, facts_of
from benchmarks.measure.memory import load_and_run
from benchmarks.records.record import DOUBTFUL, FINISHED, NOT_RUN, read_records
from benchmarks.run import main, thread_counts
from compress.export import export
from compress.request import ExportRequest
from runtime.backends.backend import import_engine
from runtime.backends.openvino_engine import read_model
from runtime.errors import UserError
from tests.fixtures.engine_files import install, write_engine
from tests.fixtures.fake_gpu import FakeGpu
from tests.fixtures.picture_sets import make_coco, make_hint
from training.data.synthhands import ensure_synthetic


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """er-nano, untrained, in fp32 (as OpenVINO's model, too) and as weights alone, measured on few images."""
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ER_EDGE_CACHE", str(folder / "cache"))
        for split in ("train", "test"):
            ensure_synthetic(split, 32, workers=2, progress=False)
        request = ExportRequest("er-nano", "w8", random_weights=True, test_images=32, max_drop_mm=50)
        assert export(replace(request, output_dir=folder / "exports"))["verdict"]["status"] == "passed"
    model = read_model(folder / "exports" / "er-nano_160_fp32.onnx")
    import_engine("openvino").save_model(model, folder / "exports" / "er-nano_160_fp32.xml", compress_to_fp16=False)
    return folder


@pytest.mark.slow
def test_rows_are_measured_and_kept(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ER_EDGE_CACHE", str(exported / "cache"))
    files = [str(path) for path in sorted((exported / "exports").iterdir()) if path.suffix in (".onnx", ".xml")]
    output = exported / "records.jsonl"
    few = ["--images", "32", "--rounds", "2", "--seconds", "0.05"]
    peers = ["--peers", "backbone", "mediapipe"]
    peers += ["--pictures", str(make_coco(exported / "coco")), str(make_hint(exported / "hint"))]
    assert main(["--model", *files, "-o", str(output), *few, *peers]) == 0
    records = {record.name: record for record in read_records(output)}
    for name in ("er-nano_160_fp32", "er-nano_160_w8"):
        row = records[name]
        assert row.verdict.status in (FINISHED, DOUBTFUL) and row.latency_ms and row.memory_mb and row.load_ms
        assert row.latency_ms.p50 > 0.1 and row.memory_mb.rss_peak >= row.memory_mb.rss_before > 10
        assert row.stages_ms is not None and row.stages_ms.infer > 0
        assert row.accuracy and row.accuracy.synthetic and row.accuracy.n_images == 32
        kinds = [(part.dataset.partition(" (")[0], part.kind) for part in row.points if part.kind != "all"]
        assert {"SynthHands v2.2", "COCO-WholeBody", "HInt"} == {part.dataset.partition(" (")[0] for part in row.points}
        assert {("COCO-WholeBody", "no hand"), ("HInt", "epick")} <= set(kinds)
    fp32, row = records["er-nano_160_fp32"], records["er-nano_160_fp32.xml"]
    assert row.artifact.format == "openvino" and row.artifact.bytes == pytest.approx(fp32.artifact.bytes, rel=0.3)
    assert row.runtime.name == "OpenVINO" and row.runtime.provider_used.endswith(", CPU, f32")
    assert row.times_faster is not None and row.memory_mb and row.accuracy and fp32.accuracy
    assert row.accuracy.mpjpe_mm == pytest.approx(fp32.accuracy.mpjpe_mm, abs=0.01)
    w8 = records["er-nano_160_w8"]
    assert w8.times_faster is not None and w8.times_faster.low <= w8.times_faster.median <= w8.times_faster.high
    assert any("backbone" in name for name in records)
    assert any(record.verdict.status == NOT_RUN for record in records.values())  # MediaPipe: how to get it
    printed = capsys.readouterr().out
    assert "in the picture, HInt" in printed and "DOUBTFUL" in printed
    with pytest.raises(UserError, match="--overwrite"):
        main(["--model", *files, "-o", str(output), *few])


def test_a_litert_row(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    from tests.fixtures.tiny_tflite import write_tiny_tflite

    candidate = artifact_candidate(write_tiny_tflite(tmp_path / "tiny_64_fp32.tflite"), "auto", None)
    assert candidate.name == "tiny_64_fp32.tflite" and candidate.threaded
    assert facts_of(candidate).artifact.format == "litert"
    opened = open_candidate(candidate, 1)
    opened.run()
    assert opened.runtime == "LiteRT" and opened.version and opened.provider_used == f"LiteRT {opened.version}, CPU"


def test_numbers_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.run.usable_cores", lambda: 6)
    assert [thread_counts(word) for word in ("3", "all", "scaling")] == [[3], [6], [1, 2, 4, 6]]


def test_an_engine_file_says_what_it_takes_on_the_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, FakeGpu())
    engine = artifact_candidate(write_engine(tmp_path), "auto", None)
    _, memory_mb = load_and_run(engine, None)
    assert memory_mb is not None and memory_mb.device_delta is not None and memory_mb.device_delta > 0
    opened = open_candidate(engine, None)
    assert opened.runtime == "TensorRT" and opened.version in opened.provider_used
    opened.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "none.onnx"], "there is no model"),
        (["--model", "none.onnx", "--threads", "0"], "--threads '0'"),
        (["--model", "none.onnx", "--mediapipe", "x.whl"], "no effect without --peers"),
        (["--model", "none.onnx", "--target", "jetson-orin-nan"], "did you mean jetson-orin-nano"),
        (["--model", "none.onnx", "--target", "raspberry-pi-5"], "is not this device"),
        (["--model", "none.onnx", "--data", "DIR", "--images", "0"], "--data has no effect"),
        (["--model", "none.onnx", "--pictures", "DIR", "--images", "0"], "--pictures has no effect"),
    ],
)
def test_mistakes(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        main([*arguments, "-o", str(tmp_path / "r.jsonl")])
    assert list(tmp_path.iterdir()) == []
