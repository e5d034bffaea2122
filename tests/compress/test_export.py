"""The main command from end to end, and what bad input gets."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from compress import export as command
from compress import prune as pruning
from compress.artefact import Artefact
from compress.check import mesh_distance
from compress.export import export, judge, main, parse_args
from compress.export_report import add_to_report, print_result
from compress.onnx.lint import lint
from compress.request import ExportRequest
from runtime.errors import UserError
from tests.conftest import IMAGES
from tests.fixtures.picture_sets import make_coco
from training.checkpoint import WeightFacts, save_weights
from training.evaluation.scores import Accuracy
from training.network import build

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "compress" / "export.py"
STEM = "er-nano_160_int8"


def everything_in(folder: Path) -> dict[str, bytes]:
    """All files below a folder with their contents."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ---- the happy path


@pytest.mark.slow
def test_files_report_and_passports(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, entry = finished
    names = ["er-nano_160_fp32", STEM]
    expected = {f"{name}{suffix}" for name in names for suffix in (".onnx", ".json")} | {"report.json"}
    assert set(everything_in(folder)) == expected
    assert json.loads((folder / "report.json").read_text())["exports"][STEM] == json.loads(json.dumps(entry))
    assert "synthetic" in entry["dataset"] and entry["synthetic"] is True
    for name in names:
        passport = json.loads((folder / f"{name}.json").read_text())
        model = onnx.load(folder / f"{name}.onnx")
        inside = json.loads({p.key: p.value for p in model.metadata_props}["er_edge"])
        assert {k: passport[k] for k in inside} == inside
        assert passport["bytes"] == (folder / f"{name}.onnx").stat().st_size
        assert passport["variant"] == "er-nano" and passport["precision"] == name.rsplit("_", 1)[1]
        assert passport["weights"] == {"random": True, "sha256": None}
        assert passport["accuracy"]["n_images"] == 48
        assert passport["latency_ms"]["median"] > 0
    assert passport["calibration"]["n_images"] == 48
    assert len(passport["quantisation"]["quantized"]) > 50
    speed = entry["files"][STEM]["latency_ms"]["times_faster_than_fp32"]
    assert speed["min"] <= speed["median"] <= speed["max"]


@pytest.mark.slow
def test_a_second_export_is_refused_or_replaces(
    finished: tuple[Path, dict[str, Any]], small_request: ExportRequest
) -> None:
    folder, _ = finished
    before = everything_in(folder)
    with pytest.raises(UserError, match="--overwrite"):
        export(small_request)
    assert everything_in(folder) == before
    fp32 = replace(small_request, precision="fp32", calib_samples=512, overwrite=True)
    assert export(fp32)["verdict"]["status"] == "passed"
    after = everything_in(folder)
    assert after[f"{STEM}.onnx"] == before[f"{STEM}.onnx"]
    assert set(json.loads(after["report.json"])["exports"]) == {STEM, "er-nano_160_fp32"}


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "size"), [("fp16", 0.65), ("w8", 0.35)])
def test_smaller_files(
    precision: str, size: float, finished: object, small_request: ExportRequest, tmp_path: Path
) -> None:
    entry = export(replace(small_request, precision=precision, calib_samples=512, output_dir=tmp_path))
    fp32, smaller = entry["files"]["er-nano_160_fp32"], entry["files"][f"er-nano_160_{precision}"]
    assert smaller["bytes"] < size * fp32["bytes"]
    assert abs(smaller["accuracy"]["delta_vs_fp32_mm"]) < 0.5
    assert json.loads((tmp_path / f"er-nano_160_{precision}.json").read_text())["calibration"] is None


