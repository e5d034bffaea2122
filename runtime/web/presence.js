// How likely each hand is there: runtime/hand/presence.py's rule, with the weights that model.json has of it.

const LIMIT = 4, LEAST_M = 0.008, MOST_M = 1, SAME_PLACE = 0.25, SURE = 0.85, IN_BOX = 0.75, MISSED_SCORE = 0.1;
export const PRESENT_FROM = 0.5;

const mean = (values) => values.reduce((a, b) => a + b) / values.length;
const middle = ({ points }) => [0, 1].map((i) => mean(points.map((p) => p[i])));
const distance = (one, other) => Math.hypot(one[0] - other[0], one[1] - other[1]);
const logit = (share) => Math.min(Math.max(Math.log(share / (1 - share)), -LIMIT), LIMIT);

function disagreementM({ points, heatmap, camera }) {
  return camera.scale > 0 ? mean(points.map((p, j) => distance(p, heatmap[j]))) / camera.scale : Infinity;
}

function near(one, other, place) {
  const extent = ({ points }) => Math.max(...[0, 1].map((i) => Math.max(...points.map((p) => p[i])) - Math.min(...points.map((p) => p[i]))));
  return distance(place(one), place(other)) < SAME_PLACE * Math.max(extent(one), extent(other));
}

/** Whether two hands are likely one, seen twice. */
export const inOnePlace = (one, other) => near(one, other, middle);

/** The score of the box that each hand lies in; no two share one, and the surer hand has the choice. */
function finderScores(hands, found) {
  const scores = [MISSED_SCORE, MISSED_SCORE], free = [...found];
  for (const side of hands[1].presence > hands[0].presence ? [1, 0] : [0, 1]) {
    const away = free.map((box) => distance(middle(hands[side]), [box.x + box.width / 2, box.y + box.height / 2]) / box.width);
    const nearest = away.indexOf(Math.min(...away));
    if (nearest >= 0 && away[nearest] <= IN_BOX) scores[side] = free.splice(nearest, 1)[0].score;
  }
  return scores;
}

/** The same hands with their probability; `found`: the finder's boxes, where it looked. */
export function judge(seen, rule, found = null) {
  const scores = found && finderScores(seen.hands, found);
  const sure = seen.hands.map((hand, i) => {
    const apart = Math.log(Math.min(Math.max(disagreementM(hand), LEAST_M), MOST_M) / LEAST_M);
    const evidence = [1, logit(hand.presence), apart, ...(found ? [logit(scores[i])] : [])];
    const weights = found ? rule.found : rule.boxed;
    return 1 / (1 + Math.exp(-evidence.reduce((sum, value, k) => sum + value * weights[k], 0)));
  });
  const [least, most] = [Math.min(...sure), Math.max(...sure)];
  const oneFound = found?.length === 1 && near(...seen.hands, ({ points }) => points[0]);
  if (oneFound || (least < SURE && inOnePlace(...seen.hands))) { // one hand, seen twice
    sure[sure.indexOf(least)] = Math.min(least, 1 - most);
  }
  const hands = seen.hands.map((hand, i) => ({ ...hand, presence: sure[i], present: sure[i] > PRESENT_FROM }));
  return { ...seen, hands };
}
