// From frame to frame: where to look, by runtime/video/tracking.py's rules.

import { boxesApart } from "./finder.js";
import { inOnePlace, judge, PRESENT_FROM } from "./presence.js";

export const CROP_OVER_BOX = 1.15;
const BOX_OVER_JOINTS = 1.5, STAY_WITHIN = 0.1, HOLD_FRAMES = 5;
const KEPT_SHARE = 0.5; // of the presence that a hand takes to be found, to be kept
const SEARCH_EVERY = 4; // frames between two searches for a hand that is missing
const TOGETHER_SHARE = 0.85, FINDER_OVER_JOINTS = 1.2;
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

/** The square that the finder would give around joints. */
function squareOf(points) {
  const box = around(points), side = FINDER_OVER_JOINTS * Math.max(box.width, box.height);
  return { x: box.x + (box.width - side) / 2, y: box.y + (box.height - side) / 2, width: side, height: side };
}

const only = (seen, kept) => ({ ...seen, hands: seen.hands.map((hand) => ({ ...hand, present: kept(hand) })) });
const presentOf = (seen) => (seen ? seen.hands.filter((hand) => hand.present) : []);
const joined = (right, left) => ({ hands: [right.hands[0], left.hands[1]], translation: [0, 0, 0], together: false });

/** Hands of found boxes: one look at both, or one at each where they are apart, each side where it is surer. */
export async function lookAtFound(look, found, rule) {
  if (!found.length) return null;
  if (!boxesApart(found)) return judge(await look(unionOf(found)), rule, found);
  const one = await look(found[0]), other = await look(found[1]);
  const swapped = other.hands[0].presence + one.hands[1].presence > one.hands[0].presence + other.hands[1].presence;
  return judge(swapped ? joined(other, one) : joined(one, other), rule, found);
}

export class Tracker {
  frame = 0;
  seen = {}; // side -> {frame, points}
  boxes = {}; // both, or right and left

  constructor(rule) {
    this.rule = rule;
  }

  /** `look(box)` -> hands, `find(far)` -> boxes of hands in the whole picture; both of this frame. */
  async next(look, find, size) {
    let hands = await this.#lookAgain(look);
    const known = presentOf(hands), itsTurn = this.frame % SEARCH_EVERY === 0;
    if (!known.length) hands = (await lookAtFound(look, await find(itsTurn), this.rule)) ?? hands;
    else if (known.length === 1 && itsTurn) {
      const found = await find(false), both = found.length === 2 ? await lookAtFound(look, found, this.rule) : null;
      const present = presentOf(both);
      if (present.length === 2 && present.some((hand) => inOnePlace(hand, known[0]))) hands = both;
    }
    this.frame++;
    for (const hand of presentOf(hands)) this.seen[hand.side] = { frame: this.frame, points: hand.points };
    this.#moveBoxes(size);
    return hands;
  }

  async #lookAgain(look) {
    const { both, right, left } = this.boxes;
    const kept = (seen) => only(judge(seen, this.rule), ({ side, present, presence }) =>
      present || (this.frame - (this.seen[side]?.frame ?? -Infinity) < HOLD_FRAMES && presence > KEPT_SHARE * PRESENT_FROM));
    const box = both ?? right ?? left;
    if (!(right && left)) return box ? kept(await look(box)) : null;
    const hands = joined(kept(await look(right)), kept(await look(left))), present = presentOf(hands);
    if (present.length < 2 || !inOnePlace(...present)) return hands;
    const surer = present[1].presence > present[0].presence ? present[1] : present[0]; // both crops show one hand
    return only(hands, ({ side }) => side === surer.side);
  }

  /** Boxes around what was seen lately; a box stays where it is as long as it fits. */
  #moveBoxes(size) {
    const recent = Object.entries(this.seen).filter(([, { frame }]) => this.frame - frame <= HOLD_FRAMES);
    let wanted = Object.fromEntries(recent.map(([side, { points }]) => [side, boxOf(points, size)]).filter(([, box]) => box));
    const share = Object.keys(this.boxes).length === 2 ? TOGETHER_SHARE : 1;
    if (Object.keys(wanted).length === 2 && !boxesApart(recent.map(([, { points }]) => squareOf(points)), share)) {
      const both = boxOf(recent.flatMap(([, { points }]) => points), size);
      if (both) wanted = { both };
    }
    const stays = Object.entries(this.boxes).filter(([key, box]) => wanted[key] && near(box, wanted[key]));
    this.boxes = { ...wanted, ...Object.fromEntries(stays) };
  }
}
