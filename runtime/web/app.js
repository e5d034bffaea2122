// The page: a picture or the camera in, hands over it, times beside it.

import { drawHands } from "./draw.js";
import { fetched, hasRelaxedSimd, hasSimd, loadEngine, openLiteRt, openModel } from "./engine.js";
import { findHands } from "./finder.js";
import { decode, readHands } from "./hands.js";
import { pixels } from "./picture.js";
import { makeRecord, measure, noise, quantile, time } from "./record.js";
import { cropOf, lookAtFound, Tracker } from "./tracker.js";

const STAGES = { find: "find", crop: "crop", network: "network", mesh: "mesh", draw: "draw" };
const KEPT = 120; // frames that times are taken over
const MOST_PX = 1600; // of a picture's longer side
const MOST_THREADS = 4;
const AGREE_M = 0.005; // WebGPU's vertices with WASM's, on noise, which magnifies int8's rounding: 2.1 mm by a sound driver
const GPU_SECONDS = 20; // a driver that hangs does not keep the page from WASM
const query = new URLSearchParams(location.search); // ?engine=wasm|webgpu&threads=1
const wanted = query.get("engine") ?? "auto";

const at = (id) => document.getElementById(id);
const say = (text) => (at("message").textContent = text);
const frame = document.createElement("canvas"); // what is looked at
const view = at("view");

let facts, models, engine, run, detect; // what is loaded
let running = null; // the camera's stream
let facing = "environment";
let busy = Promise.resolve(); // the network is used by one at a time
let times = {}, shown = []; // ms of each stage of the last frames; when they were shown

const alone = (work) => (busy = busy.then(work, work));

async function load() {
  if (!hasSimd()) throw new Error("This browser lacks WebAssembly SIMD, and no hands can be found in it: take Chrome 91, Firefox 89, Safari 16.4 or a later one.");
  say("Loading the model …");
  const [text, hand, model, palms] = await Promise.all(["model.json", "hand.json", "model.onnx", "palm_detector.onnx"].map(fetched));
  const json = (bytes) => JSON.parse(new TextDecoder().decode(bytes));
  facts = json(text);
  models = readHands(json(hand), facts);
  const isolated = globalThis.crossOriginIsolated === true;
  const threads = isolated ? Number(query.get("threads")) || Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS) : 1;
  const wasm = await loadEngine("wasm", fetched, threads, facts.litert ? "webgpu" : "wasm"); // with LiteRT.js, one build of it is there
  detect = await openModel(wasm, palms);
  const litert = facts.litert && hasRelaxedSimd();
  if (litert) [engine, run] = [{ kind: "wasm", threads: 1, own: facts.litert }, await openLiteRt(fetched, await fetched("model.tflite"))];
  else [engine, run] = [wasm, await openModel(wasm, model)];
  await time(() => run(noise(3 * facts.input_px ** 2), [1, 3, facts.input_px, facts.input_px]), 3, 1); // warms up
  let why = litert || isolated ? "" : ", as this page is not isolated: serve it with python runtime/web.py, by https or on this device";
  if (facts.litert && !litert) why += "; this browser lacks WebAssembly's relaxed SIMD, by which LiteRT.js takes a third of the time";
  if (wanted !== "wasm") {
    const late = new Promise((done) => setTimeout(done, 1000 * GPU_SECONDS, { why: `; WebGPU takes more than ${GPU_SECONDS} s to start here` }));
    const tried = await Promise.race([tryWebGpu(wasm, model), late]);
    if (tried.run) ({ engine, run } = tried);
    why = (tried.run ? "" : why) + tried.why;
  }
  at("engine").textContent = `${facts.name} in ${engine.own ? "LiteRT.js, " : ""}${engine.kind === "wasm" ? `WASM, SIMD, ${engine.threads} thread${engine.threads > 1 ? "s" : ""}` : "WebGPU"}${why}`;
}

