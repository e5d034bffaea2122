"""Reader of InterHand2.6M's annotation files (Moon et al., ECCV 2020), into an index of plain arrays.

    annotations/{split}/InterHand2.6M_{split}_{data,camera,joint_3d,MANO_NeuralAnnot}.json
    images/{split}/...                         or in any number of folders, as the archives are unpacked:
                                               InterHand2.6M_{5,30}fps_batch{0,1,...}/images/{split}/...

The 5 and the 30 frames per second releases have the same form. So has the synthetic set; it may have pictures of hand
type "none", and a "category" of each, for figures.

What the files leave open, and what is done here:
- `joint_valid` of an annotation is about one picture (annotated and inside it), that of joint_3d about the moment.
  Pictures whose joints are all invalid are kept: the masks of a sample leave nothing of them but presence.
- A hand without a fit is null, or its frame or capture is not in the file at all: both are `has_mano` False.
- Pictures without annotation, or whose box has no extent, cannot be cropped: they are left out, and counted once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from runtime.errors import UserError
from runtime.hand.hand_model import HandPair, skin
from runtime.hand.joints import INTERHAND_TO_JOINTS
from runtime.hand.rotations import matrix_from_axis_angle
from runtime.image.crop import MAX_BOX_PX
from training.data.frames import HAND_KINDS, HAND_TYPES, SIDES, Frames
from training.data.readers.index import Arrays, open_index, read_json, say, stream_items
from training.data.readers.pictures import check_joint_order, checked_name, frames_arrays

PARTS = ("data", "camera", "joint_3d", "MANO_NeuralAnnot")
MIN_BOX_PX = 1.0
SKIN_BATCH = 1024
_IMAGE = np.dtype([("id", "i8"), ("pose_of", "i4"), ("camera_of", "i4"), ("kind_of", "i2")])
_OF_HANDS = ("hand_type", "i1"), ("hand_type_valid", "?"), ("joint_in_image", "?", (2, 21))
_ANNOTATION = np.dtype([("image_id", "i8"), ("annotation_id", "i8"), ("bbox", "f8", 4), *_OF_HANDS])

Keys = list[tuple[str, str]]


def read_frames(root: Path, split: str, hands: HandPair) -> Frames:
    """The images of a split below `root`, in the order of the annotation file; a UserError for bad files."""
    if not root.is_dir():
        raise UserError(f"no data set at {root}: give --data a folder that holds annotations/ and images/")
    about = read_json(root / "dataset.json") if (root / "dataset.json").is_file() else {}
    made_with = about.get("hand_model", {}).get("sha256", hands[0].sha256)
    if made_with != hands[0].sha256:
        raise UserError(f"{root} was made with another hand model than '{hands[0].name}': generate it again")
    files = [root / "annotations" / split / f"InterHand2.6M_{split}_{part}.json" for part in PARTS]

    wrong = f"{root}: annotations of '{split}' are not in InterHand2.6M's format"
    arrays = open_index(files, f"interhand {hands[0].sha256}", lambda: _to_arrays(files, hands), wrong)
    kinds = tuple(arrays.pop("kinds", np.array(HAND_KINDS)).tolist())
    image_root, folders, arrays["folder_of"] = _locate(root, split, arrays["file_names"])
    arrays |= {"synthetic": bool(about.get("synthetic", False)), "folders": folders, "kinds": kinds}
    return Frames(about.get("name", "InterHand2.6M"), image_root, **arrays)


def _locate(root: Path, split: str, names: NDArray[np.bytes_]) -> tuple[Path, tuple[str, ...], NDArray[np.int32]]:
    """What images are below: image_root, folders and folder_of of Frames; several folders where archives were unpacked.

    A picture is where its folder is; only what several archives hold folders of is looked for by name.
    """
    found = [path / split for pattern in ("images", "*/images", "*/*/images") for path in sorted(root.glob(pattern))]
    found = [folder for folder in found if folder.is_dir()]
    folder_of = np.zeros(len(names), np.int32)
    if len(found) < 2:
        return (found[0] if found else root / "images" / split), ("",), folder_of
    holders = cache(lambda parent: [number for number, folder in enumerate(found) if (folder / parent).is_dir()])
    for index, name in enumerate(tqdm(names, desc="looking for archives", unit="img", leave=False, delay=2)):
        path = name.decode()
        held = holders(path.rpartition("/")[0])
        held = held if len(held) < 2 else [number for number in held if (found[number] / path).is_file()]
        folder_of[index] = held[0] if held else 0
    return root, tuple(folder.relative_to(root).as_posix() for folder in found), folder_of


def _to_arrays(files: Sequence[Path], hands: HandPair) -> Arrays:
    data, cameras, joints, mano = files
    images, poses, camera_keys = _image_arrays(data)
    by_capture, fits = read_json(joints), read_json(mano)
    moments = [by_capture[capture][frame] for capture, frame in poses]
    world = np.array([moment["world_coord"] for moment in moments], np.float32).reshape(-1, 2, 21, 3)
    known = np.array([moment["joint_valid"] for moment in moments], np.float32).reshape(-1, 2, 21) > 0
    known &= np.isfinite(world).all(axis=-1)
    world, known = np.where(np.isfinite(world), world, 0)[:, :, INTERHAND_TO_JOINTS], known[:, :, INTERHAND_TO_JOINTS]
    check_joint_order(world, known, str(joints))
    by_capture = read_json(cameras)
    campos, camrot, focal, princpt = (
        np.array([by_capture[capture][key][camera] for capture, camera in camera_keys], np.float32)
        for key in ("campos", "camrot", "focal", "princpt")
    )
    return frames_arrays(
        len(images["file_names"]),
        **images,
        joints_world_m=world / np.float32(1000),
        joint_valid=known,
        **mano_arrays([fits.get(capture, {}).get(frame, {}) for capture, frame in poses], hands),
        camera_position_m=campos.reshape(-1, 3) / np.float32(1000),
        camera_rotation=camrot.reshape(-1, 3, 3),
        focal_px=focal.reshape(-1, 2),
        principal_px=princpt.reshape(-1, 2),
    )


def _image_arrays(path: Path) -> tuple[Arrays, Keys, Keys]:
    """The arrays over images, and what their rows of poses (capture, frame) and cameras (capture, camera) are."""
    names = list[bytes]()
    poses, cameras, kinds = (dict[Any, int]() for _ in range(3))

    def image_row(item: dict[str, Any]) -> tuple[Any, ...]:
        names.append(checked_name(item["file_name"]))
        capture = str(item["capture"])
        pose = poses.setdefault((capture, str(item["frame_idx"])), len(poses))
        camera = cameras.setdefault((capture, str(item["camera"])), len(cameras))
        return item["id"], pose, camera, kinds.setdefault(str(item.get("category", "")), len(kinds))

    def annotation_row(item: dict[str, Any]) -> tuple[Any, ...]:
        box, seen = np.asarray(item["bbox"], np.float64), np.asarray(item["joint_valid"], np.float32)
        kind = HAND_TYPES.index(item["hand_type"]), bool(item["hand_type_valid"])
        return item["image_id"], item["id"], box.reshape(4), *kind, seen.reshape(2, 21) > 0

    images = np.fromiter(map(image_row, stream_items(path, "images")), _IMAGE)
    labels = np.fromiter(map(annotation_row, stream_items(path, "annotations")), _ANNOTATION)
    if not len(images) or not len(labels):
        raise ValueError("no images, or no annotations")
    row_of = {image: row for row, image in enumerate(labels["image_id"].tolist())}
    if len(row_of) < len(labels) or len(np.unique(images["id"])) < len(images):
        raise ValueError("an image occurs twice, or has two annotations")
    boxes = labels["bbox"]
    usable = np.logical_and((np.abs(boxes) <= MAX_BOX_PX).all(axis=1), (boxes[:, 2:] >= MIN_BOX_PX).all(axis=1))
    row = np.array([row_of.get(image, -1) for image in images["id"].tolist()])
    used = (row >= 0) & usable[row]
    if not used.all():
        say(f"{path.name}: {int((~used).sum())} of {len(used)} images have no annotation or no usable box")
    images, labels = images[used], labels[row[used]]
    arrays = {"file_names": np.array(names, np.bytes_)[used], "pose_of": images["pose_of"]}
    arrays |= {name: labels[name] for name in ("annotation_id", "bbox", "hand_type", "hand_type_valid")}
    arrays |= {"camera_of": images["camera_of"], "joint_in_image": labels["joint_in_image"][:, :, INTERHAND_TO_JOINTS]}
    if set(kinds) != {""}:
        arrays |= {"kind_of": images["kind_of"], "kinds": np.array(list(kinds))}
    return arrays, list(poses), list(cameras)


def mano_arrays(fits: Sequence[Mapping[str, Any]], hands: HandPair) -> Arrays:
    """Arrays of Frames from MANO's `pose` (48, relative to hands_mean) and `shape` (10) by pose and side, or None."""
    has_mano = np.zeros((len(fits), 2), bool)
    pose = np.zeros((len(fits), 2, 48), np.float32)
    shape = np.zeros((len(fits), 2, 10), np.float32)
    for row, entry in enumerate(fits):
        for side, name in enumerate(SIDES):
            if (fit := entry.get(name)) is not None:
                has_mano[row, side] = True
                pose[row, side], shape[row, side] = fit["pose"], fit["shape"]
    finite = np.isfinite(pose).all(axis=2) & np.isfinite(shape).all(axis=2)
    pose[~finite], shape[~finite] = 0, 0
    pose[:, :, 3:] += np.stack([hand.hands_mean for hand in hands])
    rotations = matrix_from_axis_angle(pose.reshape(-1, 2, 16, 3)).astype(np.float32)
    joints = np.empty((*shape.shape[:2], 21, 3), np.float32)
    # In batches: the vertices of all poses would not fit.
    for start in tqdm(range(0, len(shape), SKIN_BATCH), desc="posing fitted hands", leave=False, delay=1):
        batch = slice(start, start + SKIN_BATCH)
        for side, hand in enumerate(hands):
            joints[batch, side] = skin(hand, rotations[batch, side], shape[batch, side])[1]
    mano_joints = joints - joints[:, :, :1]
    has_mano &= finite
    return {"has_mano": has_mano, "rotations_world": rotations, "shape": shape, "mano_joints_m": mano_joints}
