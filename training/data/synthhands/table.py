"""What a version of the set shows: every share and range in one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Range = tuple[float, float]


@dataclass(frozen=True)
class Table:
    """Shares are 0..1 of the pictures, where nothing else is said; ranges are uniform from the first to the second."""

    version: int
    revision: int = 2  # of the pictures, 0 the first: another one where the same seeds make others
    # Hands
    empty: float = 0.08  # no hand at all
    single: float = 0.33  # one hand
    apart: float = 0.33  # of pairs: they do not touch
    apart_m: Range = (0.02, 0.55)  # up to three hand boxes
    signs: float = 0.50  # of hands: every finger on its own, as in counting and spelling
    free: float = 0.50  # of hands that touch nothing: in any direction; fewer are kept, as arms stand in cameras' way
    fingertips: float = 0.22  # of touching pairs: fingers pointing at each other
    sleeved: float = 0.45
    ringed: float = 0.05
    watched: float = 0.05
    holding: float = 0.08  # of hands: a box, a stick or a ball
    covered: float = 0.12  # something is in front
    worn: Range = (0.8, 2.6)  # how deep creases of the skin are
    palm: Range = (0.02, 0.24)  # how much lighter palms of light skin are than backs
    nails: Range = (0.35, 1.0)  # how much nails differ from skin
    painted: float = 0.07  # of the pictures: nails in a colour of their own
    # Cameras: where they stand (what is left stands in front of the person), how far, and how they are held
    own_view: float = 0.25  # from the head of the person whose hands they are
    above: float = 0.12
    anywhere: float = 0.13
    turned: float = 0.25  # by up to 180 degrees
    near: float = 0.50  # as phones and webcams are
    near_m: Range = (0.40, 0.70)
    far_m: Range = (0.8, 1.8)
    near_focal: Range = (0.65, 1.25)  # of the picture's longer side
    far_focal: Range = (1.0, 2.7)
    fill: Range = (0.22, 0.66)  # of the picture's shorter side: the hands, where the lens allows it
    cut: float = 0.15  # hands that the picture's edge cuts
    loose: float = 0.15  # boxes that are too large, too small or beside
    # Behind the hands
    sharp: float = 0.67  # backgrounds in focus
    busy: float = 0.80  # backgrounds of more than walls and soft texture
    bodies: float = 0.30  # shapes of about the person's skin
    strangers: float = 0.05  # other people's hands
    photographs: float = 0.65  # the user's, where they are given
    # Light and camera
    lamps: Range = (0.40, 1.15)  # of all lamps together
    ambient: Range = (0.10, 0.55)
    warmth: float = 0.12
    gain: Range = (0.6, 1.5)
    saturation: Range = (0.5, 1.45)
    gamma: Range = (1.8, 2.5)
    contrast: Range = (0.0, 0.5)
    noisy: float = 0.25
    noise: Range = (0.012, 0.045)
    moving: float = 0.15
    motion_px: Range = (2.0, 10.0)
    blurred: float = 0.45
    blur_px: Range = (0.35, 1.15)
    coarse: float = 0.33  # pictures of fewer pixels, enlarged
    resolution: Range = (0.35, 0.9)
    gray: float = 0.06
    jpeg: tuple[int, int] = (35, 96)

    @property
    def name(self) -> str:
        """As figures and folders say it: `v1`, `v2.2`."""
        return f"v{self.version}.{self.revision}" if self.revision else f"v{self.version}"


V2 = Table(version=2)
# Shares of what the set did not show at first.
_NOT_SHOWN: dict[str, Any] = dict.fromkeys(
    (
        *("empty", "apart", "signs", "free", "fingertips", "ringed", "watched", "holding", "covered", "painted"),
        *("own_view", "above", "turned", "near", "cut", "loose", "sharp", "bodies", "strangers", "coarse"),
    ),
    0.0,
)
# Two touching hands or one, from the front, in front of something blurred: what the set showed first.
V1 = Table(
    version=1,
    revision=0,
    **_NOT_SHOWN,
    worn=(0.8, 1.7),
    palm=(0.08, 0.08),
    nails=(0.55, 0.55),
    anywhere=0.05,
    far_m=(1.30, 1.60),
    far_focal=(2.34, 2.64),
    fill=(0.99, 0.99),
    busy=0.35,
    lamps=(0.65, 1.0),
    ambient=(0.14, 0.45),
    warmth=0.07,
    gain=(0.75, 1.35),
    saturation=(1.0, 1.0),
    gamma=(2.0, 2.4),
    contrast=(0.0, 0.35),
    noisy=0.2,
    noise=(0.012, 0.035),
    moving=0.12,
    motion_px=(2.0, 8.0),
    blurred=0.4,
    blur_px=(0.35, 0.9),
    jpeg=(80, 95),
)
TABLES = {"synthetic": V2, "synthetic-v1": V1}

# What a picture is an example of: the first that it shows.
CATEGORIES = (
    *("no hand", "cut by the edge", "holding", "ring or watch", "others' hands", "own view", "from above"),
    *("from anywhere", "turned", "hands apart", "one hand", "hands touching"),
)
