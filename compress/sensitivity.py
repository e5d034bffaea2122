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
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from compress.check.scoring import load_labelled_crops, score
from compress.check.timing import one_frame, time_alternately
from compress.crops import digest, load_crops
from compress.material import common_facts, load_weights
from compress.onnx.calibration import graph_sha256
from compress.onnx.flavours import WRITER_VERSION, measure_ranges, write_cpu_plain
from compress.onnx.graph import load_float
from compress.onnx.to_onnx import write_onnx
from compress.passport import embed
from compress.precision_plan import Plan, Sensitivity, blocks_of, split_nodes, write_plan
from compress.request import CALIBRATION_CROPS, ExportRequest
from runtime.errors import CommandParser, UserError, run_command
from runtime.files import write_text_atomic
from runtime.hand.hand_model import load_hand_models
from runtime.machine import processor_name
from training.data.cache import cache_dir
from training.data.dataset import open_frames
from training.evaluation.predictions import file_predictor
from training.quantisation.int8_rules import QuantizeSpec

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
    if not max_drop_mm >= 0:
        raise UserError(f"--max-drop-mm {max_drop_mm} must be 0 or more")
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(ExportRequest(variant, checkpoint=checkpoint, data=data), Path(folder))
        chosen, figures, alone = search(list(trials.blocks), trials.measure, max_drop_mm)
    return Plan(
        variant=variant,
        graph_sha256=trials.graph_sha256,
        flavour="cpu",
        keep_float=tuple(block for block in trials.blocks if block not in chosen),
        dataset=trials.images.frames.label,
        n_images=len(trials.images),
        max_drop_mm=max_drop_mm,
        lost_mm=round(figures.lost_mm, 4),
        times_faster=round(figures.times_faster, 3),
        machine=processor_name(),
        sensitivities=tuple(
            Sensitivity(b, len(trials.blocks[b]), round(t.lost_mm, 4), round(t.fp32_ms - t.latency_ms, 4))
            for b, t in alone.items()
        ),
    )


class Trials:
    """Int8 files of one network in a working folder, each measured once: figures stay in the cache."""

    def __init__(self, request: ExportRequest, folder: Path) -> None:
        hands = load_hand_models()
        weights = load_weights(request, None, (), hands)
        crop_px = weights.network.variant.crop_px
        train = open_frames(request.data, "train", hands, CALIBRATION_CROPS)
        self._crops = load_crops(train, min(CALIBRATION_CROPS, len(train)), crop_px, "calibration crops")
        self.images = load_labelled_crops(open_frames(request.data, "val", hands, IMAGES), crop_px, hands)
        self._facts = common_facts(request.variant, weights.network, weights.facts, hands, self.images.frames)
        self._source, self._target = folder / "fp32.onnx", folder / "int8.onnx"
        write_onnx(weights.network, self._source)
        embed(self._source, self._facts)
        model = load_float(self._source)
        self.blocks, self.graph_sha256 = blocks_of(model), graph_sha256(model)
        self._ranges = measure_ranges(self._source, self._crops)
        self._kept = _Kept(
            {
                "graph": self.graph_sha256,
                "crops": digest(self._crops),
                "images": IMAGES,
                "data": self.images.frames.name,
                "machine": processor_name(),
                "onnxruntime": version("onnxruntime"),
                "writer": WRITER_VERSION,
            }
        )

    def measure(self, chosen: Sequence[str]) -> Trial:
        """The file in which these blocks are int8."""
        name = ",".join(block for block in self.blocks if block in set(chosen))
        return Trial(**self._kept.get(name, lambda: asdict(self._measure(chosen))))

    def _measure(self, chosen: Sequence[str]) -> Trial:
        fp32_mm = self._kept.get("fp32", lambda: {"mm": self._mpjpe_mm(self._source)})["mm"]
        nodes = split_nodes(self.blocks, set(self.blocks) - set(chosen))
        write_cpu_plain(self._source, self._target, nodes, self._ranges, QuantizeSpec(()))
        embed(self._target, self._facts)
        files = {"fp32": self._source, "int8": self._target}
        runs = {label: one_frame(path, self._crops[0]) for label, path in files.items()}
        latency, ratios = time_alternately(runs, "fp32", rounds=ROUNDS)
        # The ratio of neighbouring blocks is steadier than either latency.
        fp32_ms = latency["fp32"].median
        return Trial(self._mpjpe_mm(self._target) - fp32_mm, fp32_ms / ratios["int8"].median, fp32_ms)

    def _mpjpe_mm(self, path: Path) -> float:
        return score(file_predictor(path)[0], self.images, "on the images").mpjpe_mm


class _Kept:
    """Figures that were measured, in the cache; each is written as soon as it is there."""

    def __init__(self, facts: dict[str, Any]) -> None:
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
        self.path = cache_dir() / "sensitivity" / f"{key}.json"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
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


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, search, write."""
    parser = CommandParser(__doc__)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--checkpoint", type=Path, help="weights (.safetensors); default: the shipped ones")
    parser.add_argument("--data", default="synthetic", help="'synthetic' or a folder in InterHand2.6M's layout")
    parser.add_argument("--max-drop-mm", type=float, default=0.2, help="MPJPE that the plan may lose")
    parser.add_argument("-o", "--output", type=Path, help="the plan; default: VARIANT.plan.json")
    args = parser.parse_args(arguments)
    output = args.output or Path(f"{args.variant}.plan.json")
    if output.suffix != ".json":
        raise UserError(f"{output} must end in .json")
    plan = make_plan(args.variant, args.max_drop_mm, args.checkpoint, args.data)
    write_plan(output, plan)
    print_plan(plan)
    print(f"next: python compress/export.py --variant {args.variant} --int8 --plan {output}")
    return 0


if __name__ == "__main__":
    run_command(main)
