"""A contact sheet of a data set, its labels drawn over the pictures.

python -m training.data.contact_sheet DIR -o sheet.png [-n 24] [--split train] [--seed 0]
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import CommandParser, UserError, run_command
from runtime.hand.hand_model import load_hand_models
from runtime.hand.hands import COLOURS
from runtime.hand.joints import BONES
from runtime.image.crop import BOX_SCALE, crop_from_box
from runtime.image.draw import WHITE, write_picture
from runtime.image.sheets import Tile, draw_page
from training.data.dataset import open_frames
from training.data.frames import SIDES, Frames
from training.data.samples import load_sample, read_rgb

TILE_PX = 256
BOX_COLOUR = (200, 200, 200)


def draw_sheet(frames: Frames, count: int, seed: int) -> NDArray[np.uint8]:
    """RGB sheet of `count` samples: each plain above, and with joints, bones and box below."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(frames))[:count])
    return draw_page([_tile(frames, int(index)) for index in chosen])


def _tile(frames: Frames, index: int) -> Tile:
    box = frames.bbox[index]
    crop = crop_from_box(box, TILE_PX, scale=BOX_SCALE)
    plain = crop.apply(read_rgb(frames, index))
    marked = plain.copy()
    sample = load_sample(frames, index, TILE_PX)
    valid = sample.joint_valid > 0
    for side, name in enumerate(SIDES):
        colour = COLOURS[name]
        points = np.round(sample.points[side] * TILE_PX).astype(int).tolist()
        for parent, child in BONES:
            if valid[side, parent] and valid[side, child]:
                cv2.line(marked, points[parent], points[child], colour, 1, cv2.LINE_AA)
        for joint in np.flatnonzero(valid[side]):
            cv2.circle(marked, points[joint], 2, colour, -1, cv2.LINE_AA)
    (left, top), (right, bottom) = crop.to_crop(np.array([box[:2], box[:2] + box[2:]])).astype(int).tolist()
    cv2.rectangle(marked, (left, top), (right, bottom), BOX_COLOUR, 1)
    known = zip(SIDES, sample.presence, sample.has_presence, strict=True)
    label = ", ".join(f"{side}: {('absent', 'there')[int(there)] if told else '?'}" for side, there, told in known)
    return Tile(np.vstack([plain, marked]), [[(label, WHITE)]])


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and write the sheet."""
    parser = CommandParser(__doc__)
    parser.add_argument("data", metavar="DIR", help="a data set's folder, or 'synthetic'")
    parser.add_argument("-o", "--output", type=Path, required=True, help="picture to write (.png or .jpg)")
    parser.add_argument("-n", "--samples", type=int, default=24)
    parser.add_argument("--split", choices=("train", "val", "test"), default="train")
    parser.add_argument("--seed", type=int, default=0, help="which samples")
    parser.add_argument("--hand-model", type=Path, help="a hand model .npz; default: the embedded one")
    options = parser.parse_args(arguments)
    if options.samples < 1:
        raise UserError("give -n 1 or more")
    if options.output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"cannot write a picture as '{options.output.suffix}': name it .png or .jpg")
    frames = open_frames(options.data, options.split, load_hand_models(options.hand_model))
    sheet = draw_sheet(frames, options.samples, options.seed)
    write_picture(options.output, sheet)
    print(options.output)
    return 0


if __name__ == "__main__":
    run_command(main)
