"""The main command from end to end, and what bad input gets."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from compress import export as command
from compress import prune as pruning
from compress.artefact import PENDING, Artefact, Verdict
from compress.channels import prune_by, score_channels
from compress.check import parity
from compress.check.parity import Parity
from compress.export import export, judge, main, parse_args, request_of
from compress.export_report import add_to_report, print_result
from compress.material import calibration_crops, load_weights
from compress.onnx.lint import lint
from compress.request import ExportRequest
from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from tests.conftest import IMAGES
from training.checkpoint import WeightFacts, save_weights
from training.evaluation.protocols import Accuracy
from training.hands.layer import HandLayer
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
        assert passport["contract"]["outputs"]["camera"]["shape"] == [1, 2, 3]
    assert passport["calibration"]["n_images"] == 48
    assert len(passport["quantisation"]["quantized"]) > 50
    speed = entry["files"][STEM]["latency_ms"]["times_faster_than_fp32"]
    assert speed["min"] <= speed["median"] <= speed["max"]


@pytest.mark.slow
def test_the_file_runs_in_plain_onnxruntime(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    code = (
        "import sys, numpy, onnxruntime\n"
        "s = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
        "o = s.run(None, {'image': numpy.zeros((1, 3, 160, 160), 'f4')})\n"
        "assert 'runtime' not in sys.modules\n"
        "print([list(x.shape) for x in o], s.get_modelmeta().custom_metadata_map['er_edge'][:1])\n"
    )
    model = finished[0] / f"{STEM}.onnx"
    done = subprocess.run([sys.executable, "-I", "-c", code, str(model)], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "[[1, 2, 16, 6], [1, 2, 10], [1, 2, 3], [1, 2, 21, 3], [1, 3], [1, 2]] {", done.stderr


@pytest.mark.slow
def test_a_second_export_is_refused_or_replaces(
    finished: tuple[Path, dict[str, Any]], small_request: ExportRequest
) -> None:
    folder, _ = finished
    before = everything_in(folder)
    with pytest.raises(UserError, match="--overwrite"):
        export(small_request)
    assert everything_in(folder) == before
    fp32 = replace(small_request, precision="fp32", calib_samples=None, overwrite=True)
    assert export(fp32)["verdict"]["status"] == "passed"
    after = everything_in(folder)
    assert after[f"{STEM}.onnx"] == before[f"{STEM}.onnx"]
    assert set(json.loads(after["report.json"])["exports"]) == {STEM, "er-nano_160_fp32"}


@pytest.mark.slow
def test_fp16(finished: tuple[Path, dict[str, Any]], small_request: ExportRequest, tmp_path: Path) -> None:
    entry = export(replace(small_request, precision="fp16", calib_samples=None, output_dir=tmp_path))
    fp32, fp16 = entry["files"]["er-nano_160_fp32"], entry["files"]["er-nano_160_fp16"]
    assert fp16["bytes"] < 0.65 * fp32["bytes"]  # of untrained weights: what is tiny in them stays in fp32
    assert abs(fp16["accuracy"]["delta_vs_fp32_mm"]) < 0.5


@pytest.mark.slow
def test_a_pruned_network_for_a_jetson_by_own_pictures(
    finished: object, small_request: ExportRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything that changes the files at once: widths, flavour, calibration."""
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(40):
        picture = cv2.resize(rng.integers(0, 256, (8, 6, 3), np.uint8), (90, 120))
        cv2.imwrite(str(tmp_path / "pictures" / f"{i}.png"), picture)
    weights = pruned_weights(tmp_path / "pruned.safetensors")
    request = replace(
        small_request,
        random_weights=False,
        checkpoint=weights,
        target="jetson-orin-nano",
        calib_data=str(tmp_path / "pictures"),
        calib_samples=None,
        calib_method="mse",
        output_dir=tmp_path / "out",
    )
    entry = export(request)
    assert entry["verdict"]["status"] == "passed", entry["verdict"]
    name = list(entry["files"])[-1]
    assert re.fullmatch(r"er-nano-p1\d_160_int8-trt", name)
    passport = json.loads((tmp_path / "out" / f"{name}.json").read_text())
    assert passport["quantisation"]["flavour"] == "trt" and passport["target"] == "jetson-orin-nano"
    assert passport["calibration"]["data"] == "pictures" and passport["calibration"]["n_images"] == 40
    assert passport["calibration"]["method"] == "mse"
    assert passport["latency_ms"]["median"] is None and "another machine" in passport["latency_ms"]["reason"]
    assert passport["gmac"] < 0.9 * 0.058
    assert lint(onnx.load(tmp_path / "out" / f"{name}.onnx"), "trt", (10, 3)) == ()
    assert "only 40 calibration images" in capsys.readouterr().out
    print_result(entry, tmp_path / "out")
    assert "made for another" in capsys.readouterr().out


