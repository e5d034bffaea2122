"""Each distillation term against numbers worked by hand, and the objective that sums them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from runtime.hand.hand_model import load_hand_models
from training.distillation.teacher import Lesson, NetworkTeacher
from training.distillation.terms import Distilled, heatmap_term, move_mass, resize_plane
from training.hands.layer import HandLayer
from training.losses import LossWeights, Supervised
from training.network import Outputs, build
from training.recipe import TERMS, DistillSpec
from training.run.runs import random_batch

CPU = torch.device("cpu")
ALL = DistillSpec("er-xs", **dict.fromkeys(TERMS, 1.0))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_heat_maps(temperature: float) -> None:
    # Logits whose softmax at the temperature, which is paid back squared, is 0.75 and 0.25 over two columns and even
    # over two depth bins; the teacher says 0.5 and 0.5 of the plane and 0.8 and 0.2 of the depth.
    student = torch.zeros(1, 42, 2, 1, 2)
    student[..., 0] = temperature * math.log(3)
    plane, depth = torch.tensor([[0.5, 0.5]]).expand(1, 2, 21, 1, 2), torch.tensor([0.8, 0.2]).expand(1, 2, 21, 2)
    visible = torch.zeros(1, 2, 21)
    visible[0, 1, 4] = 1
    over_plane = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    over_depth = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    value = heatmap_term(student.flatten(2), (2, 1, 2), plane, depth, visible, temperature)
    assert float(value) == pytest.approx(temperature**2 * (over_plane + over_depth), abs=1e-6)


def test_moving_mass_to_other_bins() -> None:
    # Of four bins the second's centre, 0.375, lies at 0.25 between the centres of two bins (0.25 and 0.75).
    assert move_mass(torch.tensor([0.0, 1.0, 0.0, 0.0]), 2).tolist() == pytest.approx([0.75, 0.25])
    assert move_mass(torch.tensor([1.0, 0.0, 0.0, 0.0]), 2).tolist() == pytest.approx([1.0, 0.0])
    same = torch.rand(5, 7)
    assert move_mass(same, 7) is same


@pytest.mark.parametrize("bins", [3, 5, 8])
def test_moved_mass_keeps_its_sum_and_mean(bins: int) -> None:
    probability = torch.zeros(7)
    probability[2:5] = torch.tensor([0.2, 0.5, 0.3])
    moved = move_mass(probability, bins)
    centres = [(torch.arange(n) + 0.5) / n for n in (7, bins)]
    assert float(moved.sum()) == pytest.approx(1)
    assert float((moved * centres[1]).sum()) == pytest.approx(float((probability * centres[0]).sum()), abs=1e-6)


def test_a_resized_plane_keeps_rows_and_columns_apart() -> None:
    rows, columns = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.7, 0.2, 0.1])
    resized = resize_plane(rows[:, None] * columns, 2, 5)
    assert torch.allclose(resized, move_mass(rows, 2)[:, None] * move_mass(columns, 5))


# The objective.


@pytest.fixture(scope="module")
def layer() -> HandLayer:
    return HandLayer(*load_hand_models())


@pytest.fixture(scope="module")
def teacher() -> NetworkTeacher:
    torch.manual_seed(1)
    return NetworkTeacher(build("er-xs"), "er-xs", "ab" * 32, ALL, CPU)


@pytest.fixture
def batch() -> dict[str, Tensor]:
    torch.manual_seed(2)
    return random_batch(2, 64, CPU)


def make(layer: HandLayer, teacher: NetworkTeacher, spec: DistillSpec) -> Distilled:
    torch.manual_seed(3)
    return Distilled(build("er-nano"), layer, LossWeights(), spec, teacher)


def only(**weights: float) -> DistillSpec:
    return replace(ALL, **(dict.fromkeys(TERMS, 0.0) | weights))


def test_a_student_like_its_teacher_pays_nothing(layer: HandLayer, batch: dict[str, Tensor]) -> None:
    torch.manual_seed(4)
    network = build("er-nano").eval()
    twin = NetworkTeacher(network, "er-nano", "00", ALL, CPU)
    objective = Distilled(network, layer, LossWeights(), ALL, twin).eval()
    batch["image"] = torch.rand(2, 3, 160, 160)
    terms = objective.against_teacher(*objective.look(batch["image"]), twin.teach(batch["image"]), batch)
    assert set(terms) == set(TERMS)
    assert all(float(value) == pytest.approx(0, abs=3e-4) for value in terms.values()), terms


def test_output_terms_in_numbers(layer: HandLayer, teacher: NetworkTeacher, batch: dict[str, Tensor]) -> None:
    objective = make(layer, teacher, replace(only(), joints=1, vertices=1, joints_image=1))
    upright = torch.tensor([1.0, 0, 0, 0, 1, 0]).expand(2, 2, 16, 6)
    zero = Outputs(
        upright,
        torch.zeros(2, 2, 10),
        torch.ones(2, 2, 3),
        torch.zeros(2, 2, 21, 3),
        torch.zeros(2, 3),
        torch.zeros(2, 2),
    )
    extracted = objective.look(batch["image"])[1]  # a map of 2 x 2 cells, 5 depth bins
    turned = upright.clone()
    turned[:, :, 0] = torch.tensor([0.0, 1, 0, -1, 0, 0])  # the wrist, by 90 degrees about z
    cells = torch.tensor([1.0, 0.5, 0.5]).expand(2, 2, 21, 3)  # half a cell to the right of the first one's centre
    lesson = Lesson(turned, zero.shape, cells / torch.tensor([2, 2, 5]))
    batch["presence"] = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    batch["joint_valid"] = torch.ones(2, 2, 21)
    terms = objective.against_teacher(zero, extracted, lesson, batch)
    for index, name in enumerate(("vertices", "joints")):
        mesh = layer(torch.eye(3).expand(1, 2, 16, 3, 3), torch.zeros(1, 2, 10))
        points = (mesh[index] - mesh[1][:, :, :1])[0]
        x, y = points[..., 0], points[..., 1]
        right, left = (((-y - x).abs() + (x - y).abs()).mean(dim=1) / 3).tolist()
        assert float(terms[name]) == pytest.approx((right + 2 * left) / 3, abs=1e-6), name
    assert float(terms["joints_image"]) == pytest.approx(8 * 0.25 / 3)  # half a cell of two, in one of three


def test_the_sum(layer: HandLayer, teacher: NetworkTeacher, batch: dict[str, Tensor]) -> None:
    spec = replace(only(joints=3.0, heatmap=2.0), labels=0.5, ramp_steps=10)
    objective = make(layer, teacher, spec)
    labels = Supervised(objective.network, layer, LossWeights())(batch, 0)[0].detach()
    for step, factor in ((0, 0.1), (20, 1.0)):
        total, figures = objective(batch, step)
        distances = 3 * figures["distil_joints_mm"] / 1000 + 2 * figures["distil_heatmap"]
        assert float(total.detach()) == pytest.approx(float(0.5 * labels + factor * distances), rel=1e-5)
        assert float(figures["loss"]) == float(total.detach())
        assert {"mesh_mm", "image_pct", "presence"} < set(figures)
        assert not any(value.requires_grad for value in figures.values())


@pytest.mark.parametrize("term", TERMS)
def test_each_term_alone_moves_the_student_and_never_the_teacher(
    layer: HandLayer, teacher: NetworkTeacher, batch: dict[str, Tensor], term: str
) -> None:
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    objective = make(layer, teacher, replace(only(**{term: 1.0}), labels=0.0)).train()
    assert set(objective.state_dict()) == set(Supervised(objective.network, layer, LossWeights()).state_dict())
    total, figures = objective(batch, 0)
    assert [name for name in figures if name.startswith(f"distil_{term}")]
    total.backward()
    moved = [p.grad for p in objective.network.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert moved and all(torch.isfinite(gradient).all() for gradient in moved)
    assert not teacher.network.training and all(p.grad is None for p in teacher.network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.network.state_dict().items())
