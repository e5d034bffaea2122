"""The reader of HIC, on a made set of its form: three frames of embedded hands, rendered as dots at their joints."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from runtime.errors import UserError
from runtime.hand.hand_model import HandPair, load_hand_models, skin
from runtime.hand.joints import MANO_TO_JOINTS
from runtime.hand.rotations import matrix_from_axis_angle
from training.data.dataset import open_frames
from training.data.frames import INTERACTING, Frames
from training.data.readers import hic
from training.data.samples import load_sample
from training.evaluation.predictions import truth_of

HANDS = HandPair(*(replace(hand, name="MANO") for hand in load_hand_models()))
FITS = "IJCV16___Results_MANO___parms_for___joints21"
SIDES = ("right", "left")
SHOWN = (("right", "left"), ("left",), ("right",))  # meshes per frame; the third has a left hand without a fit


def posed(frame: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (778, 3) of a hand half a metre away, in the camera's frame, and its joints (21, 3)."""
    rng = np.random.default_rng((frame, side))
    angles = rng.normal(scale=0.3, size=(16, 3))
    angles[0] = rng.normal(scale=1.0, size=3)
    hand = HANDS[side]
    vertices, joints = skin(hand, matrix_from_axis_angle(angles), rng.normal(scale=0.5, size=10))
    vertices = vertices + np.array([(-0.08, 0.09)[side], 0.02 * frame, 0.5]) - joints[0]
    return vertices, np.concatenate([hand.J_regressor @ vertices, vertices[hand.tips]])[MANO_TO_JOINTS]


def ply(vertices: np.ndarray, kind: str) -> bytes:
    """As meshes are commonly written: coordinates, colours, faces."""
    head = f"ply\nformat {kind} 1.0\ncomment made\nelement vertex {len(vertices)}\n"
    head += "property float x\nproperty float y\nproperty float z\nproperty uchar red\n"
    head += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    if kind == "ascii":
        return (head + "".join(f"{x:.7f} {y:.7f} {z:.7f} 255\n" for x, y, z in vertices) + "3 0 1 2\n").encode()
    table = np.zeros(len(vertices), [("xyz", "<f4", 3), ("red", "u1")])
    table["xyz"] = vertices
    return head.encode() + table.tobytes() + b"\x03" + np.arange(3, dtype="<i4").tobytes()


