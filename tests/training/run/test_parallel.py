"""Norms over the batch of all processes, with one process: they are torch's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from runtime.errors import UserError
from training.run.parallel import SyncedBatchNorm2d, process_group, synchronise_norms


@pytest.fixture(autouse=True)
def one_process(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norms_are_torchs(momentum: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(3, eps=1e-4, momentum=momentum))
    nn.init.uniform_(network[0].weight)
    expected = nn.BatchNorm2d(3, eps=1e-4, momentum=momentum)
    expected.load_state_dict(network[0].state_dict())
    synchronise_norms(network)
    assert type(network[0]) is SyncedBatchNorm2d
    for training in (True, True, False):
        images = [(5 * torch.rand(4, 3, 6, 5) + 2).to(dtype).requires_grad_() for _ in range(1)] * 2
        outputs = [norm.train(training)(image) for norm, image in zip((network, expected), images, strict=True)]
        assert outputs[0].dtype == outputs[1].dtype == dtype
        torch.testing.assert_close(*outputs, rtol=1e-2 if dtype == torch.bfloat16 else 1e-4, atol=1e-4)
        gradients = [torch.autograd.grad(output.float().square().sum(), images[0])[0] for output in outputs]
        torch.testing.assert_close(*gradients, rtol=5e-2, atol=5e-2 if dtype == torch.bfloat16 else 1e-3)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(network[0].state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_a_channel_that_does_not_vary_is_no_reason_for_nan() -> None:
    norm = SyncedBatchNorm2d(1, eps=1e-4).train()
    output = norm(torch.full((2, 1, 30, 30), 1000.1))  # the mean of squares may round below the squared mean
    assert torch.isfinite(output).all() and float(norm.running_var) >= 0


def test_a_stray_world_size_says_what_to_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UserError, match="WORLD_SIZE is set but RANK is not: unset WORLD_SIZE"), process_group():
        pass
