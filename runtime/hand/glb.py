"""Both hands in one binary glTF 2.0 file (.glb), which 3D viewers and browsers open.

Khronos Group, "glTF 2.0 Specification", 2021. glTF is in metres, y up, the viewer on +z: the camera's axes turned half
around x.
"""

from __future__ import annotations

import json
import os
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.files import write_bytes_atomic
from runtime.hand.hands import Hand, Hands
from runtime.image.draw import COLOURS

_MAGIC, _VERSION = 0x46546C67, 2  # "glTF"
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942  # "JSON", "BIN\0"
_FLOAT, _UNSIGNED_SHORT = 5126, 5123
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_TO_GLTF = np.array([1, -1, -1], np.float32)
_ROUGHNESS = 0.7


def write_glb(path: str | os.PathLike[str], hands: Hands) -> None:
    """Write the hands that are present as one file with a node each, atomically.

    The origin is the right wrist, or the left one where that hand is alone. ValueError where no hand is present.
    """
    if not hands.present:
        raise ValueError("there is no hand to write")
    write_bytes_atomic(path, glb_bytes(hands))


def glb_bytes(hands: Hands) -> bytes:
    """The content of the file."""
    buffer = _Buffer()
    nodes, meshes, materials = [], [], []
    for index, hand in enumerate(hands.present):
        together = hand.side == "left" and hands.right.present
        node: dict[str, Any] = {"name": f"{hand.side} hand", "mesh": index}
        if together:
            node["translation"] = [float(value) for value in hands.relative_translation * _TO_GLTF]
        nodes.append(node)
        meshes.append({"name": f"{hand.side} hand", "primitives": [_primitive(hand, index, buffer)]})
        materials.append(_material(hand))
    document = {
        "asset": {"version": "2.0", "generator": "ER Edge"},
        "scene": 0,
        "scenes": [{"name": "hands", "nodes": list(range(len(nodes)))}],
        "nodes": nodes,
        "meshes": meshes,
        "materials": materials,
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.content)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    chunks = _chunk(_JSON_CHUNK, text, b" ") + _chunk(_BINARY_CHUNK, bytes(buffer.content), b"\0")
    return struct.pack("<III", _MAGIC, _VERSION, 12 + len(chunks)) + chunks


class _Buffer:
    """The binary part, as it grows."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, values: NDArray[Any], kind: str, component: int, target: int, with_range: bool = False) -> int:
        """Append an array; the number of its accessor."""
        data = np.ascontiguousarray(values).tobytes()
        self.views.append({"buffer": 0, "byteOffset": len(self.content), "byteLength": len(data), "target": target})
        self.content += data + bytes(-len(data) % 4)  # accessors start at multiples of their component's size
        accessor: dict[str, Any] = {
            "bufferView": len(self.views) - 1,
            "componentType": component,
            "count": len(values),
            "type": kind,
        }
        if with_range:
            accessor |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def _primitive(hand: Hand, material: int, buffer: _Buffer) -> dict[str, Any]:
    vertices = np.asarray(hand.vertices * _TO_GLTF, "<f4")
    normals = np.asarray(hand.normals() * _TO_GLTF, "<f4")
    attributes = {
        "POSITION": buffer.add(vertices, "VEC3", _FLOAT, _ARRAY_BUFFER, with_range=True),
        "NORMAL": buffer.add(normals, "VEC3", _FLOAT, _ARRAY_BUFFER),
    }
    corners = np.asarray(hand.faces.reshape(-1), "<u2")
    indices = buffer.add(corners, "SCALAR", _UNSIGNED_SHORT, _ELEMENT_ARRAY_BUFFER)
    return {"attributes": attributes, "indices": indices, "material": material}


def _material(hand: Hand) -> dict[str, Any]:
    linear = (np.array(COLOURS[hand.side]) / 255) ** 2.2
    colour = [*(round(float(value), 4) for value in linear), 1.0]
    surface = {"baseColorFactor": colour, "metallicFactor": 0.0, "roughnessFactor": _ROUGHNESS}
    # The mesh is open at the wrist, where one looks inside.
    return {"name": hand.side, "doubleSided": True, "pbrMetallicRoughness": surface}


def _chunk(kind: int, content: bytes, padding: bytes) -> bytes:
    padded = content + padding * (-len(content) % 4)
    return struct.pack("<II", len(padded), kind) + padded
