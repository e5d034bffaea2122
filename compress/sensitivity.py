"""Find out what of a network should stay float: `python -m compress.sensitivity --variant er-s -o er-s.plan.json`.

Each block alone is made int8: how far does it move hands, how many milliseconds does it save? Blocks then join in two
orders, least distance for a millisecond first, and least distance first (neighbours that are both int8 need no
conversion between them, which no single block shows), each as far as the loss of the whole stays within --max-drop-mm;
the faster wins. Images are of the validation split: an export measures on others.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from compress.check.mesh_distance import mesh_distance
from compress.check.parity import run_of
from compress.check.scoring import load_labelled_crops, score
from compress.check.timing import one_frame, time_alternately
from compress.crops import load_crops
from compress.material import load_weights, network_facts
from compress.onnx.calibration import graph_sha256
from compress.onnx.flavours import look_inside, write_cpu
from compress.onnx.graph import load_float
from compress.onnx.precision_plan import Plan, Sensitivity, blocks_of, split_nodes
from compress.onnx.to_onnx import write_onnx
from compress.passport import embed
from compress.request import ExportRequest
from runtime.backends.contract import Outputs
from runtime.errors import CommandParser, UserError, run_command
from runtime.files import atomic_path
from runtime.hand.hand_model import load_hand_models
from runtime.machine import processor_name
from runtime.runner import graph_input
from training.data.dataset import open_frames
from training.evaluation.predictions import file_predictor

IMAGES, ROUNDS = 128, 3  # that a choice of blocks is measured by
IMAGES_ALONE, ROUNDS_ALONE = 32, 2  # a block; distances differ less from image to image than errors do


@dataclass(frozen=True)
class Trial:
    """A choice of int8 blocks, measured."""

    lost_mm: float  # MPJPE
    times_faster: float  # than fp32


Measure = Callable[[Sequence[str]], Trial]  # of the blocks that are int8


def search(alone: Sequence[Sensitivity], measure: Measure, max_drop_mm: float) -> tuple[tuple[str, ...], Trial]:
    """The int8 blocks of the fastest choice found within the loss, and its figures.

    UserError where even the least sensitive block loses too much.
    """
    by_distance = sorted(alone, key=lambda one: one.apart_mm)
    by_price = sorted((one for one in alone if one.saved_ms > 0), key=lambda one: one.apart_mm**2 / one.saved_ms)
    found = [joined([one.block for one in order], measure, max_drop_mm) for order in (by_distance, by_price)]
    best = max((pair for pair in found if pair is not None), key=lambda pair: pair[1].times_faster, default=None)
    if best is None:
        raise UserError(f"no block can be int8 within {max_drop_mm} mm: export with --fp32, or allow more")
    return best


def joined(order: Sequence[str], measure: Measure, max_drop_mm: float) -> tuple[tuple[str, ...], Trial] | None:
    """The longest beginning of the order whose loss is within bounds, by bisection; None where there is none."""
    low, high, best = 0, len(order), None
    middle = high
    while low < high:
        trial = measure(order[:middle])
        if trial.lost_mm <= max_drop_mm:
            low, best = middle, (tuple(order[:middle]), trial)
        else:
            high = middle - 1
        middle = (low + high + 1) // 2
    return best


def make_plan(variant: str, max_drop_mm: float, checkpoint: Path | None = None, data: str = "synthetic") -> Plan:
    """Export, calibrate and search."""
    if not max_drop_mm >= 0:
        raise UserError(f"--max-drop-mm {max_drop_mm} must be 0 or more")
    hands = load_hand_models()
    request = ExportRequest(variant, checkpoint=checkpoint, data=data)
    weights = load_weights(request, hands)
    crop_px, count = weights.network.variant.crop_px, request.calib_samples
    crops = load_crops(open_frames(data, "train", hands, count), count, crop_px, "crops")
    images = load_labelled_crops(open_frames(data, "val", hands, IMAGES), crop_px, hands)
    facts = network_facts(weights.network, weights.facts, hands[0], images.frames)
    with tempfile.TemporaryDirectory() as folder:
        fp32, int8 = (Path(folder) / f"{name}.onnx" for name in ("fp32", "int8"))

        def outputs_of(path: Path) -> list[Outputs]:
            run = run_of(path)
            return [run(graph_input(crop)) for crop in images.crops[:IMAGES_ALONE]]

        def mpjpe_mm(path: Path) -> float:
            embed(path, facts)
            return score(file_predictor(path)[0], images, "on the images").accuracy("").mpjpe_mm

        def write(chosen: Sequence[str]) -> None:
            """The file in which these blocks are int8."""
            write_cpu(fp32, int8, split_nodes(model, set(blocks) - set(chosen)), seen, reduce_range=True)

        def times_faster(rounds: int) -> tuple[float, float]:
            """Of that file, and the fp32 file's ms; the ratio of neighbouring rounds is steadier than either time."""
            latency, ratios = time_alternately({"fp32": fp32_run, "int8": one_frame(int8, crops[0])}, "fp32", rounds)
            return ratios["int8"].median, latency["fp32"].median

        def measure(chosen: Sequence[str]) -> Trial:
            write(chosen)
            return Trial(mpjpe_mm(int8) - fp32_mm, times_faster(ROUNDS)[0])

        def measure_alone(block: str) -> Sensitivity:
            write([block])
            apart_mm = mesh_distance(expected, outputs_of(int8), crop_px, hands).mean_mm
            faster, fp32_ms = times_faster(ROUNDS_ALONE)
            return Sensitivity(block, blocks[block], round(apart_mm, 4), round(fp32_ms - fp32_ms / faster, 4))

        write_onnx(weights.network, fp32)
        model = load_float(fp32)
        blocks, seen = blocks_of(model), look_inside(fp32, crops)
        expected, fp32_mm, fp32_run = outputs_of(fp32), mpjpe_mm(fp32), one_frame(fp32, crops[0])
        alone = tuple(measure_alone(block) for block in tqdm(blocks, desc="blocks", unit="block"))
        chosen, figures = search(alone, measure, max_drop_mm)
    return Plan(
        variant=variant,
        graph_sha256=graph_sha256(model),
        flavour="cpu",
        keep_float=tuple(block for block in blocks if block not in chosen),
        dataset=images.frames.label,
        n_images=len(images.crops),
        max_drop_mm=max_drop_mm,
        lost_mm=round(figures.lost_mm, 4),
        times_faster=round(figures.times_faster, 3),
        machine=processor_name(),
        sensitivities=alone,
    )


