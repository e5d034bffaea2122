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
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UserError
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
MAX_DIMENSION = 2**31
ITEM_TYPES = ("f4", "f8", "i4", "i8", "u4", "u8")
# What Python 2 writes: numbers, text, tuples, lists, dicts with text as keys, memo, and objects by class and state.
INSTRUCTIONS = (
    *(pickle.PROTO, pickle.STOP, pickle.MARK, pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET),
    *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1),
    *(pickle.BINFLOAT, pickle.SHORT_BINSTRING, pickle.BINSTRING, pickle.BINUNICODE, pickle.EMPTY_TUPLE, pickle.TUPLE),
    *(pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS),
    *(pickle.EMPTY_DICT, pickle.GLOBAL, pickle.REDUCE, pickle.NEWOBJ, pickle.BUILD),
)

# The names a MANO file holds, in pickle's spelling.
CHUMPY = "chumpy.ch Ch"
SELECT = "chumpy.reordering Select"
SPARSE = "scipy.sparse.csc csc_matrix"
ARRAY = "numpy.core.multiarray _reconstruct"
ARRAY_TYPE = "numpy ndarray"
ITEM_TYPE = "numpy dtype"
NAMES = (CHUMPY, SELECT, SPARSE, ARRAY, ARRAY_TYPE, ITEM_TYPE, "__builtin__ set")

Kind = TypeVar("Kind")


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
        value, key = self.stack.pop(), self.stack.pop()
        _typed(self.stack[-1], dict)[_typed(key, str)] = value

    def load_setitems(self) -> None:
        """Set the items above the mark."""
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            _typed(self.stack[-1], dict)[_typed(key, str)] = value

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{code[0]: pickle._Unpickler.dispatch[code[0]] for code in INSTRUCTIONS},
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }


