from __future__ import annotations

import pytest

from training.data.synthhands.frame import Frame, Studio, build_studio, make_frame


@pytest.fixture(scope="session")
def studio() -> Studio:
    return build_studio()


@pytest.fixture(scope="session")
def frames(studio: Studio) -> list[Frame]:
    """A modest sample, of several captures and every hand type; nothing is rendered."""
    return [make_frame(studio, capture, frame) for capture in range(4) for frame in range(capture, 48, 4)]
