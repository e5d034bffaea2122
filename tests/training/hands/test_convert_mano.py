"""MANO's pickles: the official layout is read, everything else is refused and never run."""

from __future__ import annotations

import builtins
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
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


def test_without_chumpy(pickles: tuple[Path, Path]) -> None:
    assert "chumpy" not in sys.modules
    raw = read_mano_pickle(pickles[0])
    assert {key: values.shape for key, values in raw.items()} == SHAPES
    assert raw["kintree_table"][0, 0] == 4294967295 and raw["f"].dtype == np.int64


class Node:
    """Takes any state."""


def test_the_made_files_are_what_pickle_numpy_and_scipy_read(
    pickles: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in (("chumpy", ""), ("chumpy.ch", "Ch"), ("chumpy.reordering", "Select")):
        monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{name: Node} if name else {}))
    with pytest.warns(DeprecationWarning):  # of the old names of numpy's and scipy's modules
        table: dict[str, Any] = pickle.loads(pickles[1].read_bytes(), encoding="latin1")
    assert len(table) == 13 and table["bs_type"] == "lrotmin"
    node = table["shapedirs"]
    plain = table | {
        "shapedirs": node.a.x.ravel()[node.idxs].reshape(node.preferred_shape),
        "J_regressor": table["J_regressor"].toarray(),
    }
    for key, values in read_mano_pickle(pickles[1]).items():
        np.testing.assert_array_equal(values, plain[key], err_msg=key)


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
        assert tuple(hand.tips) == TIPS["manopth"]
        rotations = np.linalg.qr(rng.normal(size=(16, 3, 3)))[0]
        shape = rng.normal(size=10)
        np.testing.assert_allclose(skin(hand, rotations, shape)[0], skin(original, rotations, shape)[0], atol=1e-6)


def test_a_left_file_that_is_right_already_is_left_alone(tmp_path: Path) -> None:
    right, left = craft.write_mano_pickles(tmp_path)
    hand = load_hand_models()[1]
    left.write_bytes(craft.pickled({**craft.entries(hand), "shapedirs": craft.array(hand.shapedirs.astype("<f8"))}))
    conversion = convert(right, left, "smplx")
    assert conversion.repairs == ()
    np.testing.assert_allclose(conversion.arrays["left_shapedirs"], hand.shapedirs, atol=1e-7)
    assert tuple(conversion.arrays["tips"]) == TIPS["smplx"]


def test_faces_that_look_inwards_are_turned(tmp_path: Path) -> None:
    right, left = craft.write_mano_pickles(tmp_path)
    hand = load_hand_models()[1]
    left.write_bytes(craft.pickled({**craft.entries(hand), "f": craft.array(hand.faces[:, ::-1].astype("<u4"))}))
    conversion = convert(right, left)
    assert np.array_equal(conversion.arrays["left_faces"], hand.faces) and len(conversion.repairs) == 2


def test_memo_column_major_and_big_endian(pickles: tuple[Path, Path], tmp_path: Path) -> None:
    """What Python 2 may write: shared objects by memo, and numpy its own order of bytes and axes."""
    template = load_hand_models()[0].v_template.astype(">f8")
    made = craft.array(template, data=craft.text(template.tobytes(order="F"))).replace(b"U\x01<", b"U\x01>", 1)
    made = made.replace(b"\x89", b"\x88", 1)  # fortran: True
    path = tmp_path / "right.pkl"
    path.write_bytes(official(hands_components=made + b"q\xfe", v_template=b"h\xfe"))
    np.testing.assert_array_equal(read_mano_pickle(path)["v_template"], template)


