// Times the network and writes a record as benchmarks/records/record.py has it, for python benchmarks/report.py.

const ROUNDS = 10, BLOCK_RUNS = 50, BLOCK_SECONDS = 1.5, WARMUP_SECONDS = 1, WARMUP_RUNS = 2, RESAMPLES = 1000;

export const quantile = (values, share) => {
  const sorted = [...values].sort((a, b) => a - b), at = share * (sorted.length - 1), low = Math.floor(at);
  return sorted[low] + (at - low) * (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]);
};
const median = (values) => quantile(values, 0.5);

/** The same numbers every time, 0..1. */
export function noise(count) {
  let state = 1;
  return Float32Array.from({ length: count }, () => (state = (state * 48271) % 2147483647) / 2147483647);
}

const nextTask = () => new Promise((done) => setTimeout(done)); // lets the page breathe

/** Run until `runs` or `seconds` are over -> ms of each run. */
export async function time(run, runs, seconds) {
  const spent = [], end = performance.now() + 1000 * seconds;
  while (spent.length < runs && (performance.now() < end || spent.length === 0)) {
    const start = performance.now();
    await run();
    spent.push(performance.now() - start);
    if (spent.length % 8 === 0) await nextTask();
  }
  return spent;
}

/** Blocks of runs of the network alone; `show(share)` is told how far it is. */
export async function measure(run, show) {
  await time(run, Infinity, WARMUP_SECONDS);
  const blocks = [];
  for (let round = 0; round < ROUNDS; round++) {
    show(round / ROUNDS);
    await time(run, WARMUP_RUNS, Infinity);
    blocks.push(await time(run, BLOCK_RUNS, BLOCK_SECONDS));
  }
  return blocks;
}

function summary(blocks) {
  const runs = blocks.flat(), medians = blocks.map(median);
  const mean = runs.reduce((a, b) => a + b) / runs.length;
  const std = Math.sqrt(runs.reduce((sum, ms) => sum + (ms - mean) ** 2, 0) / (runs.length - 1));
  const random = noise(RESAMPLES * medians.length);
  const drawn = Array.from({ length: RESAMPLES }, (_, r) =>
    median(medians.map((_, i) => medians[Math.floor(random[r * medians.length + i] * (medians.length - 1e-6))])));
  const [p50, p90, p95, p99] = [0.5, 0.9, 0.95, 0.99].map((share) => quantile(runs, share));
  return {
    ...{ mean, std, min: Math.min(...runs), p50, p90, p95, p99, max: Math.max(...runs), cv_pct: (100 * std) / mean },
    ...{ p50_low: quantile(drawn, 0.025), p50_high: quantile(drawn, 0.975), blocks_p50: medians },
  };
}

async function device() {
  const agent = navigator.userAgent;
  const hints = await navigator.userAgentData?.getHighEntropyValues?.(["model", "platformVersion", "fullVersionList"]).catch(() => null);
  const brand = hints?.fullVersionList?.find(({ brand }) => !/not.*brand/i.test(brand));
  const [, browser, version] = agent.match(/(Firefox|FxiOS|CriOS|Edg|Chrome|Version)\/([\d.]+)/) ?? [null, "browser", ""];
  const system = hints?.platform ? `${hints.platform} ${hints.platformVersion}`.trim() : (agent.match(/\(([^)]*)\)/)?.[1] ?? "unknown");
  const shown = brand ? `${brand.brand} ${brand.version}` : `${browser === "Version" ? "Safari" : browser} ${version}`;
  return { name: `${hints?.model || system}, ${shown}`, os: system, cores: navigator.hardwareConcurrency ?? null };
}

/** The record of timed blocks. `stages`: medians of a whole look, ms, or null; `doubts`: what speaks against them. */
export async function makeRecord({ facts, engine, wanted, blocks, stages, doubts, created }) {
  const unknown = "a browser does not say";
  return {
    schema_version: 1,
    created_utc: created.toISOString().replace(/\.\d+Z$/, "+00:00"),
    name: facts.name,
    kind: "artifact",
    variant: facts.variant,
    artifact: { ...facts.artifact, ...engine.own?.artifact },
    input: { shape: [1, 3, facts.input_px, facts.input_px], batch: 1 },
    runtime: { ...facts.runtime, ...engine.own?.runtime, provider_requested: wanted, provider_used: engine.kind, threads: engine.threads },
    device: await device(),
    protocol: {
      ...{ warmup_seconds: WARMUP_SECONDS, warmup_runs: WARMUP_RUNS, rounds: ROUNDS, runs: blocks.flat().length },
      ...{ block_runs: BLOCK_RUNS, min_seconds: BLOCK_SECONDS, sync: "a run is done when its outputs are on the host" },
      picture: "seeded noise",
    },
    latency_ms: summary(blocks),
    stages_ms: stages,
    accuracy: facts.accuracy,
    verdict: { status: doubts.length ? "DOUBTFUL" : "FINISHED", reasons: doubts },
    not_measured: { load_ms: unknown, memory_mb: unknown, ...(stages ? {} : { stages_ms: "no camera ran" }) },
    environment: { browser: navigator.userAgent },
    command: "the page that compress/export.py --format web wrote",
  };
}
