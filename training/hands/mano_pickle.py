"""Reading a MANO pickle without running it, and without chumpy.

A pickle is a program. Here the few instructions of a MANO file are followed without Python's unpickler: a class is only
its name, looked up nowhere, and an object is a record of what it was to be made of. Arrays are made afterwards, only
those that are needed, from checked types and sizes. So nothing can be called, hashed or allocated on the file's word.
"""

from __future__ import annotations

import math
import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

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

MAX_FILE_BYTES = 64 << 20  # the published files have 3.7 MB
MAX_INSTRUCTIONS = 100_000  # the published files have some hundreds
MAX_DIMENSIONS = 3
MAX_DIMENSION = 2**31
ITEM_TYPES = ("f4", "f8", "i4", "i8", "u4", "u8")

# The names a MANO file holds, in pickle's spelling.
CHUMPY = "chumpy.ch Ch"
SELECT = "chumpy.reordering Select"
SPARSE = "scipy.sparse.csc csc_matrix"
ARRAY = "numpy.core.multiarray _reconstruct"
ARRAY_TYPE = "numpy ndarray"
ITEM_TYPE = "numpy dtype"
NAMES = (CHUMPY, SELECT, SPARSE, ARRAY, ARRAY_TYPE, ITEM_TYPE, "__builtin__ set")

CONSTANTS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINSTRING", "BINSTRING", "BINUNICODE")

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class _Name:
    """A class or function of the file."""

    name: str


@dataclass(eq=False)
class _Record:
    """An object of the file: what was to be called, with what, and the state it was to get."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None


class _Refused(Exception):
    """Why a file is not read."""


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
        table = _typed(_follow(content), dict)
        missing = [key for key in SHAPES if key not in table]
        if missing:
            raise _Refused(f"it lacks {', '.join(missing)}")
        return {key: _checked(key, table[key]) for key in SHAPES}
    except _Refused as problem:
        raise UserError(f"{path} is not a MANO file: {problem}; give the file as mano.is.tue.mpg.de has it") from None


def _follow(content: bytes) -> Any:
    """What the pickle describes: dicts with text keys, lists, tuples, numbers, text, names and records."""
    stack: list[Any] = []
    below: list[list[Any]] = []  # the stacks under each mark
    memo: dict[int, Any] = {}
    argument: Any
    try:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(content)):
            if count == MAX_INSTRUCTIONS:
                raise _Refused("it has too many instructions")
            match instruction.name:
                case "PROTO":
                    if argument != 2:
                        raise _Refused(f"it is a pickle of protocol {argument}, not 2")
                case name if name in CONSTANTS:
                    stack.append(argument)
                case "NONE":
                    stack.append(None)
                case "NEWTRUE" | "NEWFALSE" as name:
                    stack.append(name == "NEWTRUE")
                case "EMPTY_TUPLE":
                    stack.append(())
                case "EMPTY_LIST":
                    stack.append([])
                case "EMPTY_DICT":
                    stack.append({})
                case "MARK":
                    below.append(stack)
                    stack = []
                case "TUPLE":
                    items, stack = stack, below.pop()
                    stack.append(tuple(items))
                case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                    stack.append(tuple([stack.pop() for _ in range(int(name[-1]))][::-1]))
                case "APPEND":
                    item = stack.pop()
                    _typed(stack[-1], list).append(item)
                case "APPENDS":
                    items, stack = stack, below.pop()
                    _typed(stack[-1], list).extend(items)
                case "SETITEM":
                    item, key = stack.pop(), stack.pop()
                    _typed(stack[-1], dict)[_typed(key, str)] = item
                case "SETITEMS":
                    items, stack = stack, below.pop()
                    target = _typed(stack[-1], dict)
                    for key, item in zip(items[::2], items[1::2], strict=True):
                        target[_typed(key, str)] = item
                case "BINPUT" | "LONG_BINPUT":
                    memo[argument] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[argument])
                case "GLOBAL":
                    if argument not in NAMES:
                        raise _Refused(f"it names {argument[:60]!r}")
                    stack.append(_Name(argument))
                case "REDUCE" | "NEWOBJ":
                    arguments, called = stack.pop(), stack.pop()
                    stack.append(_Record(_typed(called, _Name).name, _typed(arguments, tuple)))
                case "BUILD":
                    state = stack.pop()
                    _typed(stack[-1], _Record).state = state
                case "STOP":
                    return stack.pop()
                case name:
                    raise _Refused(f"it has the instruction {name}")
    except (ValueError, LookupError):
        pass
    raise _Refused("it is damaged, cut short or no pickle")


def _typed(value: Any, kind: type[Kind]) -> Kind:
    """The value, where it is of this very type."""
    if type(value) is not kind:
        raise _Refused(f"it has a {type(value).__name__.strip('_')} where a {kind.__name__.strip('_')} belongs")
    return value


def _state(value: Any, name: str, kind: type[Kind]) -> Kind:
    """The state of a record that was to be made by `name`."""
    if type(value) is not _Record or value.name != name:
        raise _Refused(f"it has something else where {name} belongs")
    return _typed(value.state, kind)


def _checked(key: str, value: Any) -> NDArray[Any]:
    """The array under a key of the file, (SHAPES[key]) float64 or int64."""
    name = value.name if type(value) is _Record else ""
    try:
        array = {SELECT: _selected, SPARSE: _dense}.get(name, _array)(value)
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
    if value.arguments[:1] != (_Name(ARRAY_TYPE),) or len(state) != 5:
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
