"""The hand model file and numpy skinning."""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.hand.hand_model import EMBEDDED_MODEL, HandModel, HandPair, load_hand_models, skin
from runtime.hand.joints import MIDDLE_MCP, WRIST
from runtime.hand.rotations import matrix_from_axis_angle

RIGHT, LEFT = load_hand_models()
MIRROR = np.array([-1.0, 1.0, 1.0])


def volume_cm3(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Signed, about the mesh's own centre: the small open wrist hardly counts."""
    corners = (vertices - vertices.mean(axis=0))[faces]
    return float(np.einsum("fc,fc->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6 * 1e6)


def flexed(radians: float) -> np.ndarray:
    """The middle joint of four fingers bent."""
    pose = np.zeros((16, 3))
    pose[[2, 5, 8, 11], 2] = radians
    return matrix_from_axis_angle(pose)


def test_frame_and_size() -> None:
    vertices, joints = skin(RIGHT, np.tile(np.eye(3), (16, 1, 1)), np.zeros(10))
    mm = 1000 * (joints - joints[WRIST])
    assert mm[12, 0] < -170 and abs(mm[12, 1]) < 15  # fingers to -x
    assert mm[4, 2] > 50 and mm[20, 2] < -40  # thumb to +z, pinky to -z
    assert 85 < np.linalg.norm(mm[MIDDLE_MCP]) < 110
    assert np.array_equal(joints[[8, 12, 20, 16, 4]], vertices[RIGHT.tips])  # index, middle, pinky, ring, thumb
    bent, curled = skin(RIGHT, flexed(1.5), np.zeros(10))
    assert (curled[[8, 12, 16, 20], 1] < joints[[8, 12, 16, 20], 1] - 0.015).all()  # flexion goes towards the palm
    # The faces look outwards, and the correctives keep the volume of bent fingers.
    plain, _ = skin(replace(RIGHT, posedirs=np.zeros_like(RIGHT.posedirs)), flexed(1.5), np.zeros(10))
    assert 200 < volume_cm3(plain, RIGHT.faces) < volume_cm3(bent, RIGHT.faces)
    assert volume_cm3(bent, RIGHT.faces) < 1.02 * volume_cm3(vertices, RIGHT.faces)


def test_left_is_the_mirror_image() -> None:
    rng = np.random.default_rng(3)
    pose, shape = rng.normal(size=(16, 3)) * 0.4, rng.normal(size=10)
    right, right_joints = skin(RIGHT, matrix_from_axis_angle(pose), shape)
    left, left_joints = skin(LEFT, matrix_from_axis_angle(pose * (1, -1, -1)), shape)
    assert np.abs(left - right * MIRROR).max() < 1e-6 and np.abs(left_joints - right_joints * MIRROR).max() < 1e-6
    assert volume_cm3(left, LEFT.faces) > 0
    assert np.allclose(LEFT.hands_mean.reshape(15, 3), RIGHT.hands_mean.reshape(15, 3) * (1, -1, -1))


def reference_skin(model: HandModel, rotations: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Linear blend skinning as in the papers, in double precision."""
    rest = model.v_template + model.shapedirs.astype(np.float64) @ shape
    joints = model.J_regressor.astype(np.float64) @ rest
    rest = rest + model.posedirs.astype(np.float64) @ (rotations[1:] - np.eye(3)).ravel()
    turns, places = [rotations[0]], [joints[0]]
    for joint, parent in enumerate(model.parents[1:], start=1):
        turns.append(turns[parent] @ rotations[joint])
        places.append(places[parent] + turns[parent] @ (joints[joint] - joints[parent]))
    moved = [place + (rest - joint) @ turn.T for turn, place, joint in zip(turns, places, joints, strict=True)]
    return np.einsum("vj,jvc->vc", model.weights, moved)


@pytest.mark.parametrize("parents", [RIGHT.parents, np.array([-1, 0, 1, 1, 2, 0, 5, 2, 3, 0, 9, 9, 9, 12, 13, 4])])
def test_against_a_plain_reference(parents: np.ndarray) -> None:
    """Five chains of three, and any other skeleton; many hands at once."""
    model = replace(RIGHT, parents=parents)
    rng = np.random.default_rng(5)
    rotations, shape = matrix_from_axis_angle(rng.normal(size=(2, 3, 16, 3)) * 0.5), rng.normal(size=(2, 3, 10))
    vertices, joints = skin(model, rotations, shape)
    assert vertices.shape == (2, 3, 778, 3) and joints.shape == (2, 3, 21, 3)
    assert np.abs(vertices[1, 2] - reference_skin(model, rotations[1, 2], shape[1, 2])).max() < 1e-6


@pytest.mark.parametrize("widened", [1.0, 1.1])
def test_both_hands_at_once(widened: float) -> None:
    """As each alone, wrist-relative; a left hand that is no mirror image, too."""
    pair = HandPair(RIGHT, replace(LEFT, v_template=LEFT.v_template * np.float32(widened)))
    rotations = matrix_from_axis_angle(np.random.default_rng(4).normal(size=(2, 16, 3))).astype(np.float32)
    vertices, joints = pair.skin(rotations, np.ones((2, 10), np.float32))
    for side, model in enumerate(pair):
        expected, expected_joints = skin(model, rotations[side], np.ones(10))
        assert np.abs(vertices[side] - (expected - expected_joints[0])).max() < 1e-6
        assert np.abs(joints[side] - (expected_joints - expected_joints[0])).max() < 1e-6


def members() -> dict[str, bytes]:
    with zipfile.ZipFile(EMBEDDED_MODEL) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, content: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def npy(array: Any, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


class Evil:
    """What a pickle could run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("/nonexistent").touch, ())


def changed(name: str, place: Any, value: float) -> dict[str, bytes | None]:
    array = np.load(io.BytesIO(members()[f"{name}.npy"])).copy()
    array[place] = value
    return {f"{name}.npy": npy(array)}


BAD: dict[str, dict[str, bytes | None]] = {
    "a missing array": {"weights.npy": None},
    "an unknown array": {"extra.npy": npy(np.zeros(3))},
    "a wrong shape": {"faces.npy": npy(np.zeros((10, 3), np.int32))},
    "a wrong type": {"v_template.npy": npy(np.zeros((778, 3), np.complex64))},
    "an object array": {"v_template.npy": npy(np.array([Evil()], dtype=object), allow_pickle=True)},
    "a bare pickle": {"v_template.npy": pickle.dumps(Evil())},
    "a huge declared size": {"tips.npy": npy(np.zeros(5, np.int32)).replace(b"(5,)", b"(9999999999,)")},
    "nan": changed("v_template", (0, 0), np.nan),
    "millimetres": changed("v_template", (0, 0), 70),
    "a face without its vertex": changed("faces", (0, 0), 5000),
    "a parent after its child": changed("parents", 1, 9),
    "weights of another sum": changed("weights", 3, 0.5),
    "absurd numbers": changed("shapedirs", (0, 0, 0), 1e5),
    "a header with code": {"tips.npy": npy(np.zeros(5, np.int32)).replace(b"(5,)", b"5*5,")},
    "an endless header": {"tips.npy": b"\x93NUMPY\2\0\xff\xff\xff\x7f"},
    "half an array": {"weights.npy": members()["weights.npy"][:2000]},
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(case: str, tmp_path: Path) -> None:
    content = {k: v for k, v in {**members(), **BAD[case]}.items() if v is not None}
    path = write(tmp_path / "bad.npz", content)
    with pytest.raises(UserError) as caught:
        load_hand_models(path)
    assert "\n" not in str(caught.value) and "bad.npz" in str(caught.value)


@pytest.mark.parametrize("content", [b"PK", b"not a zip", EMBEDDED_MODEL.read_bytes()[:30000]])
def test_no_archive(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="zip archive is damaged"):
        load_hand_models(path)
    # What LZMA takes to unpack is what the file asks for.
    with pytest.raises(UserError, match="another method than deflate"):
        load_hand_models(write(path, members(), zipfile.ZIP_LZMA))


def test_a_left_hand_of_its_own(tmp_path: Path) -> None:
    content = members()
    wider = np.load(io.BytesIO(content["v_template.npy"])) * np.float32(1.1) * MIRROR.astype(np.float32)
    names = ("shapedirs", "posedirs", "J_regressor", "weights", "hands_mean", "faces")
    own = {f"left_{name}.npy": content[f"{name}.npy"] for name in names} | {"left_v_template.npy": npy(wider)}
    right, left = load_hand_models(write(tmp_path / "two.npz", {**content, **own}))
    assert np.allclose(left.v_template, wider) and left.sha256 == right.sha256 != RIGHT.sha256
