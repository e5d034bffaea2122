"""onnxruntime-web and LiteRT.js, from npm once, by hash: JavaScript and WebAssembly that are not in this project."""

from __future__ import annotations

import base64
import gzip
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UserError
from training.data.cache import cache_dir, cache_error


@dataclass(frozen=True)
class Package:
    """One of npm's."""

    name: str
    version: str
    sha512: str  # as npm has it

    @property
    def file(self) -> str:
        """What `npm pack` calls it."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


ONNXRUNTIME = Package(
    "onnxruntime-web",
    "1.30.0",
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
)
LITERT = Package(
    "@litertjs/core",
    "2.5.3",
    "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
)
_LITERT_LOADER = Package(
    "@litertjs/wasm-utils",
    "2.5.3",
    "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
)
PACKAGES = (ONNXRUNTIME, LITERT, _LITERT_LOADER)
_LITERT_BUILD = "litert_wasm_internal"  # with relaxed SIMD: elsewhere the page takes onnxruntime-web
_LITERT_CHANGES = {
    _LITERT_LOADER.name.encode(): b"./wasm-utils.js",  # beside it
    b"Environment.create()": b"Environment.create({ webGpuDevice: null })",  # it would take and hold one
}
# Scripts and what they load: WASM alone; with WebGPU, which does WASM as well.
_BUILDS = {"ort.wasm.min": "ort-wasm-simd-threaded", "ort.webgpu.min": "ort-wasm-simd-threaded.asyncify"}
_NPM_SECONDS = 600


def write_engine(folder: Path, small: bool) -> None:
    """Write what the page loads of it: scripts, and WebAssembly by gzip, which the page undoes (41 MB become 10).

    small: the build with WebGPU alone (27 MB become 7), where another engine computes most.
    """
    folder.mkdir()
    with tarfile.open(package(ONNXRUNTIME), "r:gz") as archive:
        for script, core in list(_BUILDS.items())[small:]:
            for name in (script, core):  # .js: some servers know no .mjs
                (folder / f"{name}.js").write_bytes(_member(archive, f"dist/{name}.mjs"))
            _write_packed(folder / f"{core}.wasm.gz", _member(archive, f"dist/{core}.wasm"))


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(f"package/{name}")
    assert file is not None, f"the package has {name}"
    return file.read()


def write_litert(folder: Path) -> None:
    """Write what the page loads of LiteRT.js."""
    folder.mkdir()
    with tarfile.open(package(LITERT), "r:gz") as archive:
        code = _member(archive, "dist/index.js")
        for old, new in _LITERT_CHANGES.items():
            assert old in code, f"LiteRT.js {LITERT.version} has {old!r}"
            code = code.replace(old, new)
        (folder / "index.js").write_bytes(code)
        (folder / f"{_LITERT_BUILD}.js").write_bytes(_member(archive, f"wasm/{_LITERT_BUILD}.js"))
        _write_packed(folder / f"{_LITERT_BUILD}.wasm.gz", _member(archive, f"wasm/{_LITERT_BUILD}.wasm"))
    with tarfile.open(package(_LITERT_LOADER), "r:gz") as archive:
        (folder / "wasm-utils.js").write_bytes(_member(archive, "dist/index.js"))
    notice = "LiteRT.js, Copyright Google LLC, Apache License 2.0: https://www.apache.org/licenses/LICENSE-2.0\n"
    notice += "Changed in index.js: where its loader lies, and that it asks for no GPU.\n"
    (folder / "NOTICE.txt").write_text(notice, encoding="utf-8")


def _write_packed(path: Path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content, mtime=0))


def package(wanted: Package) -> Path:
    """Return the package in the cache, checked; npm brings it the first time. A UserError says what to do."""
    folder = cache_dir() / "npm"
    path, name = folder / wanted.file, wanted.name
    there = f"{name}/-/{name.rpartition('/')[2]}-{wanted.version}.tgz"
    by_hand = f"or put https://registry.npmjs.org/{there} at {path} by hand"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _download(wanted, path, by_hand)
        digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    except OSError as error:
        raise cache_error(path, error) from None
    if digest != wanted.sha512:
        path.unlink()
        raise UserError(f"{path} was not the package of that name, and is gone: export again, {by_hand}")
    return path


def _download(wanted: Package, path: Path, by_hand: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"npm is missing, which brings {wanted.name}: install Node.js, {by_hand}")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command = [npm, "pack", f"{wanted.name}@{wanted.version}", "--ignore-scripts", "--pack-destination", folder]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_NPM_SECONDS)
            (Path(folder) / path.name).replace(path)
        except (subprocess.SubprocessError, FileNotFoundError):
            raise UserError(
                f"npm could not bring {wanted.name} {wanted.version}: connect to its registry, {by_hand}"
            ) from None
