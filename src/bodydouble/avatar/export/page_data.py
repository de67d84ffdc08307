"""An avatar as the data of a web page: small typed blocks, and a value that says what each is (`page_schema`)."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.avatar.correctives import correctives_of
from bodydouble.avatar.export.page_schema import (
    SCHEMA_VERSION,
    Block,
    BlockType,
    PageCorrectives,
    PageData,
    PageGroup,
    PageJoint,
    PageMesh,
    PageMorph,
    PageMotion,
    PageNotice,
    PagePreset,
    PageSkin,
    PageSplats,
    PageTexture,
)
from bodydouble.avatar.expressions import EXPRESSIONS
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Avatar, CorrectiveBasis, Correctives, Mesh, Morph, Splats, Texture
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.geometry import quat_wxyz_to_xyzw
from bodydouble.render.sh import mean_rgb

_GROUPS = ("brow", "eye", "cheek", "nose", "jaw", "mouth", "tongue")
_JPEG_QUALITY = 92
_TURN_LIMIT_RAD = 2.0 * math.pi
"""Rotation vectors of a motion are stored in 16 bits over this range: steps of 0.0002 rad."""


class _Packer:
    """Collects blocks."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, values: Tensor | np.ndarray, kind: BlockType, scale: float = 1.0) -> Block:
        """Store values divided by `scale`, rounded and kept in range where the type is whole numbers."""
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
        dtype = np.dtype(kind)
        if np.issubdtype(dtype, np.integer):
            limits = np.iinfo(dtype)
            array = np.clip(np.rint(np.asarray(array, np.float64) / scale), limits.min, limits.max)
        elif kind == "float16":
            array = np.clip(array, -65504.0, 65504.0)
        data = np.ascontiguousarray(array.astype(dtype.newbyteorder("<"))).tobytes()
        block = Block(type=kind, shape=tuple(array.shape), offset=self._size, scale=scale)
        data += bytes(-len(data) % 4)
        self._parts.append(data)
        self._size += len(data)
        return block

    def bytes(self) -> bytes:
        return b"".join(self._parts)


def page_data(avatar: Avatar, motions: Sequence[Motion], notice: PageNotice) -> tuple[PageData, bytes]:
    """What a page needs to show an avatar.

    Args:
        avatar: With a mesh, splats, or both.
        motions: On the avatar's rig; the first is the one the page begins with.
        notice: Title, authors, consent.
    Returns:
        The description, and the bytes that its blocks point into. Kept exactly: positions (32 bits); rounded: turns
        to 0.0002 rad, colours and sizes to 11 bits, weights to 16, harmonics above degree 0 to 8.
    """
    pack = _Packer()
    rig = avatar.rig
    correctives = correctives_of(avatar)
    data = PageData(
        schema_version=SCHEMA_VERSION,
        unpacked_bytes=0,
        notice=notice,
        bone_names=rig.bone_names,
        bone_parents=rig.bone_parents,
        joints_rest_m=pack.add(rig.joints_rest_m, "float32"),
        humans=tuple(PageJoint(human=h, bone=rig.bone_names.index(b)) for h, b in rig.humanoid.items()),
        floor_m=_floor_m(avatar),
        actions=ARKIT_ACTIONS,
        presets=_presets(),
        groups=_groups(),
        splats=None if avatar.splats is None else _splats(pack, avatar.splats),
        mesh=None if avatar.mesh is None else _mesh(pack, avatar.mesh),
        correctives=None if correctives is None else _page_correctives(pack, correctives.basis),
        motions=tuple(_motion(pack, motion) for motion in motions),
    )
    packed = pack.bytes()
    return PageData(**{**vars(data), "unpacked_bytes": len(packed)}), packed


def _floor_m(avatar: Avatar) -> float:
    """Height of the soles in the rest pose; without a mesh a little below the lowest joint."""
    if avatar.mesh is not None:
        return float(avatar.mesh.vertices_rest_m[:, 1].min())
    return float(avatar.rig.joints_rest_m[:, 1].min()) - 0.05


def _presets() -> tuple[PagePreset, ...]:
    return tuple(
        PagePreset(name=name, strengths=tuple((ARKIT_ACTIONS.index(a), float(s)) for a, s in strengths.items()))
        for name, strengths in EXPRESSIONS.items()
    )


def _groups() -> tuple[PageGroup, ...]:
    return tuple(
        PageGroup(name=group, actions=tuple(i for i, action in enumerate(ARKIT_ACTIONS) if action.startswith(group)))
        for group in _GROUPS
    )


