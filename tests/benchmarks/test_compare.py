"""Two files of records: noise is noise, a regression ends with exit code 1."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.compare import ABSENT, NOISE, REAL, REGRESSION, SAME, compare, main
from benchmarks.records.record import FAILED, NOT_RUN, Device, Record, Verdict, write_records
from runtime.errors import UserError
from tests.fixtures.made_records import made_record, slower

OLD = made_record()


def of(record: Record) -> dict[str, str]:
    """Of OLD with a record: verdicts by figure."""
    return {one.figure: one.verdict for one in compare([OLD], [record])}


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.0, NOISE), (1.2, REGRESSION), (1.03, REAL), (0.8, REAL), (1.0005, NOISE)]
)
def test_time(factor: float, expected: str) -> None:
    assert of(slower(OLD, factor)) == {"p50": expected, "MPJPE": SAME}


@pytest.mark.parametrize(("mm", "expected"), [(0.5, REGRESSION), (0.05, REAL), (0.0, SAME), (-0.5, REAL)])
def test_accuracy(mm: float, expected: str) -> None:
    assert OLD.accuracy is not None and OLD.accuracy.mpjpe_mm is not None
    assert of(replace(OLD, accuracy=replace(OLD.accuracy, mpjpe_mm=OLD.accuracy.mpjpe_mm + mm)))["MPJPE"] == expected


def test_what_cannot_be_compared_is_said() -> None:
    elsewhere = of(replace(OLD, device=Device("another CPU", cores=8)))
    assert elsewhere == {"time: OLD is of made CPU, NEW of another CPU": ABSENT, "MPJPE": SAME}
    assert OLD.accuracy is not None
    real = of(replace(OLD, accuracy=replace(OLD.accuracy, dataset="InterHand2.6M test", synthetic=False)))
    assert real == {"p50": NOISE, "accuracy: of other images, or of none": ABSENT}
    with pytest.raises(UserError, match="nothing can be compared"):
        of(replace(OLD, latency_ms=None, verdict=Verdict(NOT_RUN)))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / "old.jsonl", tmp_path / "new.jsonl"]
    write_records(paths[0], [OLD])
    write_records(paths[1], [slower(OLD, 1.3)])
    words = [str(path) for path in paths]
    assert main(words) == 1 and "REGRESSION" in capsys.readouterr().out
    assert main([*words, "--latency-pct", "50"]) == 0 and "no regression" in capsys.readouterr().out
    peer = replace(OLD, name="a peer", kind="peer")
    write_records(paths[0], [OLD, peer])
    write_records(paths[1], [OLD, slower(peer, 1.3)])
    assert main(words) == 0 and "so did the machine" in capsys.readouterr().out
    write_records(paths[1], [replace(OLD, latency_ms=None, verdict=Verdict(FAILED, ["it fell over"])), peer])
    assert main(words) == 1 and "it fell over" in capsys.readouterr().out
