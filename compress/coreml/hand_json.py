"""The hand model as JSON for an app: `python -m compress.coreml.hand_json -o hand.json` (docs/iphone.md).

What skinning needs and nothing else: joints as linear functions of the shape instead of a regressor over all vertices,
the bones of each vertex that move it, pose correctives only where the model has some. Metres, radians, row by row.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from runtime.backends.contract import HAND_AXIS
from runtime.errors import CommandParser, run_command
from runtime.files import write_text_atomic
from runtime.hand.hand_model import HandModel, HandPair, as_basis, joints_of, load_hand_models

SCHEMA = 1
DIGITS = 8  # behind the point: 0.01 micrometres


def hand_facts(model: HandModel) -> dict[str, Any]:
    """One side: V = 778 vertices, J = 16 joints, B = 10 shape coefficients, K bones of a vertex at most.

    A pose corrective's feature f is number f % 9, row by row, of joint 1 + f // 9's rotation without the identity.
    """
    bones = int((model.weights > 0).sum(axis=1).max())
    strongest = np.argsort(-model.weights, axis=1, kind="stable")[:, :bones]
    pose_basis = as_basis(model.posedirs)
    features = np.flatnonzero(pose_basis.any(axis=1))
    return {
        "template": _rounded(model.v_template),  # (V, 3)
        "shape_basis": _rounded(as_basis(model.shapedirs)),  # (B, 3 V)
        "pose_features": features.tolist(),  # (P,), those that move a vertex
        "pose_basis": _rounded(pose_basis[features]),  # (P, 3 V)
        "joint_template": _rounded(joints_of(model, model.v_template)),  # (J, 3)
        "joint_shape_basis": _rounded(as_basis(joints_of(model, model.shapedirs))),  # (B, 3 J)
        "parents": model.parents.tolist(),  # (J,), -1 for the wrist
        "bones": strongest.tolist(),  # (V, K)
        "bone_weights": _rounded(np.take_along_axis(model.weights, strongest, axis=1)),  # (V, K)
        "faces": model.faces.tolist(),  # (F, 3)
    }


def to_json(hands: HandPair) -> str:
    """The file's text."""
    facts = {
        "schema": SCHEMA,
        "name": hands[0].name,
        "sha256": hands[0].sha256,
        "unit": "m",
        "hands": [{"side": side} | hand_facts(hand) for side, hand in zip(HAND_AXIS, hands, strict=True)],
    }
    return json.dumps(facts, separators=(",", ":")) + "\n"


def _rounded(values: np.ndarray) -> Any:
    return np.round(values.astype(np.float64), DIGITS).tolist()


def main(arguments: list[str] | None = None) -> int:
    """Write the file."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("-o", "--output", type=Path, default=Path("hand.json"))
    parser.add_argument("--hand-model", type=Path, help="a hand model .npz; default: the embedded one")
    args = parser.parse_args(arguments)
    hands = load_hand_models(args.hand_model)
    text = to_json(hands)
    write_text_atomic(args.output, text)
    print(f"{args.output}: both hands of '{hands[0].name}', {len(text) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    run_command(main)