def _skin(
    pack: _Packer,
    joints: Int[Tensor, "n 4"],
    weights: Float[Tensor, "n 4"],
    morphs: tuple[Morph, ...],
    correctives: Correctives | None,
) -> PageSkin:
    # The first of the largest weights decides the sign of the others' quaternions: it goes first.
    order = weights.argsort(dim=1, descending=True, stable=True)
    joints, weights = joints.gather(1, order), weights.gather(1, order)
    return PageSkin(
        joints=pack.add(joints, "uint8" if int(joints.max()) < 256 else "uint16"),
        weights=pack.add(weights, "uint16", 1.0 / 65535.0),
        morphs=tuple(
            PageMorph(
                action=ARKIT_ACTIONS.index(morph.name),
                indices=pack.add(morph.indices, "uint32" if len(joints) > 65535 else "uint16"),
                deltas_m=pack.add(morph.deltas_m, "float16"),
            )
            for morph in morphs
            if morph.name in ARKIT_ACTIONS and morph.indices.numel()
        ),
        nodes=None if correctives is None else pack.add(correctives.nodes, "uint16"),
        node_weights=None if correctives is None else pack.add(correctives.weights, "uint16", 1.0 / 65535.0),
    )


def _splats(pack: _Packer, splats: Splats) -> PageSplats:
    quats = torch.nn.functional.normalize(splats.quats_wxyz, dim=-1)
    return PageSplats(
        count=len(splats.means_rest_m),
        means_rest_m=pack.add(splats.means_rest_m, "float32"),
        quats_xyzw=pack.add(quat_wxyz_to_xyzw(quats), "int16", 1.0 / 32767.0),
        scales_m=pack.add(splats.scales_m, "float16"),
        opacities=pack.add(splats.opacities, "uint16", 1.0 / 65535.0),
        colors=pack.add(mean_rgb(splats.sh), "float16"),
        harmonics=_harmonics(pack, splats.sh[:, 1:]),
        skin=_skin(pack, splats.joints, splats.weights, splats.morphs, splats.correctives),
    )


def _harmonics(pack: _Packer, higher: Float[Tensor, "n more 3"]) -> Block | None:
    """Degree 1 and above in 8 bits, over the range that they take; none where there are none."""
    largest = float(higher.abs().max()) if higher.numel() else 0.0
    return pack.add(higher, "int8", largest / 127.0) if largest > 0.0 else None


def _mesh(pack: _Packer, mesh: Mesh) -> PageMesh:
    return PageMesh(
        vertices_rest_m=pack.add(mesh.vertices_rest_m, "float32"),
        colors=pack.add(mesh.colors, "uint8", 1.0 / 255.0),
        faces=pack.add(mesh.faces, "uint32" if len(mesh.vertices_rest_m) > 65535 else "uint16"),
        texture=None if mesh.texture is None else _texture(pack, mesh.texture),
        skin=_skin(pack, mesh.joints, mesh.weights, mesh.morphs, mesh.correctives),
    )


def _texture(pack: _Packer, texture: Texture) -> PageTexture:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(texture.image.cpu().numpy()).save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return PageTexture(
        uv=pack.add(texture.uv, "float32"),
        picture=pack.add(np.frombuffer(file.getvalue(), np.uint8), "uint8"),
    )


def _page_correctives(pack: _Packer, basis: CorrectiveBasis) -> PageCorrectives:
    reach = float(basis.reach)
    return PageCorrectives(
        turn_bones=tuple(int(b) for b in basis.turn_bones),
        up_bones=tuple(int(b) for b in basis.up_bones),
        feature_map=pack.add(basis.feature_map, "float32"),
        feature_mean=pack.add(basis.feature_mean, "float32"),
        lowest=pack.add(basis.lowest, "float32"),
        highest=pack.add(basis.highest, "float32"),
        reach=reach if math.isfinite(reach) else 1e30,  # JSON knows no infinity
        offsets_m=pack.add(basis.offsets_m, "float32"),
        shades=pack.add(basis.shades, "float32"),
    )


def _motion(pack: _Packer, motion: Motion) -> PageMotion:
    return PageMotion(
        name=motion.name,
        fps_hz=float(motion.fps_hz),
        frames=motion.num_frames,
        rotvecs=pack.add(motion.rotvecs, "int16", _TURN_LIMIT_RAD / 32767.0),
        translation_m=pack.add(motion.translation_world_m, "float32"),
        expression=pack.add(motion.expression, "uint8", 1.0 / 255.0),
    )
