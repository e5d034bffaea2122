"""Reading a MANO pickle without running it, and without chumpy.

A pickle is a program. Here every class of it is a stub that remembers what it was to be made of; a name that a MANO
file does not hold is refused, and so is an instruction that it does not need. Arrays are made afterwards, only those
that are needed, from checked types and sizes. So nothing is called, hashed or allocated on the file's word.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UserError
from runtime.files import read_regular
from runtime.hand.hand_model import FACES, POSE_FEATURES, SHAPE_SIZE, SKELETON_JOINTS, VERTICES

SHAPES: dict[str, tuple[int, ...]] = {
    "v_template": (VERTICES, 3),
    "shapedirs": (VERTICES, 3, SHAPE_SIZE),
    "posedirs": (VERTICES, 3, POSE_FEATURES),
    "J_regressor": (SKELETON_JOINTS, VERTICES),
    "weights": (VERTICES, SKELETON_JOINTS),
    "hands_mean": ((SKELETON_JOINTS - 1) * 3,),
    "f": (FACES, 3),
    "kintree_table": (2, SKELETON_JOINTS),
}
INTEGERS = ("f", "kintree_table")

MAX_FILE_BYTES = 16 << 20  # the published files have 3.7 MB
MAX_DIMENSIONS = 3
ITEM_TYPES = ("f4", "f8", "i4", "i8", "u4", "u8")
# What Python 2 writes: numbers, text, tuples, lists, dicts with text as keys, memo, and objects by class and state.
INSTRUCTIONS = """
PROTO STOP MARK BINPUT LONG_BINPUT BINGET LONG_BINGET NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
SHORT_BINSTRING BINSTRING BINUNICODE EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT GLOBAL
REDUCE NEWOBJ BUILD
"""

# The names a MANO file holds, in pickle's spelling.
CHUMPY = "chumpy.ch Ch"
SELECT = "chumpy.reordering Select"
SPARSE = "scipy.sparse.csc csc_matrix"
ARRAY = "numpy.core.multiarray _reconstruct"
ARRAY_TYPE = "numpy ndarray"
ITEM_TYPE = "numpy dtype"
NAMES = (CHUMPY, SELECT, SPARSE, ARRAY, ARRAY_TYPE, ITEM_TYPE, "__builtin__ set")


class _Refused(Exception):
    """Why a file is not read."""


class _Stub:
    """An object of the file: what was to be called with what, and the state it was to get."""

    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


STUBS: dict[str, type[_Stub]] = {name: type(name, (_Stub,), {}) for name in NAMES}


class _Reader(pickle._Unpickler):
    """Python's own unpickler, in Python: the one in C allocates a memo as large as a file says, and hashes any key."""

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def find_class(self, module: str, name: str) -> type[_Stub]:
        """A stub, for the names of a MANO file."""
        if (spelled := f"{module} {name}") not in STUBS:
            raise _Refused(f"it names {spelled[:60]!r}")
        return STUBS[spelled]

    def load_setitem(self) -> None:
        """Set one item."""
        self._set([self.stack.pop(-2), self.stack.pop()])

    def load_setitems(self) -> None:
        """Set the items above the mark."""
        self._set(self.pop_mark())

    def _set(self, items: list[Any]) -> None:
        if any(type(key) is not str for key in items[::2]):
            raise _Refused("a key of it is no text")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{code: pickle._Unpickler.dispatch[code] for code in (getattr(pickle, n)[0] for n in INSTRUCTIONS.split())},
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }


def read_mano_pickle(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of `SHAPES` out of MANO_RIGHT.pkl or MANO_LEFT.pkl: float64 and int64, finite, of these shapes.

    Raises UserError for a file that cannot be read, that is no MANO file, or that asks for anything but arrays. No code
    of the file is ever run.
    """
    content = read_regular(path, "a MANO file", MAX_FILE_BYTES)
    try:
        table = _Reader(io.BytesIO(content), encoding="latin1").load()
        return {key: _checked(key, table[key]) for key in SHAPES}
    except _Refused as problem:
        reason = str(problem)
    except KeyError as error:  # of the table, the dispatch, or the memo
        reason = f"it lacks {error}, or has no use for it"
    except Exception:
        reason = "it is damaged, cut short or no pickle"
    raise UserError(f"{path} is not a MANO file: {reason}; give the file as mano.is.tue.mpg.de has it")


def _checked(key: str, value: Any) -> NDArray[Any]:
    """The array under a key of the file, (SHAPES[key]) float64 or int64."""
    if isinstance(value, STUBS[SELECT]):  # chumpy's: x.ravel()[idxs].reshape(preferred_shape)
        source, chosen = _array(_state(value.state["a"], CHUMPY)["x"]), _array(value.state["idxs"])
        array = source.ravel()[chosen.ravel()].reshape(SHAPES[key])
    else:
        array = (_dense if isinstance(value, STUBS[SPARSE]) else _array)(value)
    if array.shape != SHAPES[key] or (array.dtype.kind == "f") == (key in INTEGERS) or not np.isfinite(array).all():
        raise _Refused(f"{key} has another shape, type, or values that are not finite")
    return array.astype(np.int64 if key in INTEGERS else np.float64)


def _state(value: Any, name: str) -> Any:
    """The state of an object that was to be made by `name`."""
    if not isinstance(value, STUBS[name]):
        raise _Refused(f"it has something else where {name} belongs")
    return value.state


def _array(value: Any) -> NDArray[Any]:
    """An array out of the state numpy gives it: version, shape, type, column-major or not, bytes.

    A type is ('f8', 0, 1) and the state (3, '<', no subtype, no names, no fields, ...).
    """
    _, shape, kind, column_major, data = _state(value, ARRAY)
    (code, *_), (_, byte_order, *parts) = kind.arguments, _state(kind, ITEM_TYPE)
    if code not in ITEM_TYPES or byte_order not in ("<", ">") or parts[:3] != [None] * 3:
        raise _Refused("it has an array of something else than numbers")
    content, dtype = data.encode("latin-1"), np.dtype(byte_order + code)
    if not all(type(size) is int and size > 0 for size in shape) or len(shape) > MAX_DIMENSIONS:
        raise _Refused("it has an array of an impossible shape")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise _Refused("it has an array whose size is not that of its data")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if column_major is True else "C")


def _dense(value: Any) -> NDArray[Any]:
    """The sparse regressor, (16, 778): scipy's columns of (row, value) pairs."""
    data, indices, starts = (_array(value.state[name]) for name in ("data", "indices", "indptr"))
    rows, columns = SHAPES["J_regressor"]
    starts = starts.astype(np.int64)
    fits = starts.shape == (columns + 1,) and data.shape == indices.shape == (starts[-1],) and starts[0] == 0
    # Bounded before they are subtracted: differences of large integers wrap around.
    if not fits or starts.min() < 0 or starts.max() > len(data) or indices.min() < 0:
        raise _Refused("its sparse matrix contradicts itself")
    dense = np.zeros((rows, columns))
    np.add.at(dense, (indices, np.repeat(np.arange(columns), np.diff(starts))), data)
    return dense
