"""An aarch64 system in a folder of the cache, with an emulator for it: no root, no container, no board.

Debian's own tools fetch the packages, their signatures checked, into a private folder; pip fetches the wheels. The
folder is made under another name and takes its own when it is complete, so a half one is never used.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from benchmarks.tools.arithmetic.cpus import DEFAULT_CPU, Cpu, get_cpu
from training.data.cache import cache_dir

ROOT = Path(__file__).parents[3]
CONSTRAINTS = ROOT / "constraints.txt"

SUITE = "trixie"  # qemu 7.2, a suite older, crashes on onnxruntime 1.32
SOURCES = Path("/etc/apt")  # where the system says which mirror of Debian it uses
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PYTHON = "3.13"  # of the suite
GLIBC_MINOR = 41  # of the suite: newest wheels it can load
PACKAGES = ("python3", "libstdc++6", "qemu-user:amd64")
WHEELS = ("numpy", "onnxruntime", "opencv-python-headless", "onnx", "pytest", "hypothesis")
EMULATORS = {"aarch64": "qemu-aarch64", "x86_64": "qemu-x86_64"}
PROBE = "import cv2, numpy, onnx, onnxruntime, platform; print(platform.machine())"
STEP_SECONDS = 900

APT_SETTINGS = """\
Dir "{folder}";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Etc "{folder}/etc";
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; "amd64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
"""


class Unavailable(Exception):
    """Why there is no such system here; one line."""


@dataclass(frozen=True)
class Userland:
    """A complete one."""

    folder: Path

    def command(self, cpu: Cpu, arguments: Sequence[str]) -> list[str]:
        """Python with these arguments on that CPU; x86-64's is this interpreter with its packages."""
        emulator = [str(self.folder / EMULATORS[cpu.architecture]), "-cpu", cpu.model]
        if cpu.architecture == "x86_64":
            return [*emulator, sys.executable, *arguments]
        system = self.folder / "system"
        return [*emulator, "-L", str(system), str(system / "usr" / "bin" / f"python{PYTHON}"), *arguments]

    def environment(self, cpu: Cpu) -> dict[str, str]:
        """Of that command: one thread, and the system's own wheels."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        if cpu.architecture != "x86_64":
            environment["PYTHONPATH"] = str(self.folder / "wheels")
        return environment


def ensure_userland() -> Userland:
    """The cached system, made first where there is none, or none that works. Raises Unavailable."""
    _check_machine()
    parent = cache_dir() / "arm64"
    final = parent / _recipe_digest()
    with _alone(parent):
        userland = Userland(final)
        if final.exists() and not works(userland):
            tqdm.write(f"{final} is damaged: making it again")
            shutil.rmtree(final)
        if not final.exists():
            for leftover in parent.glob(".making-*"):
                shutil.rmtree(leftover)
            making = Path(tempfile.mkdtemp(prefix=".making-", dir=parent))
            try:
                _make(making)
                making.rename(final)
            finally:
                shutil.rmtree(making, ignore_errors=True)
            if not works(userland):
                shutil.rmtree(final)
                raise Unavailable("the emulated aarch64 Python does not start")
    return userland


def works(userland: Userland) -> bool:
    """Whether its Python starts and imports what the runtime needs."""
    cpu = get_cpu(DEFAULT_CPU)
    command = userland.command(cpu, ["-c", PROBE])
    try:
        result = subprocess.run(command, env=userland.environment(cpu), capture_output=True, text=True, check=False)
    except OSError:
        return False
    return result.returncode == 0 and result.stdout.strip() == "aarch64"


def _check_machine() -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise Unavailable(f"emulation is set up for Linux on x86-64, this is {platform.system()} {platform.machine()}")
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Unavailable(f"there is no {tool} here to fetch Debian's packages with")
    if not KEYRING.exists():
        raise Unavailable(f"there is no {KEYRING} to check Debian's packages with (package debian-archive-keyring)")


def _recipe_digest() -> str:
    """Changes with everything that the folder is made from."""
    pinned = [line for line in CONSTRAINTS.read_text().splitlines() if line.partition("==")[0] in WHEELS]
    recipe = json.dumps([SUITE, PYTHON, PACKAGES, WHEELS, pinned])
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time makes or checks it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(folder: Path) -> None:
    with tqdm(total=4, desc="aarch64 system", unit="step", leave=False) as bar:
        bar.set_postfix_str("Debian packages")
        archives = _fetch_packages(folder / "apt")
        bar.update()
        bar.set_postfix_str("unpacking")
        system = folder / "system"
        (system / "usr" / "lib").mkdir(parents=True)
        (system / "lib").symlink_to("usr/lib")  # a package's script would do it
        for archive in archives:
            if archive.name.startswith("qemu-user"):
                _extract_emulators(archive, folder)
            elif not archive.name.endswith("_amd64.deb"):
                _run(["dpkg-deb", "-x", str(archive), str(system)])
        shutil.rmtree(folder / "apt")
        bar.update()
        bar.set_postfix_str("wheels")
        _fetch_wheels(folder / "wheels")
        bar.update(2)


def _fetch_packages(folder: Path) -> list[Path]:
    """Download PACKAGES and all they depend on."""
    for part in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "etc" / "sources.list").write_text(f"deb [signed-by={KEYRING}] {debian_mirror()} {SUITE} main\n")
    settings = folder / "settings"
    settings.write_text(APT_SETTINGS.format(folder=folder))
    environment = {**os.environ, "APT_CONFIG": str(settings), "LC_ALL": "C"}
    _run(["apt-get", "-q", "update"], environment)
    _run(["apt-get", "-q", "install", "--yes", "--download-only", *PACKAGES], environment)
    return sorted((folder / "cache" / "archives").glob("*.deb"))


def debian_mirror(sources: Path = SOURCES) -> str:
    """The first that the system itself uses, of either format of its lists; Unavailable where it names none."""
    files = [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]
    for file in files:
        text = file.read_text(errors="replace") if file.is_file() else ""
        for line in text.splitlines():
            found = re.match(r"(?:deb\s+(?:\[[^]]*\]\s+)?|URIs:\s*)(https?://\S+/debian)/?(?:\s|$)", line)
            if found:
                return found[1]
    raise Unavailable(f"{sources} names no mirror of Debian")


def _extract_emulators(archive: Path, folder: Path) -> None:
    """Two of the forty that the package has."""
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as content,
        tarfile.open(fileobj=content.stdout, mode="r|") as members,
    ):
        for member in members:
            name = Path(member.name).name
            if name in EMULATORS.values() and member.isfile():
                source = members.extractfile(member)
                assert source is not None
                with (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                (folder / name).chmod(0o755)


def _fetch_wheels(folder: Path) -> None:
    platforms = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, GLIBC_MINOR + 1))]
    options = ["--quiet", "--disable-pip-version-check", "--no-compile", "--only-binary=:all:"]
    options += ["--python-version", PYTHON, "--implementation", "cp", "--constraint", str(CONSTRAINTS)]
    options += [f"--platform={name}" for name in platforms]
    _run([sys.executable, "-m", "pip", "install", *options, "--target", str(folder), *WHEELS])


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    try:
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=STEP_SECONDS)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{' '.join(command[:2])} took more than {STEP_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        lines = [line for line in (error.stderr or error.stdout).splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith(("E:", "ERROR"))), lines[-1] if lines else "?")
        raise Unavailable(f"{Path(command[0]).name} {command[1]} failed: {reason[:200]}") from None
