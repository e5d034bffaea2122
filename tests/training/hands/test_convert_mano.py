"""MANO's pickles: the official layout is read, everything else is refused and never run."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.errors import UserError
from runtime.hand.hand_model import load_hand_models, skin
from tests.fixtures import mano_pickles as craft
from training.hands.convert_mano import TIPS, convert, main
from training.hands.mano_pickle import MAX_FILE_BYTES, SHAPES, read_mano_pickle


@pytest.fixture(scope="module")
def pickles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return craft.write_mano_pickles(tmp_path_factory.mktemp("mano"))


def test_the_converted_hands_are_the_ones_that_went_in(
    pickles: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mano.npz"
    assert main([*map(str, pickles), "-o", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "left hand's shapedirs" in shown and "licence" in shown
    rng = np.random.default_rng(0)
    for hand, original in zip(load_hand_models(output), load_hand_models(), strict=True):
        assert hand.name == "MANO" and hand.side == original.side
        for key in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "hands_mean", "faces", "parents"):
            np.testing.assert_allclose(getattr(hand, key), getattr(original, key), atol=1e-7, err_msg=key)
        assert tuple(hand.tips) == TIPS
        rotations = np.linalg.qr(rng.normal(size=(16, 3, 3)))[0]
        shape = rng.normal(size=10)
        np.testing.assert_allclose(skin(hand, rotations, shape)[0], skin(original, rotations, shape)[0], atol=1e-6)


def test_a_left_file_that_is_right_already_is_left_alone(tmp_path: Path) -> None:
    right, left = craft.write_mano_pickles(tmp_path)
    hand = load_hand_models()[1]
    left.write_bytes(craft.pickled({**craft.entries(hand), "shapedirs": craft.array(hand.shapedirs.astype("<f8"))}))
    arrays, made = convert(right, left)
    assert made == []
    np.testing.assert_allclose(arrays["left_shapedirs"], hand.shapedirs, atol=1e-7)


def test_memo_column_major_and_big_endian(pickles: tuple[Path, Path], tmp_path: Path) -> None:
    """What Python 2 may write: shared objects by memo, and numpy its own order of bytes and axes."""
    template = load_hand_models()[0].v_template.astype(">f8")
    made = craft.array(template, data=craft.text(template.tobytes(order="F"))).replace(b"U\x01<", b"U\x01>", 1)
    made = made.replace(b"\x89", b"\x88", 1)  # fortran: True
    path = tmp_path / "right.pkl"
    path.write_bytes(official(hands_components=made + b"q\xfe", v_template=b"h\xfe"))
    np.testing.assert_array_equal(read_mano_pickle(path)["v_template"], template)


def test_what_is_there_stays(pickles: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "mano.npz"
    output.write_text("mine")
    right, left = map(str, pickles)
    for arguments, message in (
        ([right, left, "-o", str(output)], "exists: give --overwrite"),
        ([right, left, "-o", str(tmp_path / "mano.pkl")], r"ends in \.npz"),
        ([right, left, "-o", str(tmp_path / f"{'x' * 300}.npz")], "cannot write"),
        ([right, right, "-o", str(output), "--overwrite"], "not the left hand"),
        ([left, right, "-o", str(output), "--overwrite"], "not the right hand"),
        ([str(tmp_path), left, "-o", str(output), "--overwrite"], "is a folder"),
        ([str(tmp_path / "none.pkl"), left, "-o", str(output), "--overwrite"], "cannot read"),
    ):
        with pytest.raises(UserError, match=message):
            main(arguments)
    assert output.read_text() == "mine"
    assert main([right, left, "-o", str(output), "--overwrite"]) == 0


class Reduced:
    """Pickles to a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


CANARY = "er_edge_mano_canary"


def canary_call(value: str) -> str:
    return f"__import__('os').environ.__setitem__('{CANARY}', '{value}')"


def official(**changes: bytes) -> bytes:
    return craft.pickled({**craft.entries(load_hand_models()[0]), **changes})


def memo_bomb() -> bytes:
    """Each list holds the one before ten times: small on disk, endless if walked through."""
    body = b"]q\x00"
    for level in range(1, 30):
        body += b"](" + b"".join(b"h" + bytes([level - 1]) for _ in range(10)) + b"e" + b"q" + bytes([level])
    return craft.START + body + craft.END


def key_bomb() -> bytes:
    """A tuple of two of itself, sixty times over, as a key: who hashes it never ends."""
    return craft.START + b"})q\x00" + b"h\x00\x86q\x00" * 60 + b"Ns" + craft.END


