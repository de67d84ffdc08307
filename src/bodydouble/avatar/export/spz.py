"""Splats as .spz: Niantic's packed format (gzip, versions 2 and 3), about a tenth of a .ply. A writer and a reader.

Layout, little-endian, inside one gzip stream: a header of 16 bytes (magic, version, count, degree of the harmonics, bits
behind the point of a position, flags, 0), then all positions (3 x 24 bits, fixed point), opacities (8 bits), base colours
(3 x 8), scales (3 x 8, logarithms), rotations (version 2: x y z in 8 bits each; version 3: the smallest three of four in
10 bits each), and the higher harmonics (8 bits each). Axes are +X right, +Y up, +Z back, as here.
"""

from __future__ import annotations

import gzip
import struct
import zlib

import numpy as np
import torch

from bodydouble.core.errors import ConfigError, InputError, ShapeError
from bodydouble.core.geometry import quat_wxyz_to_xyzw, quat_xyzw_to_wxyz
from bodydouble.render.protocol import SplatCloud
from bodydouble.render.sh import sh_degree

MAGIC = 0x5053474E  # "NGSP"
VERSIONS = (2, 3)
MAX_SPLATS = 10_000_000
_HEADER = struct.Struct("<IIIBBBB")
_COLOR_SCALE = 0.15
_SH_STEP = {1: 8, 2: 16, 3: 16}
"""Harmonics of each degree are rounded to multiples of this, so that gzip finds repetitions."""
_HALF_SQRT = 0.7071067811865476
_BYTES_PER_SPLAT = {2: 3 * 3 + 1 + 3 + 3 + 3, 3: 3 * 3 + 1 + 3 + 3 + 4}


def splats_to_spz(cloud: SplatCloud, *, version: int = 3, fractional_bits: int = 16) -> bytes:
    """The bytes of a .spz.

    Args:
        cloud: In the world, +Y up, within 2^(23 - fractional_bits) metres of the origin (128 m by default).
        version: 2, which older readers know, or 3, whose rotations are ten times finer.
        fractional_bits: Bits of a position behind the point: 16 is a step of 15 micrometres.
    Raises:
        ConfigError: For another version, or bits that do not hold a position.
        ShapeError: When a splat lies too far from the origin.
    """
    if version not in VERSIONS or not 1 <= fractional_bits <= 20:
        raise ConfigError(
            f"SPZ can be written as version 2 or 3 with 1 to 20 bits, found {version}, {fractional_bits}."
        )
    n, coeffs = cloud.sh.shape[:2]
    fixed = np.round(_array(cloud.means_world) * (1 << fractional_bits)).astype(np.int64)
    if n and np.abs(fixed).max() >= 1 << 23:
        raise ShapeError(
            f"splats_to_spz: positions must lie within {2.0 ** (23 - fractional_bits):g} m of the origin with "
            f"{fractional_bits} bits, found {float(cloud.means_world.abs().max()):g} m; use fewer bits."
        )
    sh = _array(cloud.sh)
    parts = [
        _HEADER.pack(MAGIC, version, n, sh_degree(coeffs), fractional_bits, 0, 0),
        np.ascontiguousarray(fixed.astype("<i4")).view(np.uint8).reshape(n, 3, 4)[:, :, :3].tobytes(),
        _bytes(_array(cloud.opacities) * 255.0),
        _bytes((sh[:, 0] * _COLOR_SCALE + 0.5) * 255.0),
        _bytes((np.log(np.maximum(_array(cloud.scales_m), 1e-9)) + 10.0) * 16.0),
        _pack_rotations(_array(quat_wxyz_to_xyzw(cloud.quats_wxyz)), version),
        _pack_harmonics(sh[:, 1:]),
    ]
    # Without a time in its header the same cloud gives the same file.
    return gzip.compress(b"".join(parts), compresslevel=9, mtime=0)


def spz_to_splats(data: bytes, name: str = "the file") -> SplatCloud:
    """The splats of a .spz of version 2 or 3.

    Args:
        data: Content of the file; may be damaged or hostile: no more is unpacked than its count allows.
        name: What error messages call it.
    Raises:
        InputError: When it is no .spz, of another version, truncated, or larger than it may be.
    """
    unpacked, whole = _gunzip(data, _HEADER.size, name)
    if len(unpacked) < _HEADER.size:
        raise InputError(f"{name} is truncated: its header has {len(unpacked)} of {_HEADER.size} bytes. Copy it again.")
    magic, version, n, degree, bits, _, _ = _HEADER.unpack(unpacked[: _HEADER.size])
    if magic != MAGIC:
        raise InputError(f"{name} is not an .spz file: its header does not begin with NGSP. Give splats in SPZ format.")
    if version not in VERSIONS or degree > 3 or bits > 24:
        raise InputError(
            f"{name} has version {version}, harmonics of degree {degree}, {bits} bits; versions 2 and 3 with degrees 0 to "
            "3 and up to 24 bits can be read. Convert it first."
        )
    if not 1 <= n <= MAX_SPLATS:
        raise InputError(f"{name} announces {n} splats; between 1 and {MAX_SPLATS} can be read.")
    coeffs = (degree + 1) ** 2
    size = _HEADER.size + n * (_BYTES_PER_SPLAT[version] + 3 * (coeffs - 1))
    if not whole or len(unpacked) < size:
        unpacked, _ = _gunzip(data, size, name)
    if len(unpacked) < size:
        raise InputError(f"{name} is truncated: {size} bytes were announced, {len(unpacked)} are there. Copy it again.")
    return _unpack(np.frombuffer(unpacked, np.uint8, size - _HEADER.size, _HEADER.size), n, version, coeffs, bits)


