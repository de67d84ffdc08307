"""Choosing a rasteriser for the machine."""

from __future__ import annotations

from bodydouble.core.errors import ConfigError
from bodydouble.render.protocol import Rasterizer


def make_rasterizer(device: str = "auto") -> Rasterizer:
    """The rasteriser for a device.

    Args:
        device: `cpu`; `cuda`; or `auto`, which is CUDA where a device and gsplat are there, and the CPU elsewhere.
    Raises:
        ConfigError: When the device is none of these.
        MissingDependencyError: When CUDA is asked for and something is missing.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"make_rasterizer: device must be auto, cpu or cuda, got {device!r}; pass one of these.")
    if device == "auto":
        from bodydouble.render.cuda import cuda_available

        device = "cuda" if cuda_available() else "cpu"
    if device == "cuda":
        from bodydouble.render.cuda import CudaRasterizer

        return CudaRasterizer()
    from bodydouble.render.cpu import CpuRasterizer

    return CpuRasterizer()
