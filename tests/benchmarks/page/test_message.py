"""What a report opens with, in words."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.page.message import make_message
from benchmarks.page.rows import Row
from benchmarks.records.record import Ratio, Record
from tests.fixtures.made_records import made_record

BESIDE = {"MediaPipe 2 x hand landmarks": Ratio(0.4, 0.4, 0.4), "er-xs bare backbone": Ratio(0.75, 0.7, 0.8)}


def int8(variant: str = "er-xs", gain: float = 2.0, threads: int = 1, p50_ms: float = 2.5) -> Record:
    record = made_record(f"{variant}_224_int8", p50_ms, 21.4, threads)
    assert record.accuracy is not None
    accuracy = replace(record.accuracy, delta_vs_fp32_mm=0.04)
    return replace(record, variant=variant, accuracy=accuracy, times_faster=Ratio(gain, gain, gain))


def rows(*records: Record) -> list[Row]:
    return [Row(record, {}) for record in records]


def test_int8_beside_fp32_and_peers() -> None:
    other = {"MediaPipe 2 x hand landmarks": Ratio(3.7, 3.6, 3.8), "er-s bare backbone": Ratio(0.74, 0.73, 0.75)}
    slow = replace(int8("er-s", 1.5, p50_ms=20.0), relative_time=other)
    message = make_message(rows(replace(int8(), relative_time=BESIDE), slow))
    assert message.sentences == [
        "On 1 thread, int8 makes er-xs 2.00 and er-s 1.50 times as fast as fp32; the error changes by +0.04 and +0.04 "
        "mm (made (synthetic)).",
        "er-xs and er-s take 2.50 and 20.0 ms a crop: 0.40 and 3.70 times as long as MediaPipe's landmarks of two "
        "hands, which give no meshes, and 0.75 and 0.74 times as long as the bare backbone in fp32.",
    ]
    assert message.files[0] == (
        *("er-xs_224_int8", "3.00", "2.50", "2.00 (2.00-2.00)", "21.40", "0.04", "0.40", "0.75"),
    )


def test_more_threads_that_do_not_pay() -> None:
    message = make_message(rows(int8(), int8(gain=0.9, threads=4)))
    assert message.sentences[-1] == "On 4 threads the factors are er-xs 0.90: int8 does not pay there."


def test_without_int8_or_whole_networks() -> None:
    fp32 = made_record("er-xs_224_fp32")
    fp32 = replace(fp32, artifact=replace(fp32.artifact, precision="fp32"))
    assert make_message(rows(fp32)).sentences == ["er-xs_224_fp32 takes 5.00 ms a crop."]
    assert make_message(rows(made_record("er-xs-p30_224_int8"))).files == []