def _gunzip(data: bytes, limit: int, name: str) -> tuple[bytes, bool]:
    """At most `limit` unpacked bytes, and whether that was everything."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(data, limit)
    except zlib.error as error:
        raise InputError(
            f"{name} is not an .spz file: it cannot be unpacked ({error}). Copy or export it again."
        ) from error
    return unpacked, unpacker.eof


def _unpack(raw: np.ndarray, n: int, version: int, coeffs: int, bits: int) -> SplatCloud:
    place = 0

    def take(width: int) -> np.ndarray:
        nonlocal place
        place += n * width
        return raw[place - n * width : place].reshape(n, width)

    triples = take(9).reshape(n, 3, 3).astype(np.int32)
    fixed = triples[:, :, 0] | (triples[:, :, 1] << 8) | (triples[:, :, 2] << 16)
    fixed = np.where(fixed & 0x800000, fixed - (1 << 24), fixed)
    opacities = take(1)[:, 0] / 255.0
    base = (take(3) / 255.0 - 0.5) / _COLOR_SCALE
    scales = np.exp(take(3) / 16.0 - 10.0)
    quats_xyzw = _unpack_rotations(take(3 if version == 2 else 4), version)
    higher = (take(3 * (coeffs - 1)).astype(np.float64) - 128.0) / 128.0
    sh = np.concatenate([base[:, None], higher.reshape(n, coeffs - 1, 3)], axis=1)
    return SplatCloud(
        means_world=_tensor(fixed / float(1 << bits)),
        quats_wxyz=quat_xyzw_to_wxyz(_tensor(quats_xyzw)),
        scales_m=_tensor(scales),
        opacities=_tensor(opacities),
        sh=_tensor(sh),
    )


def _pack_rotations(quats_xyzw: np.ndarray, version: int) -> bytes:
    quats = quats_xyzw / np.linalg.norm(quats_xyzw, axis=1, keepdims=True)
    if version == 2:
        positive = np.where(quats[:, 3:] < 0, -quats, quats)
        return _bytes(positive[:, :3] * 127.5 + 127.5)
    largest = np.abs(quats).argmax(1)
    negate = np.take_along_axis(quats, largest[:, None], 1) < 0
    sign = ((quats < 0) ^ negate).astype(np.uint32)
    magnitude = np.minimum(np.floor(511.0 * np.abs(quats) / _HALF_SQRT + 0.5), 511.0).astype(np.uint32)
    packed = largest.astype(np.uint32)
    for axis in range(4):
        shifted = (packed << np.uint32(10)) | (sign[:, axis] << np.uint32(9)) | magnitude[:, axis]
        packed = np.where(largest == axis, packed, shifted)
    return packed.astype("<u4").tobytes()


def _unpack_rotations(raw: np.ndarray, version: int) -> np.ndarray:
    if version == 2:
        xyz = raw / 127.5 - 1.0
        w = np.sqrt(np.maximum(1.0 - (xyz * xyz).sum(1, keepdims=True), 0.0))
        quats = np.concatenate([xyz, w], axis=1)
        return quats / np.linalg.norm(quats, axis=1, keepdims=True)
    packed = np.ascontiguousarray(raw).view("<u4")[:, 0].astype(np.int64)
    largest = packed >> 30
    quats = np.zeros((len(packed), 4))
    for axis in (3, 2, 1, 0):
        value = (packed & 511) / 511.0 * _HALF_SQRT * np.where(packed & 512, -1.0, 1.0)
        quats[:, axis] = np.where(largest == axis, 0.0, value)
        packed = np.where(largest == axis, packed, packed >> 10)
    rest = np.sqrt(np.maximum(1.0 - (quats * quats).sum(1), 0.0))
    np.put_along_axis(quats, largest[:, None], rest[:, None], 1)
    return quats / np.linalg.norm(quats, axis=1, keepdims=True)


def _pack_harmonics(higher: np.ndarray) -> bytes:
    """Higher coefficients, colour channels innermost, each rounded to its degree's step about 128."""
    steps = np.concatenate([np.full(2 * d + 1, _SH_STEP[d]) for d in (1, 2, 3)])[: higher.shape[1], None]
    values = np.round(higher * 128.0 + 128.0)
    return _bytes(np.floor((values + steps // 2) / steps) * steps)


def _bytes(values: np.ndarray) -> bytes:
    return np.clip(np.round(values), 0, 255).astype(np.uint8).tobytes()


def _array(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
