"""From signed distances to a closed mesh on the skeleton: topology, volumes in closed form, weights, facial actions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.body.anny import load_anny
from bodydouble.core.errors import ConfigError, NoSubjectError
from bodydouble.core.skinning import bone_transforms, skin_points
from bodydouble.reconstruct.surface.decimate import _cheapest, _faces_of_vertices, decimate
from bodydouble.reconstruct.surface.extract import ClosedMesh, decimated, extract_mesh, mesh_facts
from bodydouble.reconstruct.surface.rigging import on_body, rig_mesh, transfer_morphs, unposed_points


def lattice(low: float, high: float, step: float) -> torch.Tensor:
    axis = torch.arange(low, high + step / 2, step)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)


def sphere(points: torch.Tensor, centre: tuple[float, float, float], radius: float) -> torch.Tensor:
    return (points - torch.tensor(centre)).norm(dim=-1) - radius


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 50))
def test_the_cheapest_are_the_first_of_all_in_order(costs: list[int], count: int) -> None:
    values = np.array(costs, float)
    np.testing.assert_array_equal(_cheapest(values, count), np.argsort(values, kind="stable")[:count])


def test_faces_are_listed_by_vertex() -> None:
    faces = np.array([[0, 1, 2], [2, 1, 3], [3, 0, 2]])
    starts, faces_of = _faces_of_vertices(faces, 5)
    assert [sorted(faces_of[starts[v] : starts[v + 1]].tolist()) for v in range(5)] == [
        [0, 2],
        [0, 1],
        [0, 1, 2],
        [1, 2],
        [],
    ]


def test_a_sphere_is_closed_and_its_vertices_converge_with_the_square_of_the_voxel() -> None:
    radius, centre = 0.31, (0.013, -0.021, 0.034)
    errors, volumes = [], []
    for voxel in (0.08, 0.04, 0.02):
        field = sphere(lattice(-0.48, 0.48, voxel), centre, radius)
        mesh = extract_mesh(field, torch.full((3,), -0.48), voxel)
        facts = mesh_facts(mesh)
        assert facts.closed and facts.manifold and facts.euler == 2 and facts.pieces == 1
        away = (mesh.vertices_m - torch.tensor(centre)).norm(dim=1) - radius
        errors.append(float(away.abs().mean()))
        volumes.append(abs(facts.volume_m3 / (4.0 / 3.0 * math.pi * radius**3) - 1.0))
    assert errors[1] < errors[0] / 3.0 and errors[2] < errors[1] / 3.0
    assert volumes[1] < volumes[0] / 3.0 and volumes[2] < volumes[1] / 3.0 and volumes[2] < 0.005


def test_an_ellipsoid_has_its_volume_and_normals_point_outwards() -> None:
    axes = torch.tensor([0.2, 0.35, 0.27])
    points = lattice(-0.4, 0.4, 0.02)
    # Not a distance, but zero in the right places and smooth there.
    field = ((points / axes).norm(dim=-1) - 1.0) * 0.2
    facts = mesh_facts(extract_mesh(field, torch.full((3,), -0.4), 0.02))
    expected = 4.0 / 3.0 * math.pi * float(axes.prod())
    assert facts.volume_m3 == pytest.approx(expected, rel=0.01) and facts.euler == 2


def test_handles_stay_crumbs_and_bubbles_go() -> None:
    points = lattice(-0.5, 0.5, 0.02)
    ring = ((points[..., :2].norm(dim=-1) - 0.3) ** 2 + points[..., 2] ** 2).sqrt() - 0.11
    crumb = sphere(points, (0.0, 0.0, 0.42), 0.03)
    bubble = sphere(points, (0.3, 0.0, 0.0), 0.045)
    field = torch.minimum(torch.maximum(ring, -bubble), crumb)
    origin = torch.full((3,), -0.5)
    facts = mesh_facts(extract_mesh(field, origin, 0.02))
    assert facts.pieces == 1 and facts.euler == 0 and facts.manifold
    assert facts.volume_m3 == pytest.approx(2.0 * math.pi**2 * 0.3 * 0.11**2, rel=0.03)
    assert mesh_facts(extract_mesh(field, origin, 0.02, min_share=0.0)).pieces == 2


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), x=st.integers(2, 6), y=st.integers(2, 6), z=st.integers(2, 6))
def test_any_field_at_all_gives_a_closed_manifold(seed: int, x: int, y: int, z: int) -> None:
    field = torch.randn(x, y, z, generator=torch.Generator().manual_seed(seed))
    field[0, 0, 0] = -1.0
    mesh = extract_mesh(field, torch.zeros(3), 1.0, min_share=0.0)
    facts = mesh_facts(mesh)
    assert facts.closed and facts.manifold and facts.volume_m3 > 0.0


def test_what_is_inside_at_the_border_is_closed_there() -> None:
    facts = mesh_facts(extract_mesh(torch.full((3, 4, 5), -1.0), torch.zeros(3), 0.5))
    assert facts.closed and facts.euler == 2 and facts.volume_m3 > 1.0 * 1.5 * 2.0


def test_nothing_inside_is_told() -> None:
    with pytest.raises(NoSubjectError, match="no surface"):
        extract_mesh(torch.ones(4, 4, 4), torch.zeros(3), 0.1)


def test_fewer_triangles_keep_the_surface_and_its_topology() -> None:
    points = lattice(-0.5, 0.5, 0.025)
    ring = ((points[..., :2].norm(dim=-1) - 0.3) ** 2 + points[..., 2] ** 2).sqrt() - 0.12
    whole = extract_mesh(ring, torch.full((3,), -0.5), 0.025)
    before = mesh_facts(whole)
    small = decimated(whole, 1500)
    after = mesh_facts(small)
    assert len(small.faces) <= 1500 < len(whole.faces) / 4
    assert after.manifold and after.euler == before.euler == 0 and after.pieces == 1
    assert after.volume_m3 == pytest.approx(before.volume_m3, rel=0.02)
    flat = small.vertices_m
    away = ((flat[:, :2].norm(dim=1) - 0.3) ** 2 + flat[:, 2] ** 2).sqrt() - 0.12
    assert float(away.abs().max()) < 0.006
    with pytest.raises(ConfigError, match="at least 100"):
        decimate(np.zeros((4, 3)), np.zeros((4, 3), np.int64), 12)


@pytest.fixture(scope="module")
def body():
    return load_anny()


@pytest.fixture(scope="module")
def clothed(body) -> ClosedMesh:
    """The bare body's outer skin, pushed out by 6 mm."""
    rest = body.with_shape(body.shape_default).vertices_rest
    normals = torch.zeros_like(rest)
    corners = rest[body.faces.long()]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals.index_add_(0, body.faces.long().reshape(-1), area.repeat_interleave(3, 0))
    hidden = [body.part_names.index(name) for name in ("eyes", "mouth")]
    outer = ~torch.isin(body.vertex_parts.long(), torch.tensor(hidden))
    faces = body.faces.long()[outer[body.faces.long()].all(1)]
    used, renamed = torch.unique(faces, return_inverse=True)
    points = rest + 0.006 * torch.nn.functional.normalize(normals, dim=1)
    return ClosedMesh(vertices_m=points[used], faces=renamed)


