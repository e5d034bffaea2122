"""Reader of HInt (Pavlakos et al., CVPR 2024): one hand per picture, in the wild, 2D joints and which are hidden.

    {TRAIN,VAL,TEST}_{newdays,epick,ego4d}_{img,seq}/NAME_{l,r}.{jpg,json}      in DIR, or in HInt_annotation_partial/
                                                                                or HInt_annotation/ below it
    NAME.json: [{"keypoints": 21 x [x, y], "occlusion": 21 x 0 or 1, "bbox": [[x1, y1, x2, y2]]}]

Known from the authors' README and drawing code: joints are in this project's order, in pixels of the picture; 1 in
`occlusion` is hidden. Ego4D's pictures come apart from the archive.

What the format leaves unclear, and what is done here:
- Which hand it is stands in the file's name alone, _l or _r. The other hand may be in the picture: it is not known of.
- Some users read a list `existence`, 0 where a joint is not annotated; where there is none, all joints are.
- Whether whole numbers are centres of pixels or corners is not said: they are taken as they are, half a pixel at most.
- Nothing says how `bbox` was made: the box here is the joints'.
- Files of another number of hands than one are left out, and counted once, as are folders without pictures.
The index is made anew when a folder gets or loses files, not when one is edited.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from runtime.errors import UserError
from runtime.hand.hand_model import HandPair
from runtime.hand.joints import JOINT_COUNT
from training.data.frames import Frames
from training.data.readers.index import Arrays, format_errors, open_index, read_json, say
from training.data.readers.pictures import check_joint_order, checked_name, picture_arrays, shuffled

NAME, FILES = "HInt", "TEST_newdays_img/*_r.json"
PLACES = ("newdays_img", "epick_img", "ego4d_img", "ego4d_seq")
SIDE_OF = {"_r": 0, "_l": 1}


def find_root(data: Path) -> Path | None:
    """The folder of HInt's folders, where `data` is HInt, else None."""
    roots = (data, data / "HInt_annotation", data / "HInt_annotation_partial")
    return next((root for root in roots if any(_folders(root, split) for split in ("train", "val", "test"))), None)


def _folders(root: Path, split: str) -> list[Path]:
    return [path for place in PLACES if (path := root / f"{split.upper()}_{place}").is_dir()]


def read_frames(root: Path, split: str, hands: HandPair) -> Frames:
    """The pictures of a split, shuffled; a UserError for missing, unreadable or inconsistent files."""
    folders = _folders(root, split)
    if not folders:
        raise UserError(f"{root} has no folder {split.upper()}_{PLACES[0]} or the like: HInt's '{split}' is missing")
    arrays = open_index(folders, NAME, lambda: shuffled(_to_arrays(folders)), f"{root} is not in HInt's format")
    return Frames(
        NAME,
        root,
        folders=tuple(folder.name for folder in folders),
        kinds=tuple(folder.name.partition("_")[2].removesuffix("_img") for folder in folders),
        kind_of=arrays["folder_of"],
        **arrays,
    )


def _to_arrays(folders: list[Path]) -> Arrays:
    rows: list[tuple[bytes, int, int, NDArray[np.float64]]] = []  # name, folder, side, joints
    left_out = 0
    for number, folder in enumerate(folders):
        files = sorted(entry.name for entry in os.scandir(folder))
        if not any(name.endswith(".jpg") for name in files):
            say(f"{folder.name} has no pictures, left out: Ego4D's come apart (see HInt's README)")
            continue
        labels = [name for name in files if name.endswith(".json")]
        for name in tqdm(labels, desc=f"reading {folder.name}", unit="img", leave=False, delay=1):
            hands = read_json(folder / name, list)
            if len(hands) != 1:
                left_out += 1
                continue
            with format_errors(f"{folder / name} is not in HInt's format"):
                picture = checked_name(name.replace(".json", ".jpg"))
                rows.append((picture, number, SIDE_OF[name[-7:-5]], _joints(hands[0])))
    if left_out:
        say(f"{NAME}: {left_out} files that do not describe one hand are left out")
    if not rows:
        raise UserError(f"{', '.join(folder.name for folder in folders)}: no picture with a hand's labels in there")
    names, folder_of, sides, found = zip(*rows, strict=True)
    joints = np.zeros((len(names), 2, JOINT_COUNT, 4))
    joints[np.arange(len(names)), sides] = found
    points, exists, hidden = joints[..., :2], joints[..., 2] > 0, joints[..., 3] > 0
    check_joint_order(points, exists, str(folders[0].parent))
    known = {"file_names": names, "folder_of": folder_of, "annotation_id": range(len(names)), "hand_type": sides}
    return picture_arrays(points, exists, hidden, **known)


def _joints(hand: dict[str, Any]) -> NDArray[np.float64]:
    """(21, 4): x, y, annotated, hidden."""
    points, exists = np.asarray(hand["keypoints"], np.float64), hand.get("existence", [1] * JOINT_COUNT)
    if {len(points), len(exists), len(hand["occlusion"])} != {JOINT_COUNT}:
        raise ValueError(f"a hand of {len(points)} joints, not of {JOINT_COUNT}")
    joints = np.column_stack([points, np.array(exists) * np.isfinite(points).all(axis=1), hand["occlusion"]])
    joints[joints[:, 2] == 0, :2] = 0
    annotated = joints[joints[:, 2] > 0, :2]
    if len(annotated) < 2 or np.ptp(annotated, axis=0).max() < 1:
        raise ValueError("its joints have no extent")
    return joints
