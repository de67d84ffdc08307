"""Spherical harmonics of degrees 0 to 3: the real basis, with the signs and the order that 3D Gaussian splatting uses.

Order: degree by degree, m from -l to l; with the Condon-Shortley sign (-1)^m, which is why odd terms are negative.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.core.errors import ShapeError

C0 = math.sqrt(1 / (4 * math.pi))
C1 = math.sqrt(3 / (4 * math.pi))
C2_A = math.sqrt(15 / (4 * math.pi))
C2_B = math.sqrt(5 / (16 * math.pi))
C2_C = math.sqrt(15 / (16 * math.pi))
C3_A = math.sqrt(35 / (32 * math.pi))
C3_B = math.sqrt(105 / (4 * math.pi))
C3_C = math.sqrt(21 / (32 * math.pi))
C3_D = math.sqrt(7 / (16 * math.pi))
C3_E = math.sqrt(105 / (16 * math.pi))


def sh_degree(num_coeffs: int) -> int:
    """Degree of an expansion with this many coefficients.

    Raises:
        ShapeError: When it is none of 1, 4, 9, 16.
    """
    degree = math.isqrt(max(num_coeffs, 0)) - 1
    if not 0 <= degree <= 3 or (degree + 1) ** 2 != num_coeffs:
        raise ShapeError(
            f"Spherical harmonics must have 1, 4, 9 or 16 coefficients (degree 0 to 3), found {num_coeffs}; "
            "cut or pad the second axis of `sh`."
        )
    return degree


def sh_basis(directions: Float[Tensor, "*batch 3"], degree: int) -> Float[Tensor, "*batch coeffs"]:
    """Values of the (degree + 1)^2 basis functions at unit directions. Differentiable."""
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    basis = [torch.full_like(x, C0)]
    if degree >= 1:
        basis += [-C1 * y, C1 * z, -C1 * x]
    if degree >= 2:
        basis += [C2_A * x * y, -C2_A * y * z, C2_B * (2 * zz - xx - yy), -C2_A * x * z, C2_C * (xx - yy)]
    if degree >= 3:
        basis += [
            -C3_A * y * (3 * xx - yy),
            C3_B * x * y * z,
            -C3_C * y * (4 * zz - xx - yy),
            C3_D * z * (2 * zz - 3 * xx - 3 * yy),
            -C3_C * x * (4 * zz - xx - yy),
            C3_E * z * (xx - yy),
            -C3_A * x * (xx - 3 * yy),
        ]
    return torch.stack(basis, dim=-1)


def sh_to_rgb(sh: Float[Tensor, "n coeffs channels"], directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n channels"]:
    """Colours seen along unit directions (from the eye to the splat): max(0, 0.5 + sum c_k Y_k). Differentiable."""
    basis = sh_basis(directions, sh_degree(sh.shape[-2]))
    return (0.5 + (basis[..., None] * sh).sum(-2)).clamp_min(0.0)


def rgb_to_sh(rgb: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 1 3"]:
    """Coefficients of degree 0 that give this colour from everywhere."""
    return ((rgb - 0.5) / C0)[..., None, :]


def mean_rgb(sh: Float[Tensor, "*batch coeffs 3"]) -> Float[Tensor, "*batch 3"]:
    """The colour of degree 0 alone: the mean over all directions, not clamped."""
    return 0.5 + C0 * sh[..., 0, :]
