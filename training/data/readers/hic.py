"""Reader of HIC, "Hands in Action" (Tzionas et al., IJCV 2016), as InterWild's authors prepared it for testing.

    HIC.json                                   COCO style, from InterWild's authors: images[id, file_name, ...],
                                               annotations[id, image_id, hand_type, right_mano_path, left_mano_path]
    01/1/rgb/000.png ...                       the original sequences: 01-11 two hands or one, 15-21 with objects
    IJCV16___Results_MANO___parms_for___joints21/...___Model_Hand_{R,L}___ncomps45/000.ply, 000.pkl       MANO fits

Known from InterWild's code: a test set only; paths are relative to HIC.json, a missing fit is null; the meshes have
MANO's 778 vertices, in metres, in the camera's frame (x right, y down, z forward); one pinhole camera of 640 x 480
pixels with a focal length of 525 and its centre at (319.5, 239.5).

What the format leaves unclear, and what is done here:
- The .pkl fits are pickles, and no source says what the 48 numbers of their `pose` are: the hand model is fitted to the
  .ply meshes; one that it does not meet within MAX_FIT_MM is an error. Joints are the fitted model's: `joint_2d` is
  noisy, with the left index finger in reverse order. The box is that of the meshes: nothing says how `bbox` was made.
- The camera's centre is half of 639 x 479: pixel centres at integers. Ours are at .5, hence (320, 240).
- A hand that its `hand_type` names but that has no fit counts as seen, without labels; an annotation without any fit
  says not even where the hands are, and is left out.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from plyfile import PlyData, PlyParseError
from tqdm import tqdm

from runtime.errors import UserError, first_line
from runtime.files import read_regular
from runtime.hand.hand_model import SHAPE_SIZE, VERTICES, HandModel, HandPair, skin
from training.data.frames import HAND_TYPES, SIDES, Floats, Frames
from training.data.readers.index import Arrays, format_errors, open_index, read_json
from training.data.readers.pictures import checked_name, frames_arrays
from training.hands.layer import HandLayer, matrix_from_6d

NAME, FILES = "HIC", "HIC.json"
FOCAL_PX, CENTER_PX = 525.0, (320.0, 240.0)
IMAGE_PX = (640, 480)
MAX_FIT_MM = 2.0  # mean over the vertices
MAX_PLY_BYTES = 1 << 20
FIT_BATCH, FIT_STEPS = 64, 300
_TURN_UNIT, _BETA_UNIT = 0.3, 5.0  # so that both move the vertices alike: descent is slow where they differ

Row = tuple[int, bytes, int, list[Path | None]]  # annotation, picture, hand type, meshes of right and left


def find_root(data: Path) -> Path | None:
    """The folder of HIC.json, where `data` is HIC, else None."""
    return next((folder for folder in (data, data / "data") if (folder / FILES).is_file()), None)


def read_frames(root: Path, split: str, hands: HandPair) -> Frames:
    """The annotated images in the order of HIC.json; a UserError for bad files, and meshes of another hand model."""
    if split != "test":
        raise UserError(f"HIC is a test set: it has no split '{split}'")
    wrong = f"{root / FILES} is not in HIC's format"
    with format_errors(wrong):
        rows = _rows(read_json(root / FILES), root)
    meshes = [path for *_, pair in rows for path in pair if path is not None]
    arrays = open_index([root / FILES, *meshes], f"hic {hands[0].sha256}", lambda: _to_arrays(rows, hands), wrong)
    return Frames(NAME, root, **arrays)


def _rows(content: dict[str, Any], root: Path) -> list[Row]:
    file_names = {image["id"]: checked_name(image["file_name"]) for image in content["images"]}
    rows: list[Row] = []
    for item in content["annotations"]:
        paths = [item[f"{side}_mano_path"] for side in SIDES]
        meshes = [None if path is None else root / checked_name(path).decode() for path in paths]
        if any(meshes):
            rows.append((int(item["id"]), file_names[item["image_id"]], HAND_TYPES.index(item["hand_type"]), meshes))
    if not rows:
        raise ValueError("no annotation has a mesh")
    return rows


def _to_arrays(rows: Sequence[Row], hands: HandPair) -> Arrays:
    numbers, names, kinds, meshes = zip(*rows, strict=True)
    there = np.array([[path is not None for path in pair] for pair in meshes])
    vertices = np.zeros((len(rows), 2, VERTICES, 3), np.float32)
    for row, side in tqdm(np.argwhere(there), desc="reading meshes", unit="mesh", leave=False, delay=1):
        vertices[row, side] = read_ply(meshes[row][side])
    rotations, shape, shift, error_m = fit_hands(vertices, there, hands)
    for row, side in np.argwhere(error_m > MAX_FIT_MM / 1000):
        raise UserError(
            f"hand model '{hands[side].name}' misses {meshes[row][side]} by {error_m[row, side] * 1000:.1f} "
            "mm: HIC's meshes are MANO's, give the converted MANO as --hand-model"
        )
    joints = np.stack([skin(hand, rotations[:, side], shape[:, side])[1] for side, hand in enumerate(hands)], axis=1)
    placed = np.where(there[..., None, None], joints + shift[:, :, None], 0)
    pixels = _project(vertices, there)
    pixels[~there] = np.nan
    low, high = np.nanmin(pixels, axis=(1, 2)), np.nanmax(pixels, axis=(1, 2))
    points = _project(placed, there)
    valid = np.repeat(there[..., None], placed.shape[2], axis=2)
    return frames_arrays(
        len(rows),
        file_names=names,
        annotation_id=numbers,
        pose_of=range(len(rows)),
        bbox=np.concatenate([low, high - low], axis=1),
        hand_type=kinds,
        hand_type_valid=np.ones(len(rows)),
        joint_in_image=valid & ((points >= 0) & (points <= np.array(IMAGE_PX))).all(axis=-1),
        joints_world_m=placed,
        joint_valid=valid,
        has_mano=there,
        rotations_world=rotations,
        shape=shape,
        mano_joints_m=joints - joints[:, :, :1],
        focal_px=[[FOCAL_PX, FOCAL_PX]],
        principal_px=[CENTER_PX],
    )


def _project(points: Floats, there: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Camera-space points (N, 2, P, 3) of the hands that are there -> pixels (N, 2, P, 2)."""
    depth = np.where(there[..., None], points[..., 2], 1)[..., None]
    return points[..., :2] / depth * FOCAL_PX + np.array(CENTER_PX)