/** {engine, run, why} of WebGPU where it works, agrees with WASM and is faster; elsewhere {why} says which of them fails. */
async function tryWebGpu(wasm, model) {
  if (!(await navigator.gpu?.requestAdapter().catch(() => null))) return { why: "; no WebGPU here" };
  say("Trying WebGPU …");
  const image = noise(3 * facts.input_px ** 2), shape = [1, 3, facts.input_px, facts.input_px];
  const hands = async (network) => decode(await network(image, shape), { x: 0, y: 0, size: facts.input_px }, facts, models).hands;
  const ms = async (network) => quantile(await time(() => network(image, shape), 20, 1), 0.5);
  const same = engine.own ? await openModel(wasm, model) : run; // LiteRT.js rounds otherwise
  const expected = await hands(same), slow = await ms(run); // the page may go on with WASM meanwhile
  try {
    const gpu = await loadEngine("webgpu", fetched, 1);
    const runGpu = await openModel(gpu, model);
    const found = await hands(runGpu);
    const apart = expected.flatMap((hand, i) => [...hand.vertices].map((v, k) => Math.abs(v - found[i].vertices[k])));
    const mean = apart.reduce((a, b) => a + b) / apart.length;
    if (!(mean < AGREE_M)) return { why: `; WebGPU gives other hands here (${(1000 * mean).toFixed(1)} mm)` };
    const fast = await ms(runGpu);
    if (wanted === "auto" && !(fast < slow)) return { why: `; WebGPU is slower here (${fast.toFixed(1)} ms, WASM ${slow.toFixed(1)})` };
    return { engine: gpu, run: runGpu, why: ` (${fast.toFixed(1)} ms, WASM ${slow.toFixed(1)})` };
  } catch (error) {
    return { why: `; WebGPU fails here: ${String(error.message ?? error).split("\n")[0].slice(0, 120)}` };
  }
}

/** A look at one crop of the frame, and a search of it all; both add to `spent`, ms. */
function eyes(spent, size) {
  const add = (stage, start) => (spent[stage] = (spent[stage] ?? 0) + performance.now() - start);
  const side = facts.input_px;
  const look = async (box) => {
    let start = performance.now();
    const crop = cropOf(box);
    const part = { x: crop.x, y: crop.y, width: crop.size, height: crop.size };
    const image = pixels(frame, part, { left: 0, top: 0, columns: side, rows: side, width: side, height: side });
    add("crop", start);
    start = performance.now();
    const outputs = await run(image, [1, 3, side, side]);
    add("network", start);
    start = performance.now();
    const hands = decode(outputs, crop, facts, models);
    add("mesh", start);
    return hands;
  };
  const find = async (far) => {
    const start = performance.now();
    const boxes = await findHands(detect, frame, size, far);
    add("find", start);
    return boxes;
  };
  return { look, find };
}

function take(source, width, height) {
  Object.assign(frame, { width, height });
  frame.getContext("2d", { willReadFrequently: true }).drawImage(source, 0, 0, width, height);
  return { width, height };
}

function show(hands, spent) {
  const start = performance.now();
  Object.assign(view, { width: frame.width, height: frame.height });
  view.getContext("2d").drawImage(frame, 0, 0);
  if (hands) drawHands(view, hands);
  spent.draw = performance.now() - start;
  const present = hands ? hands.hands.filter((hand) => hand.present) : [];
  at("hands").textContent = present.length ? present.map((hand) => `${hand.side} hand ${Math.round(100 * hand.presence)} %`).join(", ") : "no hand found";
  for (const [stage, ms] of Object.entries(spent)) times[stage] = [...(times[stage] ?? []), ms].slice(-KEPT);
  shown = [...shown, performance.now()].slice(-30);
  const fps = shown.length > 1 ? (1000 * (shown.length - 1)) / (shown.at(-1) - shown[0]) : null;
  at("fps").textContent = running && fps ? `${fps.toFixed(1)} fps` : "";
  const rows = Object.keys(STAGES).filter((stage) => times[stage]);
  at("times").replaceChildren(...rows.map((stage) => {
    const row = document.createElement("tr");
    for (const text of [STAGES[stage], ...[0.5, 0.95].map((share) => quantile(times[stage], share).toFixed(1))]) {
      row.append(Object.assign(document.createElement("td"), { textContent: text }));
    }
    return row;
  }));
}

function forget() {
  [times, shown] = [{}, []];
}