def dense_weights(joints: torch.Tensor, weights: torch.Tensor, bones: int) -> torch.Tensor:
    return torch.zeros(len(joints), bones).scatter_add_(1, joints.long(), weights)


def test_weights_are_the_bodys_and_the_rest_pose_is_found_again(body, clothed: ClosedMesh) -> None:
    shaped = body.with_shape(body.shape_default)
    bones = len(body.bone_names)
    rotvecs = torch.zeros(bones, 3)
    for name, turn in (("leftUpperArm", (0.0, 0.0, 0.6)), ("rightUpperLeg", (0.4, 0.0, -0.2))):
        rotvecs[body.bone_names.index(body.humanoid[name])] = torch.tensor(turn)
    R, t = bone_transforms(rotvecs, shaped.joints_rest, torch.zeros(3), body.bone_parents)
    place = on_body(clothed, body, shaped.vertices_rest)
    nearest = sum(
        dense_weights(body.skin_joints[place.corners[:, c]], body.skin_weights[place.corners[:, c]], bones)
        * place.barycentric[:, c, None]
        for c in range(3)
    )
    mesh = rig_mesh(clothed, body, shaped.vertices_rest, torch.eye(3).expand(bones, 3, 3), torch.zeros(bones, 3))
    found = dense_weights(mesh.joints, mesh.weights, bones)
    assert torch.allclose(mesh.weights.sum(1), torch.ones(len(found)), atol=1e-5) and bool((mesh.weights >= 0).all())
    away = (found - nearest).abs().sum(1)
    assert float(away.median()) < 0.1 and float(away.mean()) < 0.2  # of at most 2
    posed = skin_points(mesh.vertices_rest_m, R, t, mesh.joints, mesh.weights)
    again = unposed_points(posed, R, t, mesh.joints, mesh.weights)
    assert torch.allclose(again, clothed.vertices_m, atol=1e-5)


def test_faces_act_and_hair_stays(body, clothed: ClosedMesh) -> None:
    rest = body.with_shape(body.shape_default).vertices_rest
    near = {m.name: m for m in transfer_morphs(clothed, on_body(clothed, body, rest), body)}
    opened = near["jawOpen"]
    theirs = body.action_deltas[body.action_names.index("jawOpen")]
    largest = float(theirs.norm(dim=1).max())
    assert 0.5 * largest < float(opened.deltas_m.norm(dim=1).max()) <= largest * 1.001
    assert float(opened.deltas_m[:, 1].mean()) < 0.0  # downwards
    head = rest[:, 1] > rest[:, 1].max() - 0.25
    centre = rest[head].mean(0)
    hood = extract_mesh(sphere(lattice(-0.4, 0.4, 0.04), (0.0, 0.0, 0.0), 0.3), centre - 0.4, 0.04)
    far = on_body(hood, body, rest)
    away = far.distance_m > 0.03
    moved = torch.cat([m.indices for m in transfer_morphs(hood, far, body)])
    assert float(away.float().mean()) > 0.8 and not bool(away[moved].any())
