"""Networks: signed distance and colour of the person, density and colour of the background."""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

_BETA_LEAST = 1e-4
HIDDEN, FEATURES, FRAME_CODE = 256, 256, 32
SURFACE_OCTAVES, BACKGROUND_OCTAVES, VIEW_OCTAVES = 6, 10, 4


def encode(x: Float[Tensor, "n d"], octaves: int) -> Float[Tensor, "n encoded"]:
    """The values themselves, then sine and cosine of 2^0, 2^1, ... times them (no factor pi)."""
    parts = [x]
    for k in range(octaves):
        parts += [torch.sin(2.0**k * x), torch.cos(2.0**k * x)]
    return torch.cat(parts, dim=-1)


class SurfaceNet(nn.Module):
    """Signed distance (negative inside) and 256 features of a canonical place, given the pose: 8 x 256, skip at 4.

    Geometric initialisation (Atzmon and Lipman, SAL, CVPR 2020): about a sphere of radius 0.6.
    """

    def __init__(self, pose_size: int, octaves: int = SURFACE_OCTAVES, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.octaves = octaves
        self.encoded = 3 * (1 + 2 * octaves)
        first = self.encoded + pose_size
        layers = []
        for k in range(9):
            inputs = first if k == 0 else hidden
            outputs = hidden - self.encoded if k == 3 else 1 + FEATURES if k == 8 else hidden
            layer = nn.Linear(inputs, outputs)
            self._begin(layer, k)
            layers.append(nn.utils.parametrizations.weight_norm(layer))
        self.layers = nn.ModuleList(layers)
        self.softplus = nn.Softplus(beta=100)

    def _begin(self, layer: nn.Linear, k: int) -> None:
        with torch.no_grad():
            nn.init.zeros_(layer.bias)
            if k == 8:
                nn.init.normal_(layer.weight, math.sqrt(math.pi) / math.sqrt(layer.in_features), 1e-4)
                nn.init.constant_(layer.bias, -0.6)
                return
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2.0) / math.sqrt(layer.out_features))
            if k == 0:
                layer.weight[:, 3:] = 0.0
            elif k == 4:
                layer.weight[:, layer.in_features - self.encoded + 3 :] = 0.0

    def forward(
        self, points: Float[Tensor, "n 3"], pose: Float[Tensor, " pose"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n features"]]:
        """Signed distance in the unit of the points, and features."""
        encoded = encode(points, self.octaves)
        x = torch.cat([encoded, pose.expand(len(points), -1)], dim=1)
        for k, layer in enumerate(self.layers):
            if k == 4:
                x = torch.cat([x, encoded], dim=1) / math.sqrt(2.0)
            x = layer(x)
            if k < 8:
                x = self.softplus(x)
        return x[:, 0], x[:, 1:]


class ColorNet(nn.Module):
    """Colour of a place: itself, its deformed normal, eight numbers of the pose and its features; 4 x 256. No view."""

    def __init__(self, pose_size: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.pose = nn.Linear(pose_size, 8)
        sizes = [3 + 3 + 8 + FEATURES, *([hidden] * 4), 3]
        self.layers = nn.ModuleList(
            nn.utils.parametrizations.weight_norm(nn.Linear(a, b)) for a, b in itertools.pairwise(sizes)
        )

    def forward(
        self,
        points: Float[Tensor, "n 3"],
        normals: Float[Tensor, "n 3"],
        pose: Float[Tensor, " pose"],
        features: Float[Tensor, "n features"],
    ) -> Float[Tensor, "n 3"]:
        """sRGB in [0, 1]."""
        x = torch.cat([points, normals, self.pose(pose).expand(len(points), -1), features], dim=1)
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return torch.sigmoid(self.layers[-1](x))


class BackgroundNet(nn.Module):
    """Density and colour of a place on the inverse sphere (NeRF++), given the frame's code: 8 x 256 and 1 x 128."""

    def __init__(self, frames: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.codes = nn.Embedding(frames, FRAME_CODE)
        encoded = 4 * (1 + 2 * BACKGROUND_OCTAVES)
        first = encoded + FRAME_CODE
        self.layers = nn.ModuleList(
            nn.Linear(first if k == 0 else hidden + first if k == 4 else hidden, 1 + FEATURES if k == 8 else hidden)
            for k in range(9)
        )
        view = 3 * (1 + 2 * VIEW_OCTAVES)
        self.color = nn.Sequential(
            nn.Linear(view + FRAME_CODE + FEATURES, 128), nn.ReLU(), nn.Linear(128, 3), nn.Sigmoid()
        )
        self.softplus = nn.Softplus(beta=100)

    def forward(
        self, points: Float[Tensor, "n 4"], directions: Float[Tensor, "n 3"], frame: int
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]:
        """Density (not negative) and colour."""
        code = self.codes.weight[frame].expand(len(points), -1)
        first = torch.cat([encode(points, BACKGROUND_OCTAVES), code], dim=1)
        x = first
        for k, layer in enumerate(self.layers):
            if k == 4:
                x = torch.cat([x, first], dim=1) / math.sqrt(2.0)
            x = layer(x)
            if k < 8:
                x = self.softplus(x)
        rgb = self.color(torch.cat([encode(directions, VIEW_OCTAVES), code, x[:, 1:]], dim=1))
        return x[:, 0].abs(), rgb


class Density(nn.Module):
    """Laplace's distribution function of the signed distance, of a learnt scale (Yariv et al., VolSDF, NeurIPS 2021)."""

    def __init__(self, beta: float = 0.1) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.tensor(beta))

    @property
    def beta(self) -> Tensor:
        return self.raw.abs() + _BETA_LEAST

    def forward(self, sdf: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Density, per unit of length."""
        return laplace_density(sdf, self.beta)


def laplace_density(sdf: Float[Tensor, "*n"], beta: Tensor) -> Float[Tensor, "*n"]:
    """(1 / beta) (1/2 + 1/2 sign(s) expm1(-|s| / beta)): 1 / beta deep inside, 0 far outside."""
    return (0.5 + 0.5 * sdf.sign() * torch.expm1(-sdf.abs() / beta)) / beta
