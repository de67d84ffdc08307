"""The CPU rasteriser: fast, differentiable, the same bits for any number of threads.

Splats are projected, sorted once by depth and cut into instances (splat x tile, with a bit for each block of pixels
that the splat reaches); every tile composites its instances front to back. The backward pass walks the same instances
in the same order and writes each one's sums to a row of its own, which are then added up per splat: no atomics, no
order that depends on threads.
"""

from __future__ import annotations

import functools
import logging
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.core.cameras import Camera
from bodydouble.core.errors import ShapeError
from bodydouble.render.protocol import FIELD_MARGIN, RenderedSplats, SplatCloud
from bodydouble.render.sh import sh_degree
from bodydouble.render.threads import kernel_threads, run_kernel

_GRADIENT_ROW = 12
_FEW_SPLATS = 1000
_log = logging.getLogger(__name__)


class CpuRasterizer:
    """Rasteriser on numba kernels, float32. Follows `protocol.Rasterizer`, stopping per pixel as the reference does."""

    def __call__(
        self, splats: SplatCloud, camera: Camera, background: Float[Tensor, " 3"] | None = None
    ) -> RenderedSplats:
        """Rasterise; `background` defaults to black and gets its gradient too. No gradient flows to the camera.

        `rgb` lies in memory as three planes; all torch functions take it as it is.

        Raises:
            ShapeError: When the splats' tensors do not belong together or are not on the CPU.
        """
        _check(splats)
        n = splats.means_world.shape[0]
        tensors = (splats.means_world, splats.quats_wxyz, splats.scales_m, splats.opacities, splats.sh)
        tensors = tuple(t.to(torch.float32).contiguous() for t in tensors)
        if background is None:
            background = torch.zeros(3)
        if n == 0:
            return _empty_image(tensors, camera, background)
        rgb, alpha, depth = _Rasterize.apply(*tensors, background.to(torch.float32), camera)
        return RenderedSplats(rgb=rgb, alpha=alpha, depth=depth)


def _check(splats: SplatCloud) -> None:
    n = splats.means_world.shape[0]
    expected = {
        "means_world": (n, 3),
        "quats_wxyz": (n, 4),
        "scales_m": (n, 3),
        "opacities": (n,),
        "sh": (n, *splats.sh.shape[1:2], 3),
    }
    for name, shape in expected.items():
        tensor = getattr(splats, name)
        if tuple(tensor.shape) != shape:
            raise ShapeError(
                f"CpuRasterizer: {name} must be {shape} like the {n} means, got {tuple(tensor.shape)}; "
                "take all fields from the same splats."
            )
        if tensor.device.type != "cpu":
            raise ShapeError(
                f"CpuRasterizer: {name} must be on the CPU, got {tensor.device}; use splats.to(device='cpu') or "
                "make_rasterizer('cuda')."
            )
    sh_degree(splats.sh.shape[1])


def _empty_image(tensors: tuple[Tensor, ...], camera: Camera, background: Tensor) -> RenderedSplats:
    """The background, still attached to the (empty) splats so that a training step without splats does not fail."""
    height, width = camera.height_px, camera.width_px
    nothing = sum(t.sum() for t in tensors) * 0.0
    return RenderedSplats(
        rgb=background.to(torch.float32).expand(height, width, 3) + nothing,
        alpha=torch.zeros(height, width) + nothing,
        depth=torch.zeros(height, width) + nothing,
    )


