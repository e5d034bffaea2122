"""Meshes as files: Wavefront OBJ, which every 3D program opens, and binary glTF 2.0, which viewers and browsers open.

The origin is the right wrist, or the left one where that hand is alone. OBJ keeps the camera's axes (x right, y down,
z away); glTF has y up and the viewer on +z, half a turn around x from them (Khronos Group, "glTF 2.0 Specification").
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_bytes_atomic, write_text_atomic
from .hands import COLOURS, Floats, Hand, Hands

_MAGIC, _VERSION = 0x46546C67, 2  # "glTF"
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942  # "JSON", "BIN\0"
_FLOAT, _UNSIGNED_SHORT = 5126, 5123
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_TO_GLTF = np.array([1, -1, -1], np.float32)
_ROUGHNESS = 0.7


def write_obj(folder: Path, stem: str, hands: Hands) -> list[Path]:
    """Write `<stem>_right.obj` and `<stem>_left.obj` of the hands that are present; return their paths."""
    paths = []
    for hand, shift_m in _placed(hands):
        lines = [f"# {hand.side} hand, metres; x right, y down, z away from the camera"]
        lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in (hand.vertices + shift_m).tolist()]
        lines += [f"f {a} {b} {c}" for a, b, c in (hand.faces + 1).tolist()]
        paths.append(folder / f"{stem}_{hand.side}.obj")
        write_text_atomic(paths[-1], "\n".join(lines) + "\n")
    return paths


def write_glb(path: Path, hands: Hands) -> Path:
    """Write the hands that are present as one file with a node each; return its path. ValueError where none is."""
    if not hands.present:
        raise ValueError("there is no hand to write")
    content = bytearray()
    nodes, meshes, materials, views, accessors = [], [], [], list[Any](), list[Any]()
    for index, (hand, shift_m) in enumerate(_placed(hands)):
        name = {"name": f"{hand.side} hand"}
        nodes.append({**name, "mesh": index, "translation": (shift_m * _TO_GLTF).tolist()})
        first = len(accessors)
        places = {"attributes": {"POSITION": first, "NORMAL": first + 1}, "indices": first + 2}
        meshes.append({**name, "primitives": [{**places, "material": index}]})
        materials.append(_material(hand))
        vertices, normals = (np.asarray(values * _TO_GLTF, "<f4") for values in (hand.vertices, hand.normals()))
        bounds = {"min": vertices.min(axis=0).tolist(), "max": vertices.max(axis=0).tolist()}
        triangles = np.asarray(hand.faces.reshape(-1), "<u2")
        for values, kind, component, target, more in (
            (vertices, "VEC3", _FLOAT, _ARRAY_BUFFER, bounds),
            (normals, "VEC3", _FLOAT, _ARRAY_BUFFER, {}),
            (triangles, "SCALAR", _UNSIGNED_SHORT, _ELEMENT_ARRAY_BUFFER, {}),
        ):
            about = {"bufferView": len(views), "componentType": component, "count": len(values), "type": kind}
            accessors.append(about | more)
            place = {"byteOffset": len(content), "byteLength": values.nbytes}
            views.append({"buffer": 0, **place, "target": target})
            content += values.tobytes() + bytes(-values.nbytes % 4)  # accessors start at multiples of 4
    document = {
        "asset": {"version": "2.0", "generator": "ER Edge"},
        "scene": 0,
        "scenes": [{"name": "hands", "nodes": list(range(len(nodes)))}],
        "nodes": nodes,
        "meshes": meshes,
        "materials": materials,
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(content)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    chunks = _chunk(_JSON_CHUNK, text, b" ") + _chunk(_BINARY_CHUNK, bytes(content), b"\0")
    write_bytes_atomic(path, struct.pack("<III", _MAGIC, _VERSION, 12 + len(chunks)) + chunks)
    return path


def _placed(hands: Hands) -> Iterator[tuple[Hand, Floats]]:
    """Return the hands that are present, each with what moves it into the frame they share."""
    for hand in hands.present:
        moved = hand.side == "left" and hands.right.present
        yield hand, hands.relative_translation if moved else np.zeros(3, np.float32)


def _material(hand: Hand) -> dict[str, Any]:
    linear = (np.array(COLOURS[hand.side]) / 255) ** 2.2
    surface = {"baseColorFactor": [*linear.round(4).tolist(), 1.0], "metallicFactor": 0.0}
    # The mesh is open at the wrist, where one looks inside.
    return {"name": hand.side, "doubleSided": True, "pbrMetallicRoughness": {**surface, "roughnessFactor": _ROUGHNESS}}


def _chunk(kind: int, content: bytes, padding: bytes) -> bytes:
    padded = content + padding * (-len(content) % 4)
    return struct.pack("<II", len(padded), kind) + padded
