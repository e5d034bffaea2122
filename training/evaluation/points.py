"""Figures in the picture: 2D joints and presence, for sets with or without 3D labels; never shown as millimetres.

Per hand, its own size is the measure: the side of its joints' box (the longer one), and the length of the middle
finger's metacarpal, of at least 0.3 sides where it points at the camera or is not labelled.

- median error: over hands, of the mean distance of the joints, in metacarpals, whatever presence was predicted;
- PCK: mean over hands of the share of joints within 0.2 sides; a hand that is said to be absent has none. The curve
  has it over other distances, AUC is the area under it, up to CURVE's end, as a share;
- PCK, seen: the same over joints that are not hidden, where the set says which are;
- presence: pictures in which every hand is right of which it is known whether it is there.

Hands with fewer than MIN_JOINTS labelled joints in the picture are not measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtime.hand.joints import MIDDLE_MCP, WRIST
from training.evaluation.protocols import HandBatch, Truth

CURVE = tuple(round(0.02 * step, 2) for step in range(21))  # of the box's side
PCK_AT = 0.2
LEAST_METACARPAL = 0.3  # of the box's side
MIN_JOINTS = 6
ALL = "all"


@dataclass(frozen=True)
class PointFigures:
    """Of one kind of pictures; nan where nothing was measured."""

    kind: str
    n_images: int
    n_hands: int
    median_error: float  # metacarpals
    pck: float
    pck_seen: float
    auc: float
    presence: float
    curve: list[float]  # over CURVE; nothing without hands


class _Measured(NamedTuple):
    """Of N images and their hands."""

    kind: NDArray[np.str_]  # (N,)
    presence: NDArray[np.floating]  # (N,) 0 or 1, nan where it is not known
    error: NDArray[np.floating]  # (N, 2), nan where a hand is not measured, as in what follows
    auc: NDArray[np.floating]  # (N, 2)
    curve: NDArray[np.floating]  # (N, 2, len(CURVE))
    pck_seen: NDArray[np.floating]  # (N, 2)


def measure_points(predicted: HandBatch, truth: Truth) -> _Measured:
    """Compare a batch with its labels."""
    valid = truth.point_valid & (truth.point_valid.sum(axis=-1, keepdims=True) >= MIN_JOINTS)
    low = np.where(valid[..., None], truth.points, np.inf).min(axis=2)
    high = np.where(valid[..., None], truth.points, -np.inf).max(axis=2)
    side = (high - low).max(axis=-1)  # -inf without joints
    side = np.where(side > 0, side, np.nan)
    metacarpal = np.linalg.norm(truth.points[:, :, MIDDLE_MCP] - truth.points[:, :, WRIST], axis=-1)
    metacarpal = np.where(valid[..., MIDDLE_MCP] & valid[..., WRIST], metacarpal, 0)
    distance = np.linalg.norm(predicted.points - truth.points, axis=-1)
    apart = distance / side[..., None]

    def share(of_joint: NDArray[np.floating], counts: NDArray[np.bool_]) -> NDArray[np.floating]:
        """Mean over the joints that count, nothing for a hand that was said to be absent, nan for one unmeasured."""
        total = np.where(counts, of_joint, 0).sum(axis=-1) * predicted.present
        return np.where(counts.any(axis=-1), total, np.nan) / np.maximum(counts.sum(axis=-1), 1)

    known = truth.presence_known
    right = ((predicted.present == truth.present) | ~known).all(axis=1)
    mean = np.where(valid, distance, 0).sum(axis=-1) / np.maximum(valid.sum(axis=-1), 1)
    return _Measured(
        kind=truth.kind,
        presence=np.where(known.any(axis=1), right, np.nan),
        error=mean / np.maximum(metacarpal, LEAST_METACARPAL * side),
        auc=share(np.clip(1 - apart / CURVE[-1], 0, 1), valid),
        curve=np.stack([share(apart < limit, valid) for limit in CURVE], axis=-1),
        pck_seen=share(apart < PCK_AT, valid & truth.point_seen),
    )


class PointTally:
    """Batch after batch; a few numbers are kept of every hand."""

    def __init__(self) -> None:
        self._batches: list[_Measured] = []

    def add(self, predicted: HandBatch, truth: Truth) -> None:
        """Count the images of a batch."""
        self._batches.append(measure_points(predicted, truth))

    def figures(self) -> tuple[PointFigures, ...]:
        """Of all images, then of each kind in the order in which they came."""
        if not self._batches:
            return ()
        measured = _Measured(*map(np.concatenate, zip(*self._batches, strict=True)))
        kinds = dict.fromkeys(measured.kind.tolist())
        return tuple(_figures(measured, kinds)) if len(kinds) > 1 else (_of_kind(measured, next(iter(kinds))),)


def _figures(measured: _Measured, kinds: dict[str, None]) -> Iterator[PointFigures]:
    yield _of_kind(measured, ALL)
    for kind in kinds:
        yield _of_kind(_Measured(*(values[measured.kind == kind] for values in measured)), kind)


def _of_kind(measured: _Measured, kind: str) -> PointFigures:
    errors = measured.error[np.isfinite(measured.error)]
    curve = np.nanmean(measured.curve, axis=(0, 1)).tolist() if errors.size else []
    return PointFigures(
        kind=kind,
        n_images=len(measured.kind),
        n_hands=errors.size,
        median_error=float(np.median(errors)) if errors.size else float("nan"),
        pck=curve[CURVE.index(PCK_AT)] if curve else float("nan"),
        pck_seen=_mean(measured.pck_seen),
        auc=_mean(measured.auc),
        presence=_mean(measured.presence),
        curve=curve,
    )


def _mean(values: NDArray[np.floating]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
