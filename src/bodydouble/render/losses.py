"""The photometric loss, L1 + squares + SSIM, with its gradient in one pass.

SSIM is that of Wang et al. 2004 with an 11 x 11 Gaussian window (sigma 1.5), zeros beyond the image's edge, and the mean
over pixels and channels. The kernel streams rows: filtered rows live in small rings, nothing of the image's size is
stored but the gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.core.errors import ShapeError
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.render.ssim_window import C1, C2, SIGMA, WINDOW
from bodydouble.render.threads import kernel_threads, run_kernel


@tensor_struct
class PhotometricLoss(TensorStruct):
    """A loss and what it is made of."""

    total: Float[Tensor, ""]
    """l1_weight * l1 + squared_weight * squared + ssim_weight * (1 - ssim). Differentiable in the rendered image."""
    l1: Float[Tensor, ""]
    """Mean of weight * |rendered - target| over pixels and channels; detached."""
    squared: Float[Tensor, ""]
    """Mean of weight * (rendered - target)^2; detached."""
    ssim: Float[Tensor, ""]
    """Mean SSIM; detached."""


def gaussian_window() -> Float[Tensor, "11"]:
    """Weights of the one-dimensional window; they sum to 1."""
    x = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    window = torch.exp(-(x**2) / (2 * SIGMA**2))
    return window / window.sum()


def photometric_loss(
    rendered: Float[Tensor, "height width 3"],
    target: Float[Tensor, "height width 3"],
    *,
    l1_weight: float = 0.8,
    ssim_weight: float = 0.2,
    squared_weight: float = 0.0,
    pixel_map: Float[Tensor, "height width"] | None = None,
) -> PhotometricLoss:
    """L1 + squares + SSIM, fused on the CPU in float32, otherwise by `photometric_loss_reference`.

    Args:
        rendered: Image to be judged. Fastest as the rasteriser returns it (three planes in memory).
        target: What it should be. Fastest as three planes too: see `planar`.
        l1_weight, ssim_weight, squared_weight: Of the three terms.
        pixel_map: Weight of each pixel in the L1 and the squared term; 1 by default. Not normalised.
    Returns:
        The loss. Differentiable in `rendered` only.
    Raises:
        ShapeError: When the images differ in size.
    """
    if rendered.shape != target.shape:
        raise ShapeError(
            f"photometric_loss: target must be {tuple(rendered.shape)} like the rendered image, "
            f"got {tuple(target.shape)}; render at the size of the target."
        )
    if rendered.dtype != torch.float32 or rendered.device.type != "cpu" or not _simd_works():
        return photometric_loss_reference(
            rendered, target, l1_weight=l1_weight, ssim_weight=ssim_weight, squared_weight=squared_weight, pixel_map=pixel_map
        )  # fmt: skip
    weights = torch.empty(0) if pixel_map is None else pixel_map.detach().to(torch.float32).contiguous()
    of_terms = (float(l1_weight), float(squared_weight), float(ssim_weight))
    total, l1, squared, ssim = _Photometric.apply(rendered, target.detach().float(), weights, of_terms)
    return PhotometricLoss(total=total, l1=l1, squared=squared, ssim=ssim)


def planar(image: Float[Tensor, "height width 3"]) -> Float[Tensor, "height width 3"]:
    """The same image with its channels as three planes in memory, the layout that the kernels read fastest."""
    return image.permute(2, 0, 1).contiguous().permute(1, 2, 0)


def photometric_loss_reference(
    rendered: Float[Tensor, "height width 3"],
    target: Float[Tensor, "height width 3"],
    *,
    l1_weight: float = 0.8,
    ssim_weight: float = 0.2,
    squared_weight: float = 0.0,
    pixel_map: Float[Tensor, "height width"] | None = None,
) -> PhotometricLoss:
    """`photometric_loss` in plain torch: any floating type and device, slow, the truth for tests."""
    difference, weights = rendered - target, 1.0 if pixel_map is None else pixel_map[..., None]
    l1, squared = (difference.abs() * weights).mean(), (difference**2 * weights).mean()
    ssim = ssim_map(rendered, target).mean()
    total = l1_weight * l1 + squared_weight * squared + ssim_weight * (1.0 - ssim)
    return PhotometricLoss(total=total, l1=l1.detach(), squared=squared.detach(), ssim=ssim.detach())


def ssim_map(
    a: Float[Tensor, "height width channels"], b: Float[Tensor, "height width channels"]
) -> Float[Tensor, "height width channels"]:
    """Structural similarity around every pixel, in plain torch. Differentiable."""
    x, y = a.permute(2, 0, 1)[:, None], b.to(a).permute(2, 0, 1)[:, None]
    window = gaussian_window().to(x)
    half = WINDOW // 2

    def filtered(image: Tensor) -> Tensor:
        rows = torch.nn.functional.conv2d(image, window.reshape(1, 1, 1, WINDOW), padding=(0, half))
        return torch.nn.functional.conv2d(rows, window.reshape(1, 1, WINDOW, 1), padding=(half, 0))

    mu_x, mu_y = filtered(x), filtered(y)
    var_x, var_y = filtered(x * x) - mu_x**2, filtered(y * y) - mu_y**2
    cov = filtered(x * y) - mu_x * mu_y
    top = (2 * mu_x * mu_y + C1) * (2 * cov + C2)
    bottom = (mu_x**2 + mu_y**2 + C1) * (var_x + var_y + C2)
    return (top / bottom)[:, 0].permute(1, 2, 0)


def _simd_works() -> bool:
    from bodydouble.render.cpu import simd_works

    return simd_works()


def _window_apart(
    height: int, width: int, one: tuple[np.ndarray, int, int, int], other: tuple[np.ndarray, int, int, int]
) -> tuple[slice, slice]:
    """Rows and columns outside which the loss is zero, and so is its gradient.

    A pixel that differs is felt by the similarities half a window away, and what these weigh reaches as far again. A
    person on a plain background fills a half of the picture or less. Images that are not three planes are not searched.

    Args:
        height, width: Of the images.
        one, other: What `_flat` gives of them.
    """
    from bodydouble.render.loss_kernels import find_apart

    if one[3] != 1 or other[3] != 1:
        return slice(0, height), slice(0, width)
    rows, columns = np.zeros(height, dtype=np.float32), np.zeros(width, dtype=np.float32)
    find_apart(height, width, one[0], one[1], other[0], other[1], rows, columns)
    return _around(np.flatnonzero(rows), height), _around(np.flatnonzero(columns), width)


def _around(places: np.ndarray, size: int) -> slice:
    margin = 2 * (WINDOW // 2)
    if len(places) == 0:
        return slice(0, 1)
    return slice(max(int(places[0]) - margin, 0), min(int(places[-1]) + margin + 1, size))


def _flat(image: Float[Tensor, "height width 3"]) -> tuple[np.ndarray, int, int, int]:
    """The image's numbers in a row, and the steps from channel to channel, row to row and pixel to pixel."""
    height, width, _ = image.shape
    planes = image.permute(2, 0, 1)
    if planes.is_contiguous():
        return planes.reshape(-1).numpy(), height * width, width, 1
    return image.contiguous().reshape(-1).numpy(), 1, 3 * width, 3


