// A whole picture in, the boxes of at most two hands out: runtime/finder/ in JavaScript, with its rules and thresholds.

import { pixels } from "./picture.js";

const GRIDS = [[8, 2], [16, 6]]; // side of a cell in px, anchors that share its centre
const NORMAL = 192, CLOSE = 112, FAR = 384; // longer side of the picture at each look
const SURE = 0.6, SECOND = 0.4, FAR_SURE = 0.8;
const OVERLAP = 0.3, SHIFT = 0.5, SCALE = 2.2, APART = 0.6;

/** The picture at a size, in the middle of a canvas whose sides are multiples of 32. */
async function look(detect, picture, size, side) {
  const factor = side / Math.max(size.width, size.height);
  const columns = Math.max(1, Math.round(size.width * factor)), rows = Math.max(1, Math.round(size.height * factor));
  const width = 32 * Math.ceil(columns / 32), height = 32 * Math.ceil(rows / 32);
  const left = (width - columns) >> 1, top = (height - rows) >> 1;
  const image = pixels(picture, { x: 0, y: 0, width: size.width, height: size.height }, { left, top, columns, rows, width, height });
  const { offsets, logits } = await detect(image, [1, 3, height, width]);
  const palms = [];
  let anchor = 0;
  for (const [stride, count] of GRIDS) {
    for (let y = stride / 2; y < height; y += stride) {
      for (let x = stride / 2; x < width; x += stride) {
        for (let k = 0; k < count; k++, anchor++) {
          const score = 1 / (1 + Math.exp(-logits[anchor]));
          if (score < SECOND) continue;
          const o = offsets.subarray(18 * anchor, 18 * anchor + 18);
          const place = (dx, dy) => [((x + dx - left) * size.width) / columns, ((y + dy - top) * size.height) / rows];
          const points = [place(o[0] - o[2] / 2, o[1] - o[3] / 2), place(o[0] + o[2] / 2, o[1] + o[3] / 2)];
          for (let i = 4; i < 18; i += 2) points.push(place(o[i], o[i + 1]));
          palms.push({ score, points });
        }
      }
    }
  }
  return palms;
}

function overlap([low, high], [otherLow, otherHigh]) {
  const area = (a, b) => Math.max(b[0] - a[0], 0) * Math.max(b[1] - a[1], 0);
  const shared = area([0, 1].map((i) => Math.max(low[i], otherLow[i])), [0, 1].map((i) => Math.min(high[i], otherHigh[i])));
  return shared / Math.max(area(low, high) + area(otherLow, otherHigh) - shared, 1e-9);
}

/** One palm of all that overlap: their mean, weighted by score, with the highest score. */
function merge(palms) {
  let left = [...palms].sort((a, b) => b.score - a.score);
  const merged = [];
  while (left.length) {
    const [best] = left;
    const same = left.filter((palm) => palm === best || overlap(best.points, palm.points) > OVERLAP);
    const weight = same.reduce((sum, palm) => sum + palm.score, 0);
    const mean = (i, axis) => same.reduce((sum, palm) => sum + palm.score * palm.points[i][axis], 0) / weight;
    merged.push({ score: best.score, points: best.points.map((_, i) => [mean(i, 0), mean(i, 1)]) });
    left = left.filter((palm) => !same.includes(palm));
  }
  return merged;
}

function handBox({ points, score }) {
  const [low, high, wrist, , knuckle] = points;
  const palm = Math.max(high[0] - low[0], high[1] - low[1]);
  const [dx, dy] = [knuckle[0] - wrist[0], knuckle[1] - wrist[1]];
  const length = Math.max(Math.hypot(dx, dy), 1e-9), side = SCALE * palm;
  const x = (low[0] + high[0]) / 2 + (SHIFT * palm * dx) / length, y = (low[1] + high[1]) / 2 + (SHIFT * palm * dy) / length;
  return { x: x - side / 2, y: y - side / 2, width: side, height: side, score };
}

/** Boxes of at most two hands, the surest first. `far`: small hands, too, which takes longer. */
export async function findHands(detect, picture, size, far) {
  const sure = (palms) => palms.filter((palm) => palm.score >= SURE).length;
  let palms = merge(await look(detect, picture, size, NORMAL)), least = SURE;
  if (sure(palms) < 2) palms = merge([...palms, ...(await look(detect, picture, size, CLOSE))]);
  if (far && !sure(palms)) {
    palms = merge(await look(detect, picture, size, FAR));
    least = FAR_SURE;
  }
  return palms.some((palm) => palm.score >= least) ? palms.slice(0, 2).map(handBox) : [];
}

/** Whether two boxes are so far apart, `share` of the distance, that each wants a crop of its own. */
export function boxesApart([one, other], share = 1) {
  if (!other) return false;
  const apart = Math.hypot(one.x + one.width / 2 - other.x - other.width / 2, one.y + one.height / 2 - other.y - other.height / 2);
  return apart > share * APART * Math.max(one.width, other.width);
}
