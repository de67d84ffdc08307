"""NumPy's files (.npy, .npz) without pickles: shapes and types are checked against the bytes before memory is taken."""

from __future__ import annotations

import math
import zipfile
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import IO

import numpy as np

from bodydouble.core.errors import InputError

MAX_ARRAY_BYTES = 1 << 30
_File = IO[bytes] | BufferedIOBase
"""The same to a reader; the standard library gives now the one, now the other."""
_MAX_MEMBERS = 400_000
ZIP_DAMAGE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)
"""What a zip that is damaged, encrypted or packed in an unknown way raises on reading."""


def npy_shape(path: Path) -> tuple[int, ...]:
    """Shape of the array in a .npy file, from its header.

    Raises:
        InputError: When the file is none, or holds Python objects.
    """
    with _opened(path) as file:
        return _header(file, str(path), path.stat().st_size)[0]


def read_npy(path: Path) -> np.ndarray:
    """A plain array from a .npy file.

    Raises:
        InputError: When the file is missing, damaged, too large or holds Python objects.
    """
    with _opened(path) as file:
        return _array(file, str(path), path.stat().st_size)


class Npz:
    """A .npz file; each array is read, and checked, when it is asked for.

    Raises:
        InputError: When the file is missing or damaged; on reading, when an array is too large or holds Python objects.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                infos = archive.infolist()
        except FileNotFoundError as error:
            raise InputError(f"{path} is missing. Copy it from its source.") from error
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is not a readable .npz file ({error}). Copy it again from the source.") from error
        if len(infos) > _MAX_MEMBERS:
            raise InputError(f"{path} holds {len(infos)} arrays; at most {_MAX_MEMBERS} are read.")
        self._members = {i.filename.removesuffix(".npy"): i for i in infos if i.filename.endswith(".npy")}

    def __getitem__(self, name: str) -> np.ndarray:
        info = self._members[name]
        if info.file_size > MAX_ARRAY_BYTES:
            raise InputError(f"{self.path}: array {name!r} has {info.file_size >> 20} MiB; too large.")
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(info) as file:
                return _array(file, f"{self.path} ({name})", info.file_size)
        except ZIP_DAMAGE as error:
            raise InputError(f"{self.path} ({name}) is damaged ({error}). Copy it again from the source.") from error

    def __contains__(self, name: str) -> bool:
        return name in self._members

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all arrays."""
        return tuple(self._members)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape that an array announces, before it is read."""
        info = self._members[name]
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(info) as file:
                return _header(file, f"{self.path} ({name})", info.file_size)[0]
        except ZIP_DAMAGE as error:
            raise InputError(f"{self.path} ({name}) is damaged ({error}). Copy it again from the source.") from error

    def first_of(self, *names: str) -> np.ndarray:
        """The first of these arrays that is there.

        Raises:
            InputError: When none is.
        """
        for name in names:
            if name in self._members:
                return self[name]
        raise InputError(
            f"{self.path} has no {' or '.join(names)} (found: {', '.join(sorted(self._members)[:12]) or 'nothing'}). "
            "Is it the right file of this layout?"
        )


def numbers(values: object, shape: tuple[int | None, ...], what: str) -> np.ndarray:
    """Values as finite float64 of a shape; None stands for any length.

    Raises:
        InputError: When they are not.
    """
    try:
        array = np.array(values, dtype=np.float64)  # a copy: what comes from files cannot be written to
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be numbers, found {type(values).__name__}.") from error
    expected = " x ".join("n" if n is None else str(n) for n in shape)
    if array.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True)):
        raise InputError(
            f"{what} must have shape {expected}, found {' x '.join(map(str, array.shape)) or 'one value'}."
        )
    if not np.isfinite(array).all():
        raise InputError(f"{what} holds values that are not finite (NaN or infinite). The source's fit failed there.")
    return array


def rows(values: object, width: int, what: str) -> np.ndarray:
    """Values as n x width finite float64; a single row may come flat, and axes of length 1 in between are dropped.

    Raises:
        InputError: When they do not go into rows of this width.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{what} must be rows of {width} numbers; the rows have different lengths.") from error
    if array.ndim >= 1 and array.size and array.size % width == 0 and array.shape[-1] in (width, 3, 1):
        lead = array.shape[0] if array.ndim > 1 else 1
        if lead * width == array.size:
            array = array.reshape(lead, width)
    return numbers(array, (None, width), what)


def read_npy_header(file: _File, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and type that a .npy announces; the file stands at the data then. `name` is for messages.

    Raises:
        InputError: When there is no such header.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(file)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise InputError(f"{name} is not a readable NumPy array ({error}). Copy it again from the source.") from error


def _opened(path: Path) -> _File:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing. Copy it from its source.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


def _header(file: _File, name: str, size: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    shape, fortran, dtype = read_npy_header(file, name)
    if dtype.hasobject:
        raise InputError(
            f"{name} holds Python objects (a pickle), not numbers: it is not opened. Save it as plain arrays."
        )
    bytes_wanted = math.prod(shape) * dtype.itemsize
    if bytes_wanted > MAX_ARRAY_BYTES or bytes_wanted > size or min(shape, default=0) < 0:
        raise InputError(
            f"{name} announces {shape} values of {dtype} ({bytes_wanted} bytes) but the file has {size}: damaged or hostile."
        )
    return shape, fortran, dtype


def _array(file: _File, name: str, size: int) -> np.ndarray:
    shape, fortran, dtype = _header(file, name, size)
    data = file.read(math.prod(shape) * dtype.itemsize)
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise InputError(f"{name} ends too early; the file is truncated. Copy it again from the source.")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
