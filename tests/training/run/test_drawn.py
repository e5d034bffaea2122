"""When training draws its own batches."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import torch

from runtime.errors import UserError
from training.data.mixture import Source
from training.run.runs import drawn_here

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SYNTHETIC, FOLDER = Source("synthetic"), Source("somewhere")


@pytest.mark.parametrize(
    ("sources", "device", "images_stay", "drawn"),
    [
        ([SYNTHETIC], GPU, False, True),
        ([Source("synthetic-v1")], GPU, False, True),
        ([SYNTHETIC], CPU, False, False),
        ([SYNTHETIC], GPU, True, False),
        ([SYNTHETIC, FOLDER], GPU, False, False),
        ([FOLDER], GPU, False, False),
    ],
)
def test_the_synthetic_set_alone_is_drawn_on_a_gpu(
    sources: list[Source], device: torch.device, images_stay: bool, drawn: bool
) -> None:
    args = Namespace(data=sources, backgrounds=None)
    assert drawn_here(args, device, images_stay) is drawn
    args.backgrounds = Path("photographs")
    if drawn:
        assert drawn_here(args, device, images_stay)
    else:
        with pytest.raises(UserError, match="--backgrounds"):
            drawn_here(args, device, images_stay)
