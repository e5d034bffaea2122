"""Accuracy of a checkpoint or an exported file on annotated images: `python training/evaluate.py --variant er-xs`.

Shows the protocol of cards and passports (mcp-scaled) and that of ER's own evaluator (er), with and without its quirks;
--protocol shows others. On InterHand2.6M, published figures of the same protocols follow.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

if not __package__:  # run as a file: packages are found from the project's root, and this folder hides none
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from runtime.errors import CommandParser, UserError, run_command
from runtime.hand.hand_model import HandModel, load_hand_models, skin
from runtime.hand.joints import JOINT_COUNT, MIDDLE_MCP
from training.data.dataset import SYNTHETIC, open_frames
from training.data.frames import Frames, drop_missing
from training.data.readers.interhand import BOXES
from training.data.samples import Sample, load_sample
from training.evaluation.accuracy_table import Setting, compared, print_table, to_json
from training.evaluation.protocols import (
    ER,
    ER_WITHOUT_QUIRKS,
    MCP_SCALED,
    PROTOCOLS,
    HandBatch,
    Protocol,
    Scores,
    Truth,
    bone_length,
    get_protocol,
)

if TYPE_CHECKING:
    from training.network import ERNet

Images = NDArray[np.float32]  # (N, S, S, 3) RGB, 0..1
Predictor = Callable[[Images], HandBatch]
Hands = tuple[HandModel, HandModel]
BATCH = 32
NAMED_MISSING = 3


def truth_of(samples: Sequence[Sample], hands: Hands, frames: Frames, human: NDArray[np.bool_] | None = None) -> Truth:
    """Labels of the samples of `frames`, not augmented; `human` (N,): annotated by people, None for all."""
    in_image = np.stack([s.joint_valid for s in samples]) > 0.5
    joints, vertices = _mesh(hands, np.stack([s.rotations for s in samples]), np.stack([s.shape for s in samples]))
    return Truth(
        hand_type=frames.hand_type,
        human=np.ones(len(samples), bool) if human is None else human,
        present=np.stack([s.presence for s in samples]) > 0.5,
        presence_known=np.stack([s.has_presence for s in samples]) > 0.5,
        joints=np.stack([s.joints for s in samples]),
        joint_valid=in_image & in_image[:, :, :1],
        has_mesh=np.stack([s.has_mano for s in samples]) > 0.5,
        mesh_joints=joints,
        vertices=vertices,
        relative_translation=np.stack([s.relative_translation for s in samples]),
        has_translation=np.array([s.has_translation for s in samples]) > 0.5,
    )


def network_predictor(network: ERNet, hands: Hands) -> Predictor:
    """Predictions of a torch network."""
    import torch

    from training.hands.rotations_torch import matrix_from_6d

    def predict(images: Images) -> HandBatch:
        with torch.no_grad():
            outputs = network(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
        rotations = matrix_from_6d(outputs.rotation6d).numpy()
        mesh = _mesh(hands, rotations, outputs.shape.numpy())
        return HandBatch(*mesh, outputs.relative_translation.numpy(), outputs.presence.numpy() > 0)

    return predict


def file_predictor(model: Path, hand_model: Path | None = None) -> tuple[Predictor, int]:
    """Predictions of an exported file through the runner, one image after the other, and its crop in px."""
    from runtime import load

    runner = load(model, threads=1, hand_model=hand_model)

    def predict(images: Images) -> HandBatch:
        results = [runner.run_crop((image * 255).round().astype(np.uint8)) for image in images]
        pairs = [(r.right, r.left) for r in results]
        return HandBatch(
            joints=np.stack([[hand.joints for hand in pair] for pair in pairs]),
            vertices=np.stack([[hand.vertices for hand in pair] for pair in pairs]),
            relative_translation=np.stack([r.relative_translation for r in results]),
            present=np.array([[hand.present for hand in pair] for pair in pairs]),
        )

    return predict, runner.input_px


def evaluate(
    predict: Predictor,
    frames: Frames,
    crop_px: int,
    hands: Hands,
    label: str = "accuracy",
    protocols: Sequence[Protocol] = (MCP_SCALED,),
    human: NDArray[np.bool_] | None = None,
) -> Scores:
    """Figures of a predictor over every image of `frames`, with a progress bar; mcp-scaled is always among them.

    `human` (N,) says which images people annotated; None: all.
    """
    scores = Scores(protocols)
    with tqdm(total=len(frames), desc=label, unit="img", leave=False) as bar:
        for start in range(0, len(frames), BATCH):
            part = slice(start, start + BATCH)
            batch = frames.subset(part)
            samples = [load_sample(batch, i, crop_px) for i in range(len(batch))]
            truth = truth_of(samples, hands, batch, None if human is None else human[part])
            scores.add(predict(np.stack([s.image for s in samples])), truth)
            bar.update(len(samples))
    return scores


def without_missing(frames: Frames, allowed: bool) -> Frames:
    """The images whose files are there; a UserError where some are missing and that is not allowed."""
    found, missing = drop_missing(frames)
    if missing and not allowed:
        some = ", ".join(missing[:NAMED_MISSING]) + (", ..." if len(missing) > NAMED_MISSING else "")
        raise UserError(
            f"{len(missing)} of {len(frames)} images are missing below {frames.image_root} ({some}): "
            "complete the data set, or give --allow-missing"
        )
    return found


def human_annotated(data: str, split: str, hands: Hands, frames: Frames) -> tuple[NDArray[np.bool_] | None, str | None]:
    """Which images people annotated (N,); or None, and why that is not known."""
    if frames.synthetic:
        return None, "a synthetic set has no annotators"
    try:
        chosen = open_frames(data, split, hands, subset="human_annot")
    except UserError as error:
        return None, str(error)
    return np.isin(frames.annotation_id, chosen.annotation_id), None


def mean_pose_mpjpe_mm(train: Frames, test: Frames) -> float:
    """MPJPE (mcp-scaled) of the predictor that knows only the train split's mean of aligned joints per hand.

    The mean is taken after alignment, where it is the best constant; the prediction is the yardstick of every card.
    """
    mean = np.nanmean(_aligned(train)[0], axis=0)
    joints, scale = _aligned(test)
    both = ~np.isnan(scale).any(axis=1)
    error = np.linalg.norm(joints[both] - mean, axis=-1) * scale[both][..., None]
    return float(error[..., np.arange(JOINT_COUNT) != MIDDLE_MCP].mean() * 1000)


def previous_pose_mpjpe_mm(test: Frames) -> float:
    """MPJPE (mcp-scaled) of the predictor that says what was right for the image with both hands before."""
    joints, scale = _aligned(test)
    both = ~np.isnan(scale).any(axis=1)
    joints, scale = joints[both], scale[both]
    error = np.linalg.norm(joints[1:] - joints[:-1], axis=-1) * scale[1:, :, None]
    return float(error[..., np.arange(JOINT_COUNT) != MIDDLE_MCP].mean() * 1000)


def dataset_label(frames: Frames) -> str:
    """The data set's name; a synthetic one says so."""
    return f"{frames.name} (synthetic)" if frames.synthetic else frames.name


