"""Fit how sure the runner is that a hand is there, for each variant, and write runtime/assets/presence.json.

The network is surer on the rendered pictures that it learned from than on photographs. So it is asked about pictures of
the validation split that are turned, blurred, recoloured, noisy and full of sharp shapes, about which it is as unsure;
pictures without hands are the same with their tiles shuffled. The finder, at home on photographs, sees them turned
alone. A logistic regression is fitted on every other picture; its figures are of the rest.

python -m benchmarks.tools.presence --model exports/er-s_224_int8.onnx exports/er-xs_224_int8.onnx
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from runtime.errors import CommandParser, run_command
from runtime.files import write_text_atomic
from runtime.hand.presence import ANY_VARIANT, EVIDENCE, NETWORK_ALONE, PRESENCE_PATH, PRESENT_FROM, evidence
from runtime.image.reading import Rgb
from runtime.runner import Runner, load
from training.data.dataset import open_frames
from training.data.frames import INTERACTING, Frames
from training.data.mixture import SYNTHETIC
from training.data.samples import read_rgb

PICTURES = 600  # of the split
PAIRS_PER = 2  # pictures with one hand, all of which are taken, for one with two
EMPTY_EVERY = 4  # pictures with hands for one without
RIDGE = 1e-4  # keeps the weight of evidence that decides everything finite
TURN_DEG = 90
WAYS = ("boxed", "found")
BINS = 10
TILES = 16  # on each side of a picture that is shuffled
Rng = np.random.Generator
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
    about = {"made_by": "python -m benchmarks.tools.presence", "evidence": EVIDENCE, "present_from": PRESENT_FROM}
    lines = ",\n".join(f"  {json.dumps(variant)}: {json.dumps(row)}" for variant, row in rows.items())
    write_text_atomic(args.output, f'{json.dumps(about)[:-1]}, "variants": {{\n{lines}\n}}}}\n')
    return 0


def gather(runner: Runner, frames: Frames, label: str) -> dict[str, Cases]:
    """Ask a runner about degraded pictures: `boxed`, in a given box, and `found`, where the finder saw hands."""
    runner.presence = NETWORK_ALONE
    boxed: list[Cases] = []
    found: list[Cases] = []
    two = frames.hand_type == INTERACTING
    single, pairs = np.flatnonzero(~two), np.flatnonzero(two)
    chosen = np.sort(np.concatenate([single, pairs[: len(single) // PAIRS_PER]]))
    for number, index in enumerate(tqdm(chosen, label, unit="img", leave=False)):
        rng = np.random.default_rng(number)
        kind = frames.hand_type[index]
        there = np.array([kind in (side, INTERACTING) for side in (0, 1)], np.float64)
        turned, box = turn(read_rgb(frames, index), frames.bbox[index], rng)
        seen, order = degrade(turned, rng), rng.permutation(TILES**2)
        views = [(turned, seen, there), (shuffle(turned, order), shuffle(seen, order), np.zeros(2))]
        held_out = np.full(2, number // EMPTY_EVERY % 2 == 1)
        for clean, rough, truth in views[: 2 if number % EMPTY_EVERY == 0 else 1]:
            boxed.append(Cases(evidence(runner(rough, box)), truth, held_out))
            boxes = runner.find_hands(clean)
            if len(boxes.boxes):
                found.append(Cases(evidence(runner.look_at(rough, boxes), boxes), truth, held_out))
    return {"boxed": joined(boxed), "found": joined(found)}


def joined(cases: Sequence[Cases]) -> Cases:
    """Make one of several."""
    return Cases(*(np.concatenate(arrays) for arrays in zip(*cases, strict=True)))


def turn(rgb: Rgb, box: NDArray[np.floating[Any]], rng: Rng) -> tuple[Rgb, Floats]:
    """Turn a picture about its middle; return it and a square around where its box is then, not quite."""
    height, width = rgb.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-TURN_DEG, TURN_DEG), 1.0)
    turned: Any = cv2.warpAffine(rgb, matrix, (width, height))
    side = float(box[2:].max()) * np.exp(rng.uniform(-0.25, 0.5))
    center = matrix[:, :2] @ (box[:2] + box[2:] / 2) + matrix[:, 2] + rng.uniform(-0.2, 0.2, 2) * side
    # At least the box's middle has to be in the picture.
    center = np.clip(center, 0, (width, height))
    return turned, np.array([*(center - side / 2), side, side])


def degrade(rgb: Rgb, rng: Rng) -> Rgb:
    """Cover parts of a picture by sharp shapes, some of its own colours, and make it blurred, tinted and noisy."""
    height, width = rgb.shape[:2]
    image = rgb.copy()
    for _ in range(rng.integers(40)):
        reach = max(height, width) * np.exp(rng.uniform(np.log(0.01), np.log(0.12)))
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        corners = np.stack([np.cos(angles), np.sin(angles)], axis=1) * reach * rng.uniform(0.3, 1, 2)
        own = rgb[rng.integers(height), rng.integers(width)]
        colour = rng.integers(0, 256, 3) if rng.random() < 0.5 else own
        shape = (rng.uniform(0, 1, 2) * (width, height) + corners).astype(np.int32)
        cv2.fillPoly(image, [shape], colour.tolist(), cv2.LINE_AA)
    if rng.random() < 0.5:
        factor = rng.uniform(0.25, 1)
        small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        image = np.asarray(cv2.resize(small, (width, height)), np.uint8)
    light = image.astype(np.float32) / 255
    if rng.random() < 0.3:
        light = np.repeat(light.mean(axis=2, keepdims=True), 3, axis=2)
    light = light ** np.float32(np.exp(rng.uniform(-0.6, 0.6)))
    light = (light - 0.5) * rng.uniform(0.5, 1.5) + 0.5 + rng.uniform(-0.15, 0.15)
    light = light * rng.uniform(0.75, 1.25, 3) + rng.normal(0, rng.uniform(0, 0.06), light.shape)
    return np.rint(np.clip(light, 0, 1) * 255).astype(np.uint8)


def shuffle(rgb: Rgb, order: NDArray[np.integer[Any]]) -> Rgb:
    """Put the tiles of a picture, TILES on each side, in another order."""
    rows, columns = rgb.shape[0] // TILES, rgb.shape[1] // TILES
    tiles = rgb[: rows * TILES, : columns * TILES].reshape(TILES, rows, TILES, columns, 3).swapaxes(1, 2)
    mixed = tiles.reshape(-1, rows, columns, 3)[order].reshape(TILES, TILES, rows, columns, 3)
    return np.ascontiguousarray(mixed.swapaxes(1, 2).reshape(rows * TILES, columns * TILES, 3))


def fitted(cases: Cases) -> dict[str, Any]:
    """Fit the weights of one way of looking, and say how good they are on what they were not fitted on."""
    own, other = ~cases.held_out, cases.held_out
    weights = fit_weights(cases.evidence[own], cases.there[own])
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