def pruned_weights(path: Path) -> Path:
    """Untrained weights of a narrower er-nano."""
    torch.manual_seed(0)
    hand = load_hand_models()[0]
    full = build("er-nano").eval()
    network = prune_by(full, 0.1, score_channels(full, "magnitude", HandLayer(*load_hand_models()), ()))
    facts = WeightFacts("er-nano", {"name": hand.name, "sha256": hand.sha256}, "made", True, 1, 1, 0)
    save_weights(path, network.state_dict(), replace(facts, widths=dict(network.widths)))
    return path


@pytest.mark.parametrize(
    ("count", "message"), [(31, "has 31 calibration images: at least 32"), (0, "holds no picture")]
)
def test_too_few_pictures(count: int, message: str, small_request: ExportRequest, tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    for i in range(count):
        cv2.imwrite(str(tmp_path / "few" / f"{i}.png"), np.full((32, 32, 3), 90, np.uint8))
    with pytest.raises(UserError, match=message):
        calibration_crops(replace(small_request, calib_data=str(tmp_path / "few")), None, load_hand_models(), 64)


def test_list_prints_every_variant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{name} " in printed for name in ("er", "er-l", "er-m", "er-s", "er-xs", "er-nano"))
    assert "1.339" in printed and "shipped" in printed


# ---- verdicts


def measured(mpjpe_mm: float, verdict: Verdict = PENDING) -> Artefact:
    accuracy = Accuracy("made (synthetic)", "mcp-scaled", mpjpe_mm, 0, 0, 1, 10, 10)
    return Artefact("onnx", "int8", "int8", accuracy=accuracy, verdict=verdict)


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
    failed = Verdict("parity_failed", ("another network",))
    assert judge(measured(after_mm, failed), measured(before_mm), 0.3).verdict == failed


def test_parity_has_tolerances() -> None:
    assert Parity(0.02, 0.05, 64).passed
    assert not any(Parity(*worst, 64).passed for worst in ((0.021, 0), (0, 0.051), (float("nan"), 0)))


def test_a_failed_export_leaves_nothing(
    small_request: ExportRequest,
    synthetic_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(parity, "VERTEX_TOLERANCE_MM", 0.0)
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
        (["--variant", "er-s", "--palette6"], "format onnx has no precision palette6: it takes --fp32, --fp16"),
        (["--variant", "er-s", "--w8", "--format", "tensorrt"], "tensorrt has no precision w8"),
        (["--variant", "er-s", "--image-input"], "no effect without --format coreml"),
        (["--variant", "er-s", "--w8", "--calib-samples", "64"], "no effect without --int8"),
        (["--variant", "er-s", "--int8", "--format", "coreml", "--calib-samples", "64"], "weights alone"),
        (["--variant", "er-s", "--format", "tensorrt", "--target", "jetson-nano"], "jetson-nano has no tensorrt"),
        (["--variant", "er-s", "--format", "coreml", "--target", "jetson-orin-nano"], "has no coreml"),
        (["--variant", "er-s", "--w8", "--format", "coreml", "--target", "apple-a11"], "needs iOS16"),
        (["--variant", "er-s", "--target", "raspberry-pi5"], "did you mean raspberry-pi-5"),
        (["--variant", "er-s", "--int8", "--fp16"], "not allowed with"),
        (["--variant", "er-s", "--int8", "--half"], "not allowed with"),
        (["--variant", "er-s", "--no-such-flag"], "unrecognized arguments"),
        (["--variant", "er-s", "--keep-float", "fuse"], "no effect without --int8"),
        (["--variant", "er-s", "--calib-samples", "64"], "no effect without --int8"),
        (["--variant", "er-s", "--calib-data", "synthetic"], "no effect without --int8"),
        (["--variant", "er-s", "--calib-method", "mse"], "no effect without --int8"),
        (["--variant", "er-s", "--int8", "--calib-method", "minmix"], "did you mean minmax"),
        (["--variant", "er-s", "--importance", "taylor"], "no effect without --prune"),
        (["--variant", "er-s", "--finetune-steps", "3"], "no effect without --prune"),
        (["--variant", "er-s", "--prune", "1.0"], "is none"),
        (["--variant", "er-s", "--prune-to-ms", "0"], "is no latency"),
        (["--variant", "er-s", "--prune-to-ms", "8", "--prune", "0.3"], "exclude each other"),
        (["--variant", "er-s", "--prune-to-ms", "8", "--target", "jetson-nano"], "measured on this machine"),
        (["--variant", "er-s", "--prune-to-ms", "8", "--random-weights"], "needs trained weights"),
        (["--variant", "er-s", "--prune", "nan"], "is none"),
        (["--variant", "er-s", "--prune", "0.3", "--random-weights"], "needs trained weights"),
        (["--variant", "er-s", "--int8", "--target", "jetson-nano"], "jetson-nano has no int8"),
        (["--variant", "er-s", "--int8", "--target", "apple-m4"], "no onnx|takes"),
        (["--variant", "er-s", "--int8", "--calib-samples", "8"], "at least 32"),
        (["--variant", "er-s", "--int8", "--calib-samples", "many"], "invalid int"),
        (["--variant", "er-s", "--max-drop-mm", "-1"], "must be 0 or more"),
        (["--variant", "er-s", "--max-drop-mm", "nan"], "must be 0 or more"),
        (["--variant", "er-s", "--test-images", "0"], "at least 1"),
        (["--variant", "er-s", "--fp16", "--target", "raspberry-pi-4"], "has no fp16"),
        (["--variant", "er-s", "--random-weights", "--checkpoint", "x"], "exclude each other"),
        (["--variant", "er-s", "--checkpoint", "no/such/file"], "no checkpoint at"),
        (["--variant", "er-s", "--checkpoint", "."], "is a directory"),
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


def test_the_default_precision_is_fp32() -> None:
    assert request_of(parse_args(["--variant", "er-s"])).precision == "fp32"
    assert request_of(parse_args(["--variant", "er-s", "--half"])).precision == "fp16"


def test_a_mistake_ends_in_one_line_and_code_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--variant", "er-zz", "--int8"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown variant") and done.stderr.count("\n") == 1


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Untrained weights of er-nano in a file that claims to be trained."""
    path = tmp_path / "weights.safetensors"
    facts = WeightFacts("er-nano", {"name": "other", "sha256": "0" * 64}, "made", True, 1, 1, 0)
    save_weights(path, build("er-nano").state_dict(), facts)
    return path


def test_another_hand_models_checkpoint(checkpoint: Path) -> None:
    with pytest.raises(UserError, match="trained on hand model 'other'"):
        main(["--variant", "er-nano", "--checkpoint", str(checkpoint)])
    with pytest.raises(UserError, match="holds weights of 'er-nano', not of 'er-xs'"):
        main(["--variant", "er-xs", "--checkpoint", str(checkpoint)])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (0, "not a whole safetensors file"),
        (50_000, "not a whole safetensors file"),
        ("foreign", "not written by this project"),
        ("nan", r"pose\.0\.mlp\.0\.weight"),
        ("missing", r"pose\.0\.mlp\.0\.weight"),
    ],
)
def test_a_damaged_checkpoint(checkpoint: Path, damage: str | int, message: str) -> None:
    with safe_open(checkpoint, "pt") as file:
        metadata = file.metadata()
    tensors, name = load_file(checkpoint), "regress.pose.0.mlp.0.weight"
    if isinstance(damage, int):
        checkpoint.write_bytes(checkpoint.read_bytes()[:damage])
    elif damage == "foreign":
        save_file(tensors, checkpoint)
    else:
        weight = tensors.pop(name)
        save_file(tensors | ({name: weight * float("nan")} if damage == "nan" else {}), checkpoint, metadata=metadata)
    with pytest.raises(UserError, match=message):
        main(["--variant", "er-nano", "--checkpoint", str(checkpoint)])


def test_the_output_folder_is_a_file(synthetic_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="cannot write to"):
        main(["--variant", "er-nano", "--random-weights", "--output-dir", str(tmp_path / "out")])
    assert (tmp_path / "out").read_text() == "mine"


def test_a_foreign_report_is_not_overwritten(synthetic_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"mine": 1}')
    with pytest.raises(UserError, match="not a report of this command"):
        main(["--variant", "er-nano", "--random-weights", "--output-dir", str(tmp_path)])
    assert everything_in(tmp_path) == {"report.json": b'{"mine": 1}'}


def test_a_pattern_that_matches_nothing(small_request: ExportRequest, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="matches none"):
        export(replace(small_request, keep_float=("no_such_node",), output_dir=tmp_path))
    assert everything_in(tmp_path) == {}


def test_pruning_for_hours_begins_where_its_results_can_go(
    small_request: ExportRequest, synthetic_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "recover_weights", lambda *_: pytest.fail("hours of work"))
    monkeypatch.setattr(pruning, "SCORED_IMAGES", IMAGES)
    request = replace(
        small_request,
        random_weights=False,
        prune=0.1,
        finetune_steps=10**6,
        importance="magnitude",
        output_dir=tmp_path,
    )
    with pytest.raises(pytest.fail.Exception):
        export(request)
    for share in range(10, 20):  # at least what was asked for
        (tmp_path / f"er-nano-p{share}_160_int8.onnx").write_text("mine")
    with pytest.raises(UserError, match=r"er-nano-p1\d_160_int8\.onnx exists"):
        export(request)


def test_no_write_permission(small_request: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests may run as root, whom no folder refuses: the system call's answer is played.
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(command.tempfile, "mkdtemp", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        export(replace(small_request, output_dir=tmp_path))


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
    assert "cannot write to" in done.stderr and "Traceback" not in done.stderr
    assert everything_in(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code", "after_s"), [(signal.SIGINT, 130, 0.0), (signal.SIGTERM, 143, 0.7)])
def test_a_signal(synthetic_cache: Path, tmp_path: Path, sent: signal.Signals, code: int, after_s: float) -> None:
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
    time.sleep(after_s)
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


def test_random_weights_are_the_same_every_time() -> None:
    request = ExportRequest("er-nano", random_weights=True)
    first, second = (load_weights(request, None, (), load_hand_models()).network.state_dict() for _ in range(2))
    assert all(np.array_equal(first[key], second[key]) for key in first)
