"""Convert MANO once: `python -m training.hands.convert_mano MANO_RIGHT.pkl MANO_LEFT.pkl -o mano.npz`.

MANO (Romero et al., SIGGRAPH Asia 2017; v1.2 files from mano.is.tue.mpg.de) becomes a hand model file, which
`--hand-model` takes everywhere. MANO's licence stays with the result: it is yours, on your disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import CommandParser, UserError, run_command
from runtime.files import atomic_path
from runtime.hand.hand_model import SKELETON_JOINTS, VERTICES, load_hand_models
from training.hands.mano_pickle import INTEGERS, SHAPES, read_mano_pickle

NAME = "MANO"
PARENTS = np.array([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])  # index, middle, pinky, ring, thumb
ROOT_PARENT = 2**32 - 1  # in kintree_table
MIDDLE_KNUCKLE = 4
EXTENT_M = (0.05, 0.5)  # of a hand, at its longest
WEIGHT_SUM_TOLERANCE = 5e-4
SAME = 0.05  # arrays whose difference is a smaller share of their size
# Vertices at the tips of index, middle, pinky, ring and thumb. They are no part of MANO, and codebases differ. The
# first set is also InterHand2.6M's, for both hands; manopth itself takes 445 for the left middle finger.
TIPS = {"manopth": (317, 444, 673, 556, 745), "smplx": (320, 443, 671, 554, 744)}

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Conversion:
    """The arrays of the hand model file, and what was mended on the way."""

    arrays: Arrays
    repairs: tuple[str, ...]


def convert(right_path: Path, left_path: Path, tips: str = "manopth") -> Conversion:
    """Both of MANO's pickles as the arrays of a hand model file; UserError where a file is not what it should be."""
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
    for hand, path in ((right, right_path), (left, left_path)):
        if _volume(hand) < 0:
            hand["faces"] = np.ascontiguousarray(hand["faces"][:, ::-1])
            repairs.append(f"the faces of {path} looked inwards; they were turned")
    arrays: Arrays = {"name": np.array(NAME)}
    for prefix, hand in (("", right), ("left_", left)):
        arrays |= {f"{prefix}{key}": values for key, values in hand.items()}
        arrays[f"{prefix}tips"] = np.array(TIPS[tips], np.int32)
    return Conversion(arrays, tuple(repairs))


def _read_hand(path: Path) -> Arrays:
    """A pickle's arrays under the hand model file's names, fit for it."""
    raw = read_mano_pickle(path)
    parents, joints = raw["kintree_table"]
    parents = np.where(parents == ROOT_PARENT, -1, parents)
    if not np.array_equal(parents, PARENTS) or not np.array_equal(joints, np.arange(SKELETON_JOINTS)):
        raise UserError(f"{path} is not a MANO file: kintree_table is another skeleton")
    if raw["f"].min() < 0 or raw["f"].max() >= VERTICES:
        raise UserError(f"{path} is damaged: f names vertices outside 0..{VERTICES - 1}")
    hand: Arrays = {}
    with np.errstate(over="ignore"):
        for key in SHAPES.keys() - set(INTEGERS):
            hand[key] = raw[key].astype(np.float32)
            if not np.isfinite(hand[key]).all():
                raise UserError(f"{path} is damaged: {key} holds values of an absurd size")
    sums = hand["weights"].sum(axis=1)
    if hand["weights"].min() < -WEIGHT_SUM_TOLERANCE or np.abs(sums - 1).max() > WEIGHT_SUM_TOLERANCE:
        raise UserError(f"{path} is damaged: weights has rows that are negative or do not sum to 1")
    extent_m = float(np.ptp(hand["v_template"], axis=0).max())
    if not EXTENT_M[0] <= extent_m <= EXTENT_M[1]:
        raise UserError(f"{path} is damaged: v_template spans {extent_m:.3g} m, which is no hand")
    hand["faces"], hand["parents"] = raw["f"].astype(np.int32), parents.astype(np.int32)
    return {key: hand[key] for key in sorted(hand)}


def _volume(hand: Arrays) -> float:
    """Signed, about the mesh's centre, m^3: negative where the faces look inwards."""
    vertices = hand["v_template"]
    corners = (vertices - vertices.mean(axis=0))[hand["faces"]]
    return float(np.einsum("fc,fc->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and convert."""
    parser = CommandParser(__doc__)
    parser.add_argument("right", type=Path, metavar="MANO_RIGHT.pkl")
    parser.add_argument("left", type=Path, metavar="MANO_LEFT.pkl")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the hand model file to write (.npz)")
    parser.add_argument("--tips", choices=tuple(TIPS), default="manopth", help="whose fingertip vertices")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    args = parser.parse_args(arguments)
    if args.output.suffix != ".npz":
        raise UserError(f"a hand model file ends in .npz, not '{args.output.suffix}'")
    conversion = convert(args.right, args.left, args.tips)
    with atomic_path(args.output) as temporary:  # first, as it says what is wrong with a path
        if args.output.exists() and not args.overwrite:
            raise UserError(f"{args.output} exists: give --overwrite to replace it")
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **conversion.arrays)
        right, _ = load_hand_models(temporary)  # what the runner would refuse is not written
    for repair in conversion.repairs:
        print(f"repaired: {repair}")
    print(f"{args.output}: {NAME}, right and left, fingertips of {args.tips}, sha256 {right.sha256[:12]}")
    print("MANO's licence applies to this file as to the pickles: do not share it.")
    return 0


if __name__ == "__main__":
    run_command(main)
