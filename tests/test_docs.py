"""Every command and snippet of the README and of the pages that go on from it runs, on small data."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.tools.figures import MARKS
from tests.fixtures.mano_pickles import write_mano_pickles
from tests.fixtures.picture_sets import make_coco, make_hint
from training.data.synthhands import ensure_synthetic

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# In the order in which a reader meets them. Pages of devices have tests of their own.
PAGES = (
    README,
    *((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("data", "compressing", "benchmarks")),
)
TRAINING = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
SYNTHETIC = TRAINING[TRAINING.index("## Without InterHand2.6M") :]  # the rest wants days: its recipes have tests
LINKED = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
WORDS = 1100
IMAGES = 48
SMALL_EXPORT = f"--calib-samples {IMAGES} --test-images {IMAGES} --max-drop-mm 5"
PRUNE_LITTLE = "--finetune-steps 1 --batch 4 --images 48"
PRUNED_EXPORT = f"--calib-samples {IMAGES} --test-images {IMAGES} --max-drop-mm 50 --output-dir exports"
SMALL_TRAINING = f"--images {IMAGES} --minutes 0.02"
WRITTEN = (
    "example_overlay.png",
    "clip_overlay.mp4",
    "er-s_224_int8.json",
    "er-xs_224_int8.onnx",
    "report.json",
    "sheet.png",
    "contact_sheet_001.jpg",
)
PROGRAMS = {"python": [sys.executable], "torchrun": [sys.executable, "-m", "torch.distributed.run"]}
# What makes a command of the README small. A command that is not here fails the test: add it.
SMALLER = {
    "make export": None,  # the make targets run in CI and by hand: here only that they exist
    "make test": None,
    "python compress/export.py --variant er-s --int8 --overwrite": SMALL_EXPORT + " --output-dir exports",
    "python compress/export.py --list": "",
    "python runtime/demo.py docs/example.jpg": "",
    "python runtime/demo.py clip.mp4": "",
    "python runtime/demo.py PHOTOS": "",
    "python -m training.hands.convert_mano": "",
    "python training/train.py --variant er-xs --data DIR": SMALL_TRAINING,
    "python training/evaluate.py --variant er-xs --checkpoint": "",
    "python compress/export.py --variant er-xs --int8 --checkpoint": SMALL_EXPORT,
    "python -m compress.sensitivity --variant er-xs": None,  # minutes: `make plan` runs these two
    "python compress/export.py --variant er-xs --int8 --plan": None,
    "python -m compress.prune --variant er-xs --ratio 0.3 --finetune-steps 600": PRUNE_LITTLE,
    "python compress/export.py --variant er-xs --int8 --checkpoint runs/er-xs-p30": PRUNED_EXPORT,
    "python compress/export.py --variant er-xs --int8 --target": SMALL_EXPORT + " --output-dir exports",
    "python -m compress.onnx.lint exports/er-xs_224_int8-trt.onnx": "",
    "python -m targets --list": "",
    "python compress/export.py --variant er-nano --int8 --format": None,  # tests/compress/test_formats.py runs this
    "python compress/export.py --variant er-xs --int8 --format": None,  # and these
    "python compress/export.py --variant er-xs --format coreml": None,
    "python compress/export.py --variant er-xs --int8 --overwrite": SMALL_EXPORT + " --output-dir exports",
    "python benchmarks/run.py": "--images 8 --rounds 1 --seconds 0.02 --overwrite",
    "python benchmarks/report.py": "",
    "make test-arm64": None,
    "python -m training.data.synthhands --split train": "",
    "python -m training.data.contact_sheet": "",
    "python training/train.py --variant er-xs --minutes": SMALL_TRAINING + " --run-dir run",
    "torchrun --nproc-per-node 2 training/train.py": SMALL_TRAINING,
    "python training/distill.py --recipe training/recipes/er-xs.toml --dry-run": "",
    "python training/distill.py --recipe training/recipes/er-nano.toml --minutes": SMALL_TRAINING,
    "python training/evaluate.py --variant er-xs": f"--images {IMAGES}",
}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.S)


def commands() -> list[str]:
    """Those of code blocks, and of the README's table of devices."""
    found = [
        re.findall(r"```sh\n(.*?)```|^\| [^|]+ \| `(python [^`]+)` \|", page, re.S | re.M)
        for page in (*PAGES, SYNTHETIC)
    ]
    lines = [line for page in found for block, cell in page for line in (block or cell).splitlines()]
    return [command for line in lines if (command := line.split("  #")[0].strip())]


def known(command: str) -> str:
    matches = [key for key in SMALLER if command.startswith(key)]
    assert matches, f"this command is not tested: {command}"
    return max(matches, key=len)


def test_the_first_screen_has_the_two_commands() -> None:
    head = "\n".join(README.splitlines()[:40])
    assert "make export" in head and "make test" in head


def test_the_readme_is_short() -> None:
    assert len(MARKS.sub("", README).split()) <= WORDS


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Files are there, and headings that a link names."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8")):
        there = page.parent / target if target else page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, (
                anchor
            )


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    targets = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)[0].split()
    assert set(re.findall(r"(?:`|^)make ([a-z][\w-]*)", page.read_text(encoding="utf-8"), re.M)) <= set(targets)


def make_official_tree(root: Path) -> None:
    """InterHand2.6M's layout, with nothing that tells it from a copy of the real set."""
    for split in ("train", "val", "test"):
        ensure_synthetic(split, IMAGES, root=root, workers=2, progress=False)
    for extra in [path for path in root.iterdir() if path.name not in ("annotations", "images")]:
        shutil.rmtree(extra) if extra.is_dir() else extra.unlink()


def write_clip(path: Path) -> None:
    picture = cv2.imread(str(ROOT / "docs" / "example.jpg"))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 30, picture.shape[1::-1])
    for shift in range(8):
        writer.write(np.roll(picture, shift, axis=1))
    writer.release()


@pytest.mark.slow
def test_all_commands_in_their_order(tmp_path: Path) -> None:
    """In a folder that looks like a checkout, with a cache of its own."""
    for name in ("benchmarks", "compress", "runtime", "targets", "training", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {**os.environ, "ER_EDGE_CACHE": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    make_official_tree(tmp_path / "DIR")
    for part in ("train", "val"):
        make_coco(tmp_path / "COCO", part)
    make_hint(tmp_path / "HINT")
    write_mano_pickles(tmp_path)
    write_clip(tmp_path / "clip.mp4")
    (tmp_path / "PHOTOS").mkdir()
    shutil.copy(ROOT / "docs" / "example.jpg", tmp_path / "PHOTOS")
    for command in commands():
        extra = SMALLER[known(command)]
        if extra is None:
            continue
        words = shlex.split(command) + shlex.split(extra)
        words = [*PROGRAMS[words[0]], *words[1:]]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr[-3000:]}"
    for name in WRITTEN:
        assert (tmp_path / "exports" / name).exists(), name
    run_snippets(tmp_path, environment)


def run_snippets(folder: Path, environment: dict[str, str]) -> None:
    prepare = "import cv2\nrgb = cv2.cvtColor(cv2.imread('docs/example.jpg'), cv2.COLOR_BGR2RGB)\n"
    for snippet in blocks(README, "python"):
        done = subprocess.run(
            [sys.executable, "-c", prepare + snippet], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0 and done.stdout, done.stderr
