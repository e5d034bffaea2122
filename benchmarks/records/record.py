"""The record: one JSON line per artefact, device and number of threads; the one place where its fields are explained.

A record is what `benchmarks/run.py` measured of one candidate. Units stand in the names. What was not measured is null
or absent, and `not_measured` says why, by the field's name. A file of records is UTF-8, one JSON object per line. Raw
samples lie beside it: `records.jsonl` has `records.npz` (see benchmarks/records/raw_samples.py).
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

    path: str | None = None  # as given
    format: str | None = None  # onnx, tensorrt, torch
    precision: str | None = None
    bytes: int | None = None  # on disk
    sha256: str | None = None
    opset: int | None = None
    params_m: float | None = None  # 10^6
    gmac: float | None = None  # 10^9 multiply-accumulates of convolutions, linears and attention products


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
    threads: int | None  # null: the engine has no such setting


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
    soc: str | None = None  # of the board
    os: str | None = None
    cores: int | None = None
    cpu_flags: list[str] = field(default_factory=list)  # of arithmetic alone
    jetpack: str | None = None
    cuda: str | None = None
    tensorrt: str | None = None
    power_mode: str | None = None
    clocks: Clocks | None = None
    temp_start_c: float | None = None  # of the hottest sensor
    temp_end_c: float | None = None


@dataclass(frozen=True)
class Protocol:
    """How it was timed."""

    warmup_seconds: float
    warmup_runs: int  # uncounted, at the start of every block
    rounds: int  # blocks of each candidate, in turn with all others'
    runs: int  # counted, all blocks
    block_runs: int  # a block ends after so many runs, or
    min_seconds: float  # after so long, whichever comes first
    sync: str  # when a run counts as done
    picture: str  # what the network looked at


@dataclass(frozen=True)
class LatencyMs:
    """Of the network alone, over all runs."""

    mean: float
    std: float
    min: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float
    cv_pct: float  # standard deviation by mean
    p50_low: float  # 95 % bootstrap interval of the blocks' median
    p50_high: float
    blocks_p50: list[float]  # each block's median in the order of time


@dataclass(frozen=True)
class Ratio:
    """Of two rows' times: median over rounds of the ratio of the two blocks, 95 % bootstrap interval over rounds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class StagesMs:
    """Medians of a whole call of the runner on a picture."""

    pre: float  # crop, scale
    infer: float
    post: float  # hands in metres


@dataclass(frozen=True)
class LoadMs:
    """Of the model, in a fresh process, without importing the engine."""

    cold: float | None  # file not in the page cache
    warm: float | None


@dataclass(frozen=True)
class MemoryMb:
    """Of a fresh process with this model alone, 10^6 bytes."""

    rss_before: float  # interpreter, numpy, OpenCV
    rss_after_load: float  # and the engine's library and the model
    rss_peak: float  # VmHWM after some runs
    device_delta: float | None = None  # what the engine says it takes on the accelerator
    available_drop: float | None = None  # of MemAvailable by loading, where CPU and GPU share memory
    cuda_free_drop: float | None = None  # of cudaMemGetInfo by loading


@dataclass(frozen=True)
class PowerW:
    """Of the whole board or package while this candidate ran."""

    idle: float | None
    mean: float
    max: float
    source: str


@dataclass(frozen=True)
class ParityFacts:
    """With PyTorch, from the artefact's passport."""

    vertex_mm: float
    projection_px: float
    n_images: int


@dataclass(frozen=True)
class AccuracyMm:
    """Of the artefact through the runner."""

    dataset: str  # with "(synthetic)" where it is
    synthetic: bool
    protocol: str
    mpjpe_mm: float | None
    mpvpe_mm: float | None
    mrrpe_mm: float | None
    presence_accuracy: float | None
    n_images: int
    n_interacting: int
    delta_vs_fp32_mm: float | None = None  # same images; null without the fp32 file


@dataclass(frozen=True)
class Limit:
    """Of the machine: a row's share of it, or in the row of a probe what the probe reaches."""

    share_pct: float | None = None  # 2 x gmac by p50 over what the probe of the same precision and threads reaches
    gflops: float | None = None  # products
    gb_s: float | None = None  # memory, and
    us: float | None = None  # one launch: of records before 2026-11-27


@dataclass(frozen=True)
class Prediction:
    """A lower bound on a device that is not at hand, not a measurement."""

    target: str
    lower_bound_ms: float
    sources: list[str]
    measured_by_predicted: float | None = None  # of records before 2026-11-27, a roofline of this machine
    launches_counted: bool = False  # by that roofline


@dataclass(frozen=True)
class Verdict:
    """How the row ended."""

    status: str  # PROFILING: begun; a run that was killed leaves it. DOUBTFUL: finished, but reasons speak against it
    reasons: list[str] = field(default_factory=list)  # of NOT_RUN: how to get it


@dataclass(frozen=True)
class Record:
    """One row."""

    schema_version: int
    created_utc: str  # when the run began
    name: str  # unique with `threads` in a file: `er-xs_224_int8`, `er-xs torch eager`, `fp32 products`
    kind: str  # artifact (a file of this project), peer (what it is compared with), probe (a limit of the machine)
    variant: str | None  # null where the row is of no variant
    artifact: Artifact
    input: Input
    runtime: Runtime
    device: Device
    protocol: Protocol
    latency_ms: LatencyMs | None = None
    times_faster: Ratio | None = None  # than the fp32 file of the same network, at the same threads
    relative_time: dict[str, Ratio] = field(default_factory=dict)  # by another row's name; below 1: this one is faster
    gpu_ms: float | None = None  # median between two events on the device
    stages_ms: StagesMs | None = None
    load_ms: LoadMs | None = None
    build_s: float | None = None  # of an engine file
    memory_mb: MemoryMb | None = None
    power_w: PowerW | None = None
    energy_mj_per_frame: float | None = None  # power_w.mean x latency_ms.p50
    parity: ParityFacts | None = None
    accuracy: AccuracyMm | None = None
    limit: Limit | None = None
    predictions: list[Prediction] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: Verdict(PROFILING))
    not_measured: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str | None] = field(default_factory=dict)  # versions of python and libraries, git commit
    samples: str | None = None  # the raw samples' file beside the records
    command: str = ""  # that made the record

    @property
    def key(self) -> tuple[str, int | None]:
        """Return what tells rows of one file apart."""
        return self.name, self.runtime.threads


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Replace or create a file of records, atomically."""
    lines = [json.dumps(asdict(record), allow_nan=False) for record in records]
    write_text_atomic(path, "".join(f"{line}\n" for line in lines))


def read_records(path: Path) -> list[Record]:
    """Read the records of a file, which is not trusted. A UserError names the line and the field that is wrong."""
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
