"""gsplat on CUDA behind the rasteriser protocol. The only file that imports gsplat; importable without it.

Where gsplat differs from `protocol.Rasterizer`: alpha is clipped to 0.999; the splat that takes a pixel below a
transmittance of 1e-4 is left out (here it still counts); splats end at 3.33 standard deviations, which matters for none
of them (1/255 of an opacity of 1 lies there). All of it is invisible for opacities up to 0.99.
"""

from __future__ import annotations

import importlib.util

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.core.cameras import Camera
from bodydouble.core.errors import MissingDependencyError
from bodydouble.render.protocol import COVARIANCE_BLUR_PX2, NEAR_M, RenderedSplats, SplatCloud
from bodydouble.render.reference import drawable
from bodydouble.render.sh import sh_degree


def cuda_available() -> bool:
    """Whether a CUDA device and gsplat are there. Imports neither gsplat nor starts CUDA."""
    return torch.cuda.is_available() and importlib.util.find_spec("gsplat") is not None


class CudaRasterizer:
    """Rasteriser on gsplat's CUDA kernels. Takes and gives tensors on `device`.

    Raises:
        MissingDependencyError: When there is no CUDA device, or gsplat is not installed.
    """

    def __init__(self, device: str = "cuda") -> None:
        if not torch.cuda.is_available():
            raise MissingDependencyError(
                "CudaRasterizer: a CUDA device and a CUDA build of torch are needed, found neither or only one; "
                "use --device cpu, which gives the same result."
            )
        if importlib.util.find_spec("gsplat") is None:
            raise MissingDependencyError(
                "CudaRasterizer: the package gsplat is needed and is not installed; "
                "run `pip install 'bodydouble[gpu]'`, or use --device cpu, which gives the same result."
            )
        self.device = torch.device(device)

    def __call__(
        self, splats: SplatCloud, camera: Camera, background: Float[Tensor, " 3"] | None = None
    ) -> RenderedSplats:
        """See `protocol.Rasterizer`. Splats on another device are copied, with gradient."""
        from gsplat import rasterization

        splats, camera = splats.to(device=self.device, dtype=torch.float32), camera.to(device=self.device)
        splats = _take(splats, torch.nonzero(drawable(splats, camera))[:, 0])
        K = torch.eye(3, device=self.device)
        K[0, 0], K[1, 1] = camera.focal_px.float()
        K[0, 2], K[1, 2] = camera.center_px.float()
        values, alpha, _ = rasterization(
            splats.means_world,
            torch.nn.functional.normalize(splats.quats_wxyz, dim=-1),
            splats.scales_m,
            splats.opacities,
            splats.sh,
            camera.T_camera_world.float()[None],
            K[None],
            camera.width_px,
            camera.height_px,
            near_plane=NEAR_M,
            eps2d=COVARIANCE_BLUR_PX2,
            sh_degree=sh_degree(splats.sh.shape[1]),
            packed=False,
            render_mode="RGB+D",
        )
        rgb, depth, alpha = values[0, ..., :3], values[0, ..., 3], alpha[0, ..., 0]
        if background is not None:
            rgb = rgb + (1.0 - alpha)[..., None] * background.to(rgb)
        return RenderedSplats(rgb=rgb, alpha=alpha, depth=depth)


def _take(splats: SplatCloud, index: Tensor) -> SplatCloud:
    return splats.map(lambda t: t[index])
