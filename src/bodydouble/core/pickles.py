"""Pickles of numbers, for layouts that have nothing else: arrays, dicts, lists, text and numbers are built, nothing more.
Sparse matrices (scipy) and the arrays of chumpy, of which old body models are made, become plain arrays.

A pickle is a program. This reader runs it on a machine that has no functions: the handful of names by which NumPy's
arrays describe themselves lead to stand-ins written here, every other name ends the reading. What a stand-in is given is
checked against the bytes that are there before an array is made of it.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bodydouble.core.arrays import read_npy, read_npy_header
from bodydouble.core.errors import InputError

MAX_PICKLE_BYTES = 512 << 20
_MAX_DENSE = 16 << 20
"""Elements of a sparse matrix when it is written out."""
_MAX_DEPTH = 64
_MAX_ELEMENTS = 20_000_000


def read_pickle(path: Path, *, max_bytes: int | None = None) -> Any:
    """The value in a pickle file (any protocol, also of Python 2).

    Args:
        path: The file.
        max_bytes: Larger files are refused; by default MAX_PICKLE_BYTES.
    Returns:
        Dicts, lists, tuples, sets, text, bytes, numbers, None and NumPy arrays of numbers, nested.
    Raises:
        InputError: When the file is missing, too large, damaged, or holds anything else.
    """
    return loads(_bytes(path, max_bytes), str(path))


def read_object_npy(path: Path, machine: type[_Numbers] | None = None) -> Any:
    """The value in a .npy file that was saved from a dict or another Python object (a 0-dimensional object array).

    Args:
        path: The file.
        machine: One that understands more than arrays (`tensor_files.TensorNumbers`).

    Returns, Raises: as `read_pickle`; plain arrays are returned as they are.
    """
    data = _bytes(path)
    file = io.BytesIO(data)
    shape, _, dtype = read_npy_header(file, str(path))
    if not dtype.hasobject:
        return read_npy(path)
    value = loads(data[file.tell() :], str(path), machine)
    if isinstance(value, list) and shape == () and len(value) == 1:
        return value[0]
    return value


def loads(data: bytes, name: str, machine: type[_Numbers] | None = None) -> Any:
    """As `read_pickle`, from bytes; `name` is for messages, `machine` as in `read_object_npy`."""
    try:
        value = (machine or _Numbers)(io.BytesIO(data), encoding="latin1").load()
        return _plain(value, 0, {}, [0])
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except RecursionError as error:
        raise InputError(f"{name} is nested too deeply. It is not opened.") from error
    except Exception as error:  # a hostile stream can make the unpickler raise anything
        raise InputError(f"{name} is not a readable pickle ({error}). Copy it again from the source.") from error


class _Numbers(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        place = module.replace("numpy._core", "numpy.core").replace("builtins", "__builtin__")
        found = _STAND_INS.get((place, name)) or _object_class(place, name)
        if found is None:
            raise InputError(
                f"the pickle asks for {module}.{name}, which is not a number, a text or an array of numbers. "
                "It is not opened; save the values as plain .npz or .json instead."
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise InputError("the pickle refers to things outside of it. It is not opened.")


class _Array:
    """An array that describes itself: filled in by `__setstate__`."""

    value: np.ndarray | list

    def __init__(self, *args: Any) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if (
            not isinstance(dtype, _Dtype)
            or not isinstance(shape, tuple)
            or any(not isinstance(n, int) or n < 0 for n in shape)
        ):
            raise InputError("an array in the pickle describes itself wrongly.")
        if dtype.is_object:
            if not isinstance(data, list) or len(data) != math.prod(shape):
                raise InputError("an array of objects in the pickle describes itself wrongly.")
            self.value = data
            return
        real = dtype.real()
        if isinstance(data, str):
            data = data.encode("latin1")
        if not isinstance(data, bytes) or len(data) != math.prod(shape) * real.itemsize:
            raise InputError("an array in the pickle has another size than it says.")
        self.value = np.frombuffer(data, real).reshape(shape, order="F" if fortran else "C")


class _Dtype:
    """A type of numbers."""

    def __init__(self, code: Any = "f8", align: Any = False, copy: Any = False) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else str(code)
        self.order = "="

    @property
    def is_object(self) -> bool:
        return self.code.startswith("O")

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        self.order = order.decode("latin1") if isinstance(order, bytes) else str(order)

    def real(self) -> np.dtype:
        dtype = np.dtype(self.code)
        if dtype.kind not in "biuf" or dtype.itemsize > 8 or dtype.subdtype is not None:
            raise InputError(f"an array in the pickle has type {self.code}, expected numbers.")
        return dtype.newbyteorder(self.order) if self.order in ("<", ">") else dtype


class _Sparse:
    """A sparse matrix of scipy, by its state: written out as a dense array."""

    __slots__ = ("value",)
    value: np.ndarray
    _columns_first = False

    def __setstate__(self, state: Any) -> None:
        slots = state[0] if isinstance(state, tuple) and state else state
        if not isinstance(slots, dict):
            raise InputError("a sparse matrix in the pickle describes itself wrongly.")
        height, width = _matrix_shape(slots.get("_shape"))
        data = _numbers_of(slots.get("data"))
        if "indptr" in slots:
            starts, places = _indices(slots.get("indptr")), _indices(slots.get("indices"))
            if starts[:1].tolist() != [0] or (np.diff(starts) < 0).any() or starts[-1] != len(data):
                raise InputError("a sparse matrix in the pickle describes itself wrongly.")
            lines = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
            rows, columns = (places, lines) if self._columns_first else (lines, places)
        else:
            rows, columns = (_indices(i) for i in slots.get("coords") or (slots.get("row"), slots.get("col")))
        if not (
            data.ndim == 1 and len(rows) == len(columns) == len(data) and _all_below(rows, height)
        ) or not _all_below(columns, width):
            raise InputError("a sparse matrix in the pickle has entries outside of its shape.")
        self.value = np.zeros((height, width), data.dtype)
        np.add.at(self.value, (rows, columns), data)


class _SparseByColumns(_Sparse):
    __slots__ = ()
    _columns_first = True


class _Chumpy:
    """An array of chumpy: its value `x`, or a selection `idxs` out of another one, `a`."""

    __slots__ = ("value",)
    value: np.ndarray

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise InputError("a chumpy array in the pickle describes itself wrongly.")
        if "x" in state:
            self.value = _numbers_of(state["x"])
            return
        whole, chosen = _numbers_of(state.get("a")).reshape(-1), _indices(state.get("idxs"))
        if not _all_below(chosen, len(whole)):
            raise InputError("a chumpy array in the pickle selects what is not there.")
        shape = state.get("preferred_shape", chosen.shape)
        if not isinstance(shape, tuple | list) or math.prod(shape) != len(chosen):
            raise InputError("a chumpy array in the pickle describes itself wrongly.")
        self.value = whole[chosen].reshape(tuple(shape))


def _matrix_shape(shape: Any) -> tuple[int, int]:
    if not isinstance(shape, tuple) or len(shape) != 2 or any(not isinstance(n, int) or n < 0 for n in shape):
        raise InputError(f"a sparse matrix in the pickle has the shape {shape}, expected two lengths.")
    if math.prod(shape) > _MAX_DENSE:
        raise InputError(f"a sparse matrix in the pickle has the shape {shape}: too large.")
    return shape[0], shape[1]


def _all_below(indices: np.ndarray, count: int) -> bool:
    return not len(indices) or (int(indices.min()) >= 0 and int(indices.max()) < count)


def _numbers_of(value: Any) -> np.ndarray:
    """The array that a stand-in or a plain number holds."""
    if isinstance(value, _Array | _Sparse | _Chumpy):
        value = getattr(value, "value", None)
    if isinstance(value, int | float):
        value = np.array(value)
    if not isinstance(value, np.ndarray):
        raise InputError("an array in the pickle is made of something else than numbers.")
    return value


def _indices(value: Any) -> np.ndarray:
    found = _numbers_of(value)
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise InputError("a list of indices in the pickle is none.")
    return found.astype(np.int64)


def _object_class(module: str, name: str) -> type | None:
    """Classes whose instances describe themselves by a state alone."""
    if module.startswith("scipy.sparse"):
        by_lines = {"csr_matrix": _Sparse, "coo_matrix": _Sparse, "csc_matrix": _SparseByColumns}
        return {**by_lines, **{k.replace("matrix", "array"): v for k, v in by_lines.items()}}.get(name)
    return _Chumpy if (module, name) in (("chumpy.ch", "Ch"), ("chumpy.reordering", "Select")) else None


def _reconstructor(cls: Any, base: Any = None, state: Any = None) -> Any:
    """How objects are born in the oldest pickles; only those that `_object_class` knows."""
    if cls not in (_Sparse, _SparseByColumns, _Chumpy):
        raise InputError("the pickle makes an object of an unknown kind. It is not opened.")
    return cls()


def _array(*args: Any) -> _Array:
    return _Array()


def _scalar(dtype: Any, data: Any = b"") -> float | int | bool:
    if isinstance(data, str):
        data = data.encode("latin1")
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
        raise InputError("a number in the pickle describes itself wrongly.")
    real = dtype.real()
    if len(data) != real.itemsize:
        raise InputError("a number in the pickle has another size than it says.")
    return np.frombuffer(data, real)[0].item()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """How Python 3 writes bytes for Python 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise InputError("bytes in the pickle describe themselves wrongly.")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How Python 3 writes empty bytes for Python 2."""
    return b""


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> _Array:
    """How arrays describe themselves since protocol 5."""
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", bytes(data) if isinstance(data, bytearray) else data))
    return array


def _marker(*args: Any) -> Any:
    """Stands for `numpy.ndarray`, which is only named, never called."""
    raise InputError("the pickle makes an array in an unusual way. It is not opened.")


class _StandIn:
    """What a name leads to: can be called, and nothing else; a pickle could set attributes of a plain function."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setstate__(self, state: Any) -> None:
        raise InputError("the pickle changes a function. It is not opened.")


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _StandIn(_array),
    ("numpy.core.multiarray", "scalar"): _StandIn(_scalar),
    ("numpy.core.numeric", "_frombuffer"): _StandIn(_from_buffer),
    ("numpy", "ndarray"): _StandIn(_marker),
    ("numpy", "dtype"): _StandIn(_Dtype),
    ("_codecs", "encode"): _StandIn(_encode),
    ("collections", "OrderedDict"): _StandIn(dict),
    ("__builtin__", "bytes"): _StandIn(_no_bytes),
    ("__builtin__", "set"): _StandIn(set),
    ("__builtin__", "object"): _StandIn(_marker),
    ("copy_reg", "_reconstructor"): _StandIn(_reconstructor),
    ("copyreg", "_reconstructor"): _StandIn(_reconstructor),
}


