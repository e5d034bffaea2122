"""A Jetson's engines as records, the rows that benchmarks/report.py reads."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.devices.jetson.measure import BLOCK_SECONDS, WARM_UP_SECONDS, Candidate, Measured
from benchmarks.devices.jetson.verdict import clocks, device_doubts, energy_mj, engine_doubts, hottest
from benchmarks.measure.stats import block_medians, ratio, summarise
from benchmarks.records.record import (
    DOUBTFUL,
    FAILED,
    FINISHED,
    SCHEMA_VERSION,
    Artifact,
    Device,
    Input,
    Protocol,
    Record,
    Runtime,
    Verdict,
)


def records(measured: Measured, created_utc: str) -> list[Record]:
    """The rows that benchmarks/report.py reads, one per engine."""
    fp32 = next((c for c in measured.candidates if c.plan.label == "fp32"), None)
    return [record(measured, candidate, fp32, created_utc) for candidate in measured.candidates]


def record(measured: Measured, candidate: Candidate, fp32: Candidate | None, created_utc: str) -> Record:
    """One engine's row."""
    plan, passport = candidate.plan, candidate.passport
    latency = summarise(candidate.end_to_end_ms)
    model = read_model_facts(candidate.engine)
    faster = None
    if fp32 is not None and fp32 is not candidate:
        faster = ratio(block_medians(fp32.end_to_end_ms), block_medians(candidate.end_to_end_ms))
    missing = {} if candidate.power else dict.fromkeys(("power_w", "energy_mj_per_frame"), "no INA3221 answers")
    made = Record(
        schema_version=SCHEMA_VERSION,
        created_utc=created_utc,
        name=candidate.engine.stem,
        kind="artifact",
        variant=model.get("variant"),
        artifact=Artifact(
            path=str(candidate.engine),
            format="engine",
            precision=plan.precision,
            bytes=candidate.engine.stat().st_size,
            sha256=passport.engine_sha256,
            opset=model.get("opset"),
            params_m=model.get("parameters_m"),
            gmac=model.get("gmac"),
        ),
        input=Input([1, 3, model["input_px"], model["input_px"]], 1),
        runtime=Runtime("TensorRT", passport.machine.tensorrt, "cuda", candidate.provider, None),
        device=Device(
            name=measured.board.model,
            soc=measured.board.profile,
            os=f"{platform.system()} {'.'.join(platform.release().split('.')[:2])} {platform.machine()}",
            cores=os.cpu_count(),
            jetpack=f"{measured.board.jetpack or 'unknown'} (L4T {measured.board.l4t})",
            cuda=passport.machine.cuda,
            tensorrt=passport.machine.tensorrt,
            power_mode=measured.power_mode,
            clocks=clocks(measured),
            temp_start_c=hottest(measured.before),
            temp_end_c=hottest(measured.after),
        ),
        protocol=Protocol(
            warmup_seconds=WARM_UP_SECONDS,
            warmup_runs=0,
            rounds=len(candidate.end_to_end_ms),
            runs=sum(map(len, candidate.end_to_end_ms)),
            block_runs=int(np.median([len(block) for block in candidate.end_to_end_ms])),
            min_seconds=BLOCK_SECONDS,
            sync="copies in and out and a stream synchronisation are part of every run",
            picture="the first of the shipped crops (synthetic)",
        ),
        latency_ms=latency,
        times_faster=faster,
        build_s=passport.build_seconds,
        power_w=candidate.power,
        energy_mj_per_frame=energy_mj(candidate),
        not_measured=missing
        | {
            "accuracy": "no data set on the device: parity with onnxruntime on the shipped crops instead",
            "memory_mb": "all engines share this process: see the four figures of engines",
            "stages_ms": "see runtime/demo.py",
            "load_ms": "engines load with CUDA, once",
        },
        command=shlex.join(["python", *sys.argv]),
    )
    reasons = [*device_doubts(measured), *engine_doubts(candidate)]
    status = FAILED if not candidate.passed else DOUBTFUL if reasons else FINISHED
    return replace(made, verdict=Verdict(status, reasons))


def read_model_facts(engine: Path) -> dict[str, Any]:
    """The passport of the model that an engine was built from; its own reader has checked it."""
    model: dict[str, Any] = json.loads(engine.with_suffix(".json").read_text())["model"]
    return model
