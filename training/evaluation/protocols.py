"""The protocols that two-hand methods are measured by, on plain arrays. Their figures never compare.

| name | hands | root | scale | true joints | mean |
| --- | --- | --- | --- | --- | --- |
| `wrist` | single, interacting | wrist | none | annotated | over the 42 joints' own means |
| `mcp-scaled` | interacting | middle MCP | bone wrist - middle MCP | mesh | over all |
| `wrist-scaled` | interacting | wrist | the same bone | mesh | over all |
| `er` | single, interacting | middle MCP | the same bone | mesh | over single's 42 and interacting's 42 joints |

Sources are the methods' own evaluators: InterNet (data/InterHand2.6M/dataset.py), IntagHand (apps/eval_interhand.py),
DIR (apps/eval.py) and ER (data/InterHand26M/InterHand26M.py). True vertices are the fitted mesh's in all.

All but `er` leave the root's own zero error out of the mean; those evaluators count it: their MPJPE is 20/21 of ours.
`er` is ER's and EANet's evaluator with its quirks, each a switch of `Protocol`; `ER_WITHOUT_QUIRKS` has them off.
Quirk 6, test boxes from RootNet's file, is left out: the boxes are the annotated ones.

Errors are measured on every hand that is there, whatever presence was predicted. Hand axis [right, left]; the
project's joint order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtime.hand.joints import INTERHAND_TO_JOINTS, JOINT_COUNT, MIDDLE_MCP, WRIST

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

RIGHT, LEFT, INTERACTING = 0, 1, 2  # hand types; 3 is no hand
# Joint k of our order is masked by what the file says of its joint k (see Protocol.mask).
_INTERHAND_MASK = np.argsort(INTERHAND_TO_JOINTS)


@dataclass(frozen=True)
class HandBatch:
    """Predictions for N images in metres, wrist-relative per hand, with the translation between the wrists."""

    joints: Floats  # (N, 2, 21, 3) of the mesh
    vertices: Floats  # (N, 2, V, 3)
    relative_translation: Floats  # (N, 3) left wrist minus right wrist
    present: Bools  # (N, 2)
    points: Floats  # (N, 2, 21, 2) joints in the crop, 0..1


@dataclass(frozen=True)
class Truth:
    """Labels of N images, in metres and camera axes; what has no label may hold anything finite."""

    hand_type: NDArray[np.integer]  # (N,) RIGHT, LEFT, INTERACTING or none, as annotated
    present: Bools  # (N, 2)
    presence_known: Bools  # (N, 2)
    joints: Floats  # (N, 2, 21, 3) annotated (triangulated), wrist-relative
    joint_valid: Bools  # (N, 2, 21) annotated and inside the picture, and so is the hand's wrist
    has_mesh: Bools  # (N, 2) a hand model was fitted
    mesh_joints: Floats  # (N, 2, 21, 3) of the fitted mesh
    vertices: Floats  # (N, 2, V, 3) of the fitted mesh, in the same place as mesh_joints
    relative_translation: Floats  # (N, 3) left wrist minus right wrist, annotated
    has_translation: Bools  # (N,)
    points: Floats  # (N, 2, 21, 2) in the crop, 0..1
    point_valid: Bools  # (N, 2, 21) annotated and inside the picture
    point_seen: Bools  # (N, 2, 21) those of which it is known that nothing hides them
    kind: NDArray[np.str_]  # (N,) of picture, by which figures in the picture are given


@dataclass(frozen=True)
class Protocol:
    """What is compared with what, and how it is averaged. A quirk of ER's evaluator bears its number."""

    name: str
    root: int  # joint at which both hands are put
    scaled: bool  # the prediction gets the truth's length of the bone wrist - middle MCP
    joints: Literal["annotated", "mesh"]  # the true joints; "mesh" is quirk 1: regressed, not taken from the annotation
    single: bool  # images of a single hand count
    # Joints that count: all of the image's hands; the annotated ones; or (quirk 4) joint k of our order where joint k
    # of InterHand's order is annotated: ER regresses its joints in our order (wrist first, fingers from base to tip),
    # and masks them by the file's (tips first, wrist last). The wrist counts where the thumb's tip is annotated.
    mask: Literal["hands", "joints", "interhand-order"] = "hands"
    # MPJPE's mean: over all joints of all images; over 42 joints' means; or (quirk 3), for "all", over the 42 means of
    # single images and the 42 of interacting ones, however many images there are of each.
    average: Literal["all", "joints", "halves"] = "all"
    root_counts: bool = False  # quirk 2: the root's error, always 0, is averaged in
    fit_needed: bool = True  # quirk 5 if not: without a fit the true mesh is 0, hence the scale and the error, 0 mm
    vertices_per: Literal["hand", "image"] = "hand"  # MPVPE's mean; per image, all of its hands need a fit


