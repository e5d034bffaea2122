"""Reader of Re:InterHand (Moon et al., NeurIPS 2023): two hands captured in 3D and lit anew, third-person cameras.

    CAPTURE/Mugsy_cameras/cam_params.json                          {CAMERA: {R, t (mm), focal, princpt}}: x = R X + t
    CAPTURE/Mugsy_cameras/envmap_per_frame/images/CAMERA/%06d.png  5 frames per second
    CAPTURE/orig_fits/{right,left}/Keypoints/keypoint-%06d.json    24 x 3, mm, world
    CAPTURE/mano_fits/params/FRAME_{right,left}.json               {pose (48), shape (10), trans (3, m)}, world

Known from InterWild's loader: the layout, the joints' names (a thumb and a little finger of five, a stub of the
forearm), which three captures are the test split, and that poses are relative to hands_mean, as NeuralAnnot's are.

What the format leaves unclear, and what is done here:
- There is no validation split: it is the last training capture by name, which is not trained on then.
- A hand's file may be missing for a moment: it has no labels then. Pictures that show no joint are left out.
- A hand is there when a joint of it lies in the picture; behind the other hand counts as there.
- No source says whether the centre of a pixel lies at integers: coordinates are taken as they are.
- Thumb_0, Pinky_0 and the forearm's stub have no equal here. Thumb_1 is the joint that MANO calls so.
- The boxes are the joints'. Pictures of Ego_cameras (fisheye) and of envmap_per_segment are not read.
The index is made anew when a folder gets or loses files, not when one is edited.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from runtime.errors import UserError
from runtime.hand.hand_model import HandPair
from runtime.image.reading import read_image
from training.data.frames import INTERACTING, SIDES, Frames
from training.data.readers.index import Arrays, open_index, read_json, say
from training.data.readers.interhand import mano_arrays
from training.data.readers.pictures import box_of_joints, check_joint_order, checked_name, frames_arrays, shuffled

CAMERAS = "Mugsy_cameras/cam_params.json"
PICTURES = "Mugsy_cameras/envmap_per_frame/images"
NAME, FILES = "Re:InterHand", f"CAPTURE/{CAMERAS}"
TEST_CAPTURES = (
    "m--20221215--0949--RNS217--pilot--ProjectGoliathScript--Hands--two-hands",
    "m--20221216--0953--NKC880--pilot--ProjectGoliathScript--Hands--two-hands",
    "m--20230317--1130--QZX685--pilot--ProjectGoliath--Hands--two-hands",
)
FILE_JOINTS = 24  # wrist, thumb 0-4, index 1-4, middle 1-4, ring 1-4, little finger 0-4, stub
TO_JOINTS = [0, *range(2, 18), *range(19, 23)]


def find_root(data: Path) -> Path | None:
    """The folder of the captures, where `data` is Re:InterHand, else None."""
    return next((root for root in (data, data / "data") if any(root.glob(f"*/{CAMERAS}"))), None)


def read_frames(root: Path, split: str, hands: HandPair) -> Frames:
    """The pictures of a split, shuffled; a UserError for missing, unreadable or inconsistent files."""
    captures = _captures(root, split)
    folders = [folder for capture in captures for folder in sorted((capture / PICTURES).glob("*")) if folder.is_dir()]
    if not folders:
        raise UserError(f"none of {NAME}'s captures of '{split}' in {root} has pictures in {PICTURES}/CAMERA")
    labels = (CAMERAS, "mano_fits/params", *(f"orig_fits/{side}/Keypoints" for side in SIDES))
    sources = [*(capture / place for place in labels for capture in captures), *folders]
    wrong = f"{root} is not in {NAME}'s format"
    arrays = open_index(sources, f"{NAME} {hands[0].sha256}", lambda: shuffled(_to_arrays(folders, hands)), wrong)
    return Frames(NAME, root, folders=tuple(folder.relative_to(root).as_posix() for folder in folders), **arrays)


def _captures(root: Path, split: str) -> list[Path]:
    there = sorted(path.parents[1] for path in root.glob(f"*/{CAMERAS}"))
    testing = [path for path in there if path.name in TEST_CAPTURES]
    training = [path for path in there if path.name not in TEST_CAPTURES]
    last = max(len(training) - 1, 1)
    chosen = {"train": training[:last], "val": training[last:], "test": testing}[split]
    if not chosen:
        needed = {"train": "one", "val": "two captures for training", "test": f"one of {TEST_CAPTURES[0]}, ..."}
        raise UserError(f"{root} has no capture of {NAME}'s '{split}': it needs {needed[split]}")
    return chosen


def _to_arrays(folders: list[Path], hands: HandPair) -> Arrays:
    poses: dict[tuple[Path, int], int] = {}  # capture, frame -> row
    names, camera_of, pose_of = list[bytes](), list[int](), list[int]()
    cameras, sizes = list[Mapping[str, Any]](), list[tuple[int, ...]]()
    read = cache(read_json)
    for number, folder in enumerate(tqdm(folders, desc="looking for pictures", unit="camera", leave=False, delay=1)):
        capture = folder.parents[3]
        cameras.append(read(capture / CAMERAS)[folder.name])
        files = sorted(folder.glob("*.png"))
        sizes.append(read_image(files[0]).shape[1::-1] if files else (0, 0))
        names += [checked_name(file.name) for file in files]
        camera_of += [number] * len(files)
        pose_of += [poses.setdefault((capture, int(file.stem)), len(poses)) for file in files]
    world, fits = np.full((len(poses), 2, 21, 3), np.nan, np.float32), []
    for (capture, frame), row in tqdm(poses.items(), desc="reading labels", unit="moment", leave=False, delay=1):
        for side, name in enumerate(SIDES):
            path = capture / "orig_fits" / name / "Keypoints" / f"keypoint-{frame:06}.json"
            if path.is_file():
                joints = np.asarray(read_json(path, list), np.float32)
                if joints.shape != (FILE_JOINTS, 3):
                    raise ValueError(f"{path.name} has joints of shape {joints.shape}, not {(FILE_JOINTS, 3)}")
                world[row, side] = joints[TO_JOINTS] / np.float32(1000)
        paths = {name: capture / "mano_fits" / "params" / f"{frame}_{name}.json" for name in SIDES}
        fits.append({name: read_json(path) for name, path in paths.items() if path.is_file()})
    valid = np.all(np.isfinite(world), axis=-1)
    if not valid.any():
        raise UserError(f"{folders[0].parents[3]}/orig_fits has no file of a frame that is among the pictures")
    check_joint_order(world, valid, str(folders[0].parents[4]))

    turn, shift, focal, center = (
        np.array([camera[key] for camera in cameras], np.float32) for key in ("R", "t", "focal", "princpt")
    )
    position = -(np.swapaxes(turn, 1, 2) @ shift.reshape(-1, 3, 1))[..., 0] / np.float32(1000)
    camera, pose = np.array(camera_of), np.array(pose_of)
    seen = np.einsum("nij,nsaj->nsai", turn[camera], world[pose] - position[camera, None, None])
    depth = np.where(seen[..., 2:] > 0, seen[..., 2:], np.nan)  # nan behind the camera, where nothing is compared
    points = seen[..., :2] / depth * focal[camera, None, None] + center[camera, None, None]
    in_image = np.all((points >= 0) & (points < np.array(sizes)[camera, None, None]), axis=-1)
    shown = np.any(in_image, axis=2)
    used = np.any(shown, axis=1)
    if not used.all():
        say(f"{NAME}: {int((~used).sum())} of {len(used)} pictures show no joint, left out")
    labelled = shown[..., None] & np.all(np.isfinite(points), axis=-1)
    return frames_arrays(
        int(used.sum()),
        file_names=np.array(names, np.bytes_)[used],
        folder_of=camera[used],
        annotation_id=np.flatnonzero(used),
        pose_of=pose[used],
        camera_of=camera[used],
        bbox=box_of_joints(points.reshape(-1, 42, 2), labelled.reshape(-1, 42))[used],
        hand_type=np.where(np.all(shown, axis=1), INTERACTING, shown.argmax(axis=1))[used],
        hand_type_valid=np.ones(int(used.sum())),
        joint_in_image=in_image[used],
        joints_world_m=np.where(valid[..., None], world, 0),
        joint_valid=valid,
        **mano_arrays(fits, hands),
        camera_position_m=position,
        camera_rotation=turn,
        focal_px=focal,
        principal_px=center,
    )
