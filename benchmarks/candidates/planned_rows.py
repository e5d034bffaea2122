"""What a run is going to measure, and its rows before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from benchmarks.candidates.candidate import ARTIFACT, PEER, Candidate
from benchmarks.candidates.facts import Facts, facts_of, fp32_file
from benchmarks.devices.device_facts import describe_device
from benchmarks.records.record import (
    NOT_RUN,
    PROFILING,
    SCHEMA_VERSION,
    Artifact,
    Input,
    Key,
    Protocol,
    Record,
    Runtime,
    Verdict,
)
from compress.check.timing import UNCOUNTED_RUNS, Schedule
from compress.passport import git_commit, tool_versions

OF_ARTIFACTS = dict.fromkeys(("stages_ms", "accuracy", "parity"), "of artefacts alone")


@dataclass(frozen=True)
class Plan:
    """Everything a run is asked for, checked."""

    candidates: tuple[Candidate, ...]
    absent: Mapping[str, str]  # peers that cannot run: why, and how to get them
    threads: tuple[int, ...]
    schedule: Schedule
    command: str

    @property
    def artifacts(self) -> list[Candidate]:
        """Return the files of this project."""
        return [candidate for candidate in self.candidates if candidate.kind == ARTIFACT]

    def key(self, candidate: Candidate, threads: int) -> Key:
        """Return the key of a candidate's row."""
        return candidate.name, threads if candidate.threaded else None

    def timed_at(self, threads: int) -> list[Candidate]:
        """Return who has a row of its own at so many threads; those without threads have theirs at the first."""
        return [one for one in self.candidates if one.threaded or threads == self.threads[0]]

    def baseline(self, candidate: Candidate) -> str | None:
        """Return the name of the row that `times_faster` refers to, if the fp32 file of the network is measured."""
        if candidate.variant is None:
            return None
        path = fp32_file(candidate.path).resolve()
        return next((artifact.name for artifact in self.artifacts if artifact.path.resolve() == path), None)


def draft(plan: Plan) -> list[Record]:
    """Make all rows of a run, in their order: PROFILING, or NOT_RUN for absent peers."""
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    device, environment = describe_device(), {**tool_versions(), "git_commit": git_commit()}

    def row(name: str, kind: str, variant: str | None, known: Facts, runtime: Runtime, verdict: Verdict) -> Record:
        return Record(
            schema_version=SCHEMA_VERSION,
            created_utc=created,
            name=name,
            kind=kind,
            variant=variant,
            artifact=known.artifact,
            input=Input(),
            runtime=runtime,
            device=device,
            protocol=protocol_of(plan.schedule),
            build_s=known.build_s,
            parity=known.parity if kind == ARTIFACT else None,
            not_measured={**(OF_ARTIFACTS if kind == PEER else {}), "build_s": "of engine files alone"},
            environment=environment,
            command=plan.command,
            verdict=verdict,
        )

    facts = {one.name: facts_of(one) for one in plan.candidates}
    rows = []
    for threads in plan.threads:
        for one in plan.timed_at(threads):
            runtime = Runtime(one.engine, None, None, None, plan.key(one, threads)[1])
            rows.append(row(one.name, one.kind, one.variant, facts[one.name], runtime, Verdict(PROFILING)))
    for name, reason in plan.absent.items():
        absent = Runtime(name, None, None, None, None)
        rows.append(row(name, PEER, None, Facts(Artifact()), absent, Verdict(NOT_RUN, [reason])))
    return rows


def protocol_of(schedule: Schedule, runs: int = 0) -> Protocol:
    """Say how a row is timed."""
    return Protocol(
        warmup_seconds=schedule.warmup_seconds,
        warmup_runs=UNCOUNTED_RUNS,
        rounds=schedule.rounds,
        runs=runs,
        block_runs=schedule.block_runs or 0,
        min_seconds=schedule.block_seconds,
        sync="a run is done when its outputs are on the host",
        picture="seeded noise",
    )
