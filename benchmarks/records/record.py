"""The record: one JSON line per artefact, device and number of threads; the one place where its fields are explained.

A record is what `benchmarks/run.py` measured of one candidate: see `Record`, then its parts. Units stand in the names.
What was not measured is null or absent, and `not_measured` says why, by the field's name. A file of records is UTF-8,
one JSON object per line.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.files import write_text_atomic
from training.evaluation.points import PointFigures
from training.typed_tables import BadTable, structure

SCHEMA_VERSION = 1
KINDS = ("artifact", "peer")
PROFILING, FINISHED, DOUBTFUL, FAILED, NOT_RUN = STATUSES = ("PROFILING", "FINISHED", "DOUBTFUL", "FAILED", "NOT_RUN")
MAX_FILE_BYTES = 64 * 2**20
OF_OLDER_RECORDS = ("power_w", "energy_mj_per_frame", "samples", "clocks", "cold")  # fields that are no longer read

Key = tuple[str, int | None]  # name, threads
Group = tuple[str, str]  # data set, protocol: figures of two groups never compare


@dataclass(frozen=True)
class Artifact:
    path: str | None = None  # as given
    format: str | None = None  # onnx, tensorrt, openvino, litert, web, torch
    precision: str | None = None
    bytes: int | None = None  # on disk
    sha256: str | None = None
    opset: int | None = None
    params_m: float | None = None  # 10^6
    gmac: float | None = None  # 10^9 multiply-accumulates of convolutions, linears and attention products
    weights_sha256: str | None = None  # of the weights' file that it was made from


@dataclass(frozen=True)
class Input:
    shape: list[int] = field(default_factory=list)
    batch: int = 1


@dataclass(frozen=True)
class Runtime:
    name: str
    version: str | None
    provider_requested: str | None
    provider_used: str | None
    threads: int | None  # null: the engine has no such setting


@dataclass(frozen=True)
class Device:
    name: str
    soc: str | None = None  # of the board
    os: str | None = None
    cores: int | None = None
    cpu_flags: list[str] = field(default_factory=list)  # of arithmetic alone
    jetpack: str | None = None
    cuda: str | None = None
    tensorrt: str | None = None
    power_mode: str | None = None
    cpu_mhz: list[float] = field(default_factory=list)  # lowest, highest; empty where the system does not say
    temp_start_c: float | None = None  # of the hottest sensor
    temp_end_c: float | None = None


@dataclass(frozen=True)
class Protocol:
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
    pre: float  # crop, scale
    infer: float
    post: float  # hands in metres


@dataclass(frozen=True)
class LoadMs:
    warm: float  # file in the page cache


@dataclass(frozen=True)
class MemoryMb:
    rss_before: float  # interpreter, numpy, OpenCV
    rss_after_load: float  # and the engine's library and the model
    rss_peak: float  # VmHWM after some runs
    device_delta: float | None = None  # what TensorRT takes on the GPU to run an engine file, without its weights


@dataclass(frozen=True)
class ParityFacts:
    vertex_mm: float
    projection_px: float
    n_images: int


@dataclass(frozen=True)
class AccuracyMm:
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
class PointAccuracy(PointFigures):
    """In the picture, on one kind of a data set's pictures; as training.evaluation.points explains."""

    dataset: str  # with "(synthetic)" where it is
    synthetic: bool


@dataclass(frozen=True)
class Verdict:
    status: str  # PROFILING: begun; a run that was killed leaves it. DOUBTFUL: finished, but reasons speak against it
    reasons: list[str] = field(default_factory=list)  # of NOT_RUN: how to get it


