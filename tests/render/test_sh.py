"""Spherical harmonics: orthonormal, in the usual order, with the usual signs."""

from __future__ import annotations

import pytest
import torch

from bodydouble.core.errors import ShapeError
from bodydouble.render.sh import mean_rgb, rgb_to_sh, sh_basis, sh_degree, sh_to_rgb


def directions(n: int = 200_000) -> torch.Tensor:
    points = torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.nn.functional.normalize(points, dim=1)


def test_basis_is_orthonormal() -> None:
    # Gauss-Legendre in z times equal steps in azimuth integrates these products exactly.
    import numpy as np

    z, w = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(8))
    phi = torch.arange(16, dtype=torch.float64) * (2 * torch.pi / 16)
    r = (1 - z**2).sqrt()[:, None]
    points = torch.stack([r * phi.cos(), r * phi.sin(), z[:, None].expand(-1, 16)], -1)
    weights = (w[:, None] * (2 * torch.pi / 16)).expand(-1, 16)
    basis = sh_basis(points, 3)
    product = torch.einsum("abi,abj,ab->ij", basis, basis, weights)
    assert torch.allclose(product, torch.eye(16, dtype=torch.float64), atol=1e-12)


def test_signs_and_order() -> None:
    x, y, z = torch.eye(3, dtype=torch.float64)
    assert sh_basis(y, 1)[1] < 0 and sh_basis(z, 1)[2] > 0 and sh_basis(x, 1)[3] < 0
    assert sh_basis(z, 2)[6] > 0 and sh_basis(x, 2)[8] > 0 and sh_basis(y, 2)[8] < 0
    # On the axes the third degree is known in closed form.
    assert sh_basis(z, 3)[12] == pytest.approx((7 / (4 * torch.pi)) ** 0.5)
    assert sh_basis(x, 3)[15] == pytest.approx(-((35 / (32 * torch.pi)) ** 0.5))


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_lower_degrees_are_a_prefix(degree: int) -> None:
    points = directions(10)
    assert torch.equal(sh_basis(points, 3)[:, : (degree + 1) ** 2], sh_basis(points, degree))


def test_colour_round_trip_and_clip() -> None:
    rgb = torch.tensor([[0.1, 0.5, 1.3], [0.0, -0.2, 0.7]])
    assert torch.allclose(sh_to_rgb(rgb_to_sh(rgb), torch.tensor([[0.0, 0.0, 1.0]] * 2)), rgb.clamp_min(0), atol=1e-6)


@pytest.mark.parametrize("count", [0, 2, 5, 25])
def test_wrong_number_of_coefficients(count: int) -> None:
    with pytest.raises(ShapeError, match=f"must have 1, 4, 9 or 16 coefficients.*found {count}"):
        sh_degree(count)


def test_the_mean_over_all_directions_is_the_colour_of_degree_0():
    rgb = 0.3 + 0.5 * torch.rand(7, 3)
    torch.testing.assert_close(mean_rgb(rgb_to_sh(rgb)), rgb)
    turned = torch.cat([rgb_to_sh(rgb), 0.1 * torch.rand(7, 3, 3)], dim=1)
    there = torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, 0.8]]), dim=1)
    both = sh_to_rgb(turned, there.expand(7, 3)), sh_to_rgb(turned, -there.expand(7, 3))
    torch.testing.assert_close((both[0] + both[1]) / 2, mean_rgb(turned))
