"""Painting a mesh from pictures: what was filmed comes back, what hides is not smeared, what nobody saw is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bodydouble.avatar.values import Mesh, Morph
from bodydouble.core.cameras import Camera, look_at_camera
from bodydouble.reconstruct.surface.extract import decimated, extract_mesh
from bodydouble.reconstruct.surface.texture import TexturedFrame, compose, texels_of
from bodydouble.reconstruct.surface.textured import BodyTexels, Painted, paint, unwrapped_mesh, welded
from bodydouble.render.mesh import interpolate, rasterize_mesh
from bodydouble.render.texture import sample_texture

SIZE = 256


@pytest.fixture(scope="module")
def ball() -> Mesh:
    """A sphere of 25 cm with one bone, unwrapped."""
    axis = torch.arange(-0.32, 0.321, 0.04)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    closed = decimated(extract_mesh(points.norm(dim=-1) - 0.25, torch.full((3,), -0.32), 0.04), 1200)
    count = len(closed.vertices_m)
    plain = Mesh(
        vertices_rest_m=closed.vertices_m,
        faces=closed.faces,
        colors=torch.full((count, 3), 0.5),
        joints=torch.zeros(count, 4, dtype=torch.long),
        weights=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        morphs=(Morph(name="jawOpen", indices=torch.tensor([3, 7]), deltas_m=torch.tensor([[0.0, 0.1, 0.0]] * 2)),),
    )
    return unwrapped_mesh(plain, SIZE).mesh


def paint_of(points: torch.Tensor) -> torch.Tensor:
    """The true colour at a place on the ball: smooth, different everywhere, the same on both sides of x = 0."""
    x, y, z = points.unbind(-1)
    return torch.stack(
        [0.5 + 0.4 * torch.sin(9 * y), 0.5 + 0.4 * torch.sin(9 * z + 1.0), 0.5 + 0.4 * torch.cos(9 * x)], dim=-1
    )


def camera_at(angle_rad: float, height: float = 0.0) -> Camera:
    eye = torch.tensor([1.2 * math.sin(angle_rad), height, 1.2 * math.cos(angle_rad)])
    return look_at_camera(eye, torch.zeros(3), width_px=240, height_px=240, focal_px=420.0)


def frame_from(mesh: Mesh, camera: Camera, *, spoil: bool = False) -> TexturedFrame:
    image = rasterize_mesh(mesh.vertices_rest_m, mesh.faces, camera)
    rgb = paint_of(interpolate(image, mesh.faces, mesh.vertices_rest_m)) * image.mask[..., None]
    rgb = torch.where(image.mask[..., None], rgb, torch.tensor([1.0, 0.0, 1.0]))
    if spoil:
        rgb = 1.0 - rgb
    return TexturedFrame(
        rgb=(rgb.clamp(0, 1) * 255).round().to(torch.uint8),
        camera=camera,
        vertices_world=mesh.vertices_rest_m,
        gain=torch.ones(3),
    )


def texel_error(painted: Painted) -> tuple[torch.Tensor, torch.Tensor]:
    """Error of each texel (mean over channels), and its place."""
    mesh = painted.mesh
    assert mesh.texture is not None
    texels = texels_of(mesh.texture.uv, mesh.faces, SIZE)
    places = (mesh.vertices_rest_m[mesh.faces[texels.face]] * texels.barycentric[..., None]).sum(1)
    found = mesh.texture.image[texels.row, texels.column].float() / 255.0
    return (found - paint_of(places)).abs().mean(1), places


def test_colours_filmed_from_all_sides_come_back_and_one_bad_frame_does_not_show(ball: Mesh) -> None:
    frames = [frame_from(ball, camera_at(k * math.pi / 3, h)) for k in range(6) for h in (-0.9, 0.0, 0.9)]
    frames.append(frame_from(ball, camera_at(0.3), spoil=True))
    painted = paint(ball, frames)
    error, _ = texel_error(painted)
    assert float(error.mean()) < 0.02 and float(error.quantile(0.98)) < 0.08
    assert painted.facts.seen > 0.97 and float(painted.seen.mean()) > 0.95
    assert painted.facts.seen + painted.facts.mirrored + painted.facts.invented == pytest.approx(1.0)


def test_the_other_side_lends_what_was_never_filmed(ball: Mesh) -> None:
    # From +X alone: the -X side is known only by symmetry.
    frames = [frame_from(ball, camera_at(math.pi / 2 + d, h)) for d in (-0.5, 0.0, 0.5) for h in (-0.7, 0.0, 0.7)]
    painted = paint(ball, frames)
    error, places = texel_error(painted)
    lent = places[:, 0] < -0.12
    assert 0.4 < painted.facts.seen < 0.75 and painted.facts.mirrored > 0.15
    assert float(error[lent].mean()) < 0.12
    assert float(painted.seen[painted.mesh.vertices_rest_m[:, 0] < -0.2].max()) < 0.05


def test_what_hides_behind_another_part_takes_none_of_its_colour(ball: Mesh) -> None:
    camera = camera_at(0.0)
    second = ball.vertices_rest_m * 0.4 + torch.tensor([0.0, 0.0, 0.6])
    both = Mesh(
        vertices_rest_m=torch.cat([ball.vertices_rest_m, second]),
        faces=torch.cat([ball.faces, ball.faces + len(second)]),
        colors=torch.cat([ball.colors] * 2),
        joints=torch.cat([ball.joints] * 2),
        weights=torch.cat([ball.weights] * 2),
    )
    both = unwrapped_mesh(both, SIZE).mesh
    image = rasterize_mesh(both.vertices_rest_m, both.faces, camera)
    near = interpolate(image, both.faces, both.vertices_rest_m)[..., 2] > 0.4
    rgb = torch.where(near[..., None], torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    frame = TexturedFrame(
        rgb=(rgb * 255).to(torch.uint8),
        camera=camera,
        vertices_world=both.vertices_rest_m,
        gain=torch.ones(3),
    )
    painted = paint(both, [frame])
    far = (both.vertices_rest_m[:, 2] < 0.3) & (painted.seen > 0.5)
    assert int(far.sum()) > 30
    assert float(painted.mesh.colors[far, 0].max()) < 0.05 and float(painted.mesh.colors[far, 1].min()) > 0.9


def test_exposure_is_taken_out(ball: Mesh) -> None:
    frame = frame_from(ball, camera_at(0.0))
    dim = frame.replace(rgb=(frame.rgb.float() * 0.5).to(torch.uint8), gain=torch.full((3,), 0.5))
    bright, corrected = paint(ball, [frame]), paint(ball, [dim])
    seen = bright.seen > 0.5
    assert (bright.mesh.colors - corrected.mesh.colors)[seen].abs().max() < 0.03


def test_seams_have_one_colour_on_both_sides_and_gutters_repeat_the_chart(ball: Mesh) -> None:
    painted = paint(ball, [frame_from(ball, camera_at(k * math.pi / 3, h)) for k in range(6) for h in (-0.9, 0.9)])
    mesh = painted.mesh
    assert mesh.texture is not None
    _, _, owner = welded(mesh)
    order = torch.argsort(owner)
    same = owner[order][1:] == owner[order][:-1]
    colors = sample_texture(mesh.texture.image, mesh.texture.uv)[order]
    step = (colors[1:] - colors[:-1]).abs().amax(1)[same]
    assert len(step) > 50 and float(step.mean()) < 0.04
    texels = texels_of(mesh.texture.uv, mesh.faces, SIZE)
    flat = compose(texels, torch.rand(len(texels.face), 3, generator=torch.Generator().manual_seed(0)))
    covered = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    covered[texels.row, texels.column] = True
    known = {tuple(c) for c in flat[covered].tolist()}
    beside = np.argwhere(~covered[:, 1:].numpy() & covered[:, :-1].numpy()) + np.array([0, 1])
    assert len(beside) > 100 and all(tuple(flat[r, c].tolist()) in known for r, c in beside)


def test_copies_of_a_vertex_move_together(ball: Mesh) -> None:
    _, _, owner = welded(ball)
    morph = ball.morphs[0]
    moved = torch.zeros(len(owner), 3)
    moved[morph.indices] = morph.deltas_m
    places = owner[morph.indices].unique()
    assert len(places) == 2
    for place in places:
        assert bool((moved[owner == place] == torch.tensor([0.0, 0.1, 0.0])).all())


def test_a_hand_has_one_hue_and_what_was_behind_it_is_left_out(ball: Mesh) -> None:
    frame = frame_from(ball, camera_at(0.0))
    rgb = torch.tensor([180, 110, 80], dtype=torch.uint8).repeat(*frame.rgb.shape[:2], 1)
    height, width = rgb.shape[:2]
    for left in (0.40, 0.56):  # a spot on each side of the ball
        rgb[int(0.46 * height) : int(0.54 * height), int(left * width) : int((left + 0.04) * width)] = torch.tensor(
            [40, 60, 200], dtype=torch.uint8
        )

    def find_body(around: torch.Tensor, barycentric: torch.Tensor) -> BodyTexels:
        places = (ball.vertices_rest_m[around] * barycentric[..., None]).sum(1)
        none = torch.zeros(len(places), dtype=torch.bool)
        return BodyTexels(inside=none, colors=torch.zeros_like(places), face=none, hands=places[:, 0] > 0)

    painted = paint(ball, [frame.replace(rgb=rgb)], find_body=find_body)
    assert painted.mesh.texture is not None
    places, colors = painted.mesh.vertices_rest_m, painted.mesh.texture.image.float() / 255.0
    texels = texels_of(painted.mesh.texture.uv, painted.mesh.faces, SIZE)
    x = (places[painted.mesh.faces.long()[texels.face]] * texels.barycentric[..., None]).sum(1)[:, 0]
    blue = colors[texels.row, texels.column, 2] > 0.6
    assert int(blue[x < 0].sum()) > 10 and int(blue[x > 0].sum()) == 0