@dataclass(frozen=True)
class Record:
    """One row."""

    schema_version: int
    created_utc: str  # when the run began
    name: str  # unique with `threads` in a file: `er-xs_224_int8`, `er-xs torch eager`
    kind: str  # artifact (a file of this project), peer (what it is compared with)
    variant: str | None  # null where the row is of no variant
    artifact: Artifact  # the file, or files
    input: Input  # what the network takes
    runtime: Runtime  # what runs it
    device: Device  # where it ran
    protocol: Protocol  # how it was timed
    latency_ms: LatencyMs | None = None  # of the network alone, over all runs
    times_faster: Ratio | None = None  # than the fp32 file of the same network, at the same threads
    relative_time: dict[str, Ratio] = field(default_factory=dict)  # by another row's name; below 1: this one is faster
    stages_ms: StagesMs | None = None  # medians of a whole call of the runner on a picture
    load_ms: LoadMs | None = None  # of the model, in a fresh process, without importing the engine
    build_s: float | None = None  # of an engine file
    memory_mb: MemoryMb | None = None  # of a fresh process with this model alone, 10^6 bytes
    parity: ParityFacts | None = None  # with PyTorch, from the artefact's passport
    accuracy: AccuracyMm | None = None  # of the artefact through the runner
    points: list[PointAccuracy] = field(default_factory=list)  # the same in the picture: --data's, then --pictures'
    verdict: Verdict = field(default_factory=lambda: Verdict(PROFILING))  # how the row ended
    not_measured: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str | None] = field(default_factory=dict)  # versions of python and libraries, git commit
    command: str = ""  # that made the record

    @property
    def doubtful(self) -> bool:
        """Say whether its own figures may not repeat."""
        return self.verdict.status == DOUBTFUL

    @property
    def title(self) -> str:
        """Return its name, with the threads where there are several."""
        threads = self.runtime.threads
        return self.name if threads in (None, 1) else f"{self.name}, {threads} threads"

    @property
    def group(self) -> Group | None:
        """Return where its accuracy belongs; None where none was measured."""
        return None if self.accuracy is None else (self.accuracy.dataset, self.accuracy.protocol)

    @property
    def key(self) -> Key:
        """Return what tells rows of one file apart."""
        return self.name, self.runtime.threads


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Replace or create a file of records, atomically."""
    write_text_atomic(path, "".join(f"{json.dumps(asdict(record), allow_nan=False)}\n" for record in records))


def read_records(path: Path) -> list[Record]:
    """Read the records of a file, which is not trusted. A UserError names the line and the field that is wrong."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UserError(f"{path} is too large for a file of records ({MAX_FILE_BYTES >> 20} MiB at most)")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"cannot read the records {path}: {reason}; make them with python benchmarks/run.py") from None
    records: dict[Key, Record] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = parse_record(line)
            if record.key in records:
                raise BadTable(f"'{record.name}' is there twice for {record.runtime.threads} threads")
        except BadTable as error:
            raise UserError(f"{path}, line {number}: {error}; make it again with python benchmarks/run.py") from None
        records[record.key] = record
    if not records:
        raise UserError(f"{path} holds no record; make them with python benchmarks/run.py")
    return list(records.values())


def parse_record(line: str) -> Record:
    """Read one line; a BadTable says what is wrong with it."""
    try:
        content = json.loads(line, object_hook=_current)
    except (ValueError, RecursionError):
        raise BadTable("it is not JSON") from None
    record = structure(Record, content)
    if record.schema_version != SCHEMA_VERSION:
        raise BadTable(f"it is not a record of schema version {SCHEMA_VERSION}")
    if record.kind not in KINDS or record.verdict.status not in STATUSES:
        raise BadTable(f"unknown kind '{record.kind[:40]}' or status '{record.verdict.status[:40]}'")
    latency = record.latency_ms
    if latency is not None and (latency.min <= 0 or not latency.blocks_p50):
        raise BadTable("latency_ms: times are above 0, in one block at least")
    if latency is None and record.verdict.status in (FINISHED, DOUBTFUL):
        raise BadTable("latency_ms is missing from a finished record")
    return record


def _current(table: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name not in OF_OLDER_RECORDS}
