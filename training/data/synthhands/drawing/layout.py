"""Where each number of a picture's look lies in its row of `looks`: written by looks, read by the kernels."""

from __future__ import annotations

from collections import namedtuple
from itertools import accumulate
from typing import Any

import numpy as np

from training.data.synthhands.arrays import Float32s

SHAPES, SHAPE_SIZE = 3, 12  # skin-coloured shapes behind the hands: centre, matrix, softness, colour, shading
CURVE = 256  # steps of the tone curve

FIELDS = {
    "size": 2,  # width and height of what is drawn, px; the rest of the array is left alone
    "lights": 9,  # unit, towards the light, camera axes; the first one casts the shadow
    "colours": 9,
    "ambient": 3,
    "gloss": 1,  # exponent-like sharpness of highlights
    "specular": 1,
    "skin": 3,  # linear albedo
    "darkness": 1,  # 0 light .. 1 dark
    "redness": 1,
    "palm": 3,  # how much lighter the palm is
    "nail": 3,
    "nail_edge": 3,  # how much of the nail's colour shows, how dark the fold around it is, how much it shines
    "texture": 1,  # which skin texture
    "sleeve": 3,
    "sleeve_from": 2,  # m along each arm, right and left; beyond its end for bare arms
    "stripes": 2,  # of sleeves and things: strength, and radians per metre
    "ring": 4,  # side, finger (-1: none), place along the bone and half width, in bone lengths
    "watch": 3,  # side (-1: none), place along the arm and half width, m
    "metal": 3,
    "strap": 3,
    "thing": 3,  # held
    "canvas": 1,  # which background
    "canvas_at": 6,  # drawn pixels -> canvas pixels
    "canvas_gain": 3,
    "shapes": SHAPES * SHAPE_SIZE,
    "cover": 8,  # something in front: centre, matrix, whether it is round, how far away on the canvas; matrix 0: none
    "motion": 2,  # px travelled while the shutter was open
    "blur": 3,  # weights of the middle pixel, its neighbours and theirs
    "saturation": 1,
    "gains": 3,  # white balance and exposure
    "noise": 2,  # read and shot noise, of white
    "noise_at": 2,
    "gray": 1,
    "shown_gain": 3,  # what software did afterwards
    "shown_offset": 1,
    "edge": 8,  # drawn pixels -> pixels of the picture that the crop is cut from, and its size; black outside
    "curve": CURVE,  # square root of the light -> level shown
}

_ENDS = list(accumulate(FIELDS.values()))
LOOK_SIZE = _ENDS[-1]
COLUMNS = {name: slice(end - FIELDS[name], end) for name, end in zip(FIELDS, _ENDS, strict=True)}
# Where each field begins, as kernels take it: numbers that numba knows when it compiles.
AT: Any = namedtuple("AT", FIELDS)(**{name: columns.start for name, columns in COLUMNS.items()})


def put(looks: Float32s, name: str, values: Any) -> None:
    """Write a field of looks (B, LOOK_SIZE): values of B pictures, or the same for all."""
    looks[:, COLUMNS[name]] = np.reshape(values, (-1, FIELDS[name]))
