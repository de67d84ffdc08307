"""What must hold of an avatar so that its .glb reads back the same."""

from __future__ import annotations

from torch import Tensor

from bodydouble.avatar.glb_correctives import check_basis
from bodydouble.avatar.values import Avatar, Mesh
from bodydouble.core.errors import ShapeError


def check_avatar(avatar: Avatar) -> None:
    """Refuse an avatar that could not be written so that it reads back the same.

    Raises:
        ShapeError: Naming the part, what was expected and what was found.
    """
    rig = avatar.rig
    if len(set(rig.bone_names)) != len(rig.bone_names) or list(rig.bone_parents).count(-1) != 1:
        raise ShapeError("save_avatar: the rig must have distinct bone names and exactly one root (parent -1).")
    if any(p >= b for b, p in enumerate(rig.bone_parents)):
        raise ShapeError("save_avatar: the rig's bones must be ordered with parents before children.")
    missing = sorted(set(rig.humanoid.values()) - set(rig.bone_names))
    if missing:
        raise ShapeError(f"save_avatar: the humanoid map names bones the rig lacks: {', '.join(missing)}.")
    if avatar.mesh is None and avatar.splats is None:
        raise ShapeError("save_avatar: the avatar has neither a mesh nor splats; there is nothing to save.")
    check_finite("rig.joints_rest_m", rig.joints_rest_m)
    for name, part in (("mesh", avatar.mesh), ("splats", avatar.splats)):
        if part is None:
            continue
        points = part.vertices_rest_m if isinstance(part, Mesh) else part.means_rest_m
        if not len(points):
            raise ShapeError(f"save_avatar: {name} is empty; use None for an avatar without it.")
        check_range(f"{name}.joints", part.joints, 0, len(rig.bone_names) - 1)
        check_range(f"{name}.weights", part.weights, 0.0, 1.0 + 1e-4)
        if (part.weights.sum(-1) - 1).abs().max() > 1e-3:
            raise ShapeError(f"save_avatar: each row of {name}.weights must sum to 1; normalise them first.")
        for morph in part.morphs:
            check_range(f"{name}.morphs[{morph.name}].indices", morph.indices, 0, len(points) - 1)
            check_finite(f"{name}.morphs[{morph.name}].deltas_m", morph.deltas_m)
        check_finite(f"{name} positions", points)
        if part.correctives is not None:
            check_basis(part.correctives.basis, len(rig.bone_names))
            check_range(
                f"{name}.correctives.nodes", part.correctives.nodes, 0, len(part.correctives.basis.nodes_rest_m) - 1
            )
            check_range(f"{name}.correctives.weights", part.correctives.weights, 0.0, 1.0 + 1e-4)
    if avatar.mesh is not None:
        check_range("mesh.faces", avatar.mesh.faces, 0, len(avatar.mesh.vertices_rest_m) - 1)
        check_range("mesh.colors", avatar.mesh.colors, 0.0, 1.0)
        if avatar.mesh.texture is not None:
            check_range("mesh.texture.uv", avatar.mesh.texture.uv, 0.0, 1.0)
            if len(avatar.mesh.texture.uv) != len(avatar.mesh.vertices_rest_m):
                raise ShapeError(
                    f"save_avatar: mesh.texture.uv has {len(avatar.mesh.texture.uv)} rows for "
                    f"{len(avatar.mesh.vertices_rest_m)} vertices; unwrap the mesh again."
                )
    if avatar.splats is not None:
        check_range("splats.opacities", avatar.splats.opacities, 0.0, 1.0)
        check_range("splats.seen", avatar.splats.seen, 0.0, 1.0)
        check_range("splats.scales_m", avatar.splats.scales_m, 0.0, 1e3)
        check_finite("splats.quats_wxyz", avatar.splats.quats_wxyz)
        check_finite("splats.sh", avatar.splats.sh)
        if avatar.splats.quats_wxyz.norm(dim=-1).min() < 1e-6:
            raise ShapeError("save_avatar: splats.quats_wxyz holds a quaternion of length zero.")
        if avatar.splats.sh.shape[1] not in (1, 4, 9, 16):
            raise ShapeError(
                f"save_avatar: splats.sh must have 1, 4, 9 or 16 coefficients, got {avatar.splats.sh.shape[1]}."
            )


def check_finite(name: str, values: Tensor) -> None:
    """Raise ShapeError, naming the values, unless all are finite."""
    if not bool(values.isfinite().all()):
        raise ShapeError(f"save_avatar: {name} holds values that are not finite.")


def check_range(name: str, values: Tensor, low: float | int, high: float | int) -> None:
    """Raise ShapeError, naming the values, unless all lie in [low, high]; NaN does not."""
    if not values.numel():
        return
    found = float(values.min()), float(values.max())
    if not (low <= found[0] and found[1] <= high):
        raise ShapeError(f"save_avatar: {name} must lie in [{low}, {high}], found [{found[0]:.6g}, {found[1]:.6g}].")
