"""What a report opens with: which file to take, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.page.answer import Files, fastest, one_per_variant, recommended, sentences
from benchmarks.page.shipped import cards, photographs
from benchmarks.page.small_tables import make_tables
from benchmarks.records.record import DOUBTFUL, Ratio, Record, StagesMs, Verdict
from tests.fixtures.made_records import made_record

PEERS = ("MediaPipe 2 x hand landmarks", "er-xs bare backbone", "er-s bare backbone")


def int8(variant: str = "er-xs", p50_ms: float = 2.5, threads: int = 1, mpjpe_mm: float = 21.0) -> Record:
    record = made_record(f"{variant}_224_int8", p50_ms, mpjpe_mm, threads)
    assert record.accuracy is not None
    return replace(
        record,
        variant=variant,
        artifact=replace(record.artifact, weights_sha256=cards()[variant]["weights_sha256"]),
        accuracy=replace(record.accuracy, delta_vs_fp32_mm=0.04),
        times_faster=Ratio(2.0, 1.9, 2.1),
        relative_time={name: Ratio(p50_ms / 5, 0.4, 0.6) for name in PEERS},
        stages_ms=StagesMs(0.2, p50_ms, 0.3),
    )


def files(*records: Record) -> Files:
    return {name: [one for one in records if one.name == name] for name in {record.name: None for record in records}}


@pytest.mark.parametrize(
    ("nano_mm", "s_mm", "expected"),
    [(30.0, 20.5, "er-xs_224_int8"), (30.0, 15.0, "er-s_224_int8"), (21.0, 20.5, "er-xs_224_int8")],
)
def test_the_fastest_of_the_accurate_is_taken(nano_mm: float, s_mm: float, expected: str) -> None:
    """Of er-nano that is as accurate in mm the photographs say that it is worse."""
    known = files(int8("er-nano", 1.0, mpjpe_mm=nano_mm), int8(), int8("er-s", 20.0, mpjpe_mm=s_mm))
    take = recommended(known)
    assert take is not None and take.name == expected
    large = replace(int8(p50_ms=2.499), name="large", artifact=replace(int8().artifact, bytes=9_000_000))
    assert recommended(files(large, int8())) == int8()  # no slower, as far as can be told
    assert recommended({}) is None and sentences({}) == []


def test_more_threads_are_taken_where_they_pay() -> None:
    assert fastest([int8(), int8(p50_ms=1.5, threads=2)]).runtime.threads == 2
    assert fastest([int8(threads=2), int8()]).runtime.threads == 1


def test_each_answer_has_its_figure() -> None:
    said = dict(sentences(files(int8(), int8(p50_ms=2.0, threads=2), int8("er-s", 20.0, mpjpe_mm=20.5))))
    ours = photographs()["variants"]["er-xs"]["boxed"]
    for about, words in {
        "Take er-xs_224_int8.onnx.": ("2.00 ms on 2 threads", "(2.50 ms on 1)", "2.5 ms from picture to meshes"),
        "In synthetic millimetres": ("21.0 mm off", "+0.04 mm against its fp32 file", "rendered hands, no photographs"),
        "On photographs": (
            f"{100 * ours['pck']:.0f} % of the joints",
            f"{100 * ours['presence']:.0f} % of 76 with hands",
        ),
        "Beside MediaPipe": ("0.40 (0.40-0.60) times as long", "no meshes"),
        "Beside the bare backbone": ("0.40 (0.40-0.60) times as long",),
        "Otherwise": ("the most accurate is er-s_224_int8.onnx, 20.5 mm off in 20",),
    }.items():
        assert all(word in said[about] for word in words), said[about]
    other = replace(int8(), artifact=replace(int8().artifact, weights_sha256="0" * 64), relative_time={})
    assert set(dict(sentences(files(other)))) == {"Take er-xs_224_int8.onnx.", "In synthetic millimetres"}
    noisy = replace(int8(), verdict=Verdict(DOUBTFUL, ["busy"]))
    assert "about 2.50 ms (2.50 to 2.50 in a noisy run)" in sentences(files(noisy))[0][1]


def test_small_tables() -> None:
    elsewhere = replace(int8(p50_ms=9.0), device=replace(int8().device, name="a Pi", cpu_flags=["asimd", "asimddp"]))
    rows = [int8(), replace(int8(p50_ms=4.0, threads=2), verdict=Verdict(DOUBTFUL)), elsewhere]
    tables = {table.key: table for table in make_tables(rows)}
    share = f"{photographs()['variants']['er-xs']['boxed']['pck']:.2f}"
    cells = ("er-xs_224_int8.onnx", "3.0", "2.50", "2.00", "21.0", "+0.04", share, "0.50", "0.50")
    assert tables["files"].rows == [cells]
    assert tables["threads"].rows == [("er-xs_224_int8.onnx", "2.50", "~4.00", "1")]
    aim = ("er-xs: times faster in int8 than in fp32", "2.00 (1.90-2.10)", "at least 2.0", "yes")
    assert tables["aims"].rows[0] == aim
    assert tables["aims"].rows[-1][1:] == ("0.04", "at most 0.1", "yes")
    assert [row[:3] for row in tables["classes"].rows] == [
        ("unknown", "made CPU", "er-xs_224_int8.onnx"),
        ("ARM dot product", "a Pi", "er-xs_224_int8.onnx"),
    ]
    pruned = replace(int8(), name="er-xs-p30_224_int8")
    assert make_tables([pruned]) == [] and one_per_variant([pruned]) == []
