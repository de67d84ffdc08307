"""Rotations and rigid transforms. Rotation vectors in radians, quaternions wxyz, transforms `T_a_b` with p_a = T_a_b p_b."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def rotvec_to_matrix(rotvec: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rodrigues' formula, smooth and differentiable through zero.

    Args:
        rotvec: Axis times angle, radians.
    Returns:
        Rotation matrices. Differentiable.
    """
    angle_sq = (rotvec * rotvec).sum(-1)
    small = angle_sq < 1e-8
    # Double where: the branch not taken must not produce NaN gradients.
    angle = torch.where(small, torch.ones_like(angle_sq), angle_sq).sqrt()
    sinc = torch.where(small, 1.0 - angle_sq / 6.0, torch.sin(angle) / angle)
    cosc = torch.where(small, 0.5 - angle_sq / 24.0, (1.0 - torch.cos(angle)) / (angle * angle))
    x, y, z = rotvec.unbind(-1)
    xs, ys, zs = sinc * x, sinc * y, sinc * z
    xc, yc, zc = cosc * x, cosc * y, cosc * z
    xx, yy, zz, xy, xz, yz = xc * x, yc * y, zc * z, xc * y, xc * z, yc * z
    rows = (1.0 - yy - zz, xy - zs, xz + ys, xy + zs, 1.0 - xx - zz, yz - xs, xz - ys, yz + xs, 1.0 - xx - yy)
    return torch.stack(rows, dim=-1).reshape(*rotvec.shape[:-1], 3, 3)


def matrix_to_quat_wxyz(R: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions wxyz with w >= 0 from rotation matrices (the numerically largest component leads).

    Not meant to be differentiated at the seams between branches.
    """
    m = R.reshape(*R.shape[:-2], 9)
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = m.unbind(-1)
    candidates = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01], -1),
            torch.stack([m21 - m12, 1 + m00 - m11 - m22, m10 + m01, m02 + m20], -1),
            torch.stack([m02 - m20, m10 + m01, 1 - m00 + m11 - m22, m12 + m21], -1),
            torch.stack([m10 - m01, m20 + m02, m21 + m12, 1 - m00 - m11 + m22], -1),
        ],
        dim=-2,
    )
    leading = torch.diagonal(candidates, dim1=-2, dim2=-1).argmax(-1)
    index = leading[..., None, None].expand(*leading.shape, 1, 4)
    quat = torch.nn.functional.normalize(candidates.gather(-2, index).squeeze(-2), dim=-1)
    return torch.where(quat[..., :1] < 0, -quat, quat)


def quat_wxyz_to_matrix(quat_wxyz: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices from quaternions wxyz of any non-zero length. Differentiable."""
    w, x, y, z = torch.nn.functional.normalize(quat_wxyz, dim=-1).unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return torch.stack(rows, dim=-1).reshape(*quat_wxyz.shape[:-1], 3, 3)


def quat_wxyz_to_rotvec(quat_wxyz: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3"]:
    """Rotation vectors of at most pi from quaternions wxyz."""
    quat = torch.nn.functional.normalize(quat_wxyz, dim=-1)
    quat = torch.where(quat[..., :1] < 0, -quat, quat)
    norm = quat[..., 1:].norm(dim=-1, keepdim=True)
    small = norm < 1e-7
    safe = torch.where(small, torch.ones_like(norm), norm)
    scale = torch.where(small, 2.0 * torch.ones_like(norm), 2.0 * torch.atan2(safe, quat[..., :1]) / safe)
    return quat[..., 1:] * scale


def rotvec_to_quat_wxyz(rotvec: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions wxyz from rotation vectors. Differentiable through zero."""
    angle_sq = (rotvec * rotvec).sum(-1, keepdim=True)
    small = angle_sq < 1e-8
    angle = torch.where(small, torch.ones_like(angle_sq), angle_sq).sqrt()
    half_sinc = torch.where(small, 0.5 - angle_sq / 48.0, torch.sin(0.5 * angle) / angle)
    cos = torch.where(small, 1.0 - angle_sq / 8.0, torch.cos(0.5 * angle))
    return torch.cat([cos, rotvec * half_sinc], dim=-1)


def matrix_to_rotvec(R: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Rotation vectors of at most pi from rotation matrices."""
    return quat_wxyz_to_rotvec(matrix_to_quat_wxyz(R))


def quat_multiply_wxyz(a: Float[Tensor, "*batch 4"], b: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Hamilton product a b: first rotates by b, then by a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )


def quat_wxyz_to_xyzw(quat_wxyz: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Reorder for third parties that put the scalar last (glTF)."""
    return torch.cat([quat_wxyz[..., 1:], quat_wxyz[..., :1]], dim=-1)


def quat_xyzw_to_wxyz(quat_xyzw: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Reorder what third parties give with the scalar last (glTF)."""
    return torch.cat([quat_xyzw[..., 3:], quat_xyzw[..., :3]], dim=-1)


def rigid(R: Float[Tensor, "*batch 3 3"], t: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4 4"]:
    """4x4 transform from rotation and translation."""
    top = torch.cat([R, t[..., None]], dim=-1)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=R.dtype, device=R.device).expand(*R.shape[:-2], 1, 4)
    return torch.cat([top, bottom], dim=-2)


def invert_rigid(T_a_b: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """T_b_a, for rigid transforms only."""
    R = T_a_b[..., :3, :3].transpose(-1, -2)
    return rigid(R, -(R @ T_a_b[..., :3, 3:])[..., 0])


def transform_points(
    T_a_b: Float[Tensor, "*batch 4 4"], points_b: Float[Tensor, "*batch n 3"]
) -> Float[Tensor, "*batch n 3"]:
    """Points in frame a. Batch axes broadcast."""
    return points_b @ T_a_b[..., :3, :3].transpose(-1, -2) + T_a_b[..., None, :3, 3]
