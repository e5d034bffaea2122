"""From the disk to the figures: labels against themselves and disturbed, the command line and what it prints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models
from tests.fixtures.picture_sets import make_coco, make_hint
from tests.fixtures.truths import as_prediction
from training.checkpoint import WeightFacts, save_weights
from training.data.dataset import open_frames
from training.data.frames import Frames
from training.data.samples import load_sample
from training.evaluate import main
from training.evaluation.predictions import Images, Predictor, evaluate, truth_of
from training.evaluation.protocols import ER_WITHOUT_QUIRKS, PROTOCOLS, HandBatch, Protocol, Truth
from training.network import build

HANDS = load_hand_models()
ALL = (*PROTOCOLS.values(), ER_WITHOUT_QUIRKS)


@pytest.fixture(scope="module")
def frames(synthetic_root: Path) -> Frames:
    return open_frames("synthetic", "val", HANDS, 48)


@pytest.fixture(scope="module")
def truth(frames: Frames) -> Truth:
    return truth_of([load_sample(frames, i, 64) for i in range(len(frames))], HANDS, frames)


def in_order(predicted: HandBatch) -> Predictor:
    """A predictor that gives these answers, one after the other."""
    position = 0

    def predict(images: Images) -> HandBatch:
        nonlocal position
        part = slice(position, position + len(images))
        position += len(images)
        return HandBatch(**{name: values[part] for name, values in vars(predicted).items()})

    return predict


# Conformance.


@pytest.mark.parametrize("protocol", ALL, ids=lambda p: p.name)
def test_labels_from_disk_against_themselves_are_zero(frames: Frames, truth: Truth, protocol: Protocol) -> None:
    scores = evaluate(in_order(as_prediction(truth)), frames, 64, HANDS, protocols=[protocol])
    result = scores.result(protocol)
    single = (0, 0) if protocol.single else (float("nan"), float("nan"))
    figures = (result.mpjpe_mm.all, result.mpjpe_mm.interacting, result.mpvpe_mm.all)
    assert (*figures, result.mrrpe_mm) == pytest.approx((0, 0, 0, 0), abs=5e-4)
    assert (result.mpjpe_mm.single, result.mpvpe_mm.single) == pytest.approx(single, abs=5e-4, nan_ok=True)
    assert scores.accuracy("made").presence_accuracy == 1


# The command line.


@pytest.fixture
def real_tree(synthetic_root: Path, tmp_path: Path) -> Path:
    """A tree in the official layout that does not call itself synthetic."""
    root = tmp_path / "tree"
    shutil.copytree(synthetic_root / "annotations" / "val", root / "annotations" / "val")
    shutil.copytree(synthetic_root / "images" / "val", root / "images" / "val")
    return root


@pytest.fixture
def command(synthetic_root: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run evaluate.py on the tiny model and 16 validation images; returns what it prints."""

    def run(*arguments: str) -> str:
        assert main(["--model", str(tiny_model), "--split", "val", "--images", "16", *arguments]) == 0
        return capsys.readouterr().out

    return run


def rows(printed: str) -> list[str]:
    """Names of the protocols in the table."""
    table = printed.split("\n\n")[1].splitlines()
    notes = ("mm", "er is", "The set")
    return [line.partition("  ")[0] for line in table[1:] if not line.startswith(notes)]


def test_every_protocol_of_a_synthetic_set(command: Callable[..., str]) -> None:
    printed = command("--protocol", "all")
    assert printed.startswith("SynthHands v2.2 (synthetic), val: 16 images")
    assert rows(printed) == [*PROTOCOLS, "er, no quirks"]
    assert rows(command()) == ["mcp-scaled", "er", "er, no quirks"]
    assert rows(command("--protocol", "wrist")) == ["wrist"]
    assert "nan" not in printed


def test_a_tree_that_is_not_synthetic(command: Callable[..., str], real_tree: Path) -> None:
    printed = command("--data", str(real_tree), "--protocol", "all")
    assert printed.startswith("InterHand2.6M, val: 16 images") and "synthetic" not in printed
    assert "mean pose: - mm" in printed  # there is no train split


def test_as_json(command: Callable[..., str]) -> None:
    measured = json.loads(command("--json", "--protocol", "mcp-scaled"))
    assert measured["synthetic"] is True
    assert measured["protocols"]["mcp-scaled"]["mpjpe_mm"]["all"] == measured["mpjpe_mm"] > 1
    assert measured["protocols"]["mcp-scaled"]["mpjpe_mm"]["single"] is None


def test_missing_images(command: Callable[..., str], real_tree: Path, frames: Frames) -> None:
    for name in frames.file_names[:4]:
        (real_tree / "images" / "val" / name.decode()).unlink()
    printed = command("--data", str(real_tree))
    assert "val: 12 images" in printed and "4 left out because their files are missing" in printed


@pytest.mark.parametrize("make", [make_coco, make_hint])
def test_2d_joints_alone_are_measured_in_the_picture(
    command: Callable[..., str], tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    data = str(make(tmp_path / "real"))
    printed = command("--data", data, "--split", "test")
    name = "COCO-WholeBody" if make is make_coco else "HInt"
    assert printed.startswith(f"{name}, test: ") and f"in the picture, {name}" in printed
    assert " mm" not in printed and "nan" not in printed and "mcp-scaled" not in printed
    measured = json.loads(command("--data", data, "--split", "test", "--json"))
    assert measured["mpjpe_mm"] is None and measured["protocols"] == {}
    everything, *kinds = measured["points"]
    expected = {"one hand": 3, "two hands": 1, "no hand": 1} if make is make_coco else {"newdays": 4, "epick": 4}
    assert {row["kind"]: row["n_images"] for row in kinds} == expected
    assert everything["n_images"] == sum(expected.values()) and everything["n_hands"] == (5 if make is make_coco else 8)
    assert everything["curve"][10] == everything["pck"] and 0 < everything["median_error"] < 5
    if make is make_coco:  # the tiny model sees hands everywhere
        (empty,) = (row for row in kinds if row["kind"] == "no hand")
        assert (empty["pck"], empty["presence"], empty["curve"]) == (None, 0, [])
    with pytest.raises(UserError, match=f"--protocol has no effect on {name}"):
        command("--data", data, "--split", "test", "--protocol", "er")


def test_weights_of_another_hand_model_are_refused(tmp_path: Path) -> None:
    facts = WeightFacts("er-nano", {"name": "MANO", "sha256": "0" * 64}, "made", True, 1, 1, 0)
    save_weights(tmp_path / "w.safetensors", build("er-nano").state_dict(), facts)
    with pytest.raises(UserError, match="trained on hand model 'MANO'"):
        main(["--variant", "er-nano", "--checkpoint", str(tmp_path / "w.safetensors")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "x.onnx", "--checkpoint", "y"], "no effect with --model"),
        (["--model", "x.onnx", "--images", "0"], "--images must be"),
        (["--model", "x.onnx", "--protocol", "wrists"], "unknown protocol 'wrists'; did you mean wrist"),
        (["--variant", "er-l"], "no weights come with"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(arguments)
