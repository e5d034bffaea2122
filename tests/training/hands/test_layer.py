"""The torch hand layer against its numpy twin."""

from __future__ import annotations

import numpy as np
import torch

from runtime.hand.hand_model import load_hand_models, skin
from runtime.hand.rotations import matrix_from_axis_angle as numpy_matrix
from training.hands.layer import HandLayer, matrix_from_6d

HANDS = load_hand_models()
LAYER = HandLayer(*HANDS)


def random_hands(count: int, spread: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    rotations = numpy_matrix(rng.normal(size=(count, 2, 16, 3)) * spread).astype(np.float32)
    return rotations, rng.normal(size=(count, 2, 10)).astype(np.float32)


def test_equals_numpy() -> None:
    rotations, shape = random_hands(8)
    vertices, joints = LAYER(torch.from_numpy(rotations), torch.from_numpy(shape))
    for side, hand in enumerate(HANDS):
        expected = skin(hand, rotations[:, side], shape[:, side])
        for ours, theirs in zip((vertices, joints), expected, strict=True):
            assert 1000 * np.abs(ours[:, side].numpy() - theirs).max() < 1e-3


def test_gradients() -> None:
    rotations, shape = (torch.from_numpy(x).double().requires_grad_() for x in random_hands(1))
    layer = HandLayer(*HANDS).double()
    chosen = slice(None, None, 97)
    assert torch.autograd.gradcheck(lambda r, s: layer(r, s)[0][:, :, chosen], (rotations, shape), eps=1e-6, atol=1e-5)


def test_nothing_of_the_hand_model_is_saved() -> None:
    assert LAYER.state_dict() == {} and list(LAYER.parameters()) == []


def test_6d_in_torch() -> None:
    matrices = torch.from_numpy(random_hands(4)[0])
    sixes = torch.cat([matrices[..., 0] * 3, matrices[..., 1]], dim=-1)
    assert torch.allclose(matrix_from_6d(sixes), matrices, atol=1e-5)
    degenerate = torch.zeros(2, 6, requires_grad=True)
    matrix_from_6d(degenerate).sum().backward()
    assert torch.isfinite(degenerate.grad).all()
