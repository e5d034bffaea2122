// Pixels of a picture or a video's frame as a network takes them.

let canvas = null;

/** A part of the picture (px; black beyond its edges) drawn into a canvas -> RGB planes, 0..1. */
export function pixels(picture, part, { left, top, columns, rows, width, height }) {
  canvas ??= new OffscreenCanvas(1, 1);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, part.x, part.y, part.width, part.height, left, top, columns, rows);
  const { data } = context.getImageData(0, 0, width, height);
  const count = width * height, planes = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    planes[i] = data[4 * i] / 255;
    planes[count + i] = data[4 * i + 1] / 255;
    planes[2 * count + i] = data[4 * i + 2] / 255;
  }
  return planes;
}
