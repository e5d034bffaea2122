"""What is known of the shipped weights: their cards, and how they do on photographs, which no benchmark can show."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.page.rows import is_pruned
from benchmarks.records.record import Record, read_records

ROOT = Path(__file__).parents[2]
WEIGHTS, RESULTS = ROOT / "training" / "weights", ROOT / "benchmarks" / "results"
ENGINES = {"onnx": "onnxruntime", "openvino": "OpenVINO", "litert": "LiteRT", "web": "LiteRT.js"}  # by format
Facts = dict[str, Any]


@cache
def cards() -> dict[str, Facts]:
    """Return the cards by variant, the lightest first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in WEIGHTS.glob("er-*.json")]
    return {card["variant"]: card for card in sorted(found, key=lambda card: card["gmac"])}


@cache
def photographs() -> Facts:
    """Return what was measured on photographs that are kept aside, and how."""
    facts: Facts = json.loads((WEIGHTS / "photographs.json").read_text(encoding="utf-8"))
    return facts


def on_photographs(record: Record) -> Facts | None:
    """Return the figures of a variant's int8 ONNX file, where the record is of an int8 file of those very weights."""
    found: Facts | None = photographs()["variants"].get(record.variant)
    same = found is not None and found["weights_sha256"] == record.artifact.weights_sha256
    return found if same and record.artifact.precision == "int8" else None


def card_of(record: Record) -> Facts | None:
    """Return the card of the weights that a record's file was made from, where they are shipped."""
    card = cards().get(record.variant or "")
    return card if card is not None and card["weights_sha256"] == record.artifact.weights_sha256 else None


def shipped_rows(kind: str = "onnx") -> list[Record]:
    """Return the rows of shipped weights' files of a format (`ENGINES`), on one thread, the lightest variant first."""
    records = read_records(RESULTS / ("web.jsonl" if kind == "web" else "records.jsonl"))
    found = [
        record
        for record in records
        if (record.kind, record.artifact.format, record.runtime.threads) == ("artifact", kind, 1)
        and (record.runtime.name == ENGINES[kind] and record.latency_ms)
        and (card_of(record) and not is_pruned(record))
    ]
    return sorted(found, key=lambda record: list(cards()).index(record.variant or ""))
