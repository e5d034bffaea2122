"""Core ML packages, written by coremltools.

The library is imported where it is first needed: it is optional, and takes seconds. It logs warnings and draws bars
about parts that only exist on a Mac.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from runtime.errors import UserError


def coremltools() -> Any:
    """Return the library; a UserError where it is not installed."""
    with quiet():
        try:
            import coremltools
        except ImportError as error:
            raise UserError(f"coremltools cannot be imported ({error}): pip install -e '.[coreml]'") from None
    return coremltools


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let coremltools log errors alone and nothing reach stderr."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
