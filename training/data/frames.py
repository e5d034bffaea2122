"""The images of one split and their labels, as plain arrays: what every reader gives and everything else takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from runtime.errors import UserError

Floats = NDArray[np.float32]
Chosen = slice | NDArray[np.bool_] | NDArray[np.integer]
SIDES = ("right", "left")
HAND_TYPES = ("right", "left", "interacting", "none")
HAND_KINDS = ("one hand", "one hand", "two hands", "no hand")  # of HAND_TYPES
INTERACTING, NO_HAND = HAND_TYPES.index("interacting"), HAND_TYPES.index("none")


class MappedArray(np.memmap):
    """An .npy file, read only where it is touched; pickled as its path, so that loading processes share the memory."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        if isinstance(self.base, np.memmap) and self.base.shape == self.shape:  # not a part of one
            return map_array, (self.filename,)
        return np.asarray(self).__reduce_ex__(protocol)


def map_array(path: Path) -> NDArray[Any]:
    """The array of an .npy file, read-only."""
    return np.load(path, mmap_mode="r", allow_pickle=False).view(MappedArray)


@dataclass(frozen=True, eq=False)
class Frames:
    """N images of one split; P poses and K cameras they refer to. Hand axis [right, left]; the project's joint order.

    A set of 2D joints alone has `points_px`, and one pose and camera that say nothing. The arrays may be mapped files:
    read only.
    """

    name: str  # of the data set, with its version
    image_root: Path
    file_names: NDArray[np.bytes_]  # (N,) below their folder; UTF-8: a quarter of numpy's strings
    folder_of: NDArray[np.int32]  # (N,) which of `folders`
    annotation_id: NDArray[np.int64]  # (N,) the data set's own number
    pose_of: NDArray[np.int32]  # (N,) row of the pose arrays
    camera_of: NDArray[np.int32]  # (N,) row of the camera arrays
    bbox: Floats  # (N, 4) x, y, width, height, px; around both hands
    hand_type: NDArray[np.int8]  # (N,) index into HAND_TYPES
    hand_type_valid: NDArray[np.bool_]  # (N,) whether all of the hand type's hands can be told in the picture
    joint_in_image: NDArray[np.bool_]  # (N, 2, 21) annotated, and inside this picture
    joints_world_m: Floats  # (P, 2, 21, 3) annotated joints
    joint_valid: NDArray[np.bool_]  # (P, 2, 21) annotated
    has_mano: NDArray[np.bool_]  # (P, 2)
    rotations_world: Floats  # (P, 2, 16, 3, 3) full rotations, root in the world frame
    shape: Floats  # (P, 2, 10) betas
    mano_joints_m: Floats  # (P, 2, 21, 3) of the fitted hand model, wrist-relative, world axes
    camera_position_m: Floats  # (K, 3)
    camera_rotation: Floats  # (K, 3, 3) world -> camera
    focal_px: Floats  # (K, 2)
    principal_px: Floats  # (K, 2)
    points_px: Floats | None = None  # (N, 2, 21, 2) joints in the picture; None: the 3D ones, seen through the camera
    occluded: NDArray[np.bool_] | None = None  # (N, 2, 21); None: not known
    vertices_m: Floats | None = None  # (P, 2, 778, 3) as mano_joints_m; None: the hand model's, posed
    synthetic: bool = False
    folders: tuple[str, ...] = ("",)  # of images, below image_root
    kinds: tuple[str, ...] = HAND_KINDS  # that figures are given by
    kind_of: NDArray[np.integer] | None = None  # (N,) which of `kinds`; None: the hand type's

    def __len__(self) -> int:
        return len(self.file_names)

    def path(self, index: int) -> Path:
        """Where an image is."""
        return self.image_root / self.folders[self.folder_of[index]] / self.file_names[index].decode()

    @property
    def has_3d(self) -> bool:
        """Whether errors in mm can be measured on it."""
        return self.points_px is None

    @property
    def label(self) -> str:
        """The data set's name as it stands next to every figure measured on it."""
        return f"{self.name} (synthetic)" if self.synthetic else self.name

    def first(self, count: int) -> Frames:
        """The first `count` images; a UserError where there are fewer."""
        if count > len(self):
            raise UserError(f"{self.name} has {len(self)} images of this split, {count} are needed")
        return self.subset(slice(count))

    def subset(self, chosen: Chosen) -> Frames:
        """The images of a slice, a mask (N,) or indices, in that order; a slice copies nothing."""
        arrays = {key: getattr(self, key) for key in PER_IMAGE}
        return replace(self, **{key: array[chosen] for key, array in arrays.items() if array is not None})

    def on_disk(self) -> NDArray[np.bool_]:
        """(N,) whether each image is below image_root. Folders are listed, not files asked for one by one."""
        names, there = np.ascontiguousarray(self.file_names), np.zeros(len(self), bool)
        place, files = None, set[str]()
        order = np.lexsort((names, self.folder_of))  # so that one folder's list is held at a time
        for index in tqdm(order, desc="looking for images", unit="img", leave=False, delay=2):
            parent, _, name = names[index].decode().rpartition("/")
            if (self.folder_of[index], parent) != place:
                place, folder = (self.folder_of[index], parent), self.path(index).parent
                files = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            there[index] = name in files
        return there


PER_IMAGE = (
    *("file_names", "folder_of", "annotation_id", "pose_of", "camera_of", "bbox"),
    *("hand_type", "hand_type_valid", "joint_in_image", "points_px", "occluded", "kind_of"),
)


def drop_missing(frames: Frames) -> tuple[Frames, list[str]]:
    """The images that are on disk, and the names of those that are not; a UserError where none is."""
    there = frames.on_disk()
    if there.all():
        return frames, []
    missing = [name.decode() for name in frames.file_names[~there]]
    if not there.any():
        raise UserError(f"none of the {len(missing)} images is below {frames.image_root} ({missing[0]}, ...)")
    return frames.subset(there), missing
