"""Tensors that torch saved, and arrays that joblib saved, read by the machine of `pickles`: numbers only, no code is run.

torch (torch/serialization.py of its public repository) saves a zip: `NAME/data.pkl` describes tensors by shape, strides and
a storage's key, `NAME/data/KEY` holds the storage's bytes. Before 1.6, and inside other pickles still, it is a row of
pickles (magic number, protocol, machine, description, keys) with the storages' bytes behind them. joblib
(joblib/numpy_pickle.py) writes a pickle in which each array's bytes follow its description, after a byte that tells how
much padding there is.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bodydouble.core.errors import InputError
from bodydouble.core.pickles import (
    MAX_PICKLE_BYTES,
    _Array,
    _bytes,
    _Dtype,
    _Numbers,
    _plain,
    _StandIn,
)

_MAX_VALUES = 128 << 20
"""Of one tensor: a repeated one takes more memory than its storage."""
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?", "UntypedStorage": "u1",
}  # fmt: skip


def read_torch(path: Path) -> Any:
    """The value in a file that `torch.save` wrote.

    Returns:
        Dicts, lists, text, numbers, None and NumPy arrays in place of tensors, nested.
    Raises:
        InputError: When the file is missing, too large, damaged, or holds anything but numbers.
    """
    data = _bytes(path)
    if not data.startswith(b"PK"):
        return _read(str(path), lambda: _legacy(io.BytesIO(data)))
    return _read(str(path), lambda: _zipped(data))


def read_joblib(path: Path) -> Any:
    """The value in a file that `joblib.dump` wrote, not compressed; plain pickles are read as well.

    Returns, Raises: as `read_torch`.
    """
    data = _bytes(path)
    if data[:1] != b"\x80":
        raise InputError(
            f"{path} is not a pickle that joblib wrote without compression (it begins with {data[:6]!r}). Save it again "
            "with joblib.dump(value, file) and no compress."
        )
    return _read(str(path), lambda: _Joblib(io.BytesIO(data)).load())


def tensor_name(module: str, name: str) -> Any:
    """What a name of torch leads to in a pickle; None for those that are not needed to describe numbers."""
    if module in ("torch", "torch.storage") and name in _STORAGES:
        return _StorageType(_STORAGES[name])
    return _TORCH_NAMES.get((module, name))


class TensorNumbers(_Numbers):
    """The machine of `pickles`, which also understands tensors."""

    def find_class(self, module: str, name: str) -> Any:
        found = tensor_name(module, name)
        return super().find_class(module, name) if found is None else found


class _StorageType:
    """Stands for `torch.FloatStorage` and its like: only named, never called."""

    def __init__(self, code: str) -> None:
        self.code = code


class _Storage:
    """Numbers in a row, of which tensors are cut."""

    def __init__(self, code: str, count: int, data: bytes | None = None) -> None:
        self.code, self.count = code, count
        self.values = np.zeros(0) if data is None else self.decoded(data)

    @property
    def size_bytes(self) -> int:
        return self.count * (2 if self.code == "bfloat16" else np.dtype(self.code).itemsize)

    def decoded(self, data: bytes) -> np.ndarray:
        if len(data) != self.size_bytes:
            raise InputError(f"a tensor's storage has {len(data)} bytes where {self.size_bytes} were announced.")
        if self.code == "bfloat16":
            return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        return np.frombuffer(data, self.code)


class _Zip(TensorNumbers):
    """Reads data.pkl; storages come from the archive when they are asked for."""

    def __init__(self, file: io.BytesIO, storage: Callable[[str], bytes]) -> None:
        super().__init__(file, encoding="latin1")
        self._storage = storage
        self._known: dict[str, _Storage] = {}

    def persistent_load(self, pid: Any) -> Any:
        code, key, count = _storage_id(pid)
        if key not in self._known:
            self._known[key] = _Storage(code, count, self._storage(key))
        return self._known[key]


class _Legacy(TensorNumbers):
    """Reads the description; the storages' bytes come after it."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="latin1")
        self.known: dict[str, _Storage] = {}

    def persistent_load(self, pid: Any) -> Any:
        code, key, count = _storage_id(pid)
        return self.known.setdefault(key, _Storage(code, count))


class _Tensor(_Array):
    """A tensor that is cut of its storage when everything has been read."""

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any) -> None:
        counts = (*shape, *strides, offset) if isinstance(shape, tuple) and isinstance(strides, tuple) else (None,)
        good = isinstance(storage, _Storage) and all(isinstance(n, int) and n >= 0 for n in counts)
        if not good or len(shape) != len(strides) or math.prod(shape) > _MAX_VALUES:
            raise InputError("a tensor in the file describes itself wrongly.")
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if math.prod(shape) and last >= storage.count:
            raise InputError("a tensor in the file reaches beyond its storage.")
        self._cut = storage, offset, shape, strides
        self._value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        raise InputError("a tensor in the file describes itself in an unusual way.")

    @property
    def value(self) -> np.ndarray:
        if self._value is None:
            storage, offset, shape, strides = self._cut
            if not math.prod(shape):
                return np.zeros(shape, storage.values.dtype)
            step = storage.values.itemsize
            view = np.lib.stride_tricks.as_strided(storage.values[offset:], shape, [step * s for s in strides])
            self._value = view.copy()
        return self._value


