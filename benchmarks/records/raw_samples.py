"""Raw samples beside the records: `records.npz` of `records.jsonl`, arrays by `ARTIFACT|WHAT`.

Of each artefact whose accuracy was measured, over the data set's images in their order:
    joint_mm (N, 2, 21) float32     error of each joint by the protocol; nan where it does not count
    example_{best,median,worst} (K,) uint8   a JPEG: the crop, and the same with what was found drawn over it
    example_error_mm (3,) float32   mean joint error of these three images
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UserError
from runtime.files import atomic_path

EXAMPLES = ("best", "median", "worst")
MAX_ARRAY_BYTES = 512 * 2**20

Arrays = dict[str, NDArray[Any]]


def samples_path(records: Path) -> Path:
    """Return the raw samples' file of a file of records."""
    return records.with_suffix(".npz")


def artifact_key(name: str, what: str) -> str:
    """Return the key of an artefact's array."""
    return f"{name}|{what}"


def write_samples(path: Path, arrays: Arrays) -> None:
    """Replace or create the file, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_samples(path: Path) -> Arrays:
    """Return all arrays of a file, which is not trusted; none where there is no file."""
    if not path.is_file():
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_ARRAY_BYTES:
                raise UserError(f"{path} unpacks to too much for raw samples")
        with np.load(path, allow_pickle=False) as content:
            return dict(content)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise UserError(f"cannot read the raw samples {path}: {error}; measure again, or move the file away") from None