def wrapping_starts() -> bytes:
    """Column starts that fall, while their 64-bit differences wrap round to positive."""
    starts = np.zeros(779, "<i8")
    starts[1], starts[2:-1], starts[-1] = 2**63 - 1, -2, 16
    return craft.sparse(np.eye(16, 778), indptr=craft.array(starts))


ZEROS = np.zeros(4)
WEIGHTS = craft.array(load_hand_models()[0].weights.astype("<f8"))
TOUCH = craft.text(f"touch {CANARY}")
REFUSED = "is not a MANO file|is damaged|is empty"
# Content of a file, and what the line says of it.
HOSTILE: dict[str, tuple[bytes, str]] = {
    "os.system": (pickle.dumps(Reduced(os.system, f"touch {CANARY}"), 2), "it names 'posix system'"),
    "eval": (pickle.dumps(Reduced(eval, canary_call("eval")), 2), "it names"),
    "hostile entry of a good table": (
        official(bs_style=craft.call(craft.name("posix", "system"), TOUCH)),
        "it names 'posix system'",
    ),
    "STACK_GLOBAL": (b"\x80\x04\x8c\x02os\x8c\x06system\x93" + craft.text(CANARY) + b"\x85R.", "it lacks 140"),
    "persistent id": (b"Pevil\n.", "it lacks 80"),
    "memo slot 4 billion": (craft.START + b"Nr\xff\xff\xff\xff" + craft.END, REFUSED),
    "100,000 levels": (craft.START + b")" + b"\x85" * 100_000 + craft.END, REFUSED),
    "memo bomb": (memo_bomb(), REFUSED),
    "a tuple bomb as key": (key_bomb(), "a key of it is no text"),
    "a key of two lines": (craft.pickled({"two\nlines": craft.instance("chumpy.ch", "Ch", {})}), "it lacks"),
    "a terabyte is announced": (official(v_template=craft.array(ZEROS, shape=(10**6, 10**6))), "not that of its data"),
    "objects in an array": (
        official(v_template=craft.array(ZEROS, code="O8", data=b"]")),
        "something else than numbers",
    ),
    "sparse matrix whose starts wrap": (official(J_regressor=wrapping_starts()), "contradicts itself"),
    "a type with fields": (official(weights=WEIGHTS.replace(b"NNN", b"N))", 1)), "something else than numbers"),
    "numbers too large": (official(posedirs=craft.array(np.full((778, 3, 135), 1e300))), "not finite"),
    "weights of another sum": (official(weights=craft.array(np.full((778, 16), 0.5))), "do not sum to 1"),
    "millimetres": (
        official(v_template=craft.array(1000 * load_hand_models()[0].v_template.astype("<f8"))),
        "which is no hand",
    ),
    "a face without its vertex": (official(f=craft.array(np.full((1538, 3), 778, "<u4"))), "f names vertices"),
    "too large a file": (craft.START + bytes(MAX_FILE_BYTES), "at most 16"),
    "a missing key": (
        craft.pickled({k: v for k, v in craft.entries(load_hand_models()[0]).items() if k != "posedirs"}),
        "it lacks 'posedirs'",
    ),
    "float faces": (official(f=craft.array(np.zeros((1538, 3)))), "another shape, type"),
    "another skeleton": (official(kintree_table=craft.array(np.zeros((2, 16), "<i8"))), "another skeleton"),
    "text": (b"not a pickle at all", REFUSED),
    "cut at 70%": (official()[: int(0.7 * len(official()))], "cut short"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_and_broken_files_are_refused(
    case: str, pickles: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, reason = HOSTILE[case]
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(content)
    began = time.monotonic()
    with pytest.raises(UserError, match=reason) as caught:
        main([str(path), str(pickles[1]), "-o", str(tmp_path / "mano.npz")])
    assert time.monotonic() - began < 5
    assert str(path) in str(caught.value) and str(caught.value).isprintable()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["MANO_RIGHT.pkl"], "something was run or left behind"
    assert CANARY not in os.environ


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6), st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_ends_in_a_result_or_one_line(
    pickles: tuple[Path, Path], tmp_path: Path, changes: list[tuple[int, int]], data: st.DataObject
) -> None:
    content = bytearray(pickles[0].read_bytes())
    structure = list(range(3000)) + list(range(len(content) - 3000, len(content)))
    for position, value in changes:
        content[structure[position % len(structure)]] = value
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(1, len(content))) :]
    path = tmp_path / "damaged.pkl"
    path.write_bytes(bytes(content))
    try:
        raw = read_mano_pickle(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert {key: values.shape for key, values in raw.items()} == SHAPES
        assert all(np.isfinite(values).all() for values in raw.values())
