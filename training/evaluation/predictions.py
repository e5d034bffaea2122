"""Predictions of networks and exported files, and the figures of a predictor over annotated images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from runtime.hand.hand_model import HandPair, skin
from runtime.machine import usable_cores
from runtime.runner import Runner, load
from training.data.frames import Frames
from training.data.samples import Sample, load_sample
from training.evaluation.protocols import MCP_SCALED, HandBatch, Protocol, Truth
from training.evaluation.scores import Scores

if TYPE_CHECKING:
    from torch import Tensor

    from training.network import ERNet

Images = NDArray[np.float32]  # (N, S, S, 3) RGB, 0..1
Predictor = Callable[[Images], HandBatch]
BATCH = 32


def truth_of(samples: Sequence[Sample], hands: HandPair, frames: Frames) -> Truth:
    """Labels of the samples of `frames`, not augmented."""
    in_image = np.stack([s.joint_valid for s in samples]) > 0.5
    if frames.vertices_m is None:
        joints, vertices = _mesh(hands, np.stack([s.rotations for s in samples]), np.stack([s.shape for s in samples]))
    else:
        turn = frames.camera_rotation[frames.camera_of][:, None]
        vertices = frames.vertices_m[frames.pose_of] @ np.swapaxes(turn, -1, -2)
        joints = np.stack([s.mano_joints for s in samples])
    return Truth(
        hand_type=frames.hand_type,
        present=np.stack([s.presence for s in samples]) > 0.5,
        presence_known=np.stack([s.has_presence for s in samples]) > 0.5,
        joints=np.stack([s.joints for s in samples]),
        joint_valid=in_image & in_image[:, :, :1],
        has_mesh=np.stack([s.has_mano for s in samples]) > 0.5,
        mesh_joints=joints,
        vertices=vertices,
        relative_translation=np.stack([s.relative_translation for s in samples]),
        has_translation=np.array([s.has_translation for s in samples]) > 0.5,
        points=np.stack([s.points for s in samples]),
        point_valid=in_image,
        point_seen=np.zeros_like(in_image) if frames.occluded is None else in_image & ~frames.occluded,
        kind=np.array(frames.kinds)[frames.hand_type if frames.kind_of is None else frames.kind_of],
    )


def network_predictor(network: ERNet, hands: HandPair) -> Predictor:
    """Predictions of a torch network, on the device that it is on."""
    import torch  # heavy, and exported files are evaluated where it is not installed

    def predict(images: Images) -> HandBatch:
        seen = (tensor.numpy() for tensor in look(network, torch.from_numpy(images)))
        rotations, shape, translation, presence, camera = seen
        joints, vertices = _mesh(hands, rotations, shape)
        points = camera[:, :, None, :1] * joints[..., :2] + camera[:, :, None, 1:]
        return HandBatch(joints, vertices, translation, presence > 0, points)

    return predict


def look(network: ERNet, images: Tensor) -> tuple[Tensor, ...]:
    """Rotations (N, 2, 16, 3, 3), shape, relative translation, presence, camera of images (N, S, S, 3), RGB 0..1.

    Computed where the network is; images and answers are on the CPU.
    """
    import torch  # see network_predictor

    from training.hands.layer import matrix_from_6d

    device = next(network.parameters()).device
    with torch.no_grad():
        outputs = network(images.to(device).permute(0, 3, 1, 2).contiguous())
        rotations = matrix_from_6d(outputs.rotation6d)
    found = (rotations, outputs.shape, outputs.relative_translation, outputs.presence, outputs.camera)
    return tuple(value.cpu() for value in found)


def file_predictor(model: Path, hand_model: Path | None = None) -> tuple[Predictor, int]:
    """Predictions of an exported file through the runner, and its crop in px."""
    runner = load(model, threads=1, hand_model=hand_model)
    return runner_predictor(runner, usable_cores() or 1), runner.input_px


def runner_predictor(runner: Runner, workers: int = 1) -> Predictor:
    """Predictions of a runner, so many images at a time; more than one only where its engine may run in any thread."""
    several = map if workers == 1 else ThreadPoolExecutor(workers).map

    def predict(images: Images) -> HandBatch:
        results = list(several(lambda image: runner.run_crop((image * 255).round().astype(np.uint8)), images))
        pairs = [(r.right, r.left) for r in results]
        return HandBatch(
            joints=np.stack([[hand.joints for hand in pair] for pair in pairs]),
            vertices=np.stack([[hand.vertices for hand in pair] for pair in pairs]),
            relative_translation=np.stack([r.relative_translation for r in results]),
            present=np.array([[hand.present for hand in pair] for pair in pairs]),
            points=np.stack([[hand.joints_image for hand in pair] for pair in pairs]) / runner.input_px,
        )

    return predict


def evaluate(
    predict: Predictor,
    frames: Frames,
    crop_px: int,
    hands: HandPair,
    label: str = "accuracy",
    protocols: Sequence[Protocol] = (MCP_SCALED,),
) -> Scores:
    """Figures of a predictor over every image of `frames`, with a progress bar; mcp-scaled is always among them."""
    scores = Scores(protocols)
    for images, truth in labelled_batches(frames, crop_px, hands, label):
        scores.add(predict(images), truth)
    return scores


def labelled_batches(frames: Frames, crop_px: int, hands: HandPair, label: str) -> Iterator[tuple[Images, Truth]]:
    """The images, cut as the runner cuts them, BATCH at a time, and what they truly show, with a progress bar."""
    with tqdm(total=len(frames), desc=label, unit="img", leave=False) as bar:
        for start in range(0, len(frames), BATCH):
            batch = frames.subset(slice(start, start + BATCH))
            samples = [load_sample(batch, i, crop_px) for i in range(len(batch))]
            yield np.stack([s.image for s in samples]), truth_of(samples, hands, batch)
            bar.update(len(samples))


def _mesh(
    hands: HandPair, rotations: NDArray[np.float32], shape: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(N, 2, 16, 3, 3), (N, 2, 10) -> wrist-relative joints and vertices."""
    skinned = [skin(hand, rotations[:, side], shape[:, side]) for side, hand in enumerate(hands)]
    vertices, joints = (np.stack(parts, axis=1) for parts in zip(*skinned, strict=True))
    wrist = joints[:, :, :1]
    return joints - wrist, vertices - wrist