def _plain(value: Any, depth: int, done: dict[int, Any], count: list[int]) -> Any:
    """The value with stand-ins replaced by arrays; anything unknown is refused."""
    count[0] += 1
    if depth > _MAX_DEPTH or count[0] > _MAX_ELEMENTS:
        raise InputError("the pickle is nested too deeply or has too many parts.")
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, _Sparse | _Chumpy):
        result = _numbers_of(value)
    elif isinstance(value, _Array):
        result = value.value if isinstance(value.value, np.ndarray) else _plain(value.value, depth + 1, done, count)
    elif isinstance(value, dict):
        if not all(isinstance(key, str | int | float | bytes) for key in value):
            raise InputError("a dict in the pickle has keys that are no texts or numbers.")
        result = {key: _plain(item, depth + 1, done, count) for key, item in value.items()}
    elif isinstance(value, list | tuple | set | frozenset):
        result = [_plain(item, depth + 1, done, count) for item in value]
    else:
        raise InputError(f"the pickle holds a {type(value).__name__}, expected numbers, texts and arrays.")
    done[id(value)] = result
    return result


def _bytes(path: Path, max_bytes: int | None = None) -> bytes:
    most = max_bytes or MAX_PICKLE_BYTES
    try:
        size = path.stat().st_size
        if size > most:
            raise InputError(f"{path} has {size >> 20} MiB; at most {most >> 20} are read. Is it the right file?")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing. Copy it from its source.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
