"""Find out what of a network should stay float: `python -m compress.sensitivity --variant er-s -o er-s.plan.json`.

Each block alone is made int8 and measured, millimetres and milliseconds. Blocks then join in two orders, cheapest loss
per millisecond first, and least loss first (neighbours that are both int8 need no conversion between them, which no
single block shows), each as far as the loss of the whole, measured, stays within --max-drop-mm. The faster wins; then
the blocks on its edge are tried once each. Images are of the validation split, never of the test split. What was
measured is kept: a search that was cut off goes on.

--max-drop-mm is what the plan may lose on those images; an export measures on others.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from compress.precision_plan import Plan, Sensitivity, blocks_of, split_nodes, write_plan
from runtime.errors import CommandParser, UserError, run_command
from runtime.files import atomic_path, write_text_atomic
from training.data.cache import cache_dir

CALIBRATION_CROPS = 512
IMAGES = 160
ROUNDS = 4
WORTH = 1.01  # times faster that a change must be to be more than noise
EDGE = 6  # blocks that are tried once more


@dataclass(frozen=True)
class Trial:
    """A choice of int8 blocks, measured."""

    lost_mm: float
    latency_ms: float
    fp32_ms: float  # in the same run

    @property
    def times_faster(self) -> float:
        """Than fp32."""
        return self.fp32_ms / self.latency_ms


Measure = Callable[[Sequence[str]], Trial]  # of the blocks that are int8


def search(
    blocks: Sequence[str], measure: Measure, max_drop_mm: float
) -> tuple[tuple[str, ...], Trial, dict[str, Trial]]:
    """The int8 blocks of the fastest choice found within the loss, its figures, and those of every block alone.

    UserError where even the least sensitive block loses too much.
    """
    alone = {block: measure([block]) for block in tqdm(blocks, desc="blocks", unit="block")}
    saved = {block: trial.fp32_ms - trial.latency_ms for block, trial in alone.items()}
    by_loss = sorted(blocks, key=lambda block: alone[block].lost_mm)
    by_price = sorted(
        (block for block in blocks if saved[block] > 0), key=lambda block: max(alone[block].lost_mm, 0) / saved[block]
    )
    found = [joined(order, measure, max_drop_mm) for order in (by_loss, by_price) if order]
    chosen = [(choice, trial) for choice, trial in found if choice]
    if not chosen:
        raise UserError(f"no block can be int8 within {max_drop_mm} mm: export with --fp32, or allow more")
    best, figures = max(chosen, key=lambda pair: pair[1].times_faster)
    out = sorted(set(blocks) - set(best), key=lambda block: alone[block].lost_mm)[: EDGE // 2]
    slow = sorted(best, key=lambda block: saved[block])[: EDGE // 2]
    for block in tqdm([*out, *slow], desc="edge", unit="block"):
        choice = [b for b in blocks if (b in best) != (b == block)]
        trial = measure(choice)
        if trial.lost_mm <= max_drop_mm and trial.times_faster > WORTH * figures.times_faster:
            best, figures = tuple(choice), trial
    return tuple(block for block in blocks if block in best), figures, alone


def joined(order: Sequence[str], measure: Measure, max_drop_mm: float) -> tuple[tuple[str, ...], Trial]:
    """The longest beginning of the order whose loss is within bounds, by bisection."""
    low, high, best = 0, len(order), None
    middle = high
    while low < high:
        trial = measure(order[:middle])
        if trial.lost_mm <= max_drop_mm:
            low, best = middle, trial
        else:
            high = middle - 1
        middle = (low + high + 1) // 2
    return (tuple(order[:low]), best) if best is not None else ((), Trial(0.0, 1.0, 1.0))


def make_plan(variant: str, max_drop_mm: float, checkpoint: Path | None = None, data: str = "synthetic") -> Plan:
    """Export, calibrate and search; figures are kept in the cache."""
    from compress.check.measure import one_frame
    from compress.check.timing import time_alternately
    from compress.crops import digest, load_crops
    from compress.export import first_passport
    from compress.onnx.calibration import graph_sha256
    from compress.onnx.flavours import measure_ranges
    from compress.onnx.int8_cpu import write_plain
    from compress.onnx.quantize import load_float
    from compress.onnx.to_onnx import write_onnx
    from compress.passport import embed
    from compress.request import ExportRequest
    from compress.source import load_weights
    from runtime.hand.hand_model import load_hand_models
    from runtime.machine import processor_name
    from training.data.dataset import open_frames
    from training.evaluate import dataset_label, evaluate, file_predictor
    from training.int8_rules import QuantizeSpec

    if not max_drop_mm >= 0:
        raise UserError(f"--max-drop-mm {max_drop_mm} must be 0 or more")
    hands = load_hand_models()
    request = ExportRequest(variant, checkpoint=checkpoint, data=data)
    network, weights = load_weights(request, hands)
    crop_px = network.variant.crop_px
    train, val = open_frames(data, "train", hands, CALIBRATION_CROPS), open_frames(data, "val", hands, IMAGES)
    crops = load_crops(train, min(CALIBRATION_CROPS, len(train)), crop_px, "calibration crops")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        write_onnx(network, source)
        passport = first_passport(request, network, weights, hands, val, None).to_dict()
        embed(source, passport)
        model = load_float(source)
        blocks, ranges = blocks_of(model), measure_ranges(source, crops)
        kept = _Kept({"graph": graph_sha256(model), "crops": digest(crops), "images": IMAGES, "data": val.name})

        def mpjpe_mm(path: Path) -> float:
            predict, _ = file_predictor(path, None)
            return evaluate(predict, val, crop_px, hands, "images").accuracy(dataset_label(val)).mpjpe_mm

        fp32_mm = kept.get("fp32", lambda: {"mm": mpjpe_mm(source)})["mm"]

        def measure(chosen: Sequence[str]) -> Trial:
            def now() -> dict[str, float]:
                nodes = split_nodes(blocks, set(blocks) - set(chosen))
                write_plain(source, target, nodes, ranges, QuantizeSpec(()))
                embed(target, passport)
                runs = {"fp32": one_frame(source, crops[0]), "int8": one_frame(target, crops[0])}
                latency, ratios = time_alternately(runs, "fp32", rounds=ROUNDS)
                # The ratio of neighbouring blocks is steadier than either latency.
                fp32_ms = latency["fp32"].median
                return asdict(Trial(mpjpe_mm(target) - fp32_mm, fp32_ms / ratios["int8"].median, fp32_ms))

            return Trial(**kept.get(",".join(block for block in blocks if block in set(chosen)), now))

        chosen, figures, alone = search(list(blocks), measure, max_drop_mm)
        return Plan(
            variant=variant,
            graph_sha256=graph_sha256(model),
            flavour="cpu",
            keep_float=tuple(block for block in blocks if block not in chosen),
            dataset=dataset_label(val),
            n_images=len(val),
            max_drop_mm=max_drop_mm,
            lost_mm=round(figures.lost_mm, 4),
            times_faster=round(figures.times_faster, 3),
            machine=processor_name(),
            sensitivities=tuple(
                Sensitivity(b, len(blocks[b]), round(t.lost_mm, 4), round(t.fp32_ms - t.latency_ms, 4))
                for b, t in alone.items()
            ),
        )


class _Kept:
    """Figures that were measured, in the cache; each is written as soon as it is there."""

    def __init__(self, facts: dict[str, Any]) -> None:
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
        self.path = cache_dir() / "sensitivity" / f"{key}.json"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            content = json.loads(self.path.read_text())
        except (OSError, ValueError):
            content = {}
        self.values: dict[str, dict[str, float]] = content if isinstance(content, dict) else {}

    def get(self, name: str, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
        """A figure, measured where it is not there."""
        if name not in self.values:
            self.values[name] = measure()
            write_text_atomic(self.path, json.dumps(self.values))
        return self.values[name]


def print_plan(plan: Plan) -> None:
    """The table of sensitivities and the choice."""
    layout = "{:36s} {:>6s} {:>9s} {:>9s}  {}"
    print(layout.format("block", "nodes", "lost mm", "saved ms", ""))
    for entry in sorted(plan.sensitivities, key=lambda e: -e.lost_mm):
        stays = "float" if entry.block in plan.keep_float else "int8"
        print(layout.format(entry.block, str(entry.nodes), f"{entry.lost_mm:+.3f}", f"{entry.saved_ms:+.3f}", stays))
    print(
        f"{plan.variant}: {plan.times_faster:.2f} times faster than fp32, {plan.lost_mm:+.3f} mm on {plan.n_images} "
        f"images of {plan.dataset}; {len(plan.keep_float)} of {len(plan.sensitivities)} blocks stay float"
    )


def draw_plan(plan: Plan, path: Path) -> None:
    """Bars of what each block loses and saves."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = plan.sensitivities
    figure = Figure(figsize=(9, 1.2 + 0.22 * len(entries)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    places = range(len(entries))
    colours = ["tab:orange" if entry.block in plan.keep_float else "tab:blue" for entry in entries]
    left.barh(places, [entry.lost_mm for entry in entries], color=colours)
    left.set_yticks(places, [entry.block for entry in entries], fontsize=7)
    left.set_ylim(len(entries) - 0.4, -0.6)
    left.set_xlabel(f"MPJPE lost when int8 alone, mm\n{plan.dataset}, {plan.n_images} images", fontsize=8)
    right.barh(places, [entry.saved_ms for entry in entries], color=colours)
    right.set_xlabel(f"latency saved, ms, one thread\n{plan.machine}", fontsize=8)
    for axes in (left, right):
        axes.axvline(0, color="black", linewidth=0.6)
        axes.grid(axis="x", linewidth=0.3)
    figure.suptitle(
        f"{plan.variant}: blue becomes int8, orange stays float; together {plan.times_faster:.2f} times faster, "
        f"{plan.lost_mm:+.2f} mm",
        fontsize=9,
    )
    with atomic_path(path, ".png") as temporary:
        figure.savefig(temporary, dpi=110)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, search, write."""
    parser = CommandParser(__doc__)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--checkpoint", type=Path, help="weights (.safetensors); default: the shipped ones")
    parser.add_argument("--data", default="synthetic", help="'synthetic' or a folder in InterHand2.6M's layout")
    parser.add_argument("--max-drop-mm", type=float, default=0.2, help="MPJPE that the plan may lose")
    parser.add_argument(
        "-o", "--output", type=Path, help="the plan; default: VARIANT.plan.json; a chart goes beside it"
    )
    args = parser.parse_args(arguments)
    output = args.output or Path(f"{args.variant}.plan.json")
    if output.suffix != ".json":
        raise UserError(f"{output} must end in .json")
    plan = make_plan(args.variant, args.max_drop_mm, args.checkpoint, args.data)
    write_plan(output, plan)
    draw_plan(plan, output.with_suffix(".png"))
    print_plan(plan)
    print(f"next: python compress/export.py --variant {args.variant} --int8 --plan {output}")
    return 0


if __name__ == "__main__":
    run_command(main)
