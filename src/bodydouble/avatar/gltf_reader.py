"""Reading GLB files that may be damaged or hostile: every index, offset and size is checked before it is used."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from bodydouble.avatar.gltf_buffers import CHUNK_BIN, CHUNK_JSON, COMPONENT_DTYPES, ELEMENT_SIZES, GLB_MAGIC
from bodydouble.core.errors import InputError

MAX_FILE_BYTES = 1 << 30
"""Larger files are refused before they are read: an avatar has about ten megabytes."""

MAX_NODES = 100_000


class GlbFile:
    """An opened GLB file: its JSON as checked objects, its accessors as arrays.

    Raises:
        InputError: From every method, when the file breaks the format; the message names the file and the place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        text, self._binary = _read_container(path)
        self._lists: dict[str, list[dict[str, Any]]] = {}
        self.root = _parse_json(path, text)
        asset = self.child(self.root, "asset", "the file")
        version = asset.get("version")
        if not isinstance(version, str) or version.split(".")[0] != "2":
            self.fail(f"glTF version 2.0 was expected, found {version!r}; convert it to glTF 2.0 first")
        required = self.root.get("extensionsRequired", [])
        if required:
            self.fail(
                f"it requires extensions that are not supported: {required!r:.200}; export it without compression"
            )

    def fail(self, what: str) -> NoReturn:
        """Raise the error of this file."""
        raise InputError(f"{self.path} cannot be read as an avatar: {what}.")

    def child(self, parent: dict[str, Any], key: str, where: str) -> dict[str, Any]:
        """A JSON object inside another."""
        value = parent.get(key)
        if not isinstance(value, dict):
            self.fail(f"{where} must have an object {key!r}, found {_kind(value)}")
        return value

    def optional(self, parent: dict[str, Any], key: str) -> dict[str, Any]:
        """A JSON object inside another, empty where there is none."""
        value = parent.get(key)
        return value if isinstance(value, dict) else {}

    def objects(self, key: str) -> list[dict[str, Any]]:
        """One of the arrays of the document (`nodes`, `meshes`, ...), empty where absent."""
        if key not in self._lists:
            self._lists[key] = self.object_list(self.root, key, "the file")
        return self._lists[key]

    def object_list(self, parent: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
        """An array of JSON objects, empty where absent."""
        values = parent.get(key, [])
        if not isinstance(values, list) or not all(isinstance(v, dict) for v in values):
            self.fail(f"{key!r} of {where} must be an array of objects, found {_kind(values)}")
        return values

    def index(self, parent: dict[str, Any], key: str, count: int, where: str) -> int:
        """An index below `count`."""
        return self.number(parent.get(key), 0, count - 1, f"{key!r} of {where}")

    def number(self, value: object, low: int, high: int, what: str) -> int:
        """A whole number between two limits, both allowed."""
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fail(f"{what} must be a whole number between {low} and {high}, found {value!r:.60}")
        return value

    def numbers(self, value: object, length: int, what: str) -> np.ndarray:
        """An array of finite numbers of known length."""
        if not isinstance(value, list) or len(value) != length or not all(_is_finite_number(v) for v in value):
            self.fail(f"{what} must be {length} finite numbers, found {value!r:.80}")
        return np.array(value, dtype=np.float64)

    def extension(self, parent: dict[str, Any], name: str) -> dict[str, Any] | None:
        """An extension object, or none."""
        extensions = parent.get("extensions")
        value = extensions.get(name) if isinstance(extensions, dict) else None
        return value if isinstance(value, dict) else None

    def accessor_info(self, index: int) -> tuple[dict[str, Any], int, np.dtype, int]:
        """An accessor's object, element count, component type and number of components."""
        accessors = self.objects("accessors")
        where = f"accessor {index}"
        accessor = accessors[self.number(index, 0, len(accessors) - 1, "an accessor's index")]
        code = accessor.get("componentType")
        if not isinstance(code, int) or code not in COMPONENT_DTYPES:
            self.fail(f"{where} has the unknown component type {code!r:.40}")
        kind = accessor.get("type")
        if not isinstance(kind, str) or kind not in ELEMENT_SIZES:
            self.fail(f"{where} has the unknown type {kind!r:.40}")
        count = self.number(accessor.get("count"), 1, 1 << 31, f"'count' of {where}")
        return accessor, count, COMPONENT_DTYPES[code], ELEMENT_SIZES[kind]

    def array(self, index: int, *, width: int, count: int | None = None) -> np.ndarray:
        """A dense accessor's elements [n, width] in their stored type, normalised integers as float32 fractions.

        Args:
            index: Of the accessor.
            width: Number of components that is expected.
            count: Number of elements that is expected.
        """
        accessor, found, dtype, components = self.accessor_info(index)
        where = f"accessor {index}"
        if components != width or (count is not None and found != count):
            self.fail(f"{where} must hold {count or 'some'} elements of {width} numbers, found {found} of {components}")
        if "sparse" in accessor or "bufferView" not in accessor:
            self.fail(f"{where} must be stored densely")
        offset = self.number(accessor.get("byteOffset", 0), 0, len(self._binary), f"'byteOffset' of {where}")
        values = self._elements(accessor["bufferView"], offset, found, dtype, components, where)
        return self._finished(values, accessor.get("normalized") is True, where)

    def sparse(self, index: int, *, count: int) -> tuple[np.ndarray, np.ndarray]:
        """A VEC3 float accessor as indices [m] and values [m, 3], sparse or dense, zeros left out.

        The memory needed is bounded by the file's size, whatever `count` claims.
        """
        accessor, found, dtype, components = self.accessor_info(index)
        where = f"accessor {index}"
        if found != count or components != 3 or dtype != np.dtype("<f4"):
            self.fail(f"{where} must hold {count} float vectors, found {found} of {components} {dtype}")
        if "sparse" not in accessor:
            if "bufferView" not in accessor:
                return np.zeros(0, np.int64), np.zeros((0, 3), np.float32)
            dense = self.array(index, width=3, count=count)
            indices = np.flatnonzero(dense.any(1))
            return indices, dense[indices]
        if "bufferView" in accessor:
            self.fail(f"{where} must be sparse over zeros or dense, not both")
        sparse = self.child(accessor, "sparse", where)
        entries = self.number(sparse.get("count"), 1, count, f"'sparse.count' of {where}")
        about_indices = self.child(sparse, "indices", where)
        about_values = self.child(sparse, "values", where)
        code = about_indices.get("componentType")
        if code not in (5121, 5123, 5125):
            self.fail(f"{where} has sparse indices of unknown type {code!r:.40}")
        first = self.number(about_indices.get("byteOffset", 0), 0, len(self._binary), f"a sparse offset of {where}")
        indices = self._elements(about_indices.get("bufferView"), first, entries, COMPONENT_DTYPES[code], 1, where)
        first = self.number(about_values.get("byteOffset", 0), 0, len(self._binary), f"a sparse offset of {where}")
        values = self._elements(about_values.get("bufferView"), first, entries, dtype, 3, where)
        indices = indices[:, 0].astype(np.int64)
        if indices[-1] >= count or (np.diff(indices) <= 0).any():
            self.fail(f"the sparse indices of {where} must ascend and stay below {count}")
        values = self._finished(values, False, where)
        used = values.any(1)
        return indices[used], values[used]

    def view_bytes(self, index: object, where: str) -> memoryview:
        """The bytes of a buffer view."""
        views = self.objects("bufferViews")
        view = views[self.number(index, 0, len(views) - 1, f"the buffer view of {where}")]
        buffers = self.objects("buffers")
        buffer = buffers[self.index(view, "buffer", len(buffers), f"buffer view {index}")]
        if "uri" in buffer or view["buffer"] != 0:
            self.fail("its data must be inside the file (one binary chunk), not in other files; export it as .glb")
        start = self.number(view.get("byteOffset", 0), 0, len(self._binary), f"'byteOffset' of buffer view {index}")
        length = self.number(
            view.get("byteLength"), 0, len(self._binary) - start, f"'byteLength' of buffer view {index}"
        )
        return self._binary[start : start + length]

    def _elements(
        self, view_index: object, offset: int, count: int, dtype: np.dtype, components: int, where: str
    ) -> np.ndarray:
        data = self.view_bytes(view_index, where)
        views = self.objects("bufferViews")
        view = views[self.number(view_index, 0, len(views) - 1, f"the buffer view of {where}")]
        size = dtype.itemsize * components
        stride = self.number(view.get("byteStride", size), size, 252 if "byteStride" in view else size, "a byte stride")
        if offset + stride * (count - 1) + size > len(data):
            self.fail(
                f"{where} reaches beyond its buffer view ({count} elements, {len(data)} bytes); it may be truncated"
            )
        strides = (stride, dtype.itemsize)
        return np.ndarray((count, components), dtype, buffer=data, offset=offset, strides=strides).copy()

    def _finished(self, values: np.ndarray, normalized: bool, where: str) -> np.ndarray:
        if values.dtype.kind == "f":
            if not np.isfinite(values).all():
                self.fail(f"{where} holds values that are not finite")
            return values
        if not normalized:
            return values
        return np.maximum(values.astype(np.float32) / np.iinfo(values.dtype).max, -1.0).astype(np.float32)


def _read_container(path: Path) -> tuple[bytes, memoryview]:
    """The JSON text and the binary chunk (possibly empty) of a GLB file."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(f"{path} has {size} bytes; an avatar has at most {MAX_FILE_BYTES}. Is it the right file?")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected an avatar (.glb). Check the path.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Expected an avatar (.glb).") from error
    if len(data) < 12 or struct.unpack_from("<I", data)[0] != GLB_MAGIC:
        raise InputError(
            f"{path} is not a .glb file (it does not start with 'glTF'). Give an avatar that create wrote."
        )
    _, version, length = struct.unpack_from("<III", data)
    if version != 2:
        raise InputError(f"{path} is GLB version {version}; version 2 is needed. Convert it to glTF 2.0 first.")
    if length > len(data):
        raise InputError(f"{path} is truncated: {length} bytes were announced, {len(data)} are there. Copy it again.")
    chunks: list[tuple[int, memoryview]] = []
    offset, whole = 12, memoryview(data)
    while offset + 8 <= length and len(chunks) < 16:
        chunk_length, kind = struct.unpack_from("<II", data, offset)
        if offset + 8 + chunk_length > length:
            raise InputError(f"{path} is damaged: a chunk reaches beyond the end of the file. Copy it again.")
        chunks.append((kind, whole[offset + 8 : offset + 8 + chunk_length]))
        offset += 8 + chunk_length
    if not chunks or chunks[0][0] != CHUNK_JSON:
        raise InputError(f"{path} is damaged: it does not begin with a JSON chunk. Copy or create it again.")
    binary = next((data for kind, data in chunks[1:] if kind == CHUNK_BIN), whole[:0])
    return bytes(chunks[0][1]), binary


def _parse_json(path: Path, text: bytes) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        value = json.loads(text.decode("utf-8"), parse_constant=refuse)
    except RecursionError as error:
        raise InputError(f"{path} is damaged: its JSON is nested too deeply. Copy or create it again.") from error
    except ValueError as error:
        raise InputError(f"{path} is damaged: its JSON cannot be parsed ({error}). Copy or create it again.") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged: its JSON must be an object, found {_kind(value)}. Create it again.")
    return value


def _is_finite_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
