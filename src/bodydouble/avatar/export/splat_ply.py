"""Splats in the .ply layout of the original 3D Gaussian Splatting programs, which every splat viewer opens."""

from __future__ import annotations

import numpy as np
import torch

from bodydouble.avatar.drive import rotate_sh
from bodydouble.core.geometry import quat_multiply_wxyz
from bodydouble.render.protocol import SplatCloud

_OPACITY_EDGE = 1e-6
"""Opacities are kept this far from 0 and 1, whose logits are infinite."""
_SMALLEST_M = 1e-7


def splats_to_ply(cloud: SplatCloud) -> bytes:
    """The bytes of a binary .ply: x y z, nx ny nz, f_dc_*, f_rest_*, opacity (logit), scale_* (log), rot_* (wxyz).

    The layout has no room for axes; its viewers take +Y for down (the axes of the camera of the first picture, as the
    original programs leave them). The cloud is turned to that by half a turn about X, so that it stands upright there.

    Args:
        cloud: In the world, +Y up.
    """
    turned = turned_about_x(cloud)
    n, coeffs = turned.sh.shape[:2]
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{i}" for i in range(3 * (coeffs - 1))]
    names += ["opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    opacity = turned.opacities.double().clamp(_OPACITY_EDGE, 1 - _OPACITY_EDGE)
    columns = [
        turned.means_world.double(),
        torch.zeros(n, 3, dtype=torch.float64),
        turned.sh[:, 0].double(),
        # Channel by channel: all the red coefficients, then the green, then the blue ones.
        turned.sh[:, 1:].double().transpose(1, 2).reshape(n, -1),
        torch.logit(opacity)[:, None],
        turned.scales_m.double().clamp_min(_SMALLEST_M).log(),
        torch.nn.functional.normalize(turned.quats_wxyz.double(), dim=-1),
    ]
    values = torch.cat([c.detach().cpu() for c in columns], 1).numpy().astype("<f4")
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {n}"]
    head += [f"property float {name}" for name in names] + ["end_header", ""]
    return "\n".join(head).encode("ascii") + np.ascontiguousarray(values).tobytes()


def turned_about_x(cloud: SplatCloud) -> SplatCloud:
    """The cloud after half a turn about X: +Y up becomes +Y down, and back."""
    half = torch.tensor([0.0, 1.0, 0.0, 0.0]).to(cloud.quats_wxyz)
    R = torch.diag(torch.tensor([1.0, -1.0, -1.0])).to(cloud.sh)
    sh = cloud.sh
    if sh.shape[1] > 1:
        sh = rotate_sh(sh, R.expand(len(sh), 3, 3))
    return cloud.replace(
        means_world=cloud.means_world * torch.tensor([1.0, -1.0, -1.0]).to(cloud.means_world),
        quats_wxyz=quat_multiply_wxyz(half.expand_as(cloud.quats_wxyz), cloud.quats_wxyz),
        sh=sh,
    )