def print_plan(plan: Plan) -> None:
    """The sensitivities, the largest first, and the choice."""
    for entry in sorted(plan.sensitivities, key=lambda e: -e.apart_mm):
        stays = "float" if entry.block in plan.keep_float else "int8"
        figures = f"{entry.nodes:3d} nodes {entry.apart_mm:.3f} mm apart, saves {entry.saved_ms:+.3f} ms"
        print(f"{entry.block:36s} {figures}: {stays}")
    kept = f"{len(plan.keep_float)} of {len(plan.sensitivities)} blocks stay float"
    gain = f"{plan.times_faster:.2f} times faster than fp32, {plan.lost_mm:+.3f} mm"
    print(f"{plan.variant}: {gain} on {plan.n_images} images of {plan.dataset}; {kept}")


def main(arguments: list[str] | None = None) -> int:
    parser = CommandParser(__doc__)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--checkpoint", type=Path, help="weights (.safetensors); default: the shipped ones")
    parser.add_argument("--data", default="synthetic", help="'synthetic' or a folder in InterHand2.6M's layout")
    parser.add_argument("--max-drop-mm", type=float, default=0.2, help="MPJPE that the plan may lose")
    parser.add_argument("-o", "--output", type=Path, help="the plan; default: VARIANT.plan.json")
    args = parser.parse_args(arguments)
    output = args.output or Path(f"{args.variant}.plan.json")
    with atomic_path(output) as temporary:  # first, as it says what is wrong with a path before the long search
        plan = make_plan(args.variant, args.max_drop_mm, args.checkpoint, args.data)
        temporary.write_text(json.dumps(asdict(plan), indent=1) + "\n", encoding="utf-8")
    print_plan(plan)
    print(f"next: python compress/export.py --variant {args.variant} --int8 --plan {output}")
    return 0


if __name__ == "__main__":
    run_command(main)
