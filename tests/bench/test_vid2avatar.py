"""The parts of the published recipe, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.bench.vid2avatar import losses
from bodydouble.bench.vid2avatar.nets import BackgroundNet, ColorNet, Density, SurfaceNet, encode, laplace_density
from bodydouble.bench.vid2avatar.sampling import (
    RADIUS,
    draw_sorted,
    error_bound,
    error_bounded_samples,
    first_beta,
    inverse_sphere_points,
    section_weights,
    sphere_exit,
)

F64 = torch.float64


def test_the_encoding_keeps_its_input_and_has_no_pi():
    x = torch.tensor([[0.3, -1.2]])
    e = encode(x, 2)[0]
    expected = [0.3, -1.2, math.sin(0.3), math.sin(-1.2), math.cos(0.3), math.cos(-1.2), math.sin(0.6)]
    assert e.shape == (10,) and torch.allclose(e[:7], torch.tensor(expected))


def test_a_fresh_surface_is_about_a_sphere():
    torch.manual_seed(0)
    net = SurfaceNet(pose_size=12)
    directions = torch.nn.functional.normalize(torch.randn(64, 3), dim=1)
    pose = torch.randn(12)
    inside, _ = net(0.15 * directions, pose)
    outside, features = net(1.2 * directions, pose)
    assert (inside < 0).all() and (outside > 0).all() and features.shape == (64, 256)
    radius, _ = net(0.6 * directions, pose)
    assert radius.mean().abs() < 0.15


def test_the_nets_have_the_published_size():
    macs = sum(layer.weight.numel() for layer in SurfaceNet(pose_size=69).layers)
    assert macs == pytest.approx(0.542e6, rel=0.02)  # multiply-adds a point, as counted for the released program
    background = BackgroundNet(frames=2)
    density, rgb = background(torch.randn(5, 4), torch.randn(5, 3), 1)
    assert (density >= 0).all() and rgb.shape == (5, 3) and ((rgb >= 0) & (rgb <= 1)).all()
    color = ColorNet(pose_size=6)(torch.randn(4, 3), torch.randn(4, 3), torch.randn(6), torch.randn(4, 256))
    assert color.shape == (4, 3)


@settings(max_examples=30, deadline=None)
@given(s=st.floats(-0.5, 0.5), beta=st.floats(0.005, 0.3))
def test_density_is_the_distribution_of_laplace(s: float, beta: float):
    found = float(laplace_density(torch.tensor([s], dtype=F64), torch.tensor(beta, dtype=F64))[0])
    cdf = 0.5 * math.exp(-s / beta) if s > 0 else 1.0 - 0.5 * math.exp(s / beta)
    assert found == pytest.approx(cdf / beta, rel=1e-9)


def test_beta_stays_positive():
    density = Density(beta=-0.02)
    assert float(density.beta.detach()) == pytest.approx(0.0201)
    density(torch.tensor([0.01])).sum().backward()
    assert density.raw.grad is not None


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_inverse_sphere_points_go_back_to_the_ray(seed: int):
    rng = torch.Generator().manual_seed(seed)
    origins = 0.8 * RADIUS * (torch.rand(6, 3, generator=rng, dtype=F64) - 0.5)
    directions = torch.nn.functional.normalize(torch.randn(6, 3, generator=rng, dtype=F64), dim=1)
    inverse = (0.01 + 0.99 * torch.rand(6, 4, generator=rng, dtype=F64)) / RADIUS
    points = inverse_sphere_points(origins, directions, inverse)
    assert torch.allclose(points[..., :3].norm(dim=-1), torch.ones(6, 4, dtype=F64))
    back = points[..., :3] / points[..., 3:] - origins[:, None]
    along = (back * directions[:, None]).sum(-1)
    assert torch.allclose(along[..., None] * directions[:, None], back, atol=1e-9)
    assert (along > 0).all()
    edge = inverse_sphere_points(origins, directions, torch.full((6, 1), 1.0 / RADIUS, dtype=F64))
    out = origins + sphere_exit(origins, directions)[:, None] * directions
    assert torch.allclose(edge[:, 0, :3] * RADIUS, out)


def test_a_ray_through_the_middle_is_no_exception():
    points = inverse_sphere_points(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.2, 0.0]]))
    assert torch.allclose(points[0, :, :3], torch.tensor([[0.0, 0.0, 1.0]] * 2)) and points.isfinite().all()


def plane(z: torch.Tensor) -> torch.Tensor:
    """Signed distance along rays that meet a plane at right angles, two units away; inside beyond it."""
    return 2.0 - z


@settings(max_examples=25, deadline=None)
@given(beta=st.floats(0.02, 0.5), count=st.integers(6, 200), seed=st.integers(0, 999))
def test_the_bound_holds(beta: float, count: int, seed: int):
    rng = torch.Generator().manual_seed(seed)
    z = torch.cat([torch.zeros(1), torch.rand(count, generator=rng) * 4.0, torch.tensor([4.0])]).sort().values
    z = z.to(F64)[None]
    bound = float(error_bound(z, plane(z), torch.full((1, 1), beta, dtype=F64)))
    fine = torch.linspace(0.0, 4.0, 20_001, dtype=F64)
    exact = torch.cumulative_trapezoid(laplace_density(plane(fine), torch.tensor(beta, dtype=F64)), fine)
    at = (z[0, 1:] / 4.0 * 20_000).round().long().clamp(1, 20_000) - 1
    summed = (laplace_density(plane(z[0, :-1]), torch.tensor(beta, dtype=F64)) * z[0].diff()).cumsum(0)
    error = (torch.exp(-exact[at]) - torch.exp(-summed)).abs().max()
    assert float(error) <= bound + 2e-3


def test_the_first_scale_is_large_enough():
    z = torch.linspace(0.0, 5.0, 128, dtype=F64)[None]
    assert float(error_bound(z, plane(z), first_beta(z))) <= 0.1 + 1e-9


def test_samples_gather_where_the_plane_is():
    rng = torch.Generator().manual_seed(3)
    z = error_bounded_samples(plane, torch.full((5,), 4.0), 0.01, rng)
    assert z.shape == (5, 98) and (z.diff(dim=1) >= 0).all()
    assert (z[:, 0] == 0).all() and (z[:, -1] == 4).all()
    near = ((z - 2.0).abs() < 0.1).float().mean(1)
    assert (near > 0.5).all()  # a twentieth of the ray holds more than half of them
    weights, left = section_weights(z, plane(z), torch.tensor(0.01))
    middle = (weights * z[:, :-1]).sum(1) / weights.sum(1)
    assert (left < 1e-3).all() and torch.allclose(middle, torch.full((5,), 2.0), atol=0.03)


def test_draws_follow_the_density():
    z = torch.tensor([[0.0, 1.0, 3.0]])
    drawn = draw_sorted(z, torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 0.125, 0.25, 0.625, 1.0]]))
    assert torch.allclose(drawn, torch.tensor([[0.0, 0.5, 1.0, 2.0, 3.0]]))


def test_weights_of_the_terms_follow_the_published_schedule():
    for epoch, sparse, inside in (
        (0.0, 0.003, 0.01),
        (20.0, 0.033, 0.009),
        (50.0, 0.1905, 0.0075),
        (100.0, 0.753, 0.005),
    ):
        assert losses.weights_at(epoch) == pytest.approx((0.1, 5e-3, sparse, inside), rel=1e-6)
    assert losses.weights_at(900.0) == pytest.approx((0.1, 5e-3, 3.003, 0.0), rel=1e-6)


def test_the_terms_have_their_closed_forms():
    assert float(losses.eikonal_loss(torch.tensor([[0.0, 0.0, 2.0], [1.0, 0.0, 0.0]]))) == pytest.approx(0.5)
    assert float(losses.entropy_loss(torch.full((4,), 0.5))) == pytest.approx(2.0 * math.log(2.0))
    assert float(losses.entropy_loss(torch.tensor([0.0, 1.0]))) < 1e-4
    opacity = torch.tensor([0.2, 0.6, 1.0], requires_grad=True)
    off, through = losses.ray_classes(torch.tensor([[0.2, 0.06], [0.1, 0.03], [0.1, -0.01]]))
    assert off.tolist() == [True, False, False] and through.tolist() == [False, False, True]
    assert losses.sparse_loss(opacity, off).item() == pytest.approx(0.2)
    assert float(losses.inside_loss(opacity, torch.tensor([True, True, False]))) == pytest.approx(0.6)
    nobody = torch.zeros(3, dtype=torch.bool)
    (losses.sparse_loss(opacity, nobody) + losses.inside_loss(opacity, nobody)).backward()
    assert opacity.grad is not None and torch.equal(opacity.grad, torch.zeros(3))


def test_colours_are_composited_front_to_back():
    weights, left = torch.tensor([[0.25, 0.5]]), torch.tensor([0.25])
    colors = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]])
    rgb = losses.composite(weights, colors, left, torch.tensor([[0.0, 0.0, 1.0]]))
    assert torch.allclose(rgb, torch.tensor([[0.25, 0.5, 0.25]]))
    inverse = torch.tensor([[0.3, 0.2, 0.1]])
    behind = losses.background_color(
        torch.tensor([[0.0, 1e9, 5.0]]), torch.eye(3)[None], inverse
    )  # the second sample hides the third, and the first is air
    assert torch.allclose(behind, torch.tensor([[0.0, 1.0, 0.0]]), atol=1e-6)
    assert torch.allclose(
        losses.background_color(torch.tensor([[0.0, 0.0, 1.0]]), torch.eye(3)[None], inverse),
        torch.tensor([[0.0, 0.0, 1.0]]),
        atol=1e-6,
    )  # the last step has no end: whatever is there fills the rest
