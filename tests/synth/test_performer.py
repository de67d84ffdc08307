"""Looks, clothes and choreography."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.body.anny import load_anny
from bodydouble.body.parts import PART_NAMES
from bodydouble.body.protocol import Pose
from bodydouble.core.cameras import look_at_camera
from bodydouble.evaluate.surfaces import Surface, face_normals
from bodydouble.evaluate.triangle_tree import triangle_tree, winding_numbers
from bodydouble.render.mesh import rasterize_mesh
from bodydouble.synth.looks import HairStyle, Material, Pattern, Silhouette, draw_look
from bodydouble.synth.motion import perform
from bodydouble.synth.performer import make_performer


@pytest.fixture(scope="module")
def body():
    return load_anny()


# Trousers and a print, a check shirt, a skirt, a coat.
@pytest.fixture(scope="module", params=[0, 1, 8, 4])
def performer(request, body):
    return make_performer(body, draw_look(request.param))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_looks_are_valid_and_repeatable(seed):
    look = draw_look(seed)
    assert look == draw_look(seed)
    assert all(0 <= value <= 1 for value in look.shape)
    assert 1.42 < float(load_anny().height_m(torch.tensor(look.shape))) < 2.05
    for name in ("skin", "lips", "iris", "hair", "trousers", "shoe", "sole"):
        assert all(0 <= c <= 1 for c in getattr(look, name)), name
    for fabric in (look.shirt, look.loose):
        assert all(0 <= c <= 1 for c in (*fabric.base, *fabric.second, *fabric.third))
        assert 0.01 < fabric.size_m < 0.2 and 0 <= fabric.phase < 1


def test_looks_cover_the_range():
    """A hundred seeds: both sexes, every silhouette and hair style, adults of many ages, light to dark skin."""
    looks = [draw_look(seed) for seed in range(100)]
    assert len({look.shirt for look in looks}) == 100
    assert {look.silhouette for look in looks} == set(Silhouette)
    assert {look.hair_style for look in looks} == set(HairStyle)
    assert {look.shirt.pattern for look in looks} == set(Pattern)
    assert 35 < sum(look.female for look in looks) < 65
    assert all(not look.female for look in looks if look.stubble > 0)
    age = np.array([look.shape[1] for look in looks])
    assert age.min() > 0.6 and age.max() < 1.0 and np.ptp(age) > 0.3  # 2/3 is a young adult, 1 is old
    light = np.array([look.skin for look in looks]) @ [0.30, 0.59, 0.11]
    assert light.min() < 0.3 and light.max() > 0.75
    skin = np.array([look.skin for look in looks])
    assert (np.diff(skin, axis=1) < 0).all()  # redder than green, greener than blue: blood and melanin


def test_eight_seeds_are_eight_bodies():
    """No two of them nearly coincide, and their statures span more than a hand."""
    body = load_anny()
    shapes = torch.tensor([draw_look(seed).shape for seed in range(8)])
    heights = body.height_m(shapes)
    assert float(heights.max() - heights.min()) > 0.12
    points = body.with_shape(shapes).vertices_rest
    apart = (points[:, None] - points[None]).norm(dim=-1).mean(-1) + torch.eye(8)
    assert float(apart.min()) > 0.008


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
    shown = {int(m) for m in Material} - {int(m) for m in (Material.TROUSERS, Material.LOOSE, Material.HAIR)}
    assert shown <= set(performer.face_material.tolist()) <= {int(m) for m in Material}
    assert performer.face_material.max() < len(performer.palette)
    assert len(performer.vertex_parts) == len(performer.coordinates) == len(performer.shaped.vertices_rest)
    feet = performer.vertex_parts[performer.ground_vertices]
    assert {PART_NAMES[i] for i in feet.tolist()} <= {"left_foot", "right_foot", "body"}
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
    # A skirt or a coat ends about the knee.
    lowest = knee - 0.3 if performer.loose is None else knee + 0.14
    trunk = (center[:, 1] < chest + 0.03) & (center[:, 1] > lowest) & (center[:, 0].abs() < 0.14)
    assert int(trunk.sum()) > 800
    assert float((material[trunk] == int(Material.SKIN)).float().mean()) < 0.004
    assert (material == int(Material.SKIN)).sum() > 150
    shaved = not (performer.face_material == int(Material.HAIR)).any()
    assert (material == int(Material.SHOE)).any() and (shaved or (material == int(Material.HAIR)).any())


def test_cloth_stands_clear_of_the_skin(performer):
    """Garment vertices of the torso lie outside the body, by millimetres to centimetres."""
    from scipy.spatial import cKDTree

    shirt = performer.faces[performer.face_material == int(Material.SHIRT)].unique().numpy()
    body = load_anny()
    bare = body.with_shape(performer.body_shape).vertices_rest.numpy()
    from bodydouble.core.normals import vertex_normals_array

    normals = vertex_normals_array(bare.astype(float), body.faces.numpy())
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


def test_faces_look_outwards(performer):
    """Of shoes and buns too: the inside of a piece that is turned inside out would wind -1 times around its own outside."""
    points, faces = performer.shaped.vertices_rest.double().numpy(), performer.faces.numpy()
    surface = Surface(vertices_m=points, faces=faces)
    outwards = points[faces].mean(1) + 0.002 * face_normals(surface)
    area = np.linalg.norm(np.cross(*(points[faces[:, k]] - points[faces[:, 0]] for k in (1, 2))), axis=1)
    turned = winding_numbers(triangle_tree(points, faces), outwards) < -0.5
    for material in np.unique(performer.face_material.numpy()):
        own = performer.face_material.numpy() == material
        assert area[own & turned].sum() < 0.02 * area[own].sum(), material
