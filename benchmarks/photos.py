"""How a model does on your own photographs, without labels: what it finds, how sure it is, and how long it takes.

python benchmarks/photos.py FOLDER --model exports/er-s_224_int8.onnx --output-dir out

Writes contact sheets, as the demo does, with times, and photos.json with the figures of every photograph.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from runtime.errors import CommandParser, run_command
from runtime.files import file_sha256, make_folder, write_text_atomic
from runtime.hand.hands import Hands
from runtime.image.reading import Rgb, quiet_opencv
from runtime.image.sheets import Tile, photo_tile, write_sheets
from runtime.photo_files import list_photos, print_skipped, read_photos
from runtime.runner import Runner, load

RUNS = 3  # of each photograph


def measure_photos(runner: Runner, paths: Sequence[Path], folder: Path, title: str) -> dict[str, Any]:
    """Look at all photographs and write their sheets into the folder; the figures. A UserError where none can be read.

    Times are ms of the runner's call: the finder, the network, and all of it; reading the file is not in them.
    """
    rows: list[dict[str, Any]] = []
    skipped: list[str] = []

    def tiles() -> Iterator[Tile]:
        for path, rgb in read_photos(paths, skipped):
            make_folder(folder)
            # The middle one of some runs: the first of a picture's shape makes room in memory.
            hands, times_ms = sorted((time_photo(runner, rgb) for _ in range(RUNS)), key=lambda run: run[1]["whole"])[1]
            scores = {hand.side: round(hand.presence, 4) for hand in (hands.right, hands.left)}
            found, size_px = [hand.side for hand in hands.present], [rgb.shape[1], rgb.shape[0]]
            rows.append({"photo": str(path), "size_px": size_px, "found": found, "scores": scores, "ms": times_ms})
            timing = "  ".join(f"{stage} {ms:.1f}" for stage, ms in times_ms.items())
            yield photo_tile(path.name, rgb, hands, f"{timing} ms")

    sheets = write_sheets(folder, title, tiles())
    counts = [len(row["found"]) for row in rows]
    spread = {stage: np.percentile([row["ms"][stage] for row in rows], (50, 95)).round(3) for stage in rows[0]["ms"]}
    return {
        "photos": len(rows),
        "hands": sum(counts),
        "photos_with": {name: counts.count(n) for n, name in enumerate(("no_hand", "one_hand", "two_hands"))},
        "ms": {stage: {"p50": float(p50), "p95": float(p95)} for stage, (p50, p95) in spread.items()},
        "skipped": skipped,
        "sheets": [path.name for path in sheets],
        "rows": rows,
    }


def time_photo(runner: Runner, rgb: Rgb) -> tuple[Hands, dict[str, float]]:
    """Run a photograph; its hands, and ms by stage."""
    start = time.perf_counter()
    hands = runner(rgb)
    whole_ms, spent = 1000 * (time.perf_counter() - start), hands.stages_ms
    return hands, {
        "finder": round(spent["find"], 3),
        "network": round(spent.get("inference", 0.0), 3),
        "whole": round(whole_ms, 3),
    }


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, measure, write and print."""
    args = _parse(arguments)
    quiet_opencv()
    paths = list_photos(args.photos)
    with load(args.model, device=args.device, threads=args.threads, hand_model=args.hand_model) as runner:
        about = {
            "model": args.model.name,
            "model_sha256": file_sha256(args.model),
            "model_dataset": runner.info.dataset,
            "model_dataset_is_synthetic": runner.info.synthetic,
            "provider": runner.provider,
            "threads": args.threads,
        }
        figures = measure_photos(runner, paths, args.output_dir, args.model.name)
    output = args.output_dir / "photos.json"
    write_text_atomic(output, json.dumps({**about, **figures}, indent=1) + "\n")
    print_skipped(figures["skipped"])
    with_hands = ", ".join(f"{n} with {name.replace('_', ' ')}" for name, n in figures["photos_with"].items())
    print(f"photographs: {figures['photos']}, hands: {figures['hands']}; {with_hands}")
    for stage, ms in figures["ms"].items():
        print(f"{stage:8} p50 {ms['p50']:6.1f} ms, p95 {ms['p95']:6.1f} ms")
    print(*(args.output_dir / name for name in figures["sheets"]), output, sep="\n")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__ or "")
    add = parser.add_argument
    add("photos", type=Path, nargs="+", metavar="FOLDER", help="folders of photographs, or single ones")
    add("--model", type=Path, required=True, metavar="FILE", help="an exported model")
    add("--output-dir", type=Path, default=Path(), metavar="DIR", help="default: the current folder")
    add("--threads", type=int, default=1, metavar="N", help="of the CPU; default: 1")
    add("--device", default="auto", help="auto (default), cpu or cuda")
    add("--hand-model", type=Path, metavar="FILE", help="that the model was trained on")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(main)
