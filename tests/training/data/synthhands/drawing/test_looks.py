from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import UserError
from training.data.synthhands.drawing.canvas import CANVAS_PX, draw_canvas, find_photographs
from training.data.synthhands.drawing.layout import COLUMNS, LOOK_SIZE
from training.data.synthhands.drawing.looks import sample_looks
from training.data.synthhands.drawing.raster import NOTHING
from training.data.synthhands.drawing.skin_texture import skin_texture
from training.data.synthhands.frame import Frame, Studio, make_frame, see, texture_of
from training.data.synthhands.table import V1, V2, Table


def looks_of(count: int, **places: float) -> np.ndarray:
    traits = {name: np.full(count, place) for name, place in places.items()}
    return sample_looks(V2, np.full((count, 2), 64.0), np.full((count, 2), 10.0), traits, np.random.default_rng(0))


def of(looks: np.ndarray, name: str) -> np.ndarray:
    return looks[:, COLUMNS[name]]


def test_looks_vary_within_their_ranges() -> None:
    looks = looks_of(400)
    assert looks.shape == (400, LOOK_SIZE) and np.isfinite(looks).all()
    assert (of(looks, "skin") > 0).all() and (of(looks, "skin") < 1).all() and np.ptp(of(looks, "skin")[:, 0]) > 0.4
    curve = of(looks, "curve")
    assert (np.diff(curve, axis=1) >= -1e-6).all() and np.allclose(curve[:, [0, -1]], [0, 1])
    np.testing.assert_allclose(np.linalg.norm(of(looks, "lights").reshape(-1, 3), axis=1), 1, atol=1e-6)
    assert np.mean(of(looks, "motion").any(axis=1)) == pytest.approx(V2.moving, abs=0.06)
    np.testing.assert_array_equal(looks, looks_of(400))
    for name in ("shapes", "cover"):
        assert not of(looks, name)[:, 2:6].any() or not of(looks, name)[:, 6].any()
    assert of(looks_of(9, covered=0.0), "cover")[:, 2:6].any(axis=1).all()
    assert (of(looks_of(9, adorned=0.0), "ring")[:, 1] >= 0).all() and (of(looks, "ring")[:, 1] < 0).all()
    assert (of(looks_of(9, adorned=0.05), "watch")[:, 0] >= 0).all() and (of(looks, "watch")[:, 0] < 0).all()


def test_skin_differs_and_creases_darken(frames: list[Frame]) -> None:
    texture = skin_texture(frames[0].subject.rig, V2.worn, np.random.default_rng(0))
    assert texture.shape[0] == 2 and np.isfinite(texture).all() and abs(np.median(texture)) < 0.05
    assert all(side.max() > max(0.2, -side.min()) for side in texture)


def sharpness(picture: np.ndarray) -> float:
    return float(np.abs(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(float), cv2.CV_64F)).mean())


def test_backgrounds_are_sharp_or_not_and_vary() -> None:
    sharp, soft = (
        [draw_canvas(V2, is_sharp, (), np.random.default_rng(seed)) for seed in range(24)] for is_sharp in (True, False)
    )
    assert all(picture.shape == (CANVAS_PX, CANVAS_PX, 3) and picture.dtype == np.uint8 for picture in sharp + soft)
    assert np.median(list(map(sharpness, sharp))) > 5 * np.median(list(map(sharpness, soft)))
    assert np.std([picture.mean() for picture in sharp]) > 25


def test_photographs_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pictures"):
        find_photographs(tmp_path)
    cv2.imwrite(str(tmp_path / "one.png"), np.full((90, 700, 3), (10, 200, 30), np.uint8))
    found = find_photographs(tmp_path)
    pictures = [draw_canvas(V2, True, found, np.random.default_rng(seed)) for seed in range(30)]
    assert np.mean([(picture == (30, 200, 10)).all() for picture in pictures]) == pytest.approx(V2.photographs, abs=0.2)


def test_a_camera_keeps_the_picture_in_place_and_is_black_beyond_it(studio: Studio) -> None:
    linear = np.zeros((1, 64, 64, 3), np.float32)
    cv2.circle(linear[0], (32, 32), 14, (0.5, 0.5, 0.5), -1)
    rows, columns = np.indices((64, 64))
    for look in looks_of(60):
        look[COLUMNS["noise"]] = 0
        shown = studio.renderer.develop(linear, look[None])[0].astype(float).sum(axis=2)
        assert abs((rows * shown).sum() / shown.sum() - 32) < 0.6  # blur and motion do not shift
        assert abs((columns * shown).sum() / shown.sum() - 32) < 0.6
    look[COLUMNS["edge"]] = 1, 0, -32, 0, 1, 0, 64, 64
    shown = studio.renderer.develop(linear + 0.5, look[None])[0]
    assert (shown[:, :32] == 0).all() and (shown[:, 32:] > 0).all()


@pytest.mark.parametrize("table", [V2, V1], ids=["V2", "V1"])
def test_pixels_of_a_hand_are_around_its_joints(studio: Studio, table: Table) -> None:
    studio = replace(studio, table=table)
    made = [make_frame(studio, 7, number) for number in range(12)]
    frame = next(frame for frame in made if frame.scene.kind == "one hand")
    hand, canvas = frame.scene.hands[0], np.zeros((1, CANVAS_PX, CANVAS_PX, 3), np.uint8)
    for view in frame.views:
        camera, seen = view, see(studio, frame.scene, view)
        looks = sample_looks(table, np.array([camera.size_px]), np.ones((1, 2)), {}, np.random.default_rng(0))
        keys = studio.renderer.draw(seen, looks, texture_of(studio, frame.subject), canvas, camera.size_px)[2][
            0, ::2, ::2
        ]
        faces = np.where(keys == NOTHING, 0, keys & 0xFFFFFFFF)
        parts = np.where(keys == NOTHING, 0, studio.renderer.mesh.parts[faces])
        rows, columns = np.nonzero(parts == 1 + hand.side)
        inside = np.clip(camera.project(hand.vertices), 0, camera.size_px)
        low, high = inside.min(axis=0) - 3, inside.max(axis=0) + 3
        assert columns.min() >= low[0] and columns.max() <= high[0]
        assert rows.min() >= low[1] and rows.max() <= high[1]
        joints = camera.project(hand.joints)
        shown = ((joints >= 1) & (joints < np.array(camera.size_px) - 1)).all(axis=1)
        near = [parts[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].any() for x, y in joints[shown]]
        assert np.mean(near) > 0.6
