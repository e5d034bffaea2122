"""The record: one JSON line per artefact, device and number of threads; the one place where its fields are explained.

A record is what `benchmarks/run.py` measured of one candidate. Units stand in the names. What was not measured is null
or absent, and `not_measured` says why, by the field's name. A file of records is UTF-8, one JSON object per line. Raw
samples lie beside it: `records.jsonl` has `records.npz` (see benchmarks/records/raw_samples.py).

name            of the row, unique with `threads` in a file: `er-xs_224_int8`, `er-xs torch eager`, `fp32 products`
kind            artifact (a file of this project), peer (what it is compared with), probe (a limit of the machine)
variant         null where the row is of no variant
artifact        path as given, format (onnx, engine, ...), precision, bytes on disk, sha256, opset, params_m 10^6, gmac
                10^9 multiply-accumulates of convolutions, linears and attention products
input           shape of the network's input, batch
runtime         name, version, provider_requested, provider_used, threads (null: the engine has no such setting)
device          name, soc (board), os, cores, cpu_flags (of arithmetic alone), jetpack, cuda, tensorrt, power_mode,
                clocks (cpu_mhz, gpu_mhz: lowest and highest seen; locked), temp_start_c, temp_end_c (hottest sensor)
protocol        warmup_seconds, warmup_runs (uncounted at the start of every block), rounds (blocks of each candidate,
                in turn with all others'), runs (counted, all blocks), block_runs, min_seconds (a block ends at
                whichever comes first), sync (when a run counts as done), picture (what the network looked at)
latency_ms      of the network alone, over all runs; p50_low, p50_high: 95 % bootstrap interval of the blocks' median;
                blocks_p50: each block's median in the order of time; cv_pct: standard deviation by mean of all runs
times_faster    than the fp32 file of the same network at the same threads: median over rounds of the ratio of the two
                blocks, low, high: 95 % bootstrap interval over rounds; null for the fp32 file itself
relative_time   this row's time over another's in the same rounds, by that row's name: median, low, high as above
                (below 1: this row is the faster one)
gpu_ms          median of the network alone between two events on the device, where it runs on a GPU
stages_ms       medians of a whole call of the runner on a picture: pre (crop, scale), infer, post (hands in metres)
load_ms         of the model, in a fresh process, without importing the engine: cold (file not in the page cache), warm
build_s         what it took to build an engine file
memory_mb       of a fresh process with this model alone: rss_before (interpreter, numpy, OpenCV), rss_after_load (and
                the engine's library and the model), rss_peak (VmHWM after some runs), device_delta (what the engine
                says it takes on the accelerator); where CPU and GPU share memory: available_drop (of MemAvailable) and
                cuda_free_drop (of cudaMemGetInfo), both by loading
power_w         of the whole board or package while this candidate ran: idle, mean, max, source
energy_mj_per_frame  power_w.mean x latency_ms.p50
parity          with PyTorch, from the artefact's passport: vertex_mm, projection_px, n_images
accuracy        of the artefact through the runner: dataset, synthetic, protocol, mpjpe_mm, mpvpe_mm, mrrpe_mm,
                presence_accuracy, n_images, n_interacting, delta_vs_fp32_mm (same images; null without the fp32 file)
limit           share_pct: 2 x gmac by p50 over what the probe of the same precision and threads reaches; of that probe
                itself: gflops (products) or gb_s (memory) or us (one launch)
predictions     lower bounds on devices that are not at hand, not measurements: target, lower_bound_ms, sources; records
                before 2026-11-27 have a roofline of this machine, too: measured_by_predicted, launches_counted
verdict         status: PROFILING (begun; a run that was killed leaves it), FINISHED, DOUBTFUL (finished, but reasons
                say what speaks against the figures), FAILED, NOT_RUN (reasons say how to get it); reasons
environment     versions of python and libraries, git commit
samples         the raw samples' file beside the records, null where there is none
command         that made the record
created_utc     when the run began
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.records.typed_json import BadJson, parse_json
from runtime.errors import UserError
from runtime.files import write_text_atomic

SCHEMA_VERSION = 1
KINDS = ("artifact", "peer", "probe")
PROFILING, FINISHED, DOUBTFUL, FAILED, NOT_RUN = STATUSES = ("PROFILING", "FINISHED", "DOUBTFUL", "FAILED", "NOT_RUN")
MAX_FILE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Artifact:
    """The file, or files, of a row."""

    path: str | None = None
    format: str | None = None
    precision: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    opset: int | None = None
    params_m: float | None = None
    gmac: float | None = None


@dataclass(frozen=True)
class Input:
    """What the network takes."""

    shape: list[int] = field(default_factory=list)
    batch: int = 1


@dataclass(frozen=True)
class Runtime:
    """What runs it."""

    name: str
    version: str | None
    provider_requested: str | None
    provider_used: str | None
    threads: int | None


@dataclass(frozen=True)
class Clocks:
    """Frequencies seen while the row was timed."""

    cpu_mhz: list[float]  # lowest, highest; empty where the system does not say
    gpu_mhz: list[float]  # the same of a Jetson's GPU
    locked: bool | None  # by jetson_clocks or an equal of it


@dataclass(frozen=True)
class Device:
    """Where it ran."""

    name: str
    soc: str | None = None
    os: str | None = None
    cores: int | None = None
    cpu_flags: list[str] = field(default_factory=list)
    jetpack: str | None = None
    cuda: str | None = None
    tensorrt: str | None = None
    power_mode: str | None = None
    clocks: Clocks | None = None
    temp_start_c: float | None = None
    temp_end_c: float | None = None


@dataclass(frozen=True)
class Protocol:
    """How it was timed."""

    warmup_seconds: float
    warmup_runs: int
    rounds: int
    runs: int
    block_runs: int
    min_seconds: float
    sync: str
    picture: str


@dataclass(frozen=True)
class LatencyMs:
    """Of the network alone."""

    mean: float
    std: float
    min: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float
    cv_pct: float
    p50_low: float
    p50_high: float
    blocks_p50: list[float]


@dataclass(frozen=True)
class Ratio:
    """Of two rows' times, round by round."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class StagesMs:
    """Of one call of the runner."""

    pre: float
    infer: float
    post: float


