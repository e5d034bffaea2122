"""What a report opens with, in words."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.page.message import make_message
from benchmarks.page.rows import Row
from benchmarks.records.record import Ratio, Record
from tests.fixtures.made_records import made_record

PEERS = ("MediaPipe 2 x hand landmarks", "er-xs bare backbone", "er-s bare backbone")


def int8(variant: str = "er-xs", gain: float = 2.0, threads: int = 1, p50_ms: float = 2.5) -> Record:
    record = made_record(f"{variant}_224_int8", p50_ms, 21.4, threads)
    assert record.accuracy is not None
    beside = {name: Ratio(p50_ms / 5, 0, 1) for name in PEERS}
    accuracy = replace(record.accuracy, delta_vs_fp32_mm=0.04)
    gains = Ratio(gain, gain, gain)
    return replace(record, variant=variant, accuracy=accuracy, times_faster=gains, relative_time=beside)


def test_int8_beside_fp32_and_peers() -> None:
    message = make_message([Row(one, {}) for one in (int8(), int8("er-s", 1.5, p50_ms=20.0), int8("er-xs", 0.9, 4))])
    assert message.sentences == [
        "On 1 thread, int8 makes er-xs 2.00 and er-s 1.50 times as fast as fp32; the error changes by +0.04 and +0.04 "
        "mm (made (synthetic)).",
        "er-xs and er-s take 2.50 and 20.0 ms a crop: 0.50 and 4.00 times as long as MediaPipe's landmarks of two "
        "hands, which give no meshes, and 0.50 and 4.00 times as long as the bare backbone in fp32.",
    ]
    cells = ("er-xs_224_int8", "3.00", "2.50", "2.00 (2.00-2.00)", "21.40", "0.04", "0.50", "0.50")
    assert message.headings[4] == "MPJPE mm (synthetic)" and message.files[0] == cells


def test_without_int8_or_whole_networks() -> None:
    fp32 = made_record("er-xs_224_fp32")
    fp32 = replace(fp32, artifact=replace(fp32.artifact, precision="fp32"))
    assert make_message([Row(fp32, {})]).sentences == ["er-xs_224_fp32 takes 5.00 ms a crop."]
    assert make_message([Row(made_record("er-xs-p30_224_int8"), {})]).files == []
