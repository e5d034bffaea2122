// The network's outputs -> hands in metres and pixels of the picture: runtime/hand/decode.py and skinning.py in JavaScript.

const VERTICES = 778, JOINTS = 16;
const SHORT = 1e-6; // a column of that length no longer says a direction

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const across = (v, axis) => v.map((x, i) => x - dot(v, axis) * axis[i]);
const unit = (v, spare) => {
  const length = Math.hypot(...v);
  return length > SHORT ? v.map((x) => x / length) : spare;
};

/** First two columns of a rotation -> the matrix, row by row; zero and parallel columns have a fallback. */
export function matrixFrom6d(six) {
  const x = unit([...six.slice(0, 3)], [1, 0, 0]);
  const least = x.map(Math.abs).reduce((best, value, i, all) => (value < all[best] ? i : best), 0);
  const spare = unit(across([0, 1, 2].map((i) => +(i === least)), x));
  const second = unit([...six.slice(3, 6)], spare);
  const y = unit(across(unit(across(second, x), spare), x), spare); // twice: a nearly parallel column loses digits
  const z = cross(x, y);
  return [x[0], y[0], z[0], x[1], y[1], z[1], x[2], y[2], z[2]];
}

/** One hand of hand.json, its tables as typed arrays. `tips`: vertices; `order`: the project's joints among both. */
export class HandModel {
  constructor(facts, tips, order) {
    const flat = (rows) => Float64Array.from(rows.flat());
    Object.assign(this, { side: facts.side, parents: facts.parents, tips, order, features: facts.pose_features });
    this.faces = Uint16Array.from(facts.faces.flat());
    this.template = flat(facts.template);
    this.joints = flat(facts.joint_template);
    this.basis = [...facts.pose_basis, ...facts.shape_basis].map((row) => Float64Array.from(row));
    this.jointBasis = facts.joint_shape_basis.map((row) => Float64Array.from(row));
    this.bonesPerVertex = facts.bones[0].length;
    this.bones = Uint8Array.from(facts.bones.flat());
    this.boneWeights = flat(facts.bone_weights);
  }

  /** 16 matrices, 10 shape numbers -> vertices (778 x 3) and joints (21 x 3), metres from the wrist. */
  skin(turns, shape) {
    const sum = (start, basis, factors) => {
      const total = Float64Array.from(start);
      basis.forEach((row, k) => {
        if (factors[k]) for (let i = 0; i < total.length; i++) total[i] += factors[k] * row[i];
      });
      return total;
    };
    const bend = this.features.map((f) => turns[1 + Math.floor(f / 9)][f % 9] - +((f % 9) % 4 === 0)); // less the identity
    const rest = sum(this.template, this.basis, [...bend, ...shape]);
    const at = sum(this.joints, this.jointBasis, shape);
    const world = new Float64Array(12 * JOINTS); // rows of [rotation | where the joint is]
    for (let j = 0; j < JOINTS; j++) {
      const above = this.parents[j];
      for (let r = 0; r < 3; r++) {
        for (let c = 0; c < 4; c++) {
          const own = (k) => (c < 3 ? turns[j][3 * k + c] : at[3 * j + k] - at[3 * above + k]);
          const to = 12 * j + 4 * r + c;
          if (above < 0) world[to] = c < 3 ? turns[j][3 * r + c] : 0; // the wrist is the origin
          else {
            const row = 12 * above + 4 * r;
            world[to] = world[row] * own(0) + world[row + 1] * own(1) + world[row + 2] * own(2) + (c < 3 ? 0 : world[row + 3]);
          }
        }
      }
    }
    const moves = Float64Array.from(world); // of points of the rest pose
    for (let j = 0; j < JOINTS; j++) {
      for (let r = 0; r < 3; r++) {
        const row = 12 * j + 4 * r;
        moves[row + 3] -= world[row] * at[3 * j] + world[row + 1] * at[3 * j + 1] + world[row + 2] * at[3 * j + 2];
      }
    }
    const vertices = new Float32Array(3 * VERTICES);
    for (let v = 0; v < VERTICES; v++) {
      const x = rest[3 * v], y = rest[3 * v + 1], z = rest[3 * v + 2];
      for (let r = 0; r < 3; r++) {
        let total = 0;
        for (let k = v * this.bonesPerVertex; k < (v + 1) * this.bonesPerVertex; k++) {
          const row = 12 * this.bones[k] + 4 * r;
          total += this.boneWeights[k] * (moves[row] * x + moves[row + 1] * y + moves[row + 2] * z + moves[row + 3]);
        }
        vertices[3 * v + r] = total;
      }
    }
    const joints = new Float32Array(3 * this.order.length);
    this.order.forEach((from, to) => {
      for (let r = 0; r < 3; r++) {
        joints[3 * to + r] = from < JOINTS ? world[12 * from + 4 * r + 3] : vertices[3 * this.tips[from - JOINTS] + r];
      }
    });
    return { vertices, joints };
  }
}