@pytest.mark.slow
def test_for_a_jetson_by_own_pictures(
    finished: object, small_request: ExportRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pictures").mkdir()
    for i in range(40):
        picture = cv2.resize(np.random.default_rng(i).integers(0, 256, (8, 6, 3), np.uint8), (90, 120))
        cv2.imwrite(str(tmp_path / "pictures" / f"{i}.png"), picture)
    (tmp_path / "pictures" / "._0.png").write_bytes(b"a Mac's own")
    request = replace(small_request, target="jetson-orin-nano", calib_data=tmp_path / "pictures", calib_method="minmax")
    entry = export(replace(request, output_dir=tmp_path / "out"))
    assert entry["verdict"]["status"] == "passed", entry["verdict"]
    passport = json.loads((tmp_path / "out" / "er-nano_160_int8-trt.json").read_text())
    assert passport["quantisation"]["flavour"] == "trt" and passport["target"] == "jetson-orin-nano"
    calibration = {key: passport["calibration"][key] for key in ("data", "n_images", "method")}
    assert calibration == {"data": "pictures", "n_images": 40, "method": "minmax"}
    assert passport["latency_ms"]["median"] is None and "another machine" in passport["latency_ms"]["reason"]
    assert lint(onnx.load(tmp_path / "out" / "er-nano_160_int8-trt.onnx"), "trt", (10, 3)) == ()
    printed = capsys.readouterr().out
    assert "only 40 calibration images" in printed and "._0.png" in printed
    print_result(entry, tmp_path / "out")
    assert "no other file was timed here" in capsys.readouterr().out


def test_list_prints_every_variant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{name} " in printed for name in ("er", "er-l", "er-m", "er-s", "er-xs", "er-nano"))
    assert "1.339" in printed and "shipped" in printed


# ---- verdicts


def measured(mpjpe_mm: float) -> Artefact:
    accuracy = Accuracy("made (synthetic)", "mcp-scaled", mpjpe_mm, 0, 0, 1, 10, 10)
    return Artefact("onnx", "int8", "int8", accuracy=accuracy)


@pytest.mark.parametrize(
    ("before_mm", "after_mm", "status"),
    [
        (20, 20.29, "passed"),
        (20, 20.31, "accuracy_failed"),
        (20, float("nan"), "accuracy_failed"),
        (float("nan"), 20, "not_run"),
    ],
)
def test_verdicts(before_mm: float, after_mm: float, status: str) -> None:
    judged = judge(measured(after_mm), measured(before_mm), 0.3)
    assert judged.verdict.status == status and judged.verdict.passed is (status == "passed")


def test_a_failed_export_leaves_nothing(
    small_request: ExportRequest,
    synthetic_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(mesh_distance, "VERTEX_TOLERANCE_MM", 0.0)
    entry = export(replace(small_request, output_dir=tmp_path))
    assert entry["verdict"]["status"] == "parity_failed" and list(entry["files"]) == ["er-nano_160_fp32"]
    assert list(tmp_path.iterdir()) == []
    print_result(entry, tmp_path)
    assert "nothing was written" in capsys.readouterr().out


# ---- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --variant"),
        (["--variant", "er-x"], "did you mean er-xs"),
        (["--variant", "er-s", "--format", "onxx"], "did you mean onnx"),
        (
            ["--variant", "er-s", "--w8", "--format", "tensorrt"],
            "format tensorrt has no precision w8: it takes --fp32, --fp16",
        ),
        (["--variant", "er-s", "--image-input"], "no effect without --format coreml"),
        (["--variant", "er-s", "--int8", "--format", "coreml", "--calib-samples", "64"], "weights alone"),
        (["--variant", "er-s", "--format", "tensorrt", "--target", "jetson-nano"], "jetson-nano has no tensorrt"),
        (["--variant", "er-s", "--w8", "--format", "coreml", "--target", "jetson-nano"], "Apple's devices alone"),
        (["--variant", "er-s", "--target", "raspberry-pi5"], "did you mean raspberry-pi-5"),
        (["--variant", "er-s", "--int8", "--fp16"], "not allowed with"),
        (["--variant", "er-s", "--int8", "--calib-method", "minmix"], "did you mean minmax"),
        (["--variant", "er-s", "--calib-method", "minmax"], "no effect without --int8"),
        (["--variant", "er-s", "--format", "openvino", "--target", "apple-a16"], "apple-a16 has no onnx"),
        (["--variant", "er-s", "--finetune-steps", "3"], "no effect without --prune"),
        (["--variant", "er-s", "--prune", "0.3", "--random-weights"], "need trained weights"),
        (["--variant", "er-s", "--max-drop-mm", "nan"], "must be 0 or more"),
        (["--variant", "er-s", "--random-weights", "--checkpoint", "x"], "need trained weights"),
        (["--variant", "er-s", "--checkpoint", "no/such/file"], "cannot read no.such.file"),
        (["--variant", "er-l"], "no weights come with 'er-l'"),
        (["--variant", "er-nano", "--random-weights", "--data", "no/such/folder"], "no data set at"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        main(arguments)
    assert "\n" not in str(caught.value)
    assert everything_in(tmp_path) == {}


def test_the_command_line_is_a_request() -> None:
    given = vars(parse_args(["--variant", "er-s"]))
    assert not given.pop("list") and ExportRequest(**given) == ExportRequest("er-s")
    assert parse_args(["--variant", "er-s", "--half"]).precision == "fp16"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Untrained weights of er-nano in a file that claims to be trained."""
    path = tmp_path / "weights.safetensors"
    facts = WeightFacts("er-nano", {"name": "other", "sha256": "0" * 64}, "made", True, 1, 1, 0)
    save_weights(path, build("er-nano").state_dict(), facts)
    return path


def test_2d_joints_alone_are_no_measure_of_a_file(tmp_path: Path) -> None:
    for part in ("train", "val"):
        make_coco(tmp_path / "coco", part)
    request = ExportRequest("er-nano", "fp32", random_weights=True, data=str(tmp_path / "coco"), output_dir=tmp_path)
    with pytest.raises(UserError, match="COCO-WholeBody has no 3D labels"):
        export(request)


def test_another_hand_models_checkpoint(checkpoint: Path) -> None:
    with pytest.raises(UserError, match="trained on hand model 'other'"):
        main(["--variant", "er-nano", "--checkpoint", str(checkpoint)])
    with pytest.raises(UserError, match="holds weights of 'er-nano', not 'er-xs'"):
        main(["--variant", "er-xs", "--checkpoint", str(checkpoint)])


def test_a_damaged_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    tensors, name = load_file(checkpoint), "regress.pose.0.mlp.0.weight"
    with safe_open(checkpoint, "pt") as file:
        metadata = file.metadata()
    paths = [tmp_path / f"{number}.safetensors" for number in range(3)]
    paths[0].write_bytes(checkpoint.read_bytes()[:50_000])
    save_file(tensors, paths[1])
    save_file({**tensors, name: tensors[name] * np.nan}, paths[2], metadata)
    reasons = ("not a whole safetensors file", "not written by this project", r"pose\.0\.mlp\.0\.weight")
    for path, reason in zip(paths, reasons, strict=True):
        with pytest.raises(UserError, match=reason):
            main(["--variant", "er-nano", "--checkpoint", str(path)])


@pytest.mark.parametrize(("name", "message"), [("out", "cannot write"), ("out/report.json", "not a report of this")])
def test_what_is_not_the_exports_stays(name: str, message: str, synthetic_cache: Path, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(UserError, match=message):
        main(["--variant", "er-nano", "--random-weights", "--output-dir", str(tmp_path / "out")])
    assert everything_in(tmp_path) == {name: b'{"mine": 1}'}


def test_pruning_for_hours_begins_where_its_results_can_go(
    small_request: ExportRequest, synthetic_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "recover_weights", lambda *_: pytest.fail("hours of work"))
    monkeypatch.setattr(pruning, "SCORED_IMAGES", IMAGES)
    request = replace(small_request, random_weights=False, prune=0.1, finetune_steps=10**6, output_dir=tmp_path)
    for share in range(10, 20):  # at least what was asked for
        (tmp_path / f"er-nano-p{share}_160_int8.onnx").write_text("mine")
    with pytest.raises(UserError, match=r"er-nano-p1\d_160_int8\.onnx exists"):
        export(request)


@pytest.mark.parametrize("inside", [True, False])
def test_the_folder_that_cannot_be_written_is_blamed(
    inside: bool, small_request: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output folder for what lies in it; any other path for itself."""
    path = tmp_path / ("out/.export-1/file" if inside else "cache/synth")

    def refuse(*_: object) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(command, "gather", refuse)
    blamed = tmp_path / "out" if inside else path
    with pytest.raises(UserError, match=f"^cannot write {blamed}: Permission denied; "):
        export(replace(small_request, output_dir=tmp_path / "out"))
    assert everything_in(tmp_path) == {}


@pytest.mark.slow
def test_a_full_disk(finished: tuple[Path, dict[str, Any]], synthetic_cache: Path) -> None:
    """No file may grow beyond 1 MB, as on a full disk: the old export stays whole, nothing half-written is left."""
    folder, _ = finished
    before = everything_in(folder)
    arguments = ["--variant", "er-nano", "--random-weights", "--overwrite", "--output-dir", str(folder)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, "--test-images", "48"],
        env={**os.environ, "ER_EDGE_CACHE": str(synthetic_cache)},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
    )
    assert done.returncode == 2, done.stderr
    assert f"cannot write {folder}: " in done.stderr and "Traceback" not in done.stderr
    assert everything_in(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal(synthetic_cache: Path, tmp_path: Path, sent: signal.Signals, code: int) -> None:
    arguments = ["--variant", "er-nano", "--int8", "--random-weights", "--output-dir", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments, "--calib-samples", "48", "--test-images", "48"],
        env={**os.environ, "ER_EDGE_CACHE": str(synthetic_cache)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    seen = ""
    while "er-nano_160_fp32.onnx" not in seen:
        seen += process.stderr.read(1)
    process.send_signal(sent)
    seen += process.stderr.read()
    assert process.wait(timeout=60) == code, seen
    assert "Traceback" not in seen
    assert list(tmp_path.iterdir()) == []


def test_two_exports_into_one_folder_keep_both_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ER_EDGE_CACHE", str(tmp_path / "cache"))
    report = tmp_path / "report.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: add_to_report(report, f"export {i}", {"number": i}), range(24)))
    assert len(json.loads(report.read_text())["exports"]) == 24
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "report.json"]
