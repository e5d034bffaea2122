"""Convert MANO once: `python -m training.hands.convert_mano MANO_RIGHT.pkl MANO_LEFT.pkl -o mano.npz`.

MANO (Romero et al., SIGGRAPH Asia 2017; v1.2 files from mano.is.tue.mpg.de) becomes a hand model file, which
`--hand-model` takes everywhere. MANO's licence stays with the result: it is yours, on your disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import CommandParser, UserError, run_command
from runtime.files import atomic_path
from runtime.hand.hand_model import SKELETON_JOINTS, VERTICES, load_hand_models
from training.hands.mano_pickle import read_mano_pickle

NAME = "MANO"
PARENTS = np.array([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])  # index, middle, pinky, ring, thumb
ROOT_PARENT = 2**32 - 1  # in kintree_table
MIDDLE_KNUCKLE = 4
SAME = 0.05  # arrays whose difference is a smaller share of their size
# Vertices at the tips of index, middle, pinky, ring and thumb. They are no part of MANO, and codebases differ. These
# are manopth's right hand's and InterHand2.6M's for both; smplx has 320, 443, 671, 554, 744.
TIPS = (317, 444, 673, 556, 745)

Arrays = dict[str, NDArray[Any]]


def convert(right_path: Path, left_path: Path) -> tuple[Arrays, list[str]]:
    """Both of MANO's pickles as the arrays of a hand model file, and what was mended; UserError where one is wrong."""
    right, left = (_read_hand(path) for path in (right_path, left_path))
    for hand, path, sign, side in ((right, right_path, -1, "right"), (left, left_path, 1, "left")):
        wrist, knuckle = (hand["J_regressor"] @ hand["v_template"])[[0, MIDDLE_KNUCKLE]]
        if np.sign(knuckle[0] - wrist[0]) != sign:
            raise UserError(f"{path} is not the {side} hand: give MANO_RIGHT.pkl first, then MANO_LEFT.pkl")
    repairs = []
    # In the published left file these are the right hand's, which mirrors every shape but the mean one wrongly.
    first, second = right["shapedirs"][:, 0], left["shapedirs"][:, 0]
    if np.abs(first - second).sum() < SAME * np.abs(first).sum():
        left["shapedirs"] = left["shapedirs"] * np.array([-1, 1, 1], np.float32)[:, None]
        repairs.append("the left hand's shapedirs had the right hand's sign in x, as published; it was changed")
    arrays: Arrays = {"name": np.array(NAME)}
    for prefix, hand in (("", right), ("left_", left)):
        arrays |= {f"{prefix}{key}": values for key, values in hand.items()}
    return arrays, repairs


def _read_hand(path: Path) -> Arrays:
    """A pickle's arrays under the hand model file's names."""
    raw = read_mano_pickle(path)
    faces, (parents, joints) = raw.pop("f"), raw.pop("kintree_table")
    parents = np.where(parents == ROOT_PARENT, -1, parents)
    if not np.array_equal(parents, PARENTS) or not np.array_equal(joints, np.arange(SKELETON_JOINTS)):
        raise UserError(f"{path} is not a MANO file: kintree_table is another skeleton")
    if faces.min() < 0 or faces.max() >= VERTICES:
        raise UserError(f"{path} is damaged: f names vertices outside 0..{VERTICES - 1}")
    with np.errstate(over="ignore"):
        floats = {key: raw[key].astype(np.float32) for key in sorted(raw)}
    integers = {"faces": faces, "parents": parents, "tips": np.array(TIPS)}
    return {**floats, **{key: values.astype(np.int32) for key, values in integers.items()}}


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and convert."""
    parser = CommandParser(__doc__)
    parser.add_argument("right", type=Path, metavar="MANO_RIGHT.pkl")
    parser.add_argument("left", type=Path, metavar="MANO_LEFT.pkl")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the hand model file to write (.npz)")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    args = parser.parse_args(arguments)
    if args.output.suffix != ".npz":
        raise UserError(f"a hand model file ends in .npz, not '{args.output.suffix}'")
    arrays, repairs = convert(args.right, args.left)
    with atomic_path(args.output) as temporary:  # first, as it says what is wrong with a path
        if args.output.exists() and not args.overwrite:
            raise UserError(f"{args.output} exists: give --overwrite to replace it")
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        try:
            right, _ = load_hand_models(temporary)  # what the runner would refuse is not written
        except UserError as error:
            raise UserError(f"{args.right} or {args.left} is damaged: {str(error).partition(': ')[2]}") from None
    for repair in repairs:
        print(f"repaired: {repair}")
    print(f"{args.output}: {NAME}, right and left, sha256 {right.sha256[:12]}")
    print("MANO's licence applies to this file as to the pickles: do not share it.")
    return 0


if __name__ == "__main__":
    run_command(main)