def fit_hands(
    vertices: Floats, there: NDArray[np.bool_], hands: HandPair
) -> tuple[Floats, Floats, Floats, NDArray[np.float32]]:
    """Pose and shape of the hand model that meet meshes of its own topology, by least squares.

    Args:
        vertices: (N, 2, 778, 3), m.
        there: (N, 2), which of them are meshes.

    Returns:
        rotations (N, 2, 16, 3, 3), shape (N, 2, 10), shift (N, 2, 3) added to the posed model, and the mean distance
        of the vertices (N, 2), m; what is not there is the identity and zeros.
    """
    layer = HandLayer(*hands)
    vertices = np.where(there[..., None, None], vertices, np.stack([hand.v_template for hand in hands]))
    batches = torch.from_numpy(vertices).split(FIT_BATCH)
    parts = [_fit(layer, batch, hands) for batch in tqdm(batches, desc="fitting the hand model", leave=False, delay=1)]
    rotations, shape, shift, error = (torch.cat(tensors).numpy() for tensors in zip(*parts, strict=True))
    rotations[~there], shape[~there], shift[~there], error[~there] = np.eye(3), 0, 0, 0
    return rotations, shape, shift, error


def _fit(layer: HandLayer, target: torch.Tensor, hands: HandPair) -> tuple[torch.Tensor, ...]:
    begin = torch.stack([_turns(hand, target[:, side]) for side, hand in enumerate(hands)], dim=1)
    begin = begin[..., :2].transpose(-1, -2).flatten(-2)
    turned = torch.zeros_like(begin, requires_grad=True)
    shaped = torch.zeros(len(target), 2, SHAPE_SIZE, requires_grad=True)
    optimizer = torch.optim.LBFGS([turned, shaped], max_iter=FIT_STEPS, history_size=20, line_search_fn="strong_wolfe")

    def posed() -> tuple[torch.Tensor, ...]:
        """Vertices put where they meet the mesh best, by how much they were moved, rotations, shape."""
        rotations, shape = matrix_from_6d(begin + _TURN_UNIT * turned), _BETA_UNIT * shaped
        vertices = layer(rotations, shape)[0]
        shift = (target - vertices).mean(dim=2)
        return vertices + shift[:, :, None], shift, rotations, shape

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = (1000 * (posed()[0] - target)).square().mean(dim=(2, 3)).sum()
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        vertices, shift, rotations, shape = posed()
    return rotations, shape, shift, (vertices - target).norm(dim=-1).mean(dim=-1)


def _turns(hand: HandModel, target: torch.Tensor) -> torch.Tensor:
    """Rotations (N, 16, 3, 3) of the joints, from how the skin around each has turned (Kabsch, weighted); a start."""
    rest = torch.tensor(hand.v_template)
    weight = torch.tensor(hand.weights.T).square()[:, None]  # (16, 1, 778)
    weight = weight / weight.sum(dim=-1, keepdim=True)
    source = rest - weight @ rest
    goal = target[:, None] - weight @ target[:, None]
    left, _, right = torch.linalg.svd((goal * weight.transpose(1, 2)).transpose(-1, -2) @ source)
    left[..., 2] *= torch.det(left @ right).sign()[..., None]  # no reflections
    world = left @ right
    parents = np.maximum(hand.parents, 0).tolist()
    local = world[:, parents].transpose(-1, -2) @ world
    local[:, 0] = world[:, 0]
    return local


def read_ply(path: Path) -> Floats:
    """The vertices (778, 3) of a .ply file, camera space; a UserError where it is no hand in front of the camera."""
    content = read_regular(path, "the mesh of a hand", MAX_PLY_BYTES)
    try:
        table = PlyData.read(io.BytesIO(content))["vertex"]
        vertices = np.stack([table[axis] for axis in "xyz"], axis=1).astype(np.float32)
    except (PlyParseError, ValueError, KeyError, IndexError, OverflowError, MemoryError) as error:
        raise UserError(f"{path} is not the mesh of a hand ({first_line(error)})") from error
    if vertices.shape != (VERTICES, 3) or not np.isfinite(vertices).all() or vertices[:, 2].min() <= 0:
        raise UserError(f"{path} is not the mesh of a hand (not {VERTICES} vertices in front of the camera)")
    return vertices
