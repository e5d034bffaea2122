"""Teachers: what they look at, what they say, what of it is stored, and which are refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import default_collate

from compress.onnx.to_onnx import write_onnx
from compress.passport import embed
from runtime.errors import UserError
from runtime.files import file_sha256
from runtime.hand.hand_model import load_hand_models
from training import checkpoint
from training.checkpoint import WeightFacts, save_weights
from training.data.augment import AugmentSpec
from training.data.dataset import HandDataset, open_frames
from training.data.frames import Frames
from training.distillation import teacher as teachers
from training.distillation.teacher import Batch, Lesson, NetworkTeacher, StoredTeacher, open_teacher, resize_crops
from training.losses import DEPTH_RANGE_M
from training.network import ERNet, build
from training.recipe import DistillSpec, Recipe, Stage

HANDS = load_hand_models()
CPU = torch.device("cpu")
OUTPUTS_ONLY = DistillSpec("er-nano", joints=1.0)
HAND_MODEL = {"name": HANDS[0].name, "sha256": HANDS[0].sha256}


@pytest.fixture(scope="module")
def network() -> ERNet:
    torch.manual_seed(0)
    return build("er-nano").eval()


@pytest.fixture(scope="module")
def onnx_file(network: ERNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "er-nano_160_fp32.onnx"
    write_onnx(network, path)
    passport = {
        "variant": "er-nano",
        "precision": "fp32",
        "input_px": 160,
        "heatmap": {"depth": 5, "height": 5, "width": 5, "depth_range_m": DEPTH_RANGE_M},
        "hand_model": HAND_MODEL,
        "dataset": "made (synthetic)",
    }
    embed(path, passport)
    return path


def images(side_px: int) -> dict[str, torch.Tensor]:
    return {"image": torch.rand(3, 3, side_px, side_px, generator=torch.Generator().manual_seed(5))}


def write_weights(path: Path, variant: str = "er-xs", hand_model: dict[str, str] = HAND_MODEL) -> Path:
    torch.manual_seed(1)
    save_weights(path, build(variant).state_dict(), WeightFacts(variant, hand_model, "made", True, 1, 1, 0))
    return path


def test_a_network_teacher_says_what_the_network_does(network: ERNet) -> None:
    spec = DistillSpec("er-nano", heatmap=1.0, temperature=2.0)
    lesson = NetworkTeacher(network, "er-nano", "00", spec, CPU).teach(images(160))
    with torch.no_grad():
        extracted = network.extract(network.features(images(160)["image"]))
        outputs = network.regress(extracted)
    assert torch.allclose(lesson.rotation6d, outputs.rotation6d, atol=1e-5)
    assert torch.allclose(lesson.joints_image, (outputs.joints_image + 0.5) / 5, atol=1e-5)
    assert lesson.plane is not None and lesson.depth is not None
    softened = (extracted.heatmaps / 2).softmax(dim=-1).reshape(3, 2, 21, 5, 5, 5)
    assert torch.allclose(lesson.plane, softened.sum(dim=3), atol=1e-5)
    assert torch.allclose(lesson.depth, softened.sum(dim=(4, 5)), atol=1e-5)
    assert not lesson.rotation6d.requires_grad


def test_crops_keep_their_place_when_resized() -> None:
    ramp = ((torch.arange(96) + 0.5) / 96).expand(1, 3, 96, 96)
    assert resize_crops(ramp, 96) is ramp
    for side in (64, 224):
        resized = resize_crops(ramp, side)
        assert torch.allclose(resized[0, 0, 3, 10:-10], ((torch.arange(side) + 0.5) / side)[10:-10], atol=1e-3)


@pytest.mark.parametrize("side_px", [160, 64, 224])
def test_an_onnx_teacher_says_what_its_network_does(network: ERNet, onnx_file: Path, side_px: int) -> None:
    teacher = open_teacher(DistillSpec(str(onnx_file), joints=1.0), HANDS, CPU)
    expected = NetworkTeacher(network, "er-nano", "00", OUTPUTS_ONLY, CPU).teach(images(side_px))
    lesson = teacher.teach(images(side_px))
    for name, value in lesson._asdict().items():
        if name in ("plane", "depth"):
            assert value is None
        else:
            assert torch.allclose(value, getattr(expected, name), atol=1e-4), name
    assert (teacher.facts.sha256, teacher.facts.crop_px) == (file_sha256(onnx_file), 160)


def test_a_weight_file_and_the_weights_that_come_with_a_variant(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "own.safetensors")
    for named, sha256 in ((str(path), file_sha256(path)), ("er-xs", file_sha256(checkpoint.weights_of("er-xs")))):
        teacher = open_teacher(DistillSpec(named, heatmap=1.0), HANDS, CPU)
        assert (teacher.facts.name, teacher.facts.crop_px, teacher.facts.sha256) == ("er-xs", 224, sha256)
        lesson = teacher.teach(images(64))
        assert lesson.plane is not None and lesson.plane.shape == (3, 2, 21, 7, 7)


def test_teachers_that_are_none(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    other = {"name": "MANO", "sha256": "0" * 64}
    foreign = write_weights(tmp_path / "foreign.safetensors", hand_model=other)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    cases = {
        "er-sx": "unknown teacher 'er-sx'; did you mean er-s",
        "none.safetensors": "cannot read none.safetensors",
        "none.onnx": "there is no model none.onnx",
        str(foreign): "trained on hand model 'MANO' .* not on",
        str(tmp_path / "broken.onnx"): "onnxruntime cannot load .*broken",
        str(make_model("foreign.onnx", passport={"hand_model": other})): "trained on hand model 'MANO'",
        str(
            make_model("deep.onnx", passport={"heatmap": {"depth": 8, "height": 8, "width": 8, "depth_range_m": 0.5}})
        ): "its depth bins span 0.5 m, not 0.4 m",
    }
    for name, message in cases.items():
        with pytest.raises(UserError, match=message) as caught:
            open_teacher(DistillSpec(name, joints=1.0), HANDS, CPU)
        assert "\n" not in str(caught.value)


SPEC = DistillSpec("er-nano", joints=1.0, heatmap=1.0, temperature=2.0, draws=2)
RECIPE = Recipe("er-nano", (Stage(64, 4, 4),), seed=3)
KEYS = [(0, 0), (5, 1), (11, 0)]


class Counting(NetworkTeacher):
    """Remembers how many images it was asked for."""

    asked = 0

    def teach(self, batch: Batch) -> Lesson:
        self.asked += len(batch["image"])
        return super().teach(batch)


@pytest.fixture(scope="module")
def frames(synthetic_root: Path) -> Frames:
    return open_frames("synthetic", "train", load_hand_models(), 12)


@pytest.fixture
def teacher() -> Counting:
    torch.manual_seed(0)
    return Counting(build("er-nano"), "er-nano", "ab" * 32, SPEC, torch.device("cpu"))


@pytest.fixture
def stored(teacher: Counting, tmp_path: Path, frames: Frames) -> StoredTeacher:
    return StoredTeacher(teacher, tmp_path / "store", frames, RECIPE, SPEC)


def batch_of(frames: Frames, keys: list[tuple[int, int]] = KEYS, crop_px: int = 64) -> dict[str, Tensor]:
    dataset = HandDataset(frames, crop_px, RECIPE.augment, RECIPE.seed)
    return default_collate([dataset[key] for key in keys])


def test_stored_outputs_are_the_teachers(frames: Frames, teacher: Counting, stored: StoredTeacher) -> None:
    batch = batch_of(frames)
    expected = teacher.teach(batch)
    for again in (stored, StoredTeacher(teacher, stored.folder, frames, RECIPE, SPEC)):
        lesson = again.teach(batch)
        for name, target in expected._asdict().items():
            torch.testing.assert_close(getattr(lesson, name), target, rtol=1e-3, atol=1e-3)
    assert teacher.asked == 2 * len(KEYS)  # once for `expected`, once for both stores


def test_only_what_is_missing_is_computed(frames: Frames, teacher: Counting, stored: StoredTeacher) -> None:
    first = stored.teach(batch_of(frames, [(0, 0), (5, 1)]))
    again = stored.teach(batch_of(frames, [(5, 1), (5, 0), (0, 0)]))
    assert teacher.asked == 3
    assert torch.equal(again.rotation6d[[2, 0]], first.rotation6d)
    assert not torch.equal(again.rotation6d[1], again.rotation6d[0])
    stored.teach(batch_of(frames, [(0, 0)], crop_px=96))  # another crop is another picture
    assert teacher.asked == 4 and len(list(stored.folder.iterdir())) == 2


def test_another_teacher_data_or_augmentation_is_another_store(
    frames: Frames, teacher: Counting, stored: StoredTeacher
) -> None:
    other = NetworkTeacher(teacher.network, "er-nano", "cd" * 32, SPEC, torch.device("cpu"))
    chosen = [
        stored,
        StoredTeacher(other, stored.folder, frames, RECIPE, SPEC),
        StoredTeacher(teacher, stored.folder, replace(frames, bbox=frames.bbox + 1), RECIPE, SPEC),
        StoredTeacher(teacher, stored.folder, frames.first(11), RECIPE, SPEC),
        StoredTeacher(teacher, stored.folder, frames, replace(RECIPE, seed=4), SPEC),
        StoredTeacher(teacher, stored.folder, frames, replace(RECIPE, augment=AugmentSpec(flip=0.0)), SPEC),
        StoredTeacher(teacher, stored.folder, frames, RECIPE, replace(SPEC, draws=3)),
        StoredTeacher(teacher, stored.folder, frames, RECIPE, replace(SPEC, heatmap=0.0)),
        StoredTeacher(teacher, stored.folder, frames, RECIPE, replace(SPEC, bf16=True)),
    ]
    for one in chosen:
        one.open(64)
    assert len(list(stored.folder.iterdir())) == len(chosen)


def test_a_disk_too_small_is_said_before(stored: StoredTeacher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teachers.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(UserError, match="0 MiB free, the stored outputs need up to"):
        stored.open(64)
    assert not list(stored.folder.iterdir())


@pytest.mark.parametrize("truncated", [False, True])
def test_a_torn_row_is_computed_again(
    frames: Frames, teacher: Counting, stored: StoredTeacher, truncated: bool
) -> None:
    whole = stored.teach(batch_of(frames))
    if truncated:  # and filled with zeros again, as after a power cut
        (path,) = stored.folder.iterdir()
        size = path.stat().st_size
        os.truncate(path, size // 2)  # rows 11 and 22 of 24 are torn or gone
        os.truncate(path, size)
    else:
        stored.open(64)["plane"][11, 0] = 0
    again = StoredTeacher(teacher, stored.folder, frames, RECIPE, SPEC).teach(batch_of(frames))
    assert teacher.asked == len(KEYS) + (2 if truncated else 1)
    assert torch.allclose(again.rotation6d, whole.rotation6d, atol=1e-3)


def test_a_damaged_store_is_named(frames: Frames, teacher: Counting, stored: StoredTeacher) -> None:
    stored.open(64)
    (path,) = stored.folder.iterdir()
    path.unlink()
    path.write_bytes(b"no array")
    with pytest.raises(UserError, match=r"are damaged.*remove that file"):
        StoredTeacher(teacher, stored.folder, frames, RECIPE, SPEC).open(64)