WRIST_ONLY = Protocol("wrist", WRIST, False, "annotated", single=True, mask="joints", average="joints")
MCP_SCALED = Protocol("mcp-scaled", MIDDLE_MCP, True, "mesh", single=False)
WRIST_SCALED = Protocol("wrist-scaled", WRIST, True, "mesh", single=False)
ER = Protocol(
    "er",
    MIDDLE_MCP,
    True,
    "mesh",
    single=True,
    mask="interhand-order",
    average="halves",
    root_counts=True,
    fit_needed=False,
    vertices_per="image",
)
# The same alignment and images; every error counts once, where it belongs.
ER_WITHOUT_QUIRKS = replace(ER, name="er, no quirks", mask="joints", average="all", root_counts=False, fit_needed=True)
PROTOCOLS: Mapping[str, Protocol] = {p.name: p for p in (WRIST_ONLY, MCP_SCALED, WRIST_SCALED, ER)}


@dataclass(frozen=True)
class Groups:
    """A figure over all images that count, those of a single hand, and those of two; nan where there are none."""

    all: float
    single: float
    interacting: float


@dataclass(frozen=True)
class Result:
    """Figures of one protocol."""

    mpjpe_mm: Groups
    mpvpe_mm: Groups
    mrrpe_mm: float  # over interacting images with both wrists annotated
    n_single: int  # images of which a joint counts
    n_interacting: int


@dataclass(frozen=True)
class Errors:
    """Errors of N images by one protocol, and which of them count."""

    joint_mm: Floats  # (N, 2, 21)
    joint_counts: Bools  # (N, 2, 21)
    vertex_mm: Floats  # (N, 2) mean over the vertices
    vertex_counts: Bools  # (N, 2)
    translation_mm: Floats  # (N,)
    translation_counts: Bools  # (N,)


def measure(protocol: Protocol, predicted: HandBatch, truth: Truth) -> Errors:
    """Errors of every image by `protocol`."""
    hands = np.stack([np.isin(truth.hand_type, (side, INTERACTING)) for side in (RIGHT, LEFT)], axis=1)
    interacting = truth.hand_type == INTERACTING
    images = interacting | protocol.single
    if protocol.mask == "hands":
        counts = np.repeat(hands[..., None], JOINT_COUNT, axis=2)
    else:
        counts = truth.joint_valid
        images = images & counts.any(axis=(1, 2))
        if protocol.mask == "interhand-order":
            counts = counts[..., _INTERHAND_MASK]
    counts = counts & images[:, None, None]
    if protocol.joints == "mesh" and protocol.fit_needed:
        counts = counts & truth.has_mesh[..., None]

    mesh_joints = np.where(truth.has_mesh[..., None, None], truth.mesh_joints, 0)
    true_joints = mesh_joints if protocol.joints == "mesh" else truth.joints
    joint_mm = _distances_mm(protocol, predicted.joints, predicted.joints, true_joints, true_joints)
    vertex_mm = _distances_mm(protocol, predicted.vertices, predicted.joints, truth.vertices, mesh_joints).mean(axis=-1)
    if not protocol.root_counts:
        counts = counts & (np.arange(JOINT_COUNT) != protocol.root)
    return Errors(
        joint_mm=joint_mm,
        joint_counts=counts,
        vertex_mm=vertex_mm,
        vertex_counts=hands & truth.has_mesh & images[:, None],
        translation_mm=np.linalg.norm(predicted.relative_translation - truth.relative_translation, axis=-1) * 1000,
        translation_counts=images & interacting & truth.has_translation,
    )


