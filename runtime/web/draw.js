// Hands over a picture: shaded meshes, the far triangles first, and their joints.

const COLOURS = { right: [240, 150, 25], left: [60, 150, 220] }; // Okabe and Ito's, which colour-blind people tell apart
const LIGHT = [-0.42, -0.62, -0.66].map((v) => v / Math.hypot(0.42, 0.62, 0.66)); // towards it: upper left, this side
const OPACITY = 0.75, TONES = 32;

let layer = null;

const tones = (colour) =>
  Array.from({ length: TONES }, (_, i) => `rgb(${colour.map((c) => Math.round(c * (0.25 + (0.85 * i) / TONES))).join(",")})`);
const PALETTES = Object.fromEntries(Object.entries(COLOURS).map(([side, colour]) => [side, tones(colour)]));

/** Brightness of each vertex, 0..1. */
function shade({ vertices, model: { faces } }) {
  const normals = new Float32Array(vertices.length);
  for (let f = 0; f < faces.length; f += 3) {
    const [a, b, c] = [3 * faces[f], 3 * faces[f + 1], 3 * faces[f + 2]];
    const u = [0, 1, 2].map((i) => vertices[b + i] - vertices[a + i]), v = [0, 1, 2].map((i) => vertices[c + i] - vertices[a + i]);
    for (let i = 0; i < 3; i++) {
      const normal = u[(i + 1) % 3] * v[(i + 2) % 3] - u[(i + 2) % 3] * v[(i + 1) % 3];
      for (const corner of [a, b, c]) normals[corner + i] += normal;
    }
  }
  return Float32Array.from({ length: vertices.length / 3 }, (_, v) => {
    const [x, y, z] = normals.subarray(3 * v, 3 * v + 3);
    return Math.max(x * LIGHT[0] + y * LIGHT[1] + z * LIGHT[2], 0) / (Math.hypot(x, y, z) || 1);
  });
}

/** Draw the hands that are present over what the canvas shows; both have the picture's coordinates. */
export function drawHands(canvas, { hands, translation }) {
  const shown = hands.filter((hand) => hand.present && hand.camera.scale > 0);
  const triangles = [];
  for (const hand of shown) {
    const { vertices, camera, model: { faces } } = hand, light = shade(hand);
    const behind = shown.length === 2 && hand.side === "left" ? translation[2] : 0;
    const at = (v) => [camera.scale * vertices[3 * v] + camera.x, camera.scale * vertices[3 * v + 1] + camera.y];
    for (let f = 0; f < faces.length; f += 3) {
      const corners = [faces[f], faces[f + 1], faces[f + 2]], [a, b, c] = corners.map(at);
      if ((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]) >= 0) continue; // seen from behind
      const depth = corners.reduce((sum, v) => sum + vertices[3 * v + 2], 0) / 3 + behind;
      const tone = Math.floor(((TONES - 1) * corners.reduce((sum, v) => sum + light[v], 0)) / 3);
      triangles.push({ depth, path: [a, b, c], colour: PALETTES[hand.side][tone] });
    }
  }
  layer ??= document.createElement("canvas");
  Object.assign(layer, { width: canvas.width, height: canvas.height });
  const paint = layer.getContext("2d");
  for (const { path: [a, b, c], colour } of triangles.sort((one, other) => other.depth - one.depth)) {
    paint.fillStyle = paint.strokeStyle = colour; // the stroke closes the seams
    paint.beginPath();
    paint.moveTo(...a);
    paint.lineTo(...b);
    paint.lineTo(...c);
    paint.closePath();
    paint.fill();
    paint.stroke();
  }
  const context = canvas.getContext("2d");
  context.globalAlpha = OPACITY;
  context.drawImage(layer, 0, 0);
  context.globalAlpha = 1;
  for (const hand of shown) drawJoints(context, hand);
}

function drawJoints(context, { side, points, camera }) {
  const thick = Math.min(Math.max(camera.scale * 0.0016, 1), 12);
  const tint = `rgb(${COLOURS[side].map((c) => Math.round(255 - 0.45 * (255 - c))).join(",")})`;
  for (const [colour, extra] of [["#191919", 2], [tint, 0]]) {
    context.fillStyle = context.strokeStyle = colour;
    context.lineWidth = thick + extra;
    context.beginPath();
    points.forEach((point, j) => {
      if (j === 0) return;
      context.moveTo(...points[j % 4 === 1 ? 0 : j - 1]);
      context.lineTo(...point);
    });
    context.stroke();
    for (const [x, y] of points) {
      context.beginPath();
      context.arc(x, y, thick + extra / 2 + 1, 0, 2 * Math.PI);
      context.fill();
    }
  }
}