class _Instances:
    """What the forward pass found out and the backward pass needs again. NumPy arrays; see `cpu_binning`."""

    def __init__(self, splats: tuple[np.ndarray, ...], camera: Camera) -> None:
        from bodydouble.render import cpu_binning, cpu_projection

        hot = hot_kernels()
        n = splats[0].shape[0]
        self.splats, self.camera = splats, _camera_array(camera)
        self.width, self.height = camera.width_px, camera.height_px
        self.workers = 1 if n < _FEW_SPLATS else kernel_threads()
        self.records = np.empty((n, cpu_projection.RECORD), dtype=np.float32)
        bound = np.empty(n, dtype=np.int32)
        run_kernel(
            cpu_projection.project, self.workers, *splats, self.camera, cpu_binning.TILE, self.records, bound
        )  # fmt: skip
        order, self.count = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32)
        self.first = np.empty(n, dtype=np.int64)
        drawn, total = cpu_binning.order_by_depth(self.records, bound, order, self.first)
        tile_of, self.splat_of = np.empty(total, dtype=np.int32), np.empty(total, dtype=np.int32)
        self.masks = np.empty((total, cpu_binning.WORDS), dtype=np.uint64)
        run_kernel(
            hot.emit, self.workers, self.records, bound, self.width, self.height, self.first, self.count,
            tile_of, self.splat_of, self.masks,
        )  # fmt: skip
        tiles = -(-self.width // cpu_binning.TILE) * -(-self.height // cpu_binning.TILE)
        self.starts, load = np.empty(tiles + 1, dtype=np.int64), np.empty(tiles, dtype=np.int64)
        self.instances = np.empty(total, dtype=np.int32)
        cpu_binning.fill_tiles(
            order, drawn, self.first, self.count, tile_of, self.masks, self.starts, self.instances, load
        )
        self.owners = np.empty(tiles + self.workers + 1, dtype=np.int64)
        cpu_binning.share_tiles(load, np.argsort(-load, kind="stable"), self.owners, self.workers)

    def forward(self, background: np.ndarray) -> np.ndarray:
        """Planes red, green, blue, alpha, depth, each H * W, one after the other."""
        image = np.empty(5 * self.width * self.height, dtype=np.float32)
        run_kernel(
            hot_kernels().forward, self.workers, self.records, self.starts, self.instances, self.splat_of, self.masks,
            self.owners, background, self.width, self.height, image,
        )  # fmt: skip
        return image

    def backward(self, background: np.ndarray, image: np.ndarray, grads: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        """Gradients of means, quaternions, scales, opacities and harmonics for those of rgb, alpha, depth."""
        from bodydouble.render import cpu_projection

        rows = np.empty((self.splat_of.shape[0], _GRADIENT_ROW), dtype=np.float32)
        run_kernel(
            hot_kernels().backward, self.workers, self.records, self.starts, self.instances, self.splat_of, self.masks,
            self.owners, background, self.width, self.height, image, *grads, rows,
        )  # fmt: skip
        result = [np.empty_like(array) for array in self.splats]
        run_kernel(
            cpu_projection.project_backward, self.workers, *self.splats, self.camera, self.records,
            self.first, self.count, rows, *result,
        )  # fmt: skip
        return result


class _Rasterize(torch.autograd.Function):
    """Splat tensors and background in, planes of the image out."""

    @staticmethod
    def forward(ctx: Any, means, quats, scales, opacities, sh, background, camera: Camera) -> tuple[Tensor, ...]:
        tensors = (means, quats, scales, opacities, sh)
        found = _Instances(tuple(t.detach().numpy() for t in tensors), camera)
        color = np.ascontiguousarray(background.detach().numpy())
        image = found.forward(color)
        # Separate tensors on one buffer: views of one tensor would cost a full-size sum in the backward pass each.
        planes = image.reshape(5, camera.height_px, camera.width_px)
        rgb, alpha, depth = (torch.from_numpy(p) for p in (planes[:3].transpose(1, 2, 0), planes[3], planes[4]))
        ctx.save_for_backward(*tensors, background, rgb, alpha, depth)
        ctx.found, ctx.image = found, image
        ctx.set_materialize_grads(False)
        return rgb, alpha, depth

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *args: Tensor | None) -> tuple[Tensor | None, ...]:
        g_rgb, g_alpha, g_depth = args
        # Asking for the saved tensors makes torch complain if one of them was changed in place since.
        background, alpha = ctx.saved_tensors[5], ctx.saved_tensors[7]
        if g_rgb is None:
            g_rgb = torch.zeros(*alpha.shape, 3)
        flat = (
            g_rgb.permute(2, 0, 1).to(torch.float32).contiguous().reshape(-1).numpy(),
            *(_flat_or_nothing(g) for g in (g_alpha, g_depth)),
        )
        color = np.ascontiguousarray(background.detach().numpy())
        result = [torch.from_numpy(g) for g in ctx.found.backward(color, ctx.image, flat)]
        g_background = ((1.0 - alpha)[..., None] * g_rgb).sum((0, 1)) if ctx.needs_input_grad[5] else None
        return (*result, g_background, None)


def _flat_or_nothing(gradient: Tensor | None) -> np.ndarray:
    if gradient is None:
        return np.empty(0, dtype=np.float32)
    return gradient.to(torch.float32).contiguous().reshape(-1).numpy()


def _camera_array(camera: Camera) -> np.ndarray:
    T = camera.T_camera_world.detach().cpu().double().numpy()
    focal, center = (t.detach().cpu().double().numpy() for t in (camera.focal_px, camera.center_px))
    size = np.array([camera.width_px, camera.height_px], dtype=np.float64)
    bounds = np.stack([-(center + FIELD_MARGIN * size), size - center + FIELD_MARGIN * size], axis=1) / focal[:, None]
    return np.concatenate([T[:3, :3].ravel(), T[:3, 3], focal, center, size, bounds.ravel()])


@functools.lru_cache(maxsize=1)
def hot_kernels() -> ModuleType:
    """The kernels in use: `cpu_simd`, or `cpu_plain` if the user wants it or the vector type cannot be compiled."""
    from bodydouble.core.jit import plain_kernels_wanted
    from bodydouble.render import cpu_plain

    if plain_kernels_wanted():
        return cpu_plain
    try:
        from bodydouble.render import cpu_simd

        _try_out(cpu_simd)
    except Exception as error:  # noqa: BLE001  (whatever a foreign compiler raises, the picture must come)
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        _log.warning("The SIMD kernels do not work here (%s); slower ones are used.", reason)
        _log.debug("What went wrong with the SIMD kernels", exc_info=True)
        return cpu_plain
    return cpu_simd


def simd_works() -> bool:
    """Whether kernels with the vector type are in use."""
    return hot_kernels().__name__.endswith("cpu_simd")


def _try_out(hot: ModuleType) -> None:
    """Compile the vector kernels on nothing."""
    f32, i32, i64 = (functools.partial(np.zeros, dtype=t) for t in (np.float32, np.int32, np.int64))
    from bodydouble.render import cpu_binning, cpu_projection

    records, masks = f32((0, cpu_projection.RECORD)), np.zeros((0, cpu_binning.WORDS), dtype=np.uint64)
    hot.emit(0, 1, records, i32(0), 1, 1, i64(0), i32(0), i32(0), i32(0), masks)
    tiles = (records, i64(2), i32(0), i32(0), masks, np.full(2, 2, dtype=np.int64), f32(3), 1, 1, f32(5))
    hot.forward(0, 1, *tiles)
    hot.backward(0, 1, *tiles, f32(3), f32(1), f32(1), f32((0, _GRADIENT_ROW)))
