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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.hand.joints import MIDDLE_MCP, WRIST
from training.evaluation.protocols import HandBatch, Truth
from training.evaluation.text_table import number

CURVE = tuple(round(0.02 * step, 2) for step in range(21))  # of the box's side
PCK_AT = 0.2
LEAST_METACARPAL = 0.3  # of the box's side
MIN_JOINTS = 6
HEADINGS = ("kind", "pictures", "hands", "median error", "PCK", "PCK, seen", "AUC", "presence right")
NOTE = (
    "Median error in lengths of the middle finger's metacarpal. PCK: joints within 0.2 of their hand's box; a hand "
    "said to be absent has none. Presence: pictures right in every hand known of."
)


@dataclass(frozen=True)
class PointFigures:
    """Of one kind of pictures; None where nothing was measured."""

    kind: str  # "all" first
    n_images: int
    n_hands: int
    median_error: float | None  # metacarpals
    pck: float | None  # at PCK_AT
    pck_seen: float | None  # None where the set does not say which joints are hidden
    auc: float | None
    presence: float | None
    curve: list[float]  # over CURVE; nothing without hands


def point_cells(found: PointFigures) -> tuple[str, ...]:
    """Figures under HEADINGS."""
    figures = (found.median_error, found.pck, found.pck_seen, found.auc, found.presence)
    return found.kind, str(found.n_images), str(found.n_hands), *(number(figure, 3) for figure in figures)


def measure_points(predicted: HandBatch, truth: Truth) -> dict[str, NDArray[Any]]:
    """Compare N images with their labels: presence (N,), nan where unknown; of hands (N, 2, ...), nan if unmeasured."""
    valid = truth.point_valid & (truth.point_valid.sum(axis=-1, keepdims=True) >= MIN_JOINTS)
    low = np.where(valid[..., None], truth.points, np.inf).min(axis=2)
    high = np.where(valid[..., None], truth.points, -np.inf).max(axis=2)
    side = (high - low).max(axis=-1)  # -inf without joints
    side = np.where(side > 0, side, np.nan)
    metacarpal = np.linalg.norm(truth.points[:, :, MIDDLE_MCP] - truth.points[:, :, WRIST], axis=-1)
    metacarpal = np.where(valid[..., MIDDLE_MCP] & valid[..., WRIST], metacarpal, 0)
    distance = np.linalg.norm(predicted.points - truth.points, axis=-1)
    apart = distance / side[..., None]

    def mean(of_joint: NDArray[Any], counts: NDArray[np.bool_]) -> NDArray[np.floating]:
        total = np.where(counts, of_joint, 0).sum(axis=-1)
        return np.where(counts.any(axis=-1), total, np.nan) / np.maximum(counts.sum(axis=-1), 1)

    known = truth.presence_known
    right = ((predicted.present == truth.present) | ~known).all(axis=1)
    there = predicted.present
    return {
        "kind": truth.kind,
        "presence": np.where(known.any(axis=1), right, np.nan),
        "median_error": mean(distance, valid) / np.maximum(metacarpal, LEAST_METACARPAL * side),
        "auc": mean(np.clip(1 - apart / CURVE[-1], 0, 1), valid) * there,
        "curve": np.stack([mean(apart < limit, valid) * there for limit in CURVE], axis=-1),
        "pck_seen": mean(apart < PCK_AT, valid & truth.point_seen) * there,
    }


class PointTally:
    """Batch after batch; a few numbers are kept of every hand."""

    def __init__(self) -> None:
        self._batches: list[dict[str, NDArray[Any]]] = []

    def add(self, predicted: HandBatch, truth: Truth) -> None:
        """Count the images of a batch."""
        self._batches.append(measure_points(predicted, truth))

    def figures(self) -> list[PointFigures]:
        """Of all images, then of each kind in the order in which they came, where there are several."""
        found = {name: np.concatenate([batch[name] for batch in self._batches]) for name in self._batches[0]}
        kinds = list(dict.fromkeys(found["kind"].tolist()))
        parts = [{name: values[found["kind"] == kind] for name, values in found.items()} for kind in kinds]
        figures = [_figures(kind, part) for kind, part in zip(kinds, parts, strict=True)]
        return figures if len(kinds) == 1 else [_figures("all", found), *figures]


def _figures(kind: str, found: dict[str, NDArray[Any]]) -> PointFigures:
    hands = np.isfinite(found["median_error"])
    curve = found["curve"][hands].mean(axis=0).tolist() if hands.any() else []
    return PointFigures(
        kind=kind,
        n_images=len(hands),
        n_hands=int(hands.sum()),
        median_error=_of_known(np.median, found["median_error"]),
        pck=curve[CURVE.index(PCK_AT)] if curve else None,
        pck_seen=_of_known(np.mean, found["pck_seen"]),
        auc=_of_known(np.mean, found["auc"]),
        presence=_of_known(np.mean, found["presence"]),
        curve=curve,
    )


def _of_known(summary: Callable[[NDArray[Any]], Any], values: NDArray[Any]) -> float | None:
    known = values[np.isfinite(values)]
    return float(summary(known)) if known.size else None
