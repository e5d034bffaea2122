"""What a run is going to measure, and its rows before anything is measured."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.candidates.candidate import ARTIFACT, PEER, PROBE, Candidate, noise_picture
from benchmarks.candidates.facts import facts_of, fp32_file
from benchmarks.devices.device_facts import describe_device
from benchmarks.records.record import (
    NOT_RUN,
    PROFILING,
    SCHEMA_VERSION,
    Artifact,
    Device,
    Input,
    Protocol,
    Record,
    Runtime,
    Verdict,
)
from compress.check.timing import UNCOUNTED_RUNS, Schedule
from compress.passport import git_commit
from targets import Target

TOOLS = ("numpy", "opencv-python-headless", "onnx", "onnxruntime", "torch", "openvino", "tensorrt")
SYNC = "a run is done when its outputs are on the host"
ONLY_ARTIFACTS = "artefacts alone go through the runner"
# Why a field stays empty, by the row's kind, where nothing else is said.
EMPTY: Mapping[str, Mapping[str, str]] = {
    ARTIFACT: {"build_s": "an ONNX file is not built for a device"},
    PEER: {
        "build_s": "peers are not built",
        "stages_ms": ONLY_ARTIFACTS,
        "accuracy": ONLY_ARTIFACTS,
        "parity": "passports belong to artefacts",
    },
    PROBE: dict.fromkeys(
        ("build_s", "stages_ms", "accuracy", "parity", "load_ms", "memory_mb", "times_faster"), "a limit of the machine"
    ),
}


@dataclass(frozen=True)
class Plan:
    """Of one run."""

    candidates: tuple[Candidate, ...]
    absent: Mapping[str, str]  # peers that cannot run: why, and how to get them
    threads: tuple[int, ...]
    schedule: Schedule
    targets: tuple[Target, ...]
    command: str

    def key(self, candidate: Candidate, threads: int) -> tuple[str, int | None]:
        """Of a candidate's row."""
        return candidate.name, threads if candidate.threaded else None

    def timed_at(self, threads: int) -> list[Candidate]:
        """Candidates with a row of their own at so many threads; those without threads have theirs at the first."""
        first = threads == self.threads[0]
        return [candidate for candidate in self.candidates if candidate.threaded or first]

    def baseline(self, candidate: Candidate) -> str | None:
        """The name of the row that `times_faster` refers to: the fp32 file of the same network, if it is measured."""
        if candidate.variant is None:
            return None
        path = fp32_file(Path(candidate.files[0])).resolve()
        return next((c.name for c in self.artifacts() if Path(c.files[0]).resolve() == path), None)

    def artifacts(self) -> list[Candidate]:
        """Files of this project."""
        return [candidate for candidate in self.candidates if candidate.kind == ARTIFACT]


def draft(plan: Plan) -> list[Record]:
    """All rows of a run, in their order, as PROFILING."""
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    device, environment = describe_device(), tool_versions()
    records = []
    facts = {candidate.name: facts_of(candidate) for candidate in plan.candidates}
    for threads in plan.threads:
        for candidate in plan.timed_at(threads):
            known = facts[candidate.name]
            records.append(
                Record(
                    schema_version=SCHEMA_VERSION,
                    created_utc=created,
                    name=candidate.name,
                    kind=candidate.kind,
                    variant=candidate.variant,
                    artifact=known.artifact,
                    input=Input(),
                    runtime=Runtime(candidate.engine, None, None, None, plan.key(candidate, threads)[1]),
                    device=device,
                    protocol=protocol_of(plan.schedule),
                    build_s=known.build_s,
                    parity=known.parity,
                    not_measured=dict(EMPTY[candidate.kind]),
                    environment=environment,
                    command=plan.command,
                    verdict=Verdict(PROFILING),
                )
            )
    return [*records, *_absent_rows(plan, created, device, environment)]


def _absent_rows(plan: Plan, created: str, device: Device, environment: dict[str, str | None]) -> list[Record]:
    return [
        Record(
            schema_version=SCHEMA_VERSION,
            created_utc=created,
            name=name,
            kind=PEER,
            variant=None,
            artifact=Artifact(),
            input=Input(),
            runtime=Runtime(name, None, None, None, None),
            device=device,
            protocol=protocol_of(plan.schedule),
            environment=environment,
            command=plan.command,
            verdict=Verdict(NOT_RUN, [reason]),
        )
        for name, reason in plan.absent.items()
    ]


def protocol_of(schedule: Schedule, runs: int = 0) -> Protocol:
    """How a row is timed."""
    return Protocol(
        warmup_seconds=schedule.warmup_seconds,
        warmup_runs=UNCOUNTED_RUNS,
        rounds=schedule.rounds,
        runs=runs,
        block_runs=schedule.block_runs or 0,
        min_seconds=schedule.block_seconds,
        sync=SYNC,
        picture=noise_picture().name,
    )


def tool_versions() -> dict[str, str | None]:
    """Of what takes part, and the project's own commit."""
    versions: dict[str, str | None] = {"python": platform.python_version(), "git_commit": git_commit()}
    for tool in TOOLS:
        try:
            versions[tool] = version(tool)
        except PackageNotFoundError:
            versions[tool] = None
    return versions
