"""A contact sheet of a data set in InterHand2.6M's format, with its labels drawn over it.

python -m training.data.synth.sheet DIR -o sheet.png [-n 24] [--split train] [--seed 0]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import CommandParser, UserError, run_command
from runtime.hand_model import HandModel, load_hand_models
from runtime.joints import BONES, INTERHAND_TO_JOINTS
from training.data.synth.files import write_whole
from training.data.synth.plan import SPLIT_CAPTURES
from training.data.synth.rig import Floats
from training.data.synth.scene import SIDES, pose_hand
from training.data.synth.write import ANNOTATION_PARTS, annotation_path

TILE_PX = 256
COLUMNS = 6
_BOX_SCALE = 1.25
_JOINT_COLOURS = ((60, 220, 60), (60, 120, 255))  # BGR: right, left
_MESH_COLOURS = ((150, 255, 150), (150, 190, 255))


def draw_sheet(root: Path, split: str, count: int, seed: int) -> NDArray[np.uint8]:
    """BGR sheet: each sample twice, plain above and with joints, bones, mesh outline and box below."""
    annotations = {part: _read(annotation_path(root, split, part)) for part in ANNOTATION_PARTS}
    models = load_hand_models()
    images = annotations["data"]["images"]
    chosen = np.random.default_rng(seed).permutation(len(images))[:count]
    tiles = [_tiles(root, split, annotations, models, int(index)) for index in sorted(chosen)]
    blank = np.zeros((2 * TILE_PX, TILE_PX, 3), np.uint8)
    tiles += [blank] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
    return np.vstack(rows)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and write the sheet."""
    parser = CommandParser(__doc__)
    parser.add_argument("root", type=Path, metavar="DIR")
    parser.add_argument("-o", "--output", type=Path, required=True, help="PNG to write")
    parser.add_argument("-n", "--samples", type=int, default=24)
    parser.add_argument("--split", choices=list(SPLIT_CAPTURES), default="train")
    parser.add_argument("--seed", type=int, default=0, help="which samples")
    options = parser.parse_args(arguments)
    if options.samples < 1:
        raise UserError(f"cannot draw {options.samples} samples: give -n 1 or more")
    sheet = draw_sheet(options.root, options.split, options.samples, options.seed)
    write_whole(options.output, cv2.imencode(".png", sheet)[1].tobytes())
    print(options.output)
    return 0


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give the folder of a generated set") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: generate the set again") from error


def _tiles(
    root: Path, split: str, annotations: dict[str, Any], models: tuple[HandModel, HandModel], index: int
) -> NDArray[np.uint8]:
    image, annotation = annotations["data"]["images"][index], annotations["data"]["annotations"][index]
    path = root / "images" / split / image["file_name"]
    picture = cv2.imread(str(path))
    if picture is None:
        raise UserError(f"cannot read {path}: generate the set again")
    capture, frame = str(image["capture"]), str(image["frame_idx"])
    cameras = annotations["camera"][capture]
    camera = {key: np.array(cameras[key][image["camera"]]) for key in ("campos", "camrot", "focal", "princpt")}
    x, y, width, height = annotation["bbox"]
    scale = TILE_PX / (max(width, height) * _BOX_SCALE)
    to_tile = np.array(
        [[scale, 0, TILE_PX / 2 - (x + width / 2) * scale], [0, scale, TILE_PX / 2 - (y + height / 2) * scale]]
    )
    # Warping takes pixel centres for integers; labels have them at integers + 0.5.
    centred = to_tile + np.array([[0, 0, (scale - 1) / 2], [0, 0, (scale - 1) / 2]])
    plain = np.asarray(cv2.warpAffine(picture, centred, (TILE_PX, TILE_PX), flags=cv2.INTER_LINEAR), np.uint8)
    marked = plain.copy()

    def place(world_mm: Floats) -> Floats:
        seen = (world_mm - camera["campos"]) @ camera["camrot"].T
        pixels = seen[:, :2] / seen[:, 2:] * camera["focal"] + camera["princpt"]
        return pixels @ to_tile[:, :2].T + to_tile[:, 2]

    joints = annotations["joint_3d"][capture][frame]
    world = np.array(joints["world_coord"]).reshape(2, 21, 3)[:, INTERHAND_TO_JOINTS]
    for side, name in enumerate(SIDES):
        fit = annotations["MANO_NeuralAnnot"][capture][frame][name]
        if fit is None:
            continue
        vertices, _ = pose_hand(models[side], *(np.array(fit[key]) for key in ("pose", "shape", "trans")))
        _draw_outline(marked, place(vertices * 1000), models[side].faces, _MESH_COLOURS[side])
        points = place(world[side])
        for parent, child in BONES:
            ends = [tuple(int(v) for v in points[joint]) for joint in (parent, child)]
            cv2.line(marked, ends[0], ends[1], _JOINT_COLOURS[side], 1, cv2.LINE_AA)
        for point in points:
            cv2.circle(marked, (int(point[0]), int(point[1])), 2, _JOINT_COLOURS[side], -1, cv2.LINE_AA)
    corners = np.array([[x, y], [x + width, y + height]]) @ to_tile[:, :2].T + to_tile[:, 2]
    (left, top), (right, bottom) = corners.astype(int).tolist()
    cv2.rectangle(marked, (left, top), (right, bottom), (200, 200, 200), 1)
    cv2.putText(marked, annotation["hand_type"], (4, TILE_PX - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    return np.vstack([plain, marked])


def _draw_outline(tile: NDArray[np.uint8], pixels: Floats, faces: NDArray[np.int64], colour: tuple[int, ...]) -> None:
    filled = np.zeros(tile.shape[:2], np.uint8)
    for triangle in pixels[faces]:
        cv2.fillConvexPoly(filled, np.round(triangle).astype(np.int32), 255)
    contours, _ = cv2.findContours(filled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tile, contours, -1, colour, 1)


if __name__ == "__main__":
    run_command(main)