def test_the_same_pickles_give_the_same_file(pickles: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    for output in (first, second):
        main([*map(str, pickles), "-o", str(output)])
    assert first.read_bytes() == second.read_bytes()


def test_what_is_there_stays(pickles: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "mano.npz"
    output.write_text("mine")
    with pytest.raises(UserError, match="exists: give --overwrite"):
        main([*map(str, pickles), "-o", str(output)])
    assert output.read_text() == "mine"
    with pytest.raises(UserError, match=r"ends in \.npz"):
        main([*map(str, pickles), "-o", str(tmp_path / "mano.pkl")])
    with pytest.raises(UserError, match="cannot write"):
        main([*map(str, pickles), "-o", str(tmp_path / f"{'x' * 300}.npz")])
    with pytest.raises(UserError, match="not the left hand"):
        main([str(pickles[0]), str(pickles[0]), "-o", str(output), "--overwrite"])
    with pytest.raises(UserError, match="not the right hand"):
        main([str(pickles[1]), str(pickles[0]), "-o", str(output), "--overwrite"])
    assert output.read_text() == "mine"
    assert main([*map(str, pickles), "-o", str(output), "--overwrite"]) == 0


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


def without(*keys: str) -> bytes:
    return craft.pickled({k: v for k, v in craft.entries(load_hand_models()[0]).items() if k not in keys})


def deep_tuple(levels: int) -> bytes:
    return craft.START + b")" + b"\x85" * levels + craft.END


def memo_bomb() -> bytes:
    """Each list holds the one before ten times: small on disk, endless if walked through."""
    body = b"]q\x00"
    for level in range(1, 30):
        body += b"](" + b"".join(b"h" + bytes([level - 1]) for _ in range(10)) + b"e" + b"q" + bytes([level])
    return craft.START + body + craft.END


def call_of(module: str, function: str, argument: bytes) -> bytes:
    return craft.START + craft.call(craft.name(module, function), argument) + craft.END


def key_bomb() -> bytes:
    """A tuple of two of itself, sixty times over, as a key: who hashes it never ends."""
    return craft.START + b"})q\x00" + b"h\x00\x86q\x00" * 60 + b"Ns" + craft.END


def one_array_under_many_keys() -> bytes:
    """8 MB on disk that are 80 GB for whoever makes all arrays."""
    large = craft.array(np.zeros(1 << 20)) + b"q\x01"
    return (
        craft.START
        + b"}("
        + craft.text("k")
        + large
        + b"".join(craft.text(str(i)) + b"h\x01" for i in range(10_000))
        + b"u"
        + craft.END
    )


def wrapping_starts() -> bytes:
    """Column starts that fall, while their 64-bit differences wrap round to positive."""
    starts = np.zeros(779, "<i8")
    starts[1], starts[2:-1], starts[-1] = 2**63 - 1, -2, 16
    return craft.sparse(np.eye(16, 778), indptr=craft.array(starts))


def endless_select() -> bytes:
    """A node that is its own source."""
    node = craft.name("chumpy.reordering", "Select") + b")\x81q\x01"
    state = {"a": b"h\x01", "idxs": b"h\x01", "preferred_shape": craft.row(craft.number(1))}
    return official(shapedirs=node + craft.table(state) + b"b")


ZEROS = np.zeros(4)
WEIGHTS = craft.array(load_hand_models()[0].weights.astype("<f8"))
ONE_OF_ONE = {"idxs": craft.array(np.array([9])), "preferred_shape": craft.row(craft.number(1))}
TOUCH = craft.text(f"touch {CANARY}")
HOSTILE: dict[str, bytes] = {
    "os.system": pickle.dumps(Reduced(os.system, f"touch {CANARY}"), 2),
    "eval": pickle.dumps(Reduced(eval, canary_call("eval")), 2),
    "exec": pickle.dumps(Reduced(exec, canary_call("exec")), 2),
    "subprocess": pickle.dumps(Reduced(subprocess.Popen, ["touch", CANARY]), 2),
    "__import__": pickle.dumps(Reduced(builtins.__import__, "antigravity"), 2),
    "getattr chain": craft.START
    + craft.call(craft.name("__builtin__", "getattr"), craft.name("os", "environ"), craft.text("clear"))
    + b")R"
    + craft.END,
    "dotted name below an allowed one": craft.START + craft.name("numpy", "ndarray.tofile") + craft.END,
    "hostile entry of a good table": official(bs_style=craft.call(craft.name("posix", "system"), TOUCH)),
    "numpy scalar": craft.START + craft.name("numpy.core.multiarray", "scalar") + craft.END,
    "a class by itself": craft.START + craft.name("chumpy.ch", "Ch") + craft.END,
    "state on a class": craft.START + craft.name("chumpy.ch", "Ch") + craft.table({"x": b"N"}) + b"b" + craft.END,
    "state on a dict": craft.START + b"}" + craft.table({"x": b"N"}) + b"b" + craft.END,
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + craft.text(CANARY) + b"\x85R.",
    "INST": b"(S'touch x'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch x'\no.",
    "persistent id": b"Pevil\n.",
    "extension code": craft.START + b"\x82\x01.",
    "memo slot 4 billion": craft.START + b"Nr\xff\xff\xff\xff" + craft.END,
    "100,000 levels": deep_tuple(100_000),
    "memo bomb": memo_bomb(),
    "a terabyte is announced": official(v_template=craft.array(ZEROS, shape=(10**6, 10**6))),
    "sizes that overflow": official(v_template=craft.array(ZEROS, shape=(2**33, 2**33))),
    "objects in an array": official(v_template=craft.array(ZEROS, code="O8", data=b"]")),
    "a string as long as 2 GB": craft.START + b"T\xff\xff\xff\x7fabc" + craft.END,
    "select beyond its source": official(
        shapedirs=craft.instance("chumpy.reordering", "Select", {"a": craft.array(ZEROS), **ONE_OF_ONE})
    ),
    "select of itself": endless_select(),
    "sparse matrix that lies": official(
        J_regressor=craft.sparse(np.eye(4), indptr=craft.array(np.array([0, 900, 2, 3, 4], "<i4")))
    ),
    "sparse matrix whose starts wrap": official(J_regressor=wrapping_starts()),
    "a tuple bomb as key": key_bomb(),
    "one array under many keys": one_array_under_many_keys(),
    "a key of two lines": craft.pickled({"two\nlines": craft.instance("chumpy.ch", "Ch", {})}),
    "a name of two lines": craft.START + b"cos\nsys\ttem\n.",
    "an array of another class": official(weights=WEIGHTS.replace(b"cnumpy\nndarray", b"cnumpy\ndtype")),
    "a type with fields": official(weights=WEIGHTS.replace(b"NNN", b"N))", 1)),
    "text beyond latin-1": official(
        hands_mean=craft.array(np.zeros(45), data=b"X\xd0\x02\x00\x00" + b"\xc4\x80" * 360)
    ),
    "numbers too large": official(posedirs=craft.array(np.full((778, 3, 135), 1e300))),
    "weights of another sum": official(weights=craft.array(np.full((778, 16), 0.5))),
    "millimetres": official(v_template=craft.array(1000 * load_hand_models()[0].v_template.astype("<f8"))),
    "a face without its vertex": official(f=craft.array(np.full((1538, 3), 778, "<u4"))),
    "too large a file": craft.START + bytes(MAX_FILE_BYTES),
    "sparse matrix without end": official(
        J_regressor=craft.sparse(np.eye(4), _shape=craft.row(craft.number(2**40), craft.number(4)))
    ),
    "wrong keys": craft.pickled({"weights_of_something": craft.array(ZEROS)}),
    "a missing key": without("posedirs"),
    "another body part": official(v_template=craft.array(np.zeros((6890, 3)))),
    "text where numbers belong": official(weights=craft.text("none")),
    "float faces": official(f=craft.array(np.zeros((1538, 3)))),
    "not a number": official(hands_mean=craft.array(np.full(45, np.nan))),
    "another skeleton": official(kintree_table=craft.array(np.zeros((2, 16), "<i8"))),
    "parents after their children": official(
        kintree_table=craft.array(np.array([[2**32 - 1, *range(2, 17)], range(16)], "<i8"))
    ),
    "not a table": craft.START + b"]" + craft.END,
    "empty": b"",
    "text": b"not a pickle at all",
    **{f"cut at {share:.0%}": official()[: int(share * len(official()))] for share in (0.001, 0.3, 0.7, 0.999)},
}


@pytest.mark.parametrize("case", ["eval", "exec", "os.system", "subprocess"])
def test_the_hostile_files_would_run(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own unpickler runs them: the canary of the next test can die."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CANARY, "alive")
    made = pickle.loads(HOSTILE[case])
    if isinstance(made, subprocess.Popen):
        made.wait()
    assert os.environ[CANARY] == case or (tmp_path / CANARY).exists()


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_and_broken_files_are_refused(
    case: str, pickles: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(HOSTILE[case])
    before = set(sys.modules)
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        main([str(path), str(pickles[1]), "-o", str(tmp_path / "mano.npz")])
    assert time.monotonic() - began < 5
    assert str(path) in str(caught.value) and str(caught.value).isprintable()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["MANO_RIGHT.pkl"], "something was run or left behind"
    assert CANARY not in os.environ and "antigravity" not in set(sys.modules) - before


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("os.system", "it names 'posix system'"),
        ("STACK_GLOBAL", "the instruction 140"),
        ("INST", "the instruction 83"),
        ("persistent id", "the instruction 80"),
        ("extension code", "the instruction 130"),
        ("100,000 levels", "a tuple where a dict belongs"),
        ("too large a file", "larger than 16 MiB"),
        ("a tuple bomb as key", "a tuple where a str belongs"),
        ("objects in an array", "something else than numbers"),
        ("a terabyte is announced", "not that of its data"),
        ("not a number", "hands_mean holds values that are not finite"),
        ("a missing key", "it lacks posedirs"),
        ("cut at 70%", "cut short"),
    ],
)
def test_the_line_says_why(case: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(HOSTILE[case])
    with pytest.raises(UserError, match=reason):
        read_mano_pickle(path)


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


def test_a_directory_and_a_missing_file(pickles: tuple[Path, Path], tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.pkl"):
        with pytest.raises(UserError, match="cannot read"):
            convert(path, pickles[1])
