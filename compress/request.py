"""What an export is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compress.onnx.calibration import CalibrationSpec

CALIBRATION_CROPS = 512


@dataclass(frozen=True)
class ExportRequest:
    """What to export, from what, to where, and what it must hold."""

    variant: str
    precision: str = "fp32"
    formats: tuple[str, ...] = ("onnx",)
    image_input: bool = False  # of Core ML packages: a picture instead of an array
    checkpoint: Path | None = None  # None: the weights that come with the project
    random_weights: bool = False
    data: str = "synthetic"
    hand_model: Path | None = None  # None: the embedded hand
    calib_samples: int | None = None  # None: CALIBRATION_CROPS
    calib_data: str | None = None  # own pictures, an .npz or another data set; None: the train split of `data`
    calib_method: str | None = None  # None: percentile
    prune: float | None = None  # share of the multiply-accumulates to lose before anything else
    prune_to_ms: float | None = None  # instead: as little as brings the fp32 file to this latency on this machine
    importance: str | None = None  # of channels; None: Taylor
    finetune_steps: int | None = None  # of recovering from pruning; None: none
    test_images: int = 1000
    max_drop_mm: float = 0.3
    keep_float: tuple[str, ...] = ()
    plan: Path | None = None  # a search's choice of what stays float, instead of the usual one
    target: str | None = None
    output_dir: Path = Path("exports")
    overwrite: bool = False

    @property
    def prunes(self) -> bool:
        """Whether the network loses channels first."""
        return self.prune is not None or self.prune_to_ms is not None

    @property
    def calibration_crops(self) -> int:
        """How many are asked for."""
        return CALIBRATION_CROPS if self.calib_samples is None else self.calib_samples

    @property
    def calibration(self) -> CalibrationSpec:
        """How ranges are taken."""
        return CalibrationSpec() if self.calib_method is None else CalibrationSpec(self.calib_method)

    @property
    def int8_only(self) -> tuple[str, ...]:
        """The flags given that only int8 knows."""
        flags = {
            "--keep-float": bool(self.keep_float),
            "--plan": self.plan is not None,
            "--calib-samples": self.calib_samples is not None,
            "--calib-data": self.calib_data is not None,
            "--calib-method": self.calib_method is not None,
        }
        return tuple(flag for flag, given in flags.items() if given)
