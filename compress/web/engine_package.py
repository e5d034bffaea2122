"""onnxruntime-web, from npm once, by its hash: a package of JavaScript and WebAssembly that is not in this project."""

from __future__ import annotations

import base64
import gzip
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from runtime.errors import UserError
from training.data.cache import cache_dir, cache_error

NAME, VERSION = "onnxruntime-web", "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # as npm has it
_CORES = ("ort-wasm-simd-threaded", "ort-wasm-simd-threaded.asyncify")  # WASM alone; with WebGPU
_SCRIPTS = ("ort.wasm.min", "ort.webgpu.min", *_CORES)
_NPM_SECONDS = 600


def write_engine(folder: Path) -> None:
    """Write what the page loads of it: scripts, and WebAssembly by gzip, which the page undoes (41 MB become 10)."""
    folder.mkdir()
    with tarfile.open(package(), "r:gz") as archive:
        for name in _SCRIPTS:  # .js: some servers know no .mjs
            (folder / f"{name}.js").write_bytes(_member(archive, f"{name}.mjs"))
        for name in _CORES:
            packed = gzip.compress(_member(archive, f"{name}.wasm"), mtime=0)
            (folder / f"{name}.wasm.gz").write_bytes(packed)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(f"package/dist/{name}")
    assert file is not None, f"{NAME} {VERSION} has {name}"
    return file.read()


def package() -> Path:
    """Return the package in the cache, checked; npm brings it the first time. A UserError says what to do."""
    folder = cache_dir() / "npm"
    path = folder / f"{NAME}-{VERSION}.tgz"
    by_hand = f"or put https://registry.npmjs.org/{NAME}/-/{path.name} at {path} by hand"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _download(path, by_hand)
        digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    except OSError as error:
        raise cache_error(path, error) from None
    if digest != SHA512:
        path.unlink()
        raise UserError(f"{path} was not the package of that name, and is gone: export again, {by_hand}")
    return path


def _download(path: Path, by_hand: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"npm is missing, which brings {NAME}: install Node.js, {by_hand}")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command = [npm, "pack", f"{NAME}@{VERSION}", "--ignore-scripts", "--pack-destination", folder]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_NPM_SECONDS)
            (Path(folder) / path.name).replace(path)
        except (subprocess.SubprocessError, FileNotFoundError):
            raise UserError(f"npm could not bring {NAME} {VERSION}: connect to its registry, {by_hand}") from None
