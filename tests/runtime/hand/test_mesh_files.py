"""OBJ and GLB files, read back by the rules of their formats."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from runtime import Hands, load
from runtime.hand.mesh_files import write_glb, write_obj

COMPONENTS = {5126: "<f4", 5123: "<u2"}
WIDTHS = {"SCALAR": 1, "VEC3": 3}


@pytest.fixture(scope="module")
def hands(tiny_model: Path) -> Hands:
    return load(tiny_model)(np.zeros((100, 100, 3), np.uint8), (0, 0, 100, 100))


def without_right(hands: Hands) -> Hands:
    return replace(hands, right=replace(hands.right, present=False))


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    vertices = np.array([line[1:] for line in lines if line[0] == "v"], float)
    return vertices, np.array([line[1:] for line in lines if line[0] == "f"], int) - 1


def read_glb(path: Path) -> tuple[dict[str, Any], bytes]:
    """The document and the binary chunk, with every length checked."""
    content = path.read_bytes()
    assert struct.unpack_from("<4sII", content) == (b"glTF", 2, len(content))
    chunks, position = [], 12
    while position < len(content):
        size, kind = struct.unpack_from("<I4s", content, position)
        assert size % 4 == 0
        chunks.append((kind, content[position + 8 : position + 8 + size]))
        position += 8 + size
    assert position == len(content)
    assert [kind for kind, _ in chunks] == [b"JSON", b"BIN\0"]
    return json.loads(chunks[0][1]), chunks[1][1]


def accessor(document: dict[str, Any], binary: bytes, index: int) -> np.ndarray:
    about = document["accessors"][index]
    view = document["bufferViews"][about["bufferView"]]
    values = np.frombuffer(binary[view["byteOffset"] :][: view["byteLength"]], COMPONENTS[about["componentType"]])
    assert view["byteOffset"] % 4 == 0
    assert view["byteOffset"] + view["byteLength"] <= document["buffers"][view["buffer"]]["byteLength"]
    return values.reshape(about["count"], WIDTHS[about["type"]])


def test_obj_hands_share_a_frame(tmp_path: Path, hands: Hands) -> None:
    right, left = write_obj(tmp_path, "x", hands)
    assert (right.name, left.name) == ("x_right.obj", "x_left.obj")
    assert_allclose(read_obj(right)[0], hands.right.vertices, atol=1e-6)
    assert_allclose(read_obj(left)[0], hands.left.vertices + hands.relative_translation, atol=1e-6)
    assert_array_equal(read_obj(left)[1], hands.left.faces)
    assert left.read_text(encoding="utf-8").startswith("# left hand, metres")
    (alone,) = write_obj(tmp_path, "x", without_right(hands))
    assert_allclose(read_obj(alone)[0], hands.left.vertices, atol=1e-6)


def test_glb_hands_come_back(tmp_path: Path, hands: Hands) -> None:
    path = tmp_path / "hands.glb"
    write_glb(path, hands)
    document, binary = read_glb(path)
    assert document["asset"]["version"] == "2.0"
    assert document["scenes"][document["scene"]]["nodes"] == [0, 1]
    assert [node["name"] for node in document["nodes"]] == ["right hand", "left hand"]
    for node, hand in zip(document["nodes"], (hands.right, hands.left), strict=True):
        (primitive,) = document["meshes"][node["mesh"]]["primitives"]
        place = primitive["attributes"]["POSITION"]
        positions, normals = (accessor(document, binary, primitive["attributes"][x]) for x in ("POSITION", "NORMAL"))
        triangles = accessor(document, binary, primitive["indices"]).reshape(-1, 3)
        for bound, expected in (("min", positions.min(axis=0)), ("max", positions.max(axis=0))):
            assert_array_equal(np.asarray(document["accessors"][place][bound], np.float32), expected)
        assert_allclose(positions, hand.vertices * [1, -1, -1], atol=1e-7)  # fingers up, where y of the picture is down
        assert_array_equal(triangles, hand.faces)
        targets = [document["bufferViews"][document["accessors"][i]["bufferView"]]["target"] for i in (place, 2)]
        assert targets == [34962, 34963]
        assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
        corners = positions[triangles]
        outwards = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert ((outwards * normals[triangles[:, 0]]).sum(axis=1) > 0).mean() > 0.97
        colour = document["materials"][primitive["material"]]["pbrMetallicRoughness"]["baseColorFactor"]
        assert len(colour) == 4 and all(0 <= value <= 1 for value in colour)
    assert document["nodes"][0]["translation"] == [0, 0, 0]
    assert_allclose(document["nodes"][1]["translation"], hands.relative_translation * [1, -1, -1], atol=1e-7)


def test_glb_of_one_hand_and_of_none(tmp_path: Path, hands: Hands) -> None:
    write_glb(tmp_path / "left.glb", without_right(hands))
    (node,) = read_glb(tmp_path / "left.glb")[0]["nodes"]
    assert node["name"] == "left hand" and node["translation"] == [0, 0, 0]
    with pytest.raises(ValueError, match="no hand"):
        write_glb(tmp_path / "none.glb", replace(without_right(hands), left=replace(hands.left, present=False)))
