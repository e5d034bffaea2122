"""End to end on the tiny model."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import runtime
from runtime import Hands, UserError, load
from runtime.finder.finder import FoundBoxes
from runtime.hand.hand_model import EMBEDDED_MODEL, load_hand_models
from runtime.image.crop import BOX_SCALE, box_of_image
from runtime.runner import Runner
from tests.fixtures.colour_network import INPUT_PX, ColourNetwork, Stage

MakeModel = Callable[..., Path]


@pytest.fixture(scope="module")
def runner(tiny_model: Path) -> Runner:
    return load(tiny_model, threads=1)


def look(runner: Runner, rgb: np.ndarray) -> Hands:
    """One look at the whole picture."""
    return runner(rgb, box_of_image(rgb.shape[1], rgb.shape[0]))


def gray(level: int, shape: tuple[int, int] = (300, 400)) -> np.ndarray:
    return np.full((*shape, 3), level, np.uint8)


def test_hands_of_an_image(runner: Runner) -> None:
    hands = runner(gray(0), box=[180 - 100 / BOX_SCALE, 50, 200 / BOX_SCALE, 120])  # a square of 200 px
    assert isinstance(hands, Hands)
    assert hands.right.side == "right"
    assert_allclose(hands.right.camera, [520, 80 + 0.30 * 200, 10 + 0.78 * 200], rtol=1e-5)
    assert_allclose(hands.left.joints_image[0], [80 + 0.70 * 200, 10 + 0.78 * 200], rtol=1e-5)
    assert_allclose(hands.relative_translation, [0.15, 0.01, -0.03])
    assert hands.present == (hands.right, hands.left)
    # Palms to the camera, fingers up, thumbs inwards.
    assert (hands.right.joints[[8, 12, 16, 20], 1] < -0.08).all()
    assert hands.right.joints[4, 0] > 0 > hands.left.joints[4, 0]


@pytest.mark.parametrize(
    ("right", "left", "looks"),
    [
        ((300, 120), (330, 110), 1),
        ((80, 120), (560, 110), 3),  # apart, the right hand in the left part
        ((560, 120), (80, 110), 3),
        ((500, 100), None, 1),
        (None, (100, 100), 1),
        (None, None, 0),
    ],
)
def test_hands_are_found_without_a_box(right: tuple[int, int] | None, left: tuple[int, int] | None, looks: int) -> None:
    """One look shows both hands; one more for each where they are apart; none where there are none."""
    stage = Stage((640, 240))
    truth = stage.hands(right, left)
    hands = stage.runner(stage.picture(truth))
    assert (stage.finder.runs, stage.network.runs) == (1, looks)
    for real, seen in ((truth.right, hands.right), (truth.left, hands.left)):
        assert seen.present == real.present
        if real.present:
            assert_allclose(seen.joints_image, real.joints_image, atol=12)
    assert "find" in hands.stages_ms
    assert hands.together == (looks < 2)
    facts = json.loads(json.dumps(hands.to_json_dict(), allow_nan=False))
    assert facts["together"] == (hands.together if right and left else None)
    assert (facts["relative_translation_mm"] is None) == (looks != 1 or right is None or left is None)
    if looks == 3:
        assert list(hands.stages_ms) == ["find", "preprocess", "inference", "postprocess"]
        apart_m = (truth.left.joints_image[0] - truth.right.joints_image[0]) / 330
        assert_allclose(hands.relative_translation, [*apart_m, 0], atol=0.06)


def test_two_hands_that_look_alike_are_one() -> None:
    """Where both crops show a right hand, there is no left one."""
    stage = Stage((640, 240))
    picture = stage.picture(stage.hands((80, 120), None))
    picture[:, 320:] = picture[:, :320]
    boxes = np.array([[30.0, 70, 100, 100], [350, 70, 100, 100]])
    found = FoundBoxes(boxes, np.ones(2, np.float32))
    stage.finder.find_hands = lambda rgb, far: found  # type: ignore[method-assign, assignment]
    hands = stage.runner(picture)
    assert stage.network.runs == 3 and hands.right.present and not hands.left.present


def test_the_finder_is_opened_once_and_only_where_it_is_wanted() -> None:
    opened = []
    network = ColourNetwork()
    runner = Runner(network, network.models, lambda: opened.append(1) or Stage().finder)  # type: ignore[func-returns-value]
    runner(gray(0), [0, 0, 100, 100])
    assert not opened
    assert not runner(gray(0)).present and not runner(gray(0)).present
    assert len(opened) == 1


def test_the_network_gets_the_crops_pixels_as_they_are() -> None:
    """RGB, scaled to 0..1."""
    network, seen = ColourNetwork(), []
    run = network.run
    network.run = lambda image: (seen.append(image.copy()), run(image))[1]  # type: ignore[method-assign, func-returns-value]
    crop = np.random.default_rng(0).integers(0, 256, (INPUT_PX, INPUT_PX, 3), np.uint8)
    with Runner(network, network.models) as runner:
        runner.run_crop(crop)
        look(runner, crop)
    with pytest.raises(ValueError, match="closed"):
        look(runner, crop)
    assert len(seen) == 2
    for image in seen:
        assert image.dtype == np.float32
        assert_allclose(image[0].transpose(1, 2, 0), crop / 255, atol=1e-7)


def test_bad_images(runner: Runner) -> None:
    with pytest.raises(UserError, match=r"a crop is \(64, 64, 3\) uint8"):
        runner.run_crop(np.zeros((64, 63, 3), np.uint8))
    for image, reason in ((np.zeros((100, 100, 3)), "uint8"), (np.zeros((1, 1, 3), np.uint8), "too few")):
        with pytest.raises(UserError, match=reason):
            runner(image)


def test_hand_models_are_not_mixed(make_model: MakeModel, tmp_path: Path, tiny_model: Path) -> None:
    other = make_model(passport={"hand_model": {"name": "MANO", "sha256": "0" * 64}})
    with pytest.raises(UserError, match=r"trained on hand model 'MANO', not '.*CC0.*'.*--hand-model"):
        load(other)
    name = load_hand_models()[0].name
    newer = make_model(passport={"hand_model": {"name": name, "sha256": "0" * 64}})
    with pytest.raises(UserError, match=f"another file of hand model '{re.escape(name)}'"):
        load(newer)
    with pytest.raises(UserError, match="hand model"):
        load(tiny_model, hand_model=tmp_path / "none.npz")
    assert load(tiny_model, hand_model=EMBEDDED_MODEL).input_px == 64


def test_a_pickled_runner_is_the_same(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_model()
    monkeypatch.chdir(path.parent)
    runner = load(path.name, threads=1)
    monkeypatch.chdir("/")
    copy = pickle.loads(pickle.dumps(runner))
    assert_array_equal(look(copy, gray(7)).right.joints_image, look(runner, gray(7)).right.joints_image)
    with pytest.raises(TypeError, match="`load` made"):
        pickle.dumps(Runner(ColourNetwork(), runner.models))


def test_threads_share_a_runner(runner: Runner) -> None:
    levels = list(range(0, 256, 5))
    expected = [float(look(runner, gray(level, (64, 64))).right.camera[1]) for level in levels]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda level: float(look(runner, gray(level, (64, 64))).right.camera[1]), levels))
    assert found == expected


def test_json(runner: Runner) -> None:
    facts = json.loads(json.dumps(look(runner, gray(0)).to_json_dict(), allow_nan=False))
    right = facts["hands"]["right"]
    assert right["present"] is True and abs(right["joints_mm"][12][1]) > 80
    assert np.shape(right["joints_mm"]) == (21, 3) and np.shape(right["joints_image_px"]) == (21, 2)
    assert right["camera"] == {"scale_px_per_m": 1040.0, "x_px": 120.0, "y_px": 262.0}
    assert facts["relative_translation_mm"] == [150.0, 10.0, -30.0]
    assert list(facts["stages_ms"]) == ["preprocess", "inference", "postprocess"]


def test_the_package_exports_what_it_says() -> None:
    assert [getattr(runtime, name).__name__ for name in dir(runtime)] == runtime.__all__
    assert not hasattr(runtime, "nothing_like_it")
