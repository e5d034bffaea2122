"""The formats an export can write, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.errors import unknown_name


@dataclass(frozen=True)
class Format:
    """One file format."""

    name: str
    suffix: str
    precisions: tuple[str, ...]


FORMATS: dict[str, Format] = {f.name: f for f in (Format("onnx", ".onnx", ("fp32", "fp16", "int8")),)}


def get_format(name: str) -> Format:
    """The format of that name; a UserError with the nearest where there is none."""
    if name in FORMATS:
        return FORMATS[name]
    raise unknown_name("format", name, FORMATS)


def artefact_name(variant: str, crop_px: int, precision: str, pruned: float = 0.0) -> str:
    """`er-s_224_int8`, `er-s-p30_224_int8` where 30 % were pruned: the stem of a file and of its passport."""
    share = f"-p{round(100 * pruned)}" if pruned else ""
    return f"{variant}{share}_{crop_px}_{precision}"
