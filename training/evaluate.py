"""Accuracy of a checkpoint or an exported file on annotated images: `python training/evaluate.py --variant er-xs`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from runtime.errors import CommandParser, UserError, run_command
from runtime.hand_model import HandModel, load_hand_models, skin
from runtime.joints import MIDDLE_MCP
from training.data.dataset import SYNTHETIC, open_frames
from training.data.interhand import Frames
from training.data.samples import Sample, load_sample
from training.metrics import OTHER_JOINTS, PROTOCOL, Accuracy, Errors, HandBatch, bone_length, mcp_scaled_errors

if TYPE_CHECKING:
    from training.network import ERNet

Images = NDArray[np.float32]  # (N, S, S, 3) RGB, 0..1
Predictor = Callable[[Images], HandBatch]
Hands = tuple[HandModel, HandModel]
BATCH = 32


def truth_of(samples: list[Sample], hands: Hands) -> HandBatch:
    """Ground truth from the hand model's mesh."""
    rotations = np.stack([s.rotations for s in samples])
    shape = np.stack([s.shape for s in samples])
    present = np.stack([s.presence for s in samples]) > 0.5
    return HandBatch(*_mesh(hands, rotations, shape), np.stack([s.relative_translation for s in samples]), present)


def network_predictor(network: ERNet, hands: Hands) -> Predictor:
    """Predictions of a torch network."""
    import torch

    from training.hands.rotations import matrix_from_6d

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


def evaluate(predict: Predictor, frames: Frames, crop_px: int, hands: Hands, label: str = "accuracy") -> Errors:
    """Errors of a predictor on every image of `frames`, with a progress bar."""
    parts = []
    with tqdm(total=len(frames), desc=label, unit="img", leave=False) as bar:
        for samples in _batches(frames, crop_px):
            parts.append(mcp_scaled_errors(predict(np.stack([s.image for s in samples])), truth_of(samples, hands)))
            bar.update(len(samples))
    return Errors.concatenate(parts)


def mean_pose_mpjpe_mm(train: Frames, test: Frames) -> float:
    """MPJPE (mcp-scaled) of the predictor that knows only the train split's mean of aligned joints per hand.

    The mean is taken after alignment, where it is the best constant; the prediction is the yardstick of every card.
    """
    mean = np.nanmean(_aligned(train)[0], axis=0)
    joints, scale = _aligned(test)
    both = ~np.isnan(scale).any(axis=1)
    error = np.linalg.norm(joints[both] - mean, axis=-1) * scale[both][..., None]
    return float(error[..., OTHER_JOINTS].mean() * 1000)


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


def _batches(frames: Frames, crop_px: int) -> Iterator[list[Sample]]:
    for start in range(0, len(frames), BATCH):
        yield [load_sample(frames, i, crop_px) for i in range(start, min(start + BATCH, len(frames)))]


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and print a table or JSON."""
    parser = CommandParser(__doc__)
    parser.add_argument("--variant", help="evaluate this variant's checkpoint")
    parser.add_argument("--checkpoint", type=Path, help="weights; default: the ones that come with the project")
    parser.add_argument("--model", type=Path, help="evaluate an exported file instead")
    parser.add_argument("--data", default=SYNTHETIC, help="'synthetic' or a folder in InterHand2.6M's layout")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--images", type=int, default=1000, help="the first so many")
    parser.add_argument("--hand-model", type=Path, help="a hand model .npz; default: the embedded one")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(arguments)
    if (args.model is None) == (args.variant is None):
        raise UserError("give either --variant NAME or --model FILE")
    if args.model is not None and args.checkpoint is not None:
        raise UserError("--checkpoint has no effect with --model: an exported file holds its weights")

    hands = load_hand_models(args.hand_model)
    if args.model is not None:
        predict, crop_px = file_predictor(args.model, args.hand_model)
    else:
        from training.checkpoint import load_network, weights_of

        network, _ = load_network(args.checkpoint or weights_of(args.variant), args.variant)
        predict, crop_px = network_predictor(network, hands), network.variant.crop_px
    test = open_frames(args.data, args.split, hands, args.images)
    accuracy = evaluate(predict, test, crop_px, hands).accuracy(dataset_label(test))
    baseline = mean_pose_mpjpe_mm(open_frames(args.data, "train", hands, args.images), test)
    if args.json:
        print(json.dumps({**asdict(accuracy), "mean_pose_mpjpe_mm": baseline}))
    else:
        print_table(accuracy, baseline)
    return 0


def print_table(accuracy: Accuracy, mean_pose_mm: float) -> None:
    """The figures with their data set and protocol in the header."""
    images = f"{accuracy.n_interacting} of {accuracy.n_images} images show both hands"
    print(f"{accuracy.dataset}, protocol {PROTOCOL}: {images}")
    print(f"  MPJPE     {accuracy.mpjpe_mm:7.2f} mm   (mean pose: {mean_pose_mm:.2f} mm)")
    print(f"  MPVPE     {accuracy.mpvpe_mm:7.2f} mm")
    print(f"  MRRPE     {accuracy.mrrpe_mm:7.2f} mm")
    print(f"  presence  {accuracy.presence_accuracy:7.1%} of hands")


if __name__ == "__main__":
    run_command(main)
