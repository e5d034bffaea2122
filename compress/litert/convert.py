"""Network -> float LiteRT model, by litert-torch in a Python of its own: it wants jax, and other pins than ours."""

from __future__ import annotations

import os
import subprocess
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from runtime.backends.contract import INPUT_NAME
from runtime.errors import UserError
from training.network import ERNet
from training.network.merged import merge

VARIABLE = "LITERT_PYTHON"
_ROOT = Path(__file__).parents[2]
_SCRIPT = Path(__file__).with_name("in_converter.py")


class _Named(nn.Module):
    """A network whose outputs have their names, which the file keeps."""

    def __init__(self, network: ERNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return self.network(image)._asdict()


def check_converter() -> tuple[str, str]:
    """The Python that has litert-torch, and its version there; a UserError where there is none."""
    python = os.environ.get(VARIABLE) or str(_ROOT / ".venv-litert/bin/python")
    command = [python, "-c", "import importlib.metadata as m; print(m.version('litert-torch'))"]
    try:
        return python, subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        how = f"make it with make litert, or name another that has it in {VARIABLE}"
        raise UserError(f"format litert needs litert-torch in a Python of its own, not in {python}: {how}") from None


def write_float(network: ERNet, path: Path) -> str:
    """Write the fp32 model of `network` (eval mode), its parts merged; gives the converter's name and version.

    UserError with its last words where it fails.
    """
    (python, version), program, side = check_converter(), path.with_suffix(".pt2"), network.variant.crop_px
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(_Named(merge(network)), (), {INPUT_NAME: torch.zeros(1, 3, side, side)})
        torch.export.save(exported.run_decompositions({}), program)  # what is left can be exported again
    command = [str(word) for word in (python, "-W", "ignore", _SCRIPT, program, path, INPUT_NAME, side)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")
    program.unlink()
    if done.returncode != 0 or not path.is_file():
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise UserError(f"litert-torch in {python} failed: {said[-1][:200]}")
    return f"litert-torch {version}"
