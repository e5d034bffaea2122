"""The curves of a run: rows of means over some steps, as a table (log.csv) and as a picture (curves.png)."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from runtime.files import write_bytes_atomic, write_text_atomic

ROW_STEPS = 20
LAST = ("images_per_s", "waiting_pct", "val_mpjpe_mm", "val_mrrpe_mm", "val_presence", "val_pck", "dataset")
TIMES = ("seconds", "waiting", "images")  # sums that become images_per_s and waiting_pct

Row = dict[str, Any]


class RunLog:
    """Rows so far and the sums of the next one. A checkpoint keeps its variables, so the curve resumes exactly."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.sums: dict[str, float] = {}
        self.steps = 0  # in the sums

    def add(self, figures: dict[str, float]) -> None:
        """One step's figures."""
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.steps += 1

    def close_row(self, facts: Row) -> None:
        """End a row with the means of the steps since the last one, where there were any."""
        if not self.steps:
            return
        row = {**facts, **{name: value / self.steps for name, value in self.sums.items() if name not in TIMES}}
        row["images_per_s"] = round(self.sums["images"] / self.sums["seconds"], 2)
        row["waiting_pct"] = round(100 * self.sums["waiting"] / self.sums["seconds"], 2)
        self.rows.append(row)
        self.sums, self.steps = {}, 0

    def write(self, path: Path) -> None:
        """The table as CSV: empty cells where a row has no such figure."""
        named = dict.fromkeys(name for row in self.rows for name in row)  # in the order of appearance
        columns = sorted(named, key=lambda name: LAST.index(name) if name in LAST else -1)
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
        write_text_atomic(path, text.getvalue())


def draw_curves(rows: list[Row], path: Path) -> None:
    """Losses, errors in mm, learning rate and speed over the samples seen, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = (
        ("loss", ("loss",)),
        ("error, mm", ("mesh_mm", "val_mpjpe_mm")),
        ("learning rate", ("learning_rate",)),
        ("images/s", ("images_per_s",)),
    )
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 6.5), layout="constrained")
    for axis, (title, names) in zip(axes.flat, panels, strict=True):
        for name in names:
            points = [(row["samples"] / 1000, row[name]) for row in rows if name in row]
            if points:
                axis.plot(*zip(*points, strict=True), label=name, marker="o" if name.startswith("val") else None, ms=3)
        axis.set(title=title, xlabel="thousand samples")
        axis.grid(alpha=0.3)
        if len(names) > 1:
            axis.legend()
    figure.suptitle(next((f"validation: {row['dataset']}" for row in reversed(rows) if "dataset" in row), ""))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    pyplot.close(figure)
    write_bytes_atomic(path, buffer.getvalue())