def read_mano_pickle(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of `SHAPES` out of MANO_RIGHT.pkl or MANO_LEFT.pkl: float64 and int64, finite, of these shapes.

    Raises UserError for a file that cannot be read, that is no MANO file, or that asks for anything but arrays. No code
    of the file is ever run.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from None
    try:
        if len(content) > MAX_FILE_BYTES:
            raise _Refused(f"it is larger than {MAX_FILE_BYTES >> 20} MiB")
        table = _typed(_load(content), dict)
        if missing := [key for key in SHAPES if key not in table]:
            raise _Refused(f"it lacks {', '.join(missing)}")
        return {key: _checked(key, table[key]) for key in SHAPES}
    except _Refused as problem:
        raise UserError(f"{path} is not a MANO file: {problem}; give the file as mano.is.tue.mpg.de has it") from None


def _load(content: bytes) -> Any:
    """What the pickle describes: dicts with text keys, lists, tuples, numbers, text and stubs."""
    try:
        return _Reader(io.BytesIO(content), encoding="latin1").load()
    except _Refused:
        raise
    except KeyError as error:  # of the dispatch, or of the memo
        raise _Refused(f"it is damaged, or has the instruction {error}") from None
    except Exception:
        raise _Refused("it is damaged, cut short or no pickle") from None


def _typed(value: Any, kind: type[Kind]) -> Kind:
    """The value, where it is of this very type."""
    if type(value) is not kind:
        raise _Refused(f"it has a {type(value).__name__.strip('_')} where a {kind.__name__.strip('_')} belongs")
    return value


def _state(value: Any, name: str, kind: type[Kind]) -> Kind:
    """The state of an object that was to be made by `name`."""
    if not isinstance(value, STUBS[name]):
        raise _Refused(f"it has something else where {name} belongs")
    return _typed(value.state, kind)


def _checked(key: str, value: Any) -> NDArray[Any]:
    """The array under a key of the file, (SHAPES[key]) float64 or int64."""
    read = {STUBS[SELECT]: _selected, STUBS[SPARSE]: _dense}.get(type(value), _array)
    try:
        array = read(value)
    except _Refused as problem:
        raise _Refused(f"{key} cannot be read: {problem}") from None
    if array.shape != SHAPES[key]:
        raise _Refused(f"{key} has the shape {array.shape}, not {SHAPES[key]}")
    if (array.dtype.kind == "f") == (key in INTEGERS):
        raise _Refused(f"{key} has the type {array.dtype}")
    if not np.isfinite(array).all():
        raise _Refused(f"{key} holds values that are not finite")
    return array.astype(np.int64 if key in INTEGERS else np.float64)


def _array(value: Any) -> NDArray[Any]:
    """An array out of the state numpy gives it: version, shape, type, column-major or not, bytes."""
    state = _state(value, ARRAY, tuple)
    if value.arguments[:1] != (STUBS[ARRAY_TYPE],) or len(state) != 5:
        raise _Refused("it has an odd array")
    _, shape, item_type, column_major, data = state
    dtype = _dtype(item_type)
    sizes = [_typed(size, int) for size in _typed(shape, tuple)]
    if len(sizes) > MAX_DIMENSIONS or not all(0 < size < MAX_DIMENSION for size in sizes):
        raise _Refused("it has an array of an impossible shape")
    if math.prod(sizes) * dtype.itemsize != len(_typed(data, str)):
        raise _Refused("it has an array whose size is not that of its data")
    try:
        content = data.encode("latin-1")
    except UnicodeEncodeError:
        raise _Refused("it has an array of text") from None
    return np.frombuffer(content, dtype).reshape(sizes, order="F" if _typed(column_major, bool) else "C")


def _dtype(value: Any) -> np.dtype[Any]:
    """A plain number's type out of ('f8', 0, 1) and (3, '<', no subtype, no names, no fields, ...)."""
    state = _state(value, ITEM_TYPE, tuple)
    code = value.arguments[0] if value.arguments else None
    if code not in ITEM_TYPES or state[1:2] not in (("<",), (">",)) or state[2:5] != (None, None, None):
        raise _Refused("it has an array of something else than numbers")
    return np.dtype(state[1] + code)


def _selected(value: Any) -> NDArray[Any]:
    """chumpy's Select(a=Ch(x), idxs, preferred_shape): x.ravel()[idxs].reshape(preferred_shape)."""
    state = _state(value, SELECT, dict)
    source = _array(_state(state.get("a"), CHUMPY, dict).get("x")).ravel()
    chosen = _array(state.get("idxs")).ravel()
    shape = tuple(_typed(size, int) for size in _typed(state.get("preferred_shape"), tuple))
    if chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= len(source):
        raise _Refused("it selects what is not there")
    if min(shape, default=1) < 1 or math.prod(shape) != len(chosen):
        raise _Refused("it selects another number of values than its shape says")
    return source[chosen].reshape(shape)


def _dense(value: Any) -> NDArray[Any]:
    """The sparse regressor, (16, 778): scipy's columns of (row, value) pairs."""
    state = _state(value, SPARSE, dict)
    rows, columns = SHAPES["J_regressor"]
    data, indices, starts = (_array(state.get(name)) for name in ("data", "indices", "indptr"))
    if state.get("_shape") != (rows, columns) or starts.shape != (columns + 1,) or not data.shape == indices.shape:
        raise _Refused("its sparse matrix has another shape")
    fits = data.ndim == 1 and data.dtype.kind == "f" and indices.dtype.kind == starts.dtype.kind == "i"
    # Order is compared, not subtracted: differences of large integers wrap around.
    if not fits or starts[0] != 0 or starts[-1] != len(data) or (starts[1:] < starts[:-1]).any():
        raise _Refused("its sparse matrix contradicts itself")
    if indices.min() < 0 or indices.max() >= rows:
        raise _Refused("its sparse matrix contradicts itself")
    dense = np.zeros((rows, columns))
    np.add.at(dense, (indices, np.repeat(np.arange(columns), np.diff(starts))), data)
    return dense
