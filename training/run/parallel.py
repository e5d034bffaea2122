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
from tqdm import tqdm

from runtime.errors import UserError
from runtime.machine import processor_name


def this_device() -> torch.device:
    """Where this process computes: its own GPU, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    if local_rank >= torch.cuda.device_count():
        raise UserError(f"this machine has {torch.cuda.device_count()} GPUs: give torchrun --nproc-per-node as many")
    return torch.device("cuda", local_rank)


def hardware_name(device: torch.device) -> str:
    """What a run computes on, for people."""
    if device.type == "cuda":
        return f"{world_size()} x {torch.cuda.get_device_name(device)}"
    return f"{processor_name()}, {world_size() * torch.get_num_threads()} used"


@contextmanager
def process_group() -> Iterator[torch.device]:
    """Join the processes of a torchrun, if there is one, and give this process's device."""
    device = this_device()
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield device
        return
    if lacking := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise UserError(f"WORLD_SIZE is set but {lacking[0]} is not: unset WORLD_SIZE, or start with torchrun")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
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


def mean_over_processes(value: Tensor) -> Tensor:
    """The processes' mean of a number that carries no gradient."""
    if not is_distributed():
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / world_size()


def largest(value: float, device: torch.device) -> float:
    """The largest of the processes' values: all decide alike."""
    if not is_distributed():
        return value
    total = torch.tensor(value, device=device)
    distributed.all_reduce(total, distributed.ReduceOp.MAX)
    return float(total)


def say(text: str) -> None:
    """Print a line, once for all processes, above the progress bar."""
    if rank() == 0:
        tqdm.write(text)


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batch of all processes; torch's own works on GPUs only."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        values = input.float()
        count = values.numel() // values.shape[1] * world_size()
        mean = all_reduce(values.sum(dim=(0, 2, 3))) / count
        centred = values - mean[:, None, None]  # the mean of squares less the mean's square loses flat pictures' digits
        variance = all_reduce((centred * centred).sum(dim=(0, 2, 3))) / count
        assert self.num_batches_tracked is not None and self.momentum is not None
        assert self.running_mean is not None and self.running_var is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.detach(), self.momentum)
        self.running_var.lerp_(variance.detach() * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normed = centred * scale[:, None, None] + self.bias[:, None, None]
        return normed.to(input.dtype)


def synchronise_norms(module: nn.Module) -> None:
    """Let every batch norm below `module` see the batch of all processes; in place, values stay."""
    if not is_distributed():
        return
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            device = child.weight.device
            synced = nn.SyncBatchNorm if device.type == "cuda" else SyncedBatchNorm2d
            norm = synced(child.num_features, child.eps, child.momentum, device=device)
            norm.load_state_dict(child.state_dict())
            setattr(module, name, norm)
        else:
            synchronise_norms(child)