class _JoblibArray(_Array):
    """An array whose bytes follow its description in the file."""

    file: io.BytesIO

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict) or not isinstance(state.get("dtype"), _Dtype):
            raise InputError("an array in the file describes itself wrongly.")
        shape, order, dtype = state.get("shape"), state.get("order"), state["dtype"]
        counts = isinstance(shape, tuple) and all(isinstance(n, int) and n >= 0 for n in shape)
        if not counts or shape is None or order not in ("C", "F") or dtype.is_object:
            raise InputError("an array in the file is not of numbers, or describes itself wrongly.")
        if state.get("numpy_array_alignment_bytes") is not None:
            self.file.read(int.from_bytes(self.file.read(1), "little"))
        real = dtype.real()
        size = math.prod(shape) * real.itemsize
        data = self.file.read(size) if size <= MAX_PICKLE_BYTES else b""
        if len(data) != size:
            raise InputError("an array in the file has another size than it says; the file may be truncated.")
        self.value = np.frombuffer(data, real).reshape(shape, order=order)


class _Joblib(TensorNumbers):
    def __init__(self, file: io.BytesIO) -> None:
        # Without `peek` the unpickler reads no byte too many, so that an array's bytes are next where it is built.
        super().__init__(file, encoding="latin1")
        self._array = type("_JoblibArrayHere", (_JoblibArray,), {"file": file})

    def find_class(self, module: str, name: str) -> Any:
        if (module.rpartition(".")[2], name) == ("numpy_pickle", "NumpyArrayWrapper") and "joblib" in module:
            return self._array
        return super().find_class(module, name)


def _storage_id(pid: Any) -> tuple[str, str, int]:
    if isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage":
        kind, key, _, count = pid[1:5]
        whole = len(pid) == 5 or pid[5] is None
        if isinstance(kind, _StorageType) and isinstance(key, str) and isinstance(count, int) and whole and count >= 0:
            return kind.code, key, count
    raise InputError("the file refers to things outside of it, or to tensors in an unusual way. It is not opened.")


def _zipped(data: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {i.filename: i for i in archive.infolist()}
        pickles = [name for name in entries if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise InputError("it is a zip, but not one that torch.save wrote (it must hold one data.pkl).")
        root = pickles[0].removesuffix("data.pkl")
        left = [MAX_PICKLE_BYTES]

        def entry(name: str) -> bytes:
            info = entries.get(root + name)
            if info is None:
                raise InputError(f"{root}{name} is missing in it; the file is damaged.")
            left[0] -= info.file_size
            if left[0] < 0:
                raise InputError(f"it unpacks to more than {MAX_PICKLE_BYTES >> 20} MiB.")
            return archive.read(info)

        order = entry("byteorder") if f"{root}byteorder" in entries else b"little"
        if order != b"little":
            raise InputError(
                f"its numbers are stored {order!r}-endian, which is not supported. Save it on another machine."
            )
        return _Zip(io.BytesIO(entry("data.pkl")), lambda key: entry(f"data/{key}")).load()


def _legacy(file: io.BytesIO) -> Any:
    """The row of pickles that torch wrote before 1.6."""
    if (_Numbers(file).load(), _Numbers(file).load()) != (_LEGACY_MAGIC, _LEGACY_PROTOCOL):
        raise InputError("it is not a file that torch.save wrote.")
    machine = _Numbers(file).load()
    if not isinstance(machine, dict) or machine.get("little_endian") is False:
        raise InputError("its numbers are stored big-endian, which is not supported. Save it on another machine.")
    reader = _Legacy(file)
    value = reader.load()
    keys = _Numbers(file).load()
    if not isinstance(keys, list) or any(key not in reader.known for key in keys):
        raise InputError("its storages are not those that it describes; the file is damaged.")
    for key in keys:
        storage = reader.known[key]
        count = int.from_bytes(file.read(8), "little")
        if count != storage.count:
            raise InputError("a tensor's storage has another size than it says; the file is damaged.")
        storage.values = storage.decoded(file.read(storage.size_bytes))
    return value


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *more: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def _parameter(tensor: Any, *more: Any) -> Any:
    return tensor


def _storage_of_bytes(data: Any) -> _Storage:
    """How tensors are kept inside other pickles: a whole file of torch as bytes."""
    if not isinstance(data, bytes):
        raise InputError("a tensor in the file describes itself wrongly.")
    found = _zipped(data) if data.startswith(b"PK") else _legacy(io.BytesIO(data))
    if not isinstance(found, _Storage):
        raise InputError("a tensor in the file describes itself in an unusual way.")
    return found


def _dict_of(*kind: Any) -> dict:
    """Stands for `collections.defaultdict`: what it makes of missing keys does not matter here."""
    return {}


def _size(values: Any = ()) -> tuple:
    return tuple(values) if isinstance(values, list | tuple) else ()


_TORCH_NAMES: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _StandIn(_tensor),
    ("torch._utils", "_rebuild_tensor"): _StandIn(_tensor),
    ("torch._utils", "_rebuild_parameter"): _StandIn(_parameter),
    ("torch.storage", "_load_from_bytes"): _StandIn(_storage_of_bytes),
    ("torch", "Size"): _StandIn(_size),
    ("collections", "defaultdict"): _StandIn(_dict_of),
    ("builtins", "dict"): _StandIn(_dict_of),
    ("__builtin__", "dict"): _StandIn(_dict_of),
}


def _read(name: str, load: Callable[[], Any]) -> Any:
    """Run a reading; whatever goes wrong in it is told in one way."""
    try:
        return _plain(load(), 0, {}, [0])
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise InputError(f"{name} is nested too deeply, or too large. It is not opened.") from error
    except Exception as error:  # a hostile stream can raise anything
        raise InputError(f"{name} is not readable ({error}). Copy it again from the source.") from error
