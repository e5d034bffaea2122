// onnxruntime-web, and the project's two networks in it. `read(name)` gives the bytes of a file of this folder.

const BUILDS = {
  wasm: { script: "ort.wasm.min.js", core: "ort-wasm-simd-threaded" },
  webgpu: { script: "ort.webgpu.min.js", core: "ort-wasm-simd-threaded.asyncify" },
};
// A function that returns a 128-bit vector: valid where WebAssembly has SIMD.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
// The same with relaxed SIMD: products of 8-bit integers that phones have one instruction for.
const RELAXED = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11];

export const hasRelaxedSimd = () => WebAssembly.validate(Uint8Array.from(RELAXED));
export const hasSimd = () => typeof WebAssembly === "object" && WebAssembly.validate(Uint8Array.from(SIMD));
export const fetched = async (name) => {
  const answer = await fetch(new URL(name, import.meta.url));
  if (!answer.ok) throw new Error(`${name} cannot be fetched (${answer.status})`);
  return new Uint8Array(await answer.arrayBuffer());
};

async function gunzip(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes; // some servers call it an encoding, and the browser undid it
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Load onnxruntime-web for "wasm" or "webgpu"; the build for WebGPU does both. */
export async function loadEngine(kind, read, threads, build = kind) {
  const { script, core } = BUILDS[build];
  const ort = await import(`./ort/${script}`);
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = { mjs: new URL(`./ort/${core}.js`, import.meta.url).href };
  ort.env.wasm.wasmBinary ??= await gunzip(await read(`ort/${core}.wasm.gz`));
  return { kind, ort, threads: kind === "wasm" ? threads : null };
}

/** Open a model file in it: `(Float32Array, shape) -> outputs by name`, each a Float32Array. */
export async function openModel(engine, bytes) {
  const options = { executionProviders: [engine.kind], graphOptimizationLevel: "all", logSeverityLevel: 3 };
  const session = await engine.ort.InferenceSession.create(bytes, options);
  return async (image, shape) => {
    const outputs = await session.run({ image: new engine.ort.Tensor("float32", image, shape) });
    return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensor.data]));
  };
}

/** Open a `.tflite` file in LiteRT.js, which takes a third of onnxruntime-web's time: what `openModel` gives; one thread, relaxed SIMD. */
export async function openLiteRt(read, bytes) {
  const build = "litert_wasm_internal";
  const silent = () => {};
  globalThis.Module = { wasmBinary: await gunzip(await read(`litert/${build}.wasm.gz`)), print: silent, printErr: silent };
  const { loadLiteRt, loadAndCompile, Tensor } = await import("./litert/index.js");
  await loadLiteRt(new URL(`./litert/${build}.js`, import.meta.url).href);
  const model = await loadAndCompile(bytes, { accelerator: "wasm" });
  return async (image, shape) => {
    const input = new Tensor(image, shape);
    const outputs = Object.entries(await model.run({ image: input }));
    const found = await Promise.all(outputs.map(async ([name, tensor]) => [name, Float32Array.from(await tensor.data())]));
    for (const tensor of [input, ...outputs.map(([, output]) => output)]) tensor.delete();
    return Object.fromEntries(found);
  };
}
