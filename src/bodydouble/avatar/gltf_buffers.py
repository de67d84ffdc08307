"""Building blocks of a GLB 2.0 file: the container, and a buffer that grows views and accessors as arrays are added."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

GLB_MAGIC = 0x46546C67
CHUNK_JSON = 0x4E4F534A
CHUNK_BIN = 0x004E4942

COMPONENT_DTYPES: dict[int, np.dtype] = {
    5120: np.dtype("<i1"),
    5121: np.dtype("<u1"),
    5122: np.dtype("<i2"),
    5123: np.dtype("<u2"),
    5125: np.dtype("<u4"),
    5126: np.dtype("<f4"),
}
"""glTF component type -> little-endian NumPy type."""

ELEMENT_SIZES: dict[str, int] = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
"""glTF element type -> number of components."""

TARGET_VERTICES = 34962
TARGET_INDICES = 34963

_COMPONENT_OF = {dtype: code for code, dtype in COMPONENT_DTYPES.items()}
_TYPE_OF_WIDTH = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


class BufferBuilder:
    """Collects arrays into one binary buffer and describes them as glTF `bufferViews` and `accessors`."""

    def __init__(self) -> None:
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self._parts: list[bytes] = []
        self._size = 0

    def add_view(self, array: np.ndarray, *, target: int | None = None) -> int:
        """Append an array as a tightly packed view, aligned to 4 bytes; returns the view's index."""
        data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
        view: dict[str, Any] = {"buffer": 0, "byteOffset": self._size, "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        padding = -len(data) % 4
        self._parts.append(data + b"\0" * padding)
        self._size += len(data) + padding
        self.views.append(view)
        return len(self.views) - 1

    def add(
        self, array: np.ndarray, *, target: int | None = None, normalized: bool = False, bounds: bool = False
    ) -> int:
        """Append an array [n] or [n, width] as a view with an accessor; returns the accessor's index.

        Args:
            array: float32, or an unsigned or signed integer type that glTF knows.
            target: `TARGET_VERTICES`, `TARGET_INDICES`, or none for what is neither.
            normalized: Integers stand for fractions of their range.
            bounds: Write `min` and `max`, which glTF demands of positions and of animation times.
        """
        accessor = self._describe(array, normalized=normalized)
        if bounds:
            accessor.update(_bounds(array))
        accessor["bufferView"] = self.add_view(array, target=target)
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def add_sparse(self, count: int, parts: list[tuple[np.ndarray, np.ndarray]]) -> list[int]:
        """Append sparse VEC3 float accessors over an implicit base of zeros, sharing two views.

        Args:
            count: Number of elements of each dense accessor.
            parts: For each accessor strictly ascending indices [m] and values [m, 3], m >= 1.
        Returns:
            The accessors' indices.
        """
        index_type = np.dtype("<u2") if count <= 65535 else np.dtype("<u4")
        if not parts:
            return []
        index_view = self.add_view(np.concatenate([i.astype(index_type) for i, _ in parts]))
        value_view = self.add_view(np.concatenate([v.astype(np.float32) for _, v in parts]))
        done = 0
        made = []
        for indices, values in parts:
            values = values.astype(np.float32)
            # The zeros of the elements that are not listed belong to the bounds.
            reach = values if len(values) == count else np.concatenate([values, np.zeros((1, 3), np.float32)])
            self.accessors.append(
                {
                    "componentType": 5126,
                    "type": "VEC3",
                    "count": count,
                    **_bounds(reach),
                    "sparse": {
                        "count": len(indices),
                        "indices": {
                            "bufferView": index_view,
                            "byteOffset": done * index_type.itemsize,
                            "componentType": _COMPONENT_OF[index_type],
                        },
                        "values": {"bufferView": value_view, "byteOffset": done * 12},
                    },
                }
            )
            made.append(len(self.accessors) - 1)
            done += len(indices)
        return made

    def data(self) -> bytes:
        """The whole buffer."""
        return b"".join(self._parts)

    @staticmethod
    def _describe(array: np.ndarray, *, normalized: bool) -> dict[str, Any]:
        width = 1 if array.ndim == 1 else array.shape[1]
        accessor: dict[str, Any] = {
            "componentType": _COMPONENT_OF[array.dtype.newbyteorder("<")],
            "type": _TYPE_OF_WIDTH[width],
            "count": len(array),
        }
        if normalized:
            accessor["normalized"] = True
        return accessor


def _bounds(array: np.ndarray) -> dict[str, list[float]]:
    flat = array.reshape(len(array), -1)
    return {"min": flat.min(0).tolist(), "max": flat.max(0).tolist()}


def pack_glb(document: dict[str, Any], binary: bytes) -> bytes:
    """The bytes of a GLB file with a JSON chunk and one binary chunk.

    Args:
        document: The glTF object; numbers must be finite.
        binary: The content of buffer 0.
    """
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode("utf-8")
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    chunks = struct.pack("<II", len(text), CHUNK_JSON) + text
    if binary:
        chunks += struct.pack("<II", len(binary), CHUNK_BIN) + binary
    return struct.pack("<III", GLB_MAGIC, 2, 12 + len(chunks)) + chunks
