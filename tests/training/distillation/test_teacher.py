"""Teachers: what they look at, what they say, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from runtime.errors import UserError
from runtime.files import file_sha256
from runtime.hand.hand_model import load_hand_models
from training import checkpoint
from training.checkpoint import WeightFacts, save_weights
from training.distillation.teacher import NetworkTeacher, open_teacher, resize_crops
from training.network import ERNet, build
from training.recipe import DistillSpec

HANDS = load_hand_models()
CPU = torch.device("cpu")
HAND_MODEL = {"name": HANDS[0].name, "sha256": HANDS[0].sha256}


@pytest.fixture(scope="module")
def network() -> ERNet:
    torch.manual_seed(0)
    return build("er-nano").eval()


def images(side_px: int) -> torch.Tensor:
    return torch.rand(3, 3, side_px, side_px, generator=torch.Generator().manual_seed(5))


def write_weights(path: Path, variant: str = "er-xs", hand_model: dict[str, str] = HAND_MODEL) -> Path:
    torch.manual_seed(1)
    save_weights(path, build(variant).state_dict(), WeightFacts(variant, hand_model, "made", True, 1, 1, 0))
    return path


def test_a_network_teacher_says_what_the_network_does(network: ERNet) -> None:
    spec = DistillSpec("er-nano", heatmap=1.0, temperature=2.0)
    lesson = NetworkTeacher(network, "er-nano", "00", spec, CPU).teach(images(160))
    with torch.no_grad():
        extracted = network.extract(network.features(images(160)))
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


def test_a_weight_file_and_the_weights_that_come_with_a_variant(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "own.safetensors")
    for named, sha256 in ((str(path), file_sha256(path)), ("er-xs", file_sha256(checkpoint.weights_of("er-xs")))):
        teacher = open_teacher(DistillSpec(named, heatmap=1.0), HANDS, CPU)
        assert (teacher.name, teacher.crop_px, teacher.sha256) == ("er-xs", 224, sha256)
        lesson = teacher.teach(images(64))
        assert lesson.plane is not None and lesson.plane.shape == (3, 2, 21, 7, 7)


def test_teachers_that_are_none(tmp_path: Path) -> None:
    other = {"name": "MANO", "sha256": "0" * 64}
    foreign = write_weights(tmp_path / "foreign.safetensors", hand_model=other)
    cases = {
        "er-sx": "unknown teacher 'er-sx'; did you mean er-s",
        "none.safetensors": "cannot read none.safetensors",
        str(foreign): "trained on hand model 'MANO' .* not on",
    }
    for name, message in cases.items():
        with pytest.raises(UserError, match=message) as caught:
            open_teacher(DistillSpec(name, joints=1.0), HANDS, CPU)
        assert "\n" not in str(caught.value)
