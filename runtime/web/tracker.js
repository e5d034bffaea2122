// From frame to frame: where to look. runtime/video/tracking.py's rules, with the finder in place of its search.

import { boxesApart } from "./finder.js";

export const CROP_OVER_BOX = 1.25;
const BOX_OVER_JOINTS = 1.5, STAY_WITHIN = 0.1, HOLD_FRAMES = 5;
const APART_FROM = 1.9, TOGETHER_WITHIN = 1.6;
const FOUND_WITHIN_M = 0.035, KEPT_WITHIN_M = 0.055; // mesh and heat maps, the network's two branches, agree on hands
const SECOND_EVERY = 4; // frames between two searches for a hand that is missing
const LEAST_PX = 8;

/** The square {x, y, size} that the network looks at. */
export const cropOf = (box) => {
  const size = CROP_OVER_BOX * Math.max(box.width, box.height);
  return { x: box.x + (box.width - size) / 2, y: box.y + (box.height - size) / 2, size };
};

/** The box around points or corners. */
function around(points) {
  const low = [0, 1].map((i) => Math.min(...points.map((p) => p[i])));
  const high = [0, 1].map((i) => Math.max(...points.map((p) => p[i])));
  return { x: low[0], y: low[1], width: high[0] - low[0], height: high[1] - low[1] };
}

export const unionOf = (boxes) => around(boxes.flatMap((b) => [[b.x, b.y], [b.x + b.width, b.y + b.height]]));

/** The box of joints, in the picture; null where hardly any of it is. */
function boxOf(points, size) {
  const box = around(points);
  const grow = (BOX_OVER_JOINTS - 1) / 2;
  const clip = (value, most) => Math.min(Math.max(value, 0), most);
  const low = [clip(box.x - grow * box.width, size.width), clip(box.y - grow * box.height, size.height)];
  const high = [clip(box.x + (1 + grow) * box.width, size.width), clip(box.y + (1 + grow) * box.height, size.height)];
  const [width, height] = [high[0] - low[0], high[1] - low[1]];
  return Math.min(width, height) < LEAST_PX ? null : { x: low[0], y: low[1], width, height };
}

function near(one, other) {
  const edges = [one.x - other.x, one.y - other.y, one.x + one.width - other.x - other.width, one.y + one.height - other.y - other.height];
  return Math.max(...edges.map(Math.abs)) <= STAY_WITHIN * Math.max(one.width, one.height);
}

function disagreementM(hand) {
  const apart = hand.points.map((p, j) => Math.hypot(p[0] - hand.heatmap[j][0], p[1] - hand.heatmap[j][1]));
  return hand.camera.scale > 0 ? apart.reduce((a, b) => a + b) / apart.length / hand.camera.scale : Infinity;
}

const only = (seen, withinM) => ({
  ...seen,
  hands: seen.hands.map((hand) => ({ ...hand, present: hand.present && disagreementM(hand) <= withinM })),
});
const presentOf = (seen) => seen.hands.filter((hand) => hand.present);
const joined = (right, left) => ({ hands: [right.hands[0], left.hands[1]], translation: [0, 0, 0], together: false });

/** Hands of found boxes: one look at both, or one at each where they are apart, each side where it is surer. */
export async function lookAtFound(look, boxes) {
  if (!boxesApart(boxes)) return look(unionOf(boxes));
  const one = await look(boxes[0]), other = await look(boxes[1]);
  const swapped = other.hands[0].presence + one.hands[1].presence > one.hands[0].presence + other.hands[1].presence;
  return swapped ? joined(other, one) : joined(one, other);
}

export class Tracker {
  frame = 0;
  seen = {}; // side -> {frame, points}
  boxes = {}; // both, or right and left

  /** `look(box)` -> hands, `find()` -> boxes of hands in the whole picture; both of this frame. */
  async next(look, find, size) {
    let hands = await this.#lookAgain(look);
    const count = hands ? presentOf(hands).length : 0;
    if (count === 0 || (count === 1 && this.frame % SECOND_EVERY === 0)) {
      const boxes = await find();
      if (boxes.length > count) {
        const found = only(await lookAtFound(look, boxes), FOUND_WITHIN_M);
        if (!hands || presentOf(found).length > count) hands = found;
      }
    }
    this.frame++;
    if (hands) for (const hand of presentOf(hands)) this.seen[hand.side] = { frame: this.frame, points: hand.points };
    this.#moveBoxes(size);
    return hands;
  }

  async #lookAgain(look) {
    const { both, right, left } = this.boxes;
    if (right && left) return only(joined(await look(right), await look(left)), KEPT_WITHIN_M);
    const box = both ?? right ?? left;
    return box ? only(await look(box), KEPT_WITHIN_M) : null;
  }

  /** Boxes around what was seen lately; a box stays where it is as long as it fits. */
  #moveBoxes(size) {
    const recent = Object.entries(this.seen).filter(([, { frame }]) => this.frame - frame <= HOLD_FRAMES);
    let wanted = Object.fromEntries(recent.map(([side, { points }]) => [side, boxOf(points, size)]).filter(([, box]) => box));
    const boxes = Object.values(wanted), longer = (box) => Math.max(box.width, box.height);
    if (boxes.length === 2) {
      const both = boxOf(recent.flatMap(([, { points }]) => points), size);
      const limit = Object.keys(this.boxes).length === 2 ? TOGETHER_WITHIN : APART_FROM;
      if (both && longer(both) <= limit * Math.max(...boxes.map(longer))) wanted = { both };
    }
    const stays = Object.entries(this.boxes).filter(([key, box]) => wanted[key] && near(box, wanted[key]));
    this.boxes = { ...wanted, ...Object.fromEntries(stays) };
  }
}
