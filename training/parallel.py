"""One run in several processes, as torchrun starts them: each takes its share of every batch (torch.distributed).

The sum of it is the single process's run of the same batch: norms use the whole batch's statistics, losses the whole
batch's counts, gradients are averaged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce

from runtime.errors import UserError


@contextmanager
def process_group() -> Iterator[torch.device]:
    """Join the processes of a torchrun, if there is one, and give this process's device."""
    cuda = torch.cuda.is_available()
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    if cuda and local_rank >= torch.cuda.device_count():
        raise UserError(f"this machine has {torch.cuda.device_count()} GPUs: give torchrun --nproc-per-node as many")
    device = torch.device("cuda", local_rank) if cuda else torch.device("cpu")
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield device
        return
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def is_distributed() -> bool:
    """Whether there are other processes."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Of this process; 0 writes files and shows progress."""
    return distributed.get_rank() if is_distributed() else 0


def world_size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if is_distributed() else 1


def wait_for_all() -> None:
    """Go on when every process is here."""
    if is_distributed():
        distributed.barrier()


def mean_over_processes(value: Tensor) -> Tensor:
    """The processes' mean of a number that carries no gradient."""
    if not is_distributed():
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / world_size()


def any_process(condition: bool, device: torch.device) -> bool:
    """Whether the condition holds in any process: all decide alike."""
    return bool(mean_over_processes(torch.tensor(float(condition), device=device)) > 0)


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batch of all processes; torch's own works on GPUs only."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        count = input.numel() // input.shape[1] * world_size()
        moments = torch.stack([input.sum(dim=(0, 2, 3)), (input * input).sum(dim=(0, 2, 3))])
        mean, square = all_reduce(moments) / count
        variance = square - mean * mean
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None
            momentum = self.momentum or 0.1
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * count / (count - 1), momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return input * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]


def synchronise_norms(module: nn.Module) -> None:
    """Let every batch norm below `module` see the batch of all processes. Parameters and buffers stay the same ones."""
    if not is_distributed():
        return
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            synced = nn.SyncBatchNorm if torch.cuda.is_available() else SyncedBatchNorm2d
            norm = synced(child.num_features, child.eps, child.momentum)
            norm.load_state_dict(child.state_dict())
            setattr(module, name, norm.to(child.weight.device))
        else:
            synchronise_norms(child)
