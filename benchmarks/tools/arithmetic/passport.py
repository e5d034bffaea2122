"""The figures of other CPUs in a file's passport, beside it and inside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.tools.arithmetic.agreement import LIMIT_MM, Agreement
from compress.passport import embed, file_sha256
from runtime.backends.contract import METADATA_KEY
from runtime.errors import UserError
from runtime.files import atomic_path, write_text_atomic
from runtime.machine import processor_name

KEY = "arithmetic"


def facts_of(agreements: Sequence[Agreement]) -> dict[str, Any]:
    """What a passport says of them."""
    by_cpu = {agreement.cpu: agreement.figures() for agreement in agreements}
    return {"here": processor_name(), "limit_mm": LIMIT_MM, "emulated": by_cpu}


def add_to_passport(model: Path, agreements: Sequence[Agreement]) -> None:
    """Put the figures under `arithmetic`, replacing earlier ones. A UserError for a file without a passport."""
    import onnx

    metadata = {entry.key: entry.value for entry in onnx.load(model, load_external_data=False).metadata_props}
    if METADATA_KEY not in metadata:
        raise UserError(f"{model} has no passport: export it with python compress/export.py")
    facts = json.loads(metadata[METADATA_KEY]) | {KEY: facts_of(agreements)}
    with atomic_path(model) as temporary:
        shutil.copyfile(model, temporary)
        embed(temporary, facts)
    facts |= {"file": model.name, "bytes": model.stat().st_size, "sha256": file_sha256(model)}
    write_text_atomic(model.with_suffix(".json"), json.dumps(facts, indent=2) + "\n")
