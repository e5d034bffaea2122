// Runs a folder's network and its JavaScript in node: images on stdin, outputs and meshes on stdout, until stdin ends.
// node page_runner.mjs FOLDER; float32 throughout, outputs in the order of names in model.json.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import v8 from "node:v8";
import vm from "node:vm";

const folder = path.resolve(process.argv[2]);
const load = (name) => import(pathToFileURL(path.join(folder, name)));
const read = (name) => fs.promises.readFile(path.join(folder, name));
const [{ hasRelaxedSimd, loadEngine, openLiteRt, openModel }, { decode, readHands }] = await Promise.all([load("engine.js"), load("hands.js")]);
const facts = JSON.parse(await read("model.json")), models = readHands(JSON.parse(await read("hand.json")), facts);
// What LiteRT.js finds in a worker.
const importScripts = (url) => vm.runInThisContext(fs.readFileSync(fileURLToPath(url), "utf-8"));
Object.assign(globalThis, { self: globalThis, require: createRequire(import.meta.url), __filename: "", __dirname: "", importScripts });
if (!hasRelaxedSimd()) v8.setFlagsFromString("--experimental-wasm-relaxed-simd"); // node 20 does not offer it
const open = async () => openModel(await loadEngine("wasm", read, 1), await read("model.onnx"));
const run = facts.litert ? await openLiteRt(read, await read("model.tflite")) : await open();
const shape = [1, 3, facts.input_px, facts.input_px], bytes = 12 * facts.input_px ** 2;

let waiting = Buffer.alloc(0);
for await (const piece of process.stdin) {
  waiting = Buffer.concat([waiting, piece]);
  while (waiting.length >= bytes) {
    const image = new Float32Array(new Uint8Array(waiting.subarray(0, bytes)).buffer);
    waiting = waiting.subarray(bytes);
    const outputs = await run(image, shape);
    const { hands } = decode(outputs, { x: 0, y: 0, size: facts.input_px }, facts, models);
    const meshes = hands.map(({ vertices, joints, points, heatmap }) => [...vertices, ...joints, ...points.flat(), ...heatmap.flat()]);
    const answer = Float32Array.from([...facts.outputs.flatMap((name) => [...outputs[name]]), ...meshes.flat()]);
    process.stdout.write(Buffer.from(answer.buffer));
  }
}