def bone_length(joints: Floats) -> Floats:
    """(..., 21, 3) -> (...) length of the bone wrist - middle MCP."""
    return np.linalg.norm(joints[..., MIDDLE_MCP, :] - joints[..., WRIST, :], axis=-1)


def _distances_mm(
    protocol: Protocol, points: Floats, joints: Floats, true_points: Floats, true_joints: Floats
) -> Floats:
    """Distances of points (N, 2, K, 3) put at their root joint, scaled by the bone where the protocol says so."""
    root = slice(protocol.root, protocol.root + 1)
    mine, other = points - joints[..., root, :], true_points - true_joints[..., root, :]
    if protocol.scaled:
        scale = bone_length(true_joints) / np.maximum(bone_length(joints), 1e-9)
        mine = mine * scale[..., None, None]
    return np.linalg.norm(mine - other, axis=-1) * 1000


class Tally:
    """Sums of one protocol's errors, batch after batch; the memory does not grow."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        # Sum and count; by group (single, interacting), hand and joint.
        self._joint = np.zeros((2, 2, 2, JOINT_COUNT))
        self._vertex = np.zeros((2, 2))
        self._translation = np.zeros(2)
        self._images = np.zeros(2, int)

    def add(self, predicted: HandBatch, truth: Truth) -> None:
        """Count the images of a batch."""
        errors = measure(self.protocol, predicted, truth)
        vertex_mm, vertex_counts = errors.vertex_mm, errors.vertex_counts
        if self.protocol.vertices_per == "image":
            hands = np.where(truth.hand_type == INTERACTING, 2, 1)
            vertex_mm = np.where(vertex_counts, vertex_mm, 0).sum(axis=1) / hands
            vertex_counts = vertex_counts.sum(axis=1) == hands
        groups = (truth.hand_type != INTERACTING, truth.hand_type == INTERACTING)
        for group, images in enumerate(groups):
            self._joint[:, group] += _sum_and_count(errors.joint_mm[images], errors.joint_counts[images])
            self._vertex[:, group] += [part.sum() for part in _sum_and_count(vertex_mm[images], vertex_counts[images])]
            self._images[group] += errors.joint_counts[images].any(axis=(1, 2)).sum()
        self._translation += _sum_and_count(errors.translation_mm, errors.translation_counts)

    def result(self) -> Result:
        """The figures of all that was counted."""
        return Result(
            mpjpe_mm=self._groups(self._joint, self.protocol.average),
            mpvpe_mm=self._groups(self._vertex, "all"),
            mrrpe_mm=mean_of_means(*self._translation),
            n_single=int(self._images[0]),
            n_interacting=int(self._images[1]),
        )

    def _groups(self, sums: Floats, average: str) -> Groups:
        """Means out of sums and counts (2, 2 groups, ...)."""

        def mean(*groups: int) -> float:
            total, count = sums[:, list(groups)]
            if average == "all":
                return mean_of_means(total.sum(), count.sum())
            return mean_of_means(total, count) if average == "halves" else mean_of_means(total.sum(0), count.sum(0))

        return Groups(mean(0, 1), mean(0), mean(1))


def _sum_and_count(values: Floats, counts: Bools) -> NDArray[np.float64]:
    """Over the first axis: (2, ...)."""
    return np.stack([np.where(counts, values, 0).sum(axis=0, dtype=np.float64), counts.sum(axis=0)])


def mean_of_means(total: Floats, count: Floats) -> float:
    """Over what was seen, nan where nothing was; the originals give nan where one joint never was."""
    seen = count > 0
    return float((total[seen] / count[seen]).mean()) if np.any(seen) else float("nan")