async function openPicture(file) {
  await stopCamera();
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    return say("This browser cannot read that file as a picture: take a JPEG or PNG.");
  }
  const factor = Math.min(1, MOST_PX / Math.max(picture.width, picture.height));
  forget();
  view.classList.remove("mirrored");
  await alone(async () => {
    const spent = {}, size = take(picture, Math.round(factor * picture.width), Math.round(factor * picture.height));
    const { look, find } = eyes(spent, size);
    show(await lookAtFound(look, await find(true), facts.presence), spent);
  });
  say("");
}

async function stopCamera() {
  running?.getTracks().forEach((track) => track.stop());
  running = null;
  at("camera").textContent = "Camera";
  at("turn").hidden = true;
  await busy.catch(() => null);
}

async function startCamera() {
  await stopCamera();
  if (!navigator.mediaDevices?.getUserMedia) {
    return say("The browser gives a camera to pages by https or on this device alone: open a picture instead (on a phone that may be a new photograph).");
  }
  let stream;
  try {
    const size = { width: { ideal: 640 }, height: { ideal: 480 } };
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: facing, ...size }, audio: false });
  } catch (error) {
    const denied = error.name === "NotAllowedError";
    return say(denied ? "The camera was not allowed: allow it in the browser's settings for this page, or open a picture." : `There is no camera to use (${error.name}): open a picture.`);
  }
  const video = Object.assign(document.createElement("video"), { srcObject: stream, muted: true, playsInline: true });
  await video.play();
  running = stream;
  at("camera").textContent = "Stop";
  at("turn").hidden = false;
  const faces = stream.getVideoTracks()[0].getSettings().facingMode ?? facing;
  view.classList.toggle("mirrored", faces === "user");
  say("");
  forget();
  const tracker = new Tracker(facts.presence);
  while (running === stream) {
    await alone(async () => {
      if (running !== stream || !video.videoWidth) return;
      const spent = {}, size = take(video, video.videoWidth, video.videoHeight);
      const { look, find } = eyes(spent, size);
      show(await tracker.next(look, find, size), spent);
    });
    await new Promise(requestAnimationFrame);
  }
}

async function saveRecord() {
  const stages = running && times.network?.length > 1 ? { pre: times.crop, infer: times.network, post: times.mesh } : null;
  const medians = stages && Object.fromEntries(Object.entries(stages).map(([stage, ms]) => [stage, quantile(ms, 0.5)]));
  await stopCamera();
  const created = new Date(), side = facts.input_px, image = noise(3 * side * side);
  let hidden = document.hidden;
  const watch = () => (hidden ||= document.hidden);
  document.addEventListener("visibilitychange", watch);
  const blocks = await alone(() => measure(() => run(image, [1, 3, side, side]), (share) => say(`Measuring … ${Math.round(100 * share)} %`)));
  document.removeEventListener("visibilitychange", watch);
  const doubts = hidden ? ["the page was in the background meanwhile"] : [];
  const record = await makeRecord({ facts, engine, wanted, blocks, stages: medians, doubts, created });
  const link = Object.assign(document.createElement("a"), { download: `${facts.name}_${engine.kind}.jsonl` });
  link.href = URL.createObjectURL(new Blob([JSON.stringify(record), "\n"], { type: "application/x-ndjson" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  const { p50, p95 } = record.latency_ms;
  say(`The network takes ${p50.toFixed(1)} ms (p95 ${p95.toFixed(1)}). Saved ${link.download}: python benchmarks/report.py reads it.`);
}

const guarded = (work) => (...given) => work(...given).catch((error) => say(String(error.message ?? error)));
at("camera").onclick = guarded(() => (running ? stopCamera() : startCamera()));
at("turn").onclick = guarded(() => {
  facing = facing === "user" ? "environment" : "user";
  return startCamera();
});
at("picture").onchange = guarded(async ({ target }) => {
  if (target.files.length) await openPicture(target.files[0]);
  target.value = "";
});
at("save").onclick = guarded(saveRecord);

load().then(
  () => {
    say("Nothing leaves this device.");
    for (const control of document.querySelectorAll("[disabled]")) control.disabled = false;
  },
  (error) => say(String(error.message ?? error)),
);