/** Both hands' models of hand.json, [right, left]; `facts` is model.json. */
export const readHands = (json, facts) =>
  json.hands.map((hand, i) => new HandModel(hand, facts.tips[i], facts.joint_order));

/** px of joints in metres; a camera has px per metre, and where the wrist is. */
const project = ({ scale, x, y }, joints) =>
  Array.from({ length: 21 }, (_, j) => [scale * joints[3 * j] + x, scale * joints[3 * j + 1] + y]);

/** A camera halfway to where the heat maps see the mesh's joints: runtime/hand/decode.py says why. */
function agreedCamera(camera, joints, heatmap) {
  const seen = project(camera, joints), flat = project({ scale: 1, x: 0, y: 0 }, joints);
  const halfway = seen.map(([x, y], j) => [(x + heatmap[j][0]) / 2, (y + heatmap[j][1]) / 2]);
  const mean = (values) => values.reduce((a, b) => a + b) / values.length;
  const [middle, aim] = [flat, halfway].map((points) => [0, 1].map((i) => mean(points.map((p) => p[i]))));
  const product = (other, its) => mean(flat.map((p, j) => (p[0] - middle[0]) * (other[j][0] - its[0]) + (p[1] - middle[1]) * (other[j][1] - its[1])));
  const scale = product(halfway, aim) / Math.max(product(flat, middle), Number.MIN_VALUE);
  const apart = mean(seen.map((p, j) => Math.hypot(p[0] - heatmap[j][0], p[1] - heatmap[j][1])));
  const size = Math.max(...[0, 1].map((i) => Math.max(...seen.map((p) => p[i])) - Math.min(...seen.map((p) => p[i]))));
  const trusted = scale > 0 && apart < 0.5 * size;
  return trusted ? { scale, x: aim[0] - scale * middle[0], y: aim[1] - scale * middle[1] } : camera;
}

/** Outputs by name, and the crop {x, y, size} (its corner and side in px of the picture) -> the two hands. */
export function decode(outputs, crop, facts, models) {
  const { depth, height, width, depth_range_m: range } = facts.heatmap;
  const hands = models.map((model, i) => {
    const part = (name, count) => [...outputs[name].subarray(i * count, (i + 1) * count)];
    const six = part("rotation6d", 6 * JOINTS);
    const turns = Array.from({ length: JOINTS }, (_, j) => matrixFrom6d(six.slice(6 * j, 6 * j + 6)));
    const shape = part("shape", 10);
    const [scale, x, y] = part("camera", 3).map((v) => v * crop.size);
    const cells = part("joints_image", 63);
    const logit = outputs.presence[i];
    const mesh = model.skin(turns, shape);
    const heatmap = [];
    for (let j = 0; j < 21; j++) {
      heatmap.push([
        crop.x + ((cells[3 * j] + 0.5) * crop.size) / width,
        crop.y + ((cells[3 * j + 1] + 0.5) * crop.size) / height,
        (cells[3 * j + 2] + 0.5) * (range / depth) - range / 2,
      ]);
    }
    const camera = agreedCamera({ scale, x: x + crop.x, y: y + crop.y }, mesh.joints, heatmap);
    const points = project(camera, mesh.joints);
    return { side: model.side, model, present: logit > 0, presence: 1 / (1 + Math.exp(-logit)), camera, ...mesh, points, heatmap };
  });
  return { hands, translation: [...outputs.relative_translation], together: true };
}
