"""Cards of the shipped variants for the hub that people know, from facts alone: make figures -> docs/cards/

Facts: training/weights (cards and photographs) and the committed records.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from benchmarks.page.answer import file_name
from benchmarks.page.shipped import ROOT, cards, photographs, shipped_rows
from benchmarks.page.small_tables import noted_ms
from benchmarks.records.columns import COLUMNS, cpu_class
from training.evaluation.points import point_cells
from training.network.variants import VARIANTS

FOLDER = ROOT / "docs" / "cards"
CELLS = ("size_mb", "mpjpe_mm", "delta_vs_fp32_mm")


def current_cards() -> dict[Path, str]:
    """Return every card as it should be."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    settings: dict[str, Any] = {"undefined": jinja2.StrictUndefined, "keep_trailing_newline": True}
    environment = jinja2.Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, **settings)
    template = environment.get_template("model_card.md.jinja")
    return {FOLDER / f"{name}.md": template.render(_facts(card)) for name, card in cards().items()}


def _facts(card: dict[str, Any]) -> dict[str, Any]:
    """Return what the template asks for."""
    variant, rows = VARIANTS[card["variant"]], [row for row in shipped_rows() if row.variant == card["variant"]]
    points = [part for row in rows if row.artifact.precision == "int8" for part in row.points]
    kind = cpu_class(rows[0].device) if rows else None
    return {
        **card,
        "crop_px": variant.crop_px,
        "purpose": variant.purpose,
        "accuracies": [card["accuracy"], card["accuracy_v1"]],
        "photographs": photographs(),
        "seen": photographs()["variants"].get(card["variant"]),
        "machine": f"a CPU with {kind}" if kind else "",
        "files": [(file_name(row), *(COLUMNS[key].text(row) for key in CELLS), noted_ms(row)) for row in rows],
        "kinds_of": f"{points[0].dataset}, int8" if points else "",
        "kinds": [(cells[0], cells[1], cells[3], cells[4], cells[7]) for cells in map(point_cells, points)],
    }
