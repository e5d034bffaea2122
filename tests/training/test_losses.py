"""Each loss term against numbers worked by hand."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from runtime.hand.hand_model import load_hand_models
from training.hands.layer import HandLayer
from training.losses import LossWeights, Supervised, compute_losses
from training.network import Outputs, build

GRID, BINS = (7, 7, 7), 7


@pytest.fixture(scope="module")
def layer() -> HandLayer:
    return HandLayer(*load_hand_models())


@pytest.fixture
def case(layer: HandLayer) -> tuple[Outputs, dict[str, Tensor]]:
    """A prediction and labels that agree in everything."""
    rotations = torch.eye(3).expand(1, 2, 16, 3, 3).clone()
    joints = layer(rotations, torch.zeros(1, 2, 10))[1]
    joints = joints - joints[:, :, :1]
    camera = torch.tensor([2.0, 0.5, 0.5]).expand(1, 2, 3)
    points = 2.0 * joints[..., :2] + 0.5
    cells = torch.cat([points * 7 - 0.5, (joints[..., 2:] / 0.4 + 0.5) * BINS - 0.5], dim=-1)
    outputs = Outputs(
        rotation6d=torch.tensor([1.0, 0, 0, 0, 1, 0]).expand(1, 2, 16, 6).clone(),
        shape=torch.zeros(1, 2, 10),
        camera=camera.clone(),
        joints_image=cells,
        relative_translation=torch.tensor([[0.1, 0.0, 0.02]]),
        presence=torch.full((1, 2), 40.0),
    )
    labels = {
        "presence": torch.ones(1, 2),
        "joints": joints,
        "has_presence": torch.ones(1, 2),
        "joint_valid": torch.ones(1, 2, 21),
        "joint_valid_3d": torch.ones(1, 2, 21),
        "points": points,
        "has_mano": torch.ones(1, 2),
        "mano_joints": joints,
        "rotations": rotations,
        "shape": torch.zeros(1, 2, 10),
        "relative_translation": torch.tensor([[0.1, 0.0, 0.02]]),
        "has_translation": torch.ones(1),
    }
    return outputs, labels


def terms(outputs: Outputs, labels: dict[str, Tensor], layer: HandLayer) -> dict[str, float]:
    return {name: float(value) for name, value in compute_losses(outputs, labels, layer, GRID)[0].items()}


def test_a_perfect_prediction_costs_nothing(case: tuple[Outputs, dict[str, Tensor]], layer: HandLayer) -> None:
    values = terms(*case, layer)
    assert set(values) == {field.name for field in fields(LossWeights)}
    assert all(value == pytest.approx(0, abs=1e-5) for value in values.values())


@pytest.mark.parametrize(
    ("field", "change", "expected"),
    [
        # 3 cm off in one of three coordinates: 0.01 m on average
        ("relative_translation", torch.tensor([0.03, 0, 0]), {"relative_translation": 0.01}),
        # 0.7 cells of 7 in x: 0.1 of the crop, half of that on average over x and y, times 8 cells
        ("joints_image", torch.tensor([0.7, 0, 0]), {"joints_image": 0.4, "mano_joints_image": 0.0}),
        # 0.7 bins of 7: 0.1 of the range, times 8 cells, half weight; against the annotation and against the hand model
        ("joints_image", torch.tensor([0, 0, 0.7]), {"joints_image": 0.4, "mano_joints_image": 0.4}),
        # a shifted camera moves every projected joint by 0.1 of the crop in x
        ("camera", torch.tensor([0, 0.1, 0]), {"projected_joints": 0.4}),
        ("shape", torch.tensor(0.5), {"mano_shape": 0.5}),
        # logit 40 - 40 = 0: -ln 0.5
        ("presence", torch.tensor(-40.0), {"presence": 0.693147}),
    ],
)
def test_each_term(
    case: tuple[Outputs, dict[str, Tensor]], layer: HandLayer, field: str, change: Tensor, expected: dict[str, float]
) -> None:
    outputs, labels = case
    values = terms(outputs._replace(**{field: getattr(outputs, field) + change}), labels, layer)
    for name in values if field != "shape" else expected:  # another shape has its joints elsewhere
        assert values[name] == pytest.approx(expected.get(name, 0.0), abs=1e-4), name


def test_a_turned_wrist(case: tuple[Outputs, dict[str, Tensor]], layer: HandLayer) -> None:
    # The right wrist turned by 90 degrees about z: 4 of its 9 entries change by 1, one of 2 x 16 rotations.
    outputs, labels = case
    rotation6d = outputs.rotation6d.clone()
    rotation6d[0, 0, 0] = torch.tensor([0.0, 1, 0, -1, 0, 0])
    values = terms(outputs._replace(rotation6d=rotation6d), labels, layer)
    assert values["mano_pose"] == pytest.approx(4 / 9 / 32, abs=1e-6)
    x, y = labels["joints"][0, 0, :, 0], labels["joints"][0, 0, :, 1]
    expected = float(((-y - x).abs() + (x - y).abs()).sum()) / (3 * 42)
    assert values["joints"] == pytest.approx(expected, abs=1e-6)
    assert values["mano_joints"] == pytest.approx(expected, abs=1e-6)


def test_what_has_no_label_costs_nothing(case: tuple[Outputs, dict[str, Tensor]], layer: HandLayer) -> None:
    outputs, labels = case
    masks = ("has_presence", "joint_valid", "joint_valid_3d", "has_mano", "has_translation")
    labels = {k: torch.zeros_like(v) if k in masks else v for k, v in labels.items()}
    wrong = Outputs(*(value + 1.0 for value in outputs))
    values = terms(wrong, labels, layer)
    assert sum(values.values()) == pytest.approx(0, abs=1e-5)


IN_THE_PICTURE = {"joints_image", "projected_joints", "presence"}


@pytest.mark.parametrize("term", [field.name for field in fields(LossWeights)])
def test_2d_joints_alone_train_what_is_in_the_picture_alone(
    case: tuple[Outputs, dict[str, Tensor]], layer: HandLayer, term: str
) -> None:
    outputs, labels = case
    masks = ("joint_valid_3d", "has_mano", "has_translation")
    labels = {k: torch.zeros_like(v) if k in masks else v for k, v in labels.items()}
    outputs = outputs._replace(presence=torch.zeros(1, 2))
    wrong = Outputs(*((value + 0.3).requires_grad_() for value in outputs))
    value = compute_losses(wrong, labels, layer, GRID)[0][term]
    found = torch.autograd.grad(value, wrong, allow_unused=True)
    moved = {name for name, grad in zip(wrong._fields, found, strict=True) if grad is not None and grad.abs().max() > 0}
    learned = {
        "joints_image": {"joints_image"},
        "projected_joints": {"camera", "rotation6d", "shape"},
        "presence": {"presence"},
    }
    assert moved == learned.get(term, set()) and (float(value.detach()) > 0) == (term in IN_THE_PICTURE)
    if term == "joints_image":  # its depth is not known
        assert not found[wrong._fields.index(term)][..., 2].any()


def test_weights(case: tuple[Outputs, dict[str, Tensor]], layer: HandLayer) -> None:
    outputs, labels = case
    outputs = outputs._replace(shape=outputs.shape + 0.5)
    values = terms(outputs, labels, layer)
    total, _ = Supervised(build("er-nano"), layer, LossWeights(mano_shape=3.0)).against_labels(outputs, GRID, labels)
    joints = 10 * (values["joints"] + values["mano_joints"])
    assert float(total) == pytest.approx(1.5 + joints + values["projected_joints"], abs=1e-4)
