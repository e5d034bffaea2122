"""What an export is asked for. A field that is an `option` is a flag of the command line, too."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from compress.onnx.calibration import DEFAULT_METHOD, METHODS
from training.network import VARIANTS


def option(default: Any, help: str, **details: Any) -> Any:
    """A field that `add_options` makes a flag of; `details`: argparse's, and `flag` where it has another name."""
    return field(default=default, metadata={"help": help, **details})


def add_options(parser: argparse.ArgumentParser, request: type) -> None:
    """Give the parser a flag for every option of a dataclass, so that its namespace holds the fields."""
    for one in fields(request):
        if one.metadata:
            details = {"flag": "--" + one.name.replace("_", "-"), **one.metadata}
            default = None if one.default is MISSING else one.default
            parser.add_argument(details.pop("flag"), dest=one.name, default=default, **details)


@dataclass(frozen=True)
class ExportRequest:
    """What to export, from what, to where, and what it must hold."""

    variant: str = option(MISSING, f"one of {', '.join(VARIANTS)}")
    precision: str = "fp32"
    formats: Sequence[str] = option(("onnx",), "of those that --list shows", flag="--format", nargs="+", metavar="NAME")
    image_input: bool = option(False, "Core ML packages take a picture, not an array", action="store_true")
    checkpoint: Path | None = option(None, "weights (.safetensors); default: the shipped ones", type=Path)
    random_weights: bool = option(False, "export untrained weights; the passport says so", action="store_true")
    data: str = option("synthetic", "'synthetic' or a folder in InterHand2.6M's layout")
    hand_model: Path | None = option(None, "a hand model .npz; default: the embedded one", type=Path)
    target: str | None = option(None, "a device profile of targets/; default: safe on every CPU")
    prune: float | None = option(None, "first lose this share of the multiply-accumulates, such as 0.3", type=float)
    finetune_steps: int = option(0, "of recovering from --prune; default: none", type=int)
    calib_samples: int = option(512, "calibration crops; default 512", type=int)
    calib_data: Path | None = option(None, "a folder of own pictures; default: the images of --data", type=Path)
    calib_method: str = option(DEFAULT_METHOD, f"of {', '.join(METHODS)}; default: {DEFAULT_METHOD}")
    test_images: int = option(1000, "held-out images accuracy is measured on", type=int)
    max_drop_mm: float = option(0.3, "MPJPE the export may lose against fp32", type=float)
    plan: Path | None = option(None, "what stays float, as python -m compress.sensitivity found it", type=Path)
    output_dir: Path = option(Path("exports"), "default: exports/", type=Path)
    overwrite: bool = option(False, "replace files of an earlier export", action="store_true")

    @property
    def int8_only(self) -> tuple[str, ...]:
        """The flags that only int8 knows and that are not as they are by default."""
        names = ("plan", "calib_samples", "calib_data", "calib_method")
        changed = [name for name in names if getattr(self, name) != getattr(ExportRequest, name)]
        return tuple("--" + name.replace("_", "-") for name in changed)
