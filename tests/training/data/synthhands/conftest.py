from __future__ import annotations

import pytest

from training.data.synthhands.frame import Frame, Studio, build_studio, make_frame
from training.data.synthhands.table import V2


@pytest.fixture(scope="session")
def studio() -> Studio:
    return build_studio(V2)


@pytest.fixture(scope="session")
def frames(studio: Studio) -> list[Frame]:
    """A modest sample, of several captures and every kind of scene; nothing is rendered."""
    return [make_frame(studio, number // 12, number) for number in range(48)]
