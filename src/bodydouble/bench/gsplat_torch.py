"""gsplat's torch reference on the CPU, as far as it runs there: something to measure our kernels against.

gsplat 1.5.3 has its image formation in plain torch too (`gsplat.cuda._torch_impl`): projection, harmonics and
`accumulate`, which composites a list of (splat, pixel) pairs with autograd. Two things in it need CUDA: the search for
the pairs, and the scans along rays that it takes from nerfacc. Here the pairs are found beforehand by our own kernels
and handed over sorted, outside the measured time, and the two scans are written in torch. Both favour gsplat.
"""

from __future__ import annotations

import importlib.util
import sys
import types

import numpy as np
import torch

from bodydouble.core.cameras import Camera
from bodydouble.render.cpu import _Instances
from bodydouble.render.cpu_binning import TILE, TILE_BLOCKS
from bodydouble.render.protocol import MIN_ALPHA, NEAR_M, SplatCloud
from bodydouble.render.sh import sh_degree
from bodydouble.render.simd import BLOCK_HEIGHT, BLOCK_WIDTH, LANES


def why_not() -> str | None:
    """Why gsplat's reference cannot be measured here, or None if it can."""
    if importlib.util.find_spec("gsplat") is None:
        return "gsplat is not installed; `pip install gsplat==1.5.3` brings it (no CUDA needed for this)"
    return None


def visible_pairs(splats: SplatCloud, camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """Splats and pixels with alpha of at least 1/255, sorted by pixel, then by depth."""
    names = ("means_world", "quats_wxyz", "scales_m", "opacities", "sh")
    found = _Instances(tuple(getattr(splats, name).detach().numpy() for name in names), camera)
    tiles = len(found.starts) - 1
    tile = np.repeat(np.arange(tiles), np.diff(found.starts))
    instance = found.instances[: found.starts[-1]]
    rank_in_tile = np.arange(len(instance))
    bits = np.unpackbits(found.masks[instance].view(np.uint8), axis=1, bitorder="little")
    row, block = np.nonzero(bits)
    tiles_x = -(-camera.width_px // TILE)
    x0 = (tile[row] % tiles_x) * TILE + (block % TILE_BLOCKS) * BLOCK_WIDTH
    y0 = (tile[row] // tiles_x) * TILE + (block // TILE_BLOCKS) * BLOCK_HEIGHT
    lane = np.arange(LANES)
    x, y = x0[:, None] + lane % BLOCK_WIDTH, y0[:, None] + lane // BLOCK_WIDTH
    splat = np.broadcast_to(found.splat_of[instance][row][:, None], x.shape)
    rank = np.broadcast_to(rank_in_tile[row][:, None], x.shape)
    inside = (x < camera.width_px) & (y < camera.height_px)
    x, y, splat, rank = x[inside], y[inside], splat[inside], rank[inside]
    record = found.records[splat]
    u = record[:, 2] * (x + 0.5 - record[:, 0]) + record[:, 3] * (y + 0.5 - record[:, 1])
    v = record[:, 4] * (y + 0.5 - record[:, 1])
    keep = record[:, 5] - u * u - v * v >= np.log2(MIN_ALPHA)
    pixel = (y * camera.width_px + x)[keep]
    order = np.lexsort((rank[keep], pixel))
    return torch.from_numpy(splat[keep][order].astype(np.int64)), torch.from_numpy(pixel[order].astype(np.int64))


def _install_scans() -> None:
    """A module `nerfacc` with the two functions that gsplat's `accumulate` uses, in torch."""
    module = types.ModuleType("nerfacc")

    def render_weight_from_alpha(alphas, ray_indices, n_rays):
        log_through = torch.log1p(-alphas.double())
        before = torch.cumsum(log_through, 0) - log_through
        first = torch.ones_like(ray_indices, dtype=torch.bool)
        first[1:] = ray_indices[1:] != ray_indices[:-1]
        starts = before[first][torch.cumsum(first, 0) - 1]
        through = torch.exp(before - starts).float()
        return alphas * through, through

    def accumulate_along_rays(weights, values, ray_indices, n_rays):
        source = weights[:, None] if values is None else weights[:, None] * values
        return torch.zeros(n_rays, source.shape[1]).index_add(0, ray_indices, source)

    vars(module).update(render_weight_from_alpha=render_weight_from_alpha, accumulate_along_rays=accumulate_along_rays)
    sys.modules["nerfacc"] = module


def rasterize(
    splats: SplatCloud, camera: Camera, pairs: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """RGB and depth [H, W, 4] and alpha [H, W] by gsplat's torch code."""
    _install_scans()
    from gsplat.cuda._torch_impl import (
        _fully_fused_projection,
        _quat_scale_to_covar_preci,
        _spherical_harmonics,
        accumulate,
    )

    covariances, _ = _quat_scale_to_covar_preci(splats.quats_wxyz, splats.scales_m, True, False, triu=False)
    K = torch.eye(3)
    K[0, 0], K[1, 1] = camera.focal_px
    K[0, 2], K[1, 2] = camera.center_px
    view = camera.T_camera_world[None]
    _, means_px, depths, conics, _ = _fully_fused_projection(
        splats.means_world, covariances, view, K[None], camera.width_px, camera.height_px, near_plane=NEAR_M
    )
    eye = -camera.T_camera_world[:3, :3].T @ camera.T_camera_world[:3, 3]
    degree = sh_degree(splats.sh.shape[1])
    colors = (_spherical_harmonics(degree, splats.means_world - eye, splats.sh) + 0.5).clamp_min(0.0)
    values = torch.cat([colors, depths[0, :, None]], dim=1)[None]
    splat, pixel = pairs
    image, alpha = accumulate(
        means_px, conics, splats.opacities[None], values, splat, pixel, torch.zeros_like(splat),
        camera.width_px, camera.height_px,
    )  # fmt: skip
    return image[0], alpha[0, ..., 0]
