"""Fit how sure the runner is that a hand is there, for each variant, and write runtime/assets/presence.json.

A logistic regression is fitted on every other picture of the validation split of the synthetic set, which shows hands
touching, apart, alone and none; its figures are of the rest.

python -m benchmarks.tools.fit_presence --model exports/er-s_224_int8.onnx exports/er-xs_224_int8.onnx
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from runtime.errors import CommandParser, run_command
from runtime.files import write_text_atomic
from runtime.hand.presence import ANY_VARIANT, EVIDENCE, NETWORK_ALONE, PRESENCE_PATH, PRESENT_FROM, evidence
from runtime.runner import Runner, load
from training.data.dataset import open_frames
from training.data.frames import INTERACTING, Frames
from training.data.mixture import SYNTHETIC
from training.data.samples import read_rgb

PICTURES = 600  # of the split
RIDGE = 1e-4  # keeps the weight of evidence that decides everything finite
WAYS = ("boxed", "found")
SPEAKS = (0, 1, -1, 1)  # for or against a hand: what EVIDENCE may say
BINS = 10
Floats = NDArray[np.float64]


class Cases(NamedTuple):
    """What was seen of N hands."""

    evidence: Floats  # (N, len(EVIDENCE)), without the finder's where a box was given
    there: Floats  # (N,) 0 or 1
    held_out: NDArray[np.bool_]  # (N,)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, fit and write."""
    parser = CommandParser(__doc__ or "")
    parser.add_argument("--model", type=Path, nargs="+", required=True, metavar="FILE", help="exported models")
    parser.add_argument("--data", default=SYNTHETIC, help="'synthetic' or a folder in InterHand2.6M's layout")
    parser.add_argument("--images", type=int, default=PICTURES, metavar="N", help="the first so many of `val`")
    parser.add_argument("-o", "--output", type=Path, default=PRESENCE_PATH, metavar="FILE")
    args = parser.parse_args(arguments)
    gathered: dict[str, list[dict[str, Cases]]] = {ANY_VARIANT: []}
    for path in args.model:
        with load(path, device="cpu") as runner:
            frames = open_frames(args.data, "val", runner.models, args.images)
            cases = gather(runner, frames, path.name)
            for variant in (ANY_VARIANT, runner.info.variant):
                gathered.setdefault(variant, []).append(cases)
    rows: dict[str, Any] = {}
    for variant, seen in gathered.items():
        rows[variant] = {"data": frames.label, **{way: fitted(joined([some[way] for some in seen])) for way in WAYS}}
        for way in WAYS:
            wrong = rows[variant][way]
            print(f"{variant}, {way}: {wrong['false_alarms']:.1%} false alarms, {wrong['misses']:.1%} missed")
    about = {"made_by": "python -m benchmarks.tools.fit_presence", "evidence": EVIDENCE, "present_from": PRESENT_FROM}
    lines = ",\n".join(f"  {json.dumps(variant)}: {json.dumps(row)}" for variant, row in rows.items())
    write_text_atomic(args.output, f'{json.dumps(about)[:-1]}, "variants": {{\n{lines}\n}}}}\n')
    return 0


def gather(runner: Runner, frames: Frames, label: str) -> dict[str, Cases]:
    """Ask a runner about pictures: `boxed`, in the annotated box, and `found`, where the finder sees hands."""
    runner.presence = NETWORK_ALONE
    seen: dict[str, list[Cases]] = {way: [] for way in WAYS}
    for index in tqdm(range(len(frames)), label, unit="img", leave=False):
        rgb, kind = read_rgb(frames, index), frames.hand_type[index]
        truth = np.array([kind in (side, INTERACTING) for side in (0, 1)], np.float64)
        held_out = np.full(2, index % 2 == 1)
        seen["boxed"].append(Cases(evidence(runner(rgb, frames.bbox[index])), truth, held_out))
        boxes = runner.find_hands(rgb)
        if len(boxes.boxes):
            seen["found"].append(Cases(evidence(runner.look_at(rgb, boxes), boxes), truth, held_out))
    return {way: joined(cases) for way, cases in seen.items()}


def joined(cases: Sequence[Cases]) -> Cases:
    """Make one of several."""
    return Cases(*(np.concatenate(arrays) for arrays in zip(*cases, strict=True)))


def fitted(cases: Cases) -> dict[str, Any]:
    """Fit the weights of one way of looking, and say how good they are on what they were not fitted on."""
    own, other = ~cases.held_out, cases.held_out
    speaks = np.array(SPEAKS[: cases.evidence.shape[1]])
    used = np.full(len(speaks), True)
    weights = np.zeros(len(speaks))
    while ((weights * speaks < 0) & used).any() or not weights.any():  # what few pictures turn round is left out
        used &= weights * speaks >= 0
        weights = np.zeros(len(speaks))
        weights[used] = fit_weights(cases.evidence[own][:, used], cases.there[own])
    chance, there = 1 / (1 + np.exp(-cases.evidence[other] @ weights)), cases.there[other] > 0.5
    bins = np.minimum((chance * BINS).astype(int), BINS - 1)
    filled = [bins == number for number in range(BINS) if (bins == number).any()]
    reliability = [(chance[chosen].mean(), there[chosen].mean(), chosen.sum()) for chosen in filled]
    return {
        "weights": weights.round(4).tolist(),
        "hands": [int(there.sum()), int((~there).sum())],
        "false_alarms": round(float((chance[~there] > PRESENT_FROM).mean()), 4),
        "misses": round(float((chance[there] <= PRESENT_FROM).mean()), 4),
        # In each tenth of probability: as said, the share of hands that are there, how many hands.
        "reliability": [[round(float(p), 3), round(float(share), 3), int(hands)] for p, share, hands in reliability],
    }


def fit_weights(rows: Floats, there: Floats) -> Floats:
    """Fit a logistic regression of `there` (N,), 0 or 1, on rows (N, k), whose first column is the constant."""
    penalty = np.diag(np.r_[0.0, np.full(rows.shape[1] - 1, RIDGE * len(rows))])
    weights = np.zeros(rows.shape[1])
    for _ in range(50):  # Newton's method; far fewer are needed
        chance = 1 / (1 + np.exp(-rows @ weights))
        slope = rows.T @ (chance - there) + penalty @ weights
        curvature = (rows * (chance * (1 - chance))[:, None]).T @ rows + penalty + 1e-9 * np.eye(len(weights))
        weights = weights - np.linalg.solve(curvature, slope)
    return weights


if __name__ == "__main__":
    run_command(main)
