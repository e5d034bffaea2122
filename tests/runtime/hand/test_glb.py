"""GLB files, read back by the rules of glTF 2.0."""

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
from runtime.hand.glb import write_glb

COMPONENT_BYTES = {5126: 4, 5123: 2}
COMPONENT_TYPES = {5126: "<f4", 5123: "<u2"}
WIDTHS = {"SCALAR": 1, "VEC3": 3}


@pytest.fixture(scope="module")
def hands(tiny_model: Path) -> Hands:
    return load(tiny_model)(np.zeros((100, 100, 3), np.uint8))


def read_glb(path: Path) -> tuple[dict[str, Any], bytes]:
    """The document and the binary chunk, with every length checked."""
    content = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    assert length % 4 == 0
    chunks, position = [], 12
    while position < length:
        size, kind = struct.unpack_from("<I4s", content, position)
        assert size % 4 == 0
        chunks.append((kind, content[position + 8 : position + 8 + size]))
        position += 8 + size
    assert position == length
    assert [kind for kind, _ in chunks] == [b"JSON", b"BIN\0"]
    return json.loads(chunks[0][1]), chunks[1][1]


def accessor(document: dict[str, Any], binary: bytes, index: int) -> np.ndarray:
    about = document["accessors"][index]
    view = document["bufferViews"][about["bufferView"]]
    width = WIDTHS[about["type"]]
    size = COMPONENT_BYTES[about["componentType"]]
    assert view["byteOffset"] % size == 0
    assert view["byteOffset"] % 4 == 0
    assert view["byteLength"] == about["count"] * width * size
    assert view["byteOffset"] + view["byteLength"] <= document["buffers"][view["buffer"]]["byteLength"]
    data = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    return np.frombuffer(data, COMPONENT_TYPES[about["componentType"]]).reshape(about["count"], width)


def test_both_hands_come_back(tmp_path: Path, hands: Hands) -> None:
    path = tmp_path / "hands.glb"
    write_glb(path, hands)
    document, binary = read_glb(path)
    assert document["asset"]["version"] == "2.0"
    assert 0 <= len(binary) - document["buffers"][0]["byteLength"] < 4
    assert document["scenes"][document["scene"]]["nodes"] == [0, 1]
    assert [node["name"] for node in document["nodes"]] == ["right hand", "left hand"]
    for node, hand in zip(document["nodes"], (hands.right, hands.left), strict=True):
        (primitive,) = document["meshes"][node["mesh"]]["primitives"]
        positions = accessor(document, binary, primitive["attributes"]["POSITION"])
        normals = accessor(document, binary, primitive["attributes"]["NORMAL"])
        triangles = accessor(document, binary, primitive["indices"]).reshape(-1, 3)
        bounds = document["accessors"][primitive["attributes"]["POSITION"]]
        assert_array_equal(np.asarray(bounds["min"], np.float32), positions.min(axis=0))
        assert_array_equal(np.asarray(bounds["max"], np.float32), positions.max(axis=0))
        assert_allclose(positions, hand.vertices * [1, -1, -1], atol=1e-7)
        assert_array_equal(triangles, hand.faces)
        assert document["bufferViews"][bounds["bufferView"]]["target"] == 34962
        assert document["bufferViews"][document["accessors"][primitive["indices"]]["bufferView"]]["target"] == 34963
        assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
        corners = positions[triangles]
        outwards = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert ((outwards * normals[triangles[:, 0]]).sum(axis=1) > 0).mean() > 0.97
        colour = document["materials"][primitive["material"]]["pbrMetallicRoughness"]["baseColorFactor"]
        assert len(colour) == 4 and all(0 <= value <= 1 for value in colour)
    assert "translation" not in document["nodes"][0]
    assert_allclose(document["nodes"][1]["translation"], hands.relative_translation * [1, -1, -1], atol=1e-7)
    assert [entry.name for entry in tmp_path.iterdir()] == ["hands.glb"]


def test_fingers_point_up(tmp_path: Path, hands: Hands) -> None:
    """They do in the picture, where y goes down."""
    write_glb(tmp_path / "hands.glb", hands)
    document, binary = read_glb(tmp_path / "hands.glb")
    positions = accessor(document, binary, document["meshes"][0]["primitives"][0]["attributes"]["POSITION"])
    assert positions[:, 1].max() > 0.1 > -positions[:, 1].min()


def test_one_hand_and_none(tmp_path: Path, hands: Hands) -> None:
    path = tmp_path / "left.glb"
    alone = replace(hands, right=replace(hands.right, present=False))
    write_glb(path, alone)
    document, _ = read_glb(path)
    assert [node["name"] for node in document["nodes"]] == ["left hand"]
    assert "translation" not in document["nodes"][0]
    with pytest.raises(ValueError, match="no hand"):
        write_glb(path, replace(alone, left=replace(hands.left, present=False)))
    assert read_glb(path)[0] == document