def _from(flat: tuple[np.ndarray, int, int, int], rows: slice, columns: slice) -> tuple[np.ndarray, int, int, int]:
    """The same from a window's first pixel on."""
    numbers, channel, row, pixel = flat
    return numbers[rows.start * row + columns.start * pixel :], channel, row, pixel


class _Photometric(torch.autograd.Function):
    """The gradient is computed with the value: the loss is one number, so the backward pass only scales it."""

    @staticmethod
    def forward(ctx: Any, rendered: Tensor, target: Tensor, weights: Tensor, of_terms: tuple[float, float, float]):
        from bodydouble.render.loss_kernels import photometric

        height, width, channels = rendered.shape
        count = float(height * width * channels)
        ours, wanted = _flat(rendered.detach()), _flat(target)
        rows, columns = _window_apart(height, width, ours, wanted)
        inner_rows, inner_columns = rows.stop - rows.start, columns.stop - columns.start
        gradient = np.empty(inner_rows * inner_columns * channels, dtype=np.float32)
        sums = np.zeros((channels * inner_rows, 3))
        run_kernel(
            photometric, kernel_threads(), inner_rows, inner_columns,
            *_from(ours, rows, columns), *_from(wanted, rows, columns),
            weights[rows, columns].reshape(-1).numpy() if weights.numel() else weights.numpy(),
            gaussian_window().numpy().astype(np.float32), np.array(of_terms) / count, gradient, sums,
        )  # fmt: skip
        totals = sums.sum(0)
        totals[2] += count - inner_rows * inner_columns * channels  # where nothing differs, similarity is 1
        l1, squared, ssim = (float(v) / count for v in totals)
        planes = torch.zeros(channels, height, width)
        planes[:, rows, columns] = torch.from_numpy(gradient).reshape(channels, inner_rows, inner_columns)
        ctx.gradient = planes.permute(1, 2, 0)
        total = of_terms[0] * l1 + of_terms[1] * squared + of_terms[2] * (1.0 - ssim)
        results = tuple(torch.tensor(v, dtype=torch.float32) for v in (total, l1, squared, ssim))
        ctx.mark_non_differentiable(*results[1:])
        return results

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *args: Tensor):
        scale = float(args[0])
        return (ctx.gradient if scale == 1.0 else ctx.gradient * scale), None, None, None