def _aligned(frames: Frames) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Per image the mesh joints at the middle MCP over the bone's length (N, 2, 21, 3), and it; nan if absent."""
    turn = frames.camera_rotation[frames.camera_of][:, None]
    joints = frames.mano_joints_m[frames.pose_of] @ np.swapaxes(turn, -1, -2)
    scale = np.where(frames.has_mano[frames.pose_of], bone_length(joints), np.nan)
    return (joints - joints[:, :, MIDDLE_MCP : MIDDLE_MCP + 1]) / scale[..., None, None], scale


def _mesh(
    hands: Hands, rotations: NDArray[np.float32], shape: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(N, 2, 16, 3, 3), (N, 2, 10) -> wrist-relative joints and vertices."""
    skinned = [skin(hand, rotations[:, side], shape[:, side]) for side, hand in enumerate(hands)]
    vertices, joints = (np.stack(parts, axis=1) for parts in zip(*skinned, strict=True))
    wrist = joints[:, :, :1]
    return joints - wrist, vertices - wrist


def protocols_of(name: str | None) -> tuple[Protocol, ...]:
    """What --protocol stands for; ER's own always with its honest twin."""
    if name is None:
        chosen: tuple[Protocol, ...] = (MCP_SCALED, ER)
    else:
        chosen = tuple(PROTOCOLS.values()) if name == "all" else (get_protocol(name),)
    return (*chosen, ER_WITHOUT_QUIRKS) if ER in chosen else chosen


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and print a table or JSON."""
    parser = CommandParser(__doc__)
    parser.add_argument("--variant", help="evaluate this variant's checkpoint")
    parser.add_argument("--checkpoint", type=Path, help="weights; default: the ones that come with the project")
    parser.add_argument("--model", type=Path, help="evaluate an exported file instead")
    parser.add_argument("--data", default=SYNTHETIC, help="'synthetic' or a folder in InterHand2.6M's layout")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--images", type=int, default=1000, help="the first so many")
    parser.add_argument("--allow-missing", action="store_true", help="leave out images whose files are missing")
    parser.add_argument("--boxes", default=BOXES[0], choices=BOXES, help="what the crops are cut by")
    parser.add_argument("--hand-model", type=Path, help="a hand model .npz; default: the embedded one")
    parser.add_argument("--protocol", help=f"{', '.join(PROTOCOLS)} or all; default: mcp-scaled and er")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(arguments)
    if (args.model is None) == (args.variant is None):
        raise UserError("give either --variant NAME or --model FILE")
    if args.model is not None and args.checkpoint is not None:
        raise UserError("--checkpoint has no effect with --model: an exported file holds its weights")
    if args.images < 1:
        raise UserError("--images must be 1 or more")
    protocols = protocols_of(args.protocol)

    hands = load_hand_models(args.hand_model)
    if args.model is not None:
        predict, crop_px = file_predictor(args.model, args.hand_model)
    else:
        predict, crop_px = _checkpoint_predictor(args.checkpoint, args.variant, hands)
    test = open_frames(args.data, args.split, hands, args.images, boxes=args.boxes)
    found = without_missing(test, args.allow_missing)
    human, unmarked = human_annotated(args.data, args.split, hands, found)
    setting = Setting(
        dataset=dataset_label(test),
        synthetic=test.synthetic,
        split=args.split,
        boxes=args.boxes,
        n_missing=len(test) - len(found),
        human_unmarked=unmarked,
        mean_pose_mpjpe_mm=_mean_pose(args.data, args.images, hands, found),
        hand_model=hands[0].name,
    )
    extra = [protocol.as_published() for protocol in compared(protocols, setting)]
    scores = evaluate(predict, found, crop_px, hands, protocols=(*protocols, *extra), human=human)
    if args.json:
        print(json.dumps(to_json(setting, scores, protocols)))
    else:
        print_table(setting, scores, protocols)
    return 0


def _checkpoint_predictor(checkpoint: Path | None, variant: str, hands: Hands) -> tuple[Predictor, int]:
    from training.checkpoint import load_network, weights_of

    path = checkpoint or weights_of(variant)
    network, facts = load_network(path, variant)
    if facts.hand_model["sha256"] != hands[0].sha256:
        raise UserError(
            f"{path} was trained on hand model '{facts.hand_model['name']}', not on '{hands[0].name}': "
            "give the matching --hand-model"
        )
    return network_predictor(network, hands), network.variant.crop_px


def _mean_pose(data: str, images: int, hands: Hands, test: Frames) -> float | None:
    """None where the data set came without its train split."""
    if data != SYNTHETIC and not (Path(data) / "annotations" / "train").is_dir():
        return None
    return mean_pose_mpjpe_mm(open_frames(data, "train", hands, images), test)


if __name__ == "__main__":
    run_command(main)
