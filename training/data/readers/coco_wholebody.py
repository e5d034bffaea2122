"""Reader of the hands of COCO-WholeBody (Jin et al., ECCV 2020): photographs of people, with 2D joints.

    annotations/coco_wholebody_{train,val}_v1.0.json       or beside the pictures' folders; COCO style: images[id,
                                                           file_name, width, height], annotations[id, image_id, iscrowd,
                                                           {left,right}hand_{kpts (x, y, v of 21), valid, box}, ...]
    {train,val}2017/000000000139.jpg                       or in images/

Known from its data_format.md: joints are in this project's order; x and y count from 0 at the centre of the first
pixel, hence + 0.5; v is 0 where a joint is not labelled, 1 where it is hidden; a hand too blurred or covered to be
labelled is not valid, and its numbers are 0.

What the format leaves unclear, and what is done here:
- There are no labels of a test split: the val file is it, and of the train file every 50th image, by number, is val.
- `valid` False does not say whether a hand is there: that is not known then, nor of other people's hands in a crop. Two
  hands of a person farther apart than the runner puts into one crop are two samples, neither knowing of the other.
- v "may be a float", above 0 where the joint is reliable: what is just 1 counts as hidden, all else above 0 as seen.
- Hands of fewer than MIN_JOINTS joints or MIN_HAND_PX pixels are left out, as not known of.
- COCO marks every person, if only as a crowd: pictures without a mark are without hands, and samples, too.
- Whether people annotated pictures turned by their EXIF tag is not known; they are read turned, as by the runner.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.finder.hand_boxes import boxes_apart
from runtime.hand.hand_model import HandPair
from runtime.hand.joints import JOINT_COUNT
from runtime.image.crop import BOX_SCALE
from training.data.frames import INTERACTING, NO_HAND, SIDES, Frames
from training.data.readers.index import Arrays, open_index, stream_items
from training.data.readers.pictures import box_of_joints, check_joint_order, checked_name, picture_arrays, shuffled

NAME, FILES = "COCO-WholeBody", "annotations/coco_wholebody_val_v1.0.json"
MIN_JOINTS = 6
MIN_HAND_PX = 24.0  # longer side of the joints' box
VALIDATION_STEP = 50

Hands = dict[int, NDArray[np.float64]]  # (21, 3) x, y, v by side


def find_root(data: Path) -> Path | None:
    """The folder itself, where it holds COCO-WholeBody's annotations, else None."""
    return data if any(_file(data, part).is_file() for part in ("train", "val")) else None


def _file(root: Path, part: str) -> Path:
    name = f"coco_wholebody_{part}_v1.0.json"
    return root / name if (root / name).is_file() else root / "annotations" / name


def read_frames(root: Path, split: str, hands: HandPair) -> Frames:
    """The hands that are labelled and the pictures without people, shuffled; a UserError for files that are not so."""
    part = "val" if split == "test" else "train"
    file = _file(root, part)
    wrong = f"{file} is not in {NAME}'s format"
    arrays = open_index([file], f"{NAME} {split}", lambda: shuffled(_to_arrays(file, split)), wrong)
    folders = (root / f"{part}2017", root / "images" / f"{part}2017")
    return Frames(NAME, next((folder for folder in folders if folder.is_dir()), folders[0]), **arrays)


def _to_arrays(file: Path, split: str) -> Arrays:
    pictures = {
        int(item["id"]): (checked_name(item["file_name"]), item["width"], item["height"])
        for item in stream_items(file, "images")
        if split == "test" or (item["id"] % VALIDATION_STEP == 0) == (split == "val")
    }
    peopled, rows = set(), list[tuple[int, int, Hands]]()  # image, annotation, the hands that one crop shows
    for item in stream_items(file, "annotations"):
        peopled.add(item["image_id"])
        if item["image_id"] in pictures and not item["iscrowd"]:
            rows += [(item["image_id"], int(item["id"]), hands) for hands in _crops(item)]
    labelled = len(rows)
    if not labelled:
        raise ValueError("no hand is labelled")
    rows += [(image, -1, {}) for image in pictures if image not in peopled]
    images, ids, found = zip(*rows, strict=True)
    joints = np.zeros((len(rows), 2, JOINT_COUNT, 3))
    for number, hands in enumerate(found):
        for side, hand in hands.items():
            joints[number, side] = hand
    points, v = joints[..., :2] + 0.5, joints[..., 2]
    check_joint_order(points, v > 0, str(file))
    kinds = [INTERACTING if len(hands) == 2 else next(iter(hands), NO_HAND) for hands in found]
    known = {"file_names": [pictures[image][0] for image in images], "annotation_id": ids, "hand_type": kinds}
    arrays = picture_arrays(points, v > 0, v == 1, **known)
    arrays["hand_type_valid"][labelled:] = True
    sizes = np.array([pictures[image][1:] for image in images[labelled:]], np.float32).reshape(-1, 2)
    arrays["bbox"][labelled:, :2] = sizes * (1 - 1 / BOX_SCALE) / 2  # so that the crop is the whole picture
    arrays["bbox"][labelled:, 2:] = sizes / BOX_SCALE
    return arrays


def _crops(item: dict[str, Any]) -> list[Hands]:
    """A person's labelled hands, those together that one crop shows."""
    hands, squares = Hands(), []
    for side, name in enumerate(SIDES):
        joints = np.asarray(item[f"{name}hand_kpts"], np.float64)
        if joints.size != 3 * JOINT_COUNT:
            raise ValueError(f"a hand of {joints.size / 3:g} joints, not of {JOINT_COUNT}")
        joints = joints.reshape(JOINT_COUNT, 3)
        if not item[f"{name}hand_valid"] or (joints[:, 2] > 0).sum() < MIN_JOINTS:
            continue
        box = box_of_joints(joints[:, :2], joints[:, 2] > 0)
        if (longer := float(box[2:].max())) >= MIN_HAND_PX:
            hands[side] = joints
            squares.append([*(box[:2] + (box[2:] - longer) / 2), longer, longer])
    if boxes_apart(np.array(squares)):
        return [{side: joints} for side, joints in hands.items()]
    return [hands] if hands else []