@dataclass(frozen=True)
class LoadMs:
    """Of the model."""

    cold: float | None
    warm: float | None


@dataclass(frozen=True)
class MemoryMb:
    """Of a fresh process, 10^6 bytes."""

    rss_before: float
    rss_after_load: float
    rss_peak: float
    device_delta: float | None = None
    available_drop: float | None = None
    cuda_free_drop: float | None = None


@dataclass(frozen=True)
class PowerW:
    """While the candidate ran."""

    idle: float | None
    mean: float
    max: float
    source: str


@dataclass(frozen=True)
class ParityFacts:
    """With PyTorch."""

    vertex_mm: float
    projection_px: float
    n_images: int


@dataclass(frozen=True)
class AccuracyMm:
    """Through the runner."""

    dataset: str
    synthetic: bool
    protocol: str
    mpjpe_mm: float | None
    mpvpe_mm: float | None
    mrrpe_mm: float | None
    presence_accuracy: float | None
    n_images: int
    n_interacting: int
    delta_vs_fp32_mm: float | None = None


@dataclass(frozen=True)
class Limit:
    """Of the machine, and this row's share of it."""

    share_pct: float | None = None
    gflops: float | None = None
    gb_s: float | None = None
    us: float | None = None


@dataclass(frozen=True)
class Prediction:
    """A lower bound, not a measurement."""

    target: str
    lower_bound_ms: float
    sources: list[str]
    measured_by_predicted: float | None = None
    launches_counted: bool = False


@dataclass(frozen=True)
class Verdict:
    """How the row ended."""

    status: str
    reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Record:
    """One row. The module's docstring explains every field."""

    schema_version: int
    created_utc: str
    name: str
    kind: str
    variant: str | None
    artifact: Artifact
    input: Input
    runtime: Runtime
    device: Device
    protocol: Protocol
    latency_ms: LatencyMs | None = None
    times_faster: Ratio | None = None
    relative_time: dict[str, Ratio] = field(default_factory=dict)
    gpu_ms: float | None = None
    stages_ms: StagesMs | None = None
    load_ms: LoadMs | None = None
    build_s: float | None = None
    memory_mb: MemoryMb | None = None
    power_w: PowerW | None = None
    energy_mj_per_frame: float | None = None
    parity: ParityFacts | None = None
    accuracy: AccuracyMm | None = None
    limit: Limit | None = None
    predictions: list[Prediction] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: Verdict(PROFILING))
    not_measured: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str | None] = field(default_factory=dict)
    samples: str | None = None
    command: str = ""

    @property
    def key(self) -> tuple[str, int | None]:
        """What tells rows of one file apart."""
        return self.name, self.runtime.threads


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Replace or create a file of records, atomically."""
    lines = [json.dumps(asdict(record), allow_nan=False) for record in records]
    write_text_atomic(path, "".join(f"{line}\n" for line in lines))


def read_records(path: Path) -> list[Record]:
    """The records of a file, which is not trusted. A UserError names the line and the field that is wrong."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UserError(f"{path} is too large for a file of records ({MAX_FILE_BYTES >> 20} MiB at most)")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"cannot read the records {path}: {reason}; make them with python benchmarks/run.py") from None
    records, keys = [], set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = parse_record(line)
            if record.key in keys:
                raise BadJson(f"'{record.name}' is there twice for {record.runtime.threads} threads")
        except BadJson as error:
            raise UserError(f"{path}, line {number}: {error}; make it again with python benchmarks/run.py") from None
        keys.add(record.key)
        records.append(record)
    if not records:
        raise UserError(f"{path} holds no record; make them with python benchmarks/run.py")
    return records


def parse_record(line: str) -> Record:
    """Read one line; a BadJson says what is wrong with it."""
    record = parse_json(Record, line)
    if record.schema_version != SCHEMA_VERSION:
        raise BadJson(f"it is not a record of schema version {SCHEMA_VERSION}")
    for value, known, what in ((record.kind, KINDS, "kind"), (record.verdict.status, STATUSES, "verdict.status")):
        if value not in known:
            raise BadJson(f"{what} is '{value[:40]}' (there are {', '.join(known)})")
    latency = record.latency_ms
    if latency is not None and (latency.min <= 0 or not latency.blocks_p50):
        raise BadJson("latency_ms: times are above 0, in one block at least")
    if latency is None and record.verdict.status in (FINISHED, DOUBTFUL):
        raise BadJson("latency_ms is missing from a finished record")
    return record