def project(points: np.ndarray) -> np.ndarray:
    """With the centres of pixels at integers, as HIC counts."""
    return points[..., :2] / points[..., 2:] * 525.0 + np.array([319.5, 239.5])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "HIC"
    content: dict[str, Any] = {"images": [], "annotations": []}
    for frame, shown in enumerate(SHOWN):
        name = f"0{frame + 1}/1/rgb/{frame:03}.png"
        (root / name).parent.mkdir(parents=True)
        picture = np.zeros((480, 640, 3), np.uint8)
        paths: dict[str, str | None] = dict.fromkeys(SIDES)
        for side in shown:
            vertices, joints = posed(frame, SIDES.index(side))
            x, y = project(joints[8])  # the tip of the index finger
            rows, columns = np.mgrid[:480, :640]
            dot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18)
            picture[..., 2 if side == "right" else 0] = dot.astype(np.uint8)  # red and blue, as OpenCV orders them
            paths[side] = f"{FITS}/0{frame + 1}___Model_Hand_{side[0].upper()}___ncomps45/{frame:03}.ply"
            (root / paths[side]).parent.mkdir(parents=True, exist_ok=True)
            (root / paths[side]).write_bytes(ply(vertices, "ascii" if frame else "binary_little_endian"))
        cv2.imwrite(str(root / name), picture)
        content["images"].append({"id": 10 + frame, "file_name": name, "width": 640, "height": 480, "seq_name": "01"})
        content["annotations"].append(
            {
                "id": 100 + frame,
                "image_id": 10 + frame,
                "hand_type": "left" if shown == ("left",) else "interacting",
                "bbox": [0, 0, 1, 1],
                **{f"{side}_mano_path": path for side, path in paths.items()},
            }
        )
    unfitted = {"id": 103, "image_id": 10, "hand_type": "right", "right_mano_path": None, "left_mano_path": None}
    content["annotations"].append(unfitted)
    (root / "HIC.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def frames(root: Path) -> Frames:
    return open_frames(str(root), "test", HANDS)


def test_labels(frames: Frames) -> None:
    assert (frames.name, frames.synthetic, len(frames)) == ("HIC", False, 3)
    assert frames.annotation_id.tolist() == [100, 101, 102]
    assert frames.hand_type.tolist() == [INTERACTING, 1, INTERACTING]
    assert frames.has_mano.tolist() == [[True, True], [False, True], [True, False]]
    for frame, shown in enumerate(SHOWN):
        pixels = np.concatenate([project(posed(frame, SIDES.index(side))[0]) for side in shown]) + 0.5
        assert frames.bbox[frame] == pytest.approx([*pixels.min(axis=0), *np.ptp(pixels, axis=0)], abs=0.05)
        for side in (SIDES.index(name) for name in shown):
            vertices, joints = posed(frame, side)
            assert frames.vertices_m is not None
            assert np.abs(frames.vertices_m[frame, side] - (vertices - joints[0])).max() < 1e-5
            assert np.abs(frames.joints_world_m[frame, side] - joints).max() < 1e-5
            assert frames.joint_valid[frame, side].all() and frames.joint_in_image[frame, side].all()


def test_a_mesh_is_measured_as_it_is(frames: Frames) -> None:
    truth = truth_of([load_sample(frames, index, 64) for index in range(len(frames))], HANDS, frames)
    for frame, shown in enumerate(SHOWN):
        for side in (SIDES.index(name) for name in shown):
            vertices, joints = posed(frame, side)
            assert np.abs(truth.vertices[frame, side] - (vertices - joints[0])).max() < 1e-5
            assert np.abs(truth.mesh_joints[frame, side] - (joints - joints[0])).max() < 1e-5


def test_samples_lie_on_the_picture(frames: Frames) -> None:
    """The dot at an index finger's tip is where the label says, in an image of the sequence cut as any other."""
    size = 192
    for frame, shown in enumerate(SHOWN):
        sample = load_sample(frames, frame, size)
        rows, columns = np.mgrid[:size, :size] + 0.5
        for side in (SIDES.index(name) for name in shown):
            dot = sample.image[..., (0, 2)[side]].astype(np.float64)
            seen = np.array([(dot * columns).sum(), (dot * rows).sum()]) / dot.sum() / size
            assert np.abs(seen - sample.points[side, 8]).max() < 0.5 / size
        fitted = [float(name in shown) for name in SIDES]
        assert sample.has_mano.tolist() == fitted and sample.joint_valid_3d.any(axis=1).tolist() == [
            bool(f) for f in fitted
        ]
        assert sample.presence.tolist() == ([0, 1] if frame == 1 else [1, 1])
    translation = load_sample(frames, 0, size).relative_translation
    assert np.abs(translation - (posed(0, 1)[1][0] - posed(0, 0)[1][0])).max() < 0.5e-3
    assert not load_sample(frames, 2, size).has_translation


def test_another_hand_model(root: Path) -> None:
    with pytest.raises(UserError, match="HIC's meshes are MANO's, not 'ER Edge"):
        open_frames(str(root), "test", load_hand_models())


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["annotations"][0].update(right_mano_path="../x.ply"), "not in HIC's format"),
        (lambda c: c["annotations"].clear(), "no annotation has a mesh"),
        (lambda c: c["annotations"][0].update(right_mano_path="x.ply"), "cannot read .*x.ply"),
    ],
)
def test_damaged_annotations(root: Path, edit: Callable[[Any], None], message: str) -> None:
    content = json.loads((root / "HIC.json").read_text())
    edit(content)
    (root / "HIC.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as caught:
        open_frames(str(root), "test", HANDS)
    assert "\n" not in str(caught.value)


GOOD = ply(np.ones((778, 3)), "ascii")


@pytest.mark.parametrize(
    "content",
    [
        ply(np.ones((778, 3)), "binary_little_endian")[:5000],
        GOOD.replace(b"vertex 778", b"vertex 99999999999"),
        GOOD.replace(b"float z", b"float w"),
        GOOD.replace(b"1.0000000", b"nan", 5),
        ply(np.full((778, 3), -1.0), "ascii"),
    ],
)
def test_damaged_meshes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.ply"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not the mesh of a hand") as caught:
        hic.read_ply(path)
    assert "\n" not in str(caught.value)
    path.write_bytes(content + b" " * (hic.MAX_PLY_BYTES + 1))
    with pytest.raises(UserError, match="at most"):
        hic.read_ply(path)


def test_other_splits_and_options(root: Path) -> None:
    root = root.rename(root.parent / "data").parent  # as InterWild has it: either folder may be given
    assert len(open_frames(str(root), "test", HANDS, 2)) == 2
    with pytest.raises(UserError, match="HIC is a test set: it has no split 'train'"):
        open_frames(str(root), "train", HANDS)
