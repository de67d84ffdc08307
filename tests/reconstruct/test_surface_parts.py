"""The parts of the surface method: canonical space, lattices, evidence, plate, objective, poses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import Pose
from bodydouble.reconstruct.surface.color_cut import cut_by_color
from bodydouble.reconstruct.surface.config import MaskUse, SurfaceConfig
from bodydouble.reconstruct.surface.decoder import decode, new_decoder
from bodydouble.reconstruct.surface.evidence import Evidence, compare_with_world, gather_evidence
from bodydouble.reconstruct.surface.field import canonical_bones, canonical_vertices, skin_at
from bodydouble.reconstruct.surface.frames import VideoFrames, believe_masks
from bodydouble.reconstruct.surface.lattice import (
    BodyDistance,
    Box,
    box_around,
    limb_radius,
    refined,
    skin_nodes,
    skin_volume,
)
from bodydouble.reconstruct.surface.objective import RayClasses, binary_entropy, ray_terms, silhouette_term
from bodydouble.reconstruct.surface.plate import PlateWorld
from bodydouble.reconstruct.surface.posed import Puppet, bone_maps, sunk_m
from bodydouble.reconstruct.surface.poses import PoseRefinement
from bodydouble.reconstruct.surface.shoes import in_shoes
from bodydouble.reconstruct.surface.values import World
from bodydouble.render.volume import composite_reference, unskin
from bodydouble.render.volume_kernels import sunk_in


def _sphere(rings: int = 40, sectors: int = 60, radius: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    theta = torch.linspace(0, math.pi, rings)[1:-1, None]
    phi = torch.arange(sectors) * (2 * math.pi / sectors)
    ring = torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos().expand(-1, sectors)], -1)
    points = torch.cat([ring.reshape(-1, 3), torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])]) * radius
    faces, rows = [], rings - 2
    for r in range(rows - 1):
        for s in range(sectors):
            a, b = r * sectors + s, r * sectors + (s + 1) % sectors
            faces += [(a, a + sectors, b), (b, a + sectors, b + sectors)]
    top, bottom = rows * sectors, rows * sectors + 1
    for s in range(sectors):
        faces += [
            (top, s, (s + 1) % sectors),
            (bottom, (rows - 1) * sectors + (s + 1) % sectors, (rows - 1) * sectors + s),
        ]
    return points, torch.tensor(faces)


def test_the_distance_to_a_sphere_has_its_closed_form_on_every_lattice():
    vertices, faces = _sphere()
    box = box_around(vertices, 0.15)
    distance = BodyDistance(vertices, faces, box, coarse_m=0.05)
    for voxel in (0.04, 0.02):
        found = distance.lattice(voxel).reshape(-1)
        expected = box.points(voxel).norm(dim=1) - 0.3
        near = expected.abs() < 0.055
        assert float((found - expected)[near].abs().max()) < 2e-3  # the sphere is made of triangles
        clear = expected.abs() > 0.01
        assert bool(((found < 0) == (expected < 0))[clear].all())


def test_shoes_thicken_the_feet_alone_and_most_of_all_below():
    body = load_anny()
    bare = body.with_shape(body.shape_default)
    shod = in_shoes(body, bare)
    torch.testing.assert_close(shod.joints_rest, bare.joints_rest)
    moved = (shod.vertices_rest - bare.vertices_rest).norm(dim=1)
    feet = torch.zeros_like(moved, dtype=torch.bool)
    for side in ("left", "right"):
        foot = body.vertex_parts == body.part_names.index(f"{side}_foot")
        feet |= foot
        low, high = bare.vertices_rest[foot].amin(0), bare.vertices_rest[foot].amax(0)
        shod_low, shod_high = shod.vertices_rest[foot].amin(0), shod.vertices_rest[foot].amax(0)
        assert 0.018 < float(low[1] - shod_low[1]) < 0.025, "soles"
        assert 0.005 < float(shod_high[2] - high[2]) < 0.015, "toes"
        assert 0.002 < float(low[0] - shod_low[0]) < 0.01 and 0.002 < float(shod_high[0] - high[0]) < 0.01, "sides"
    assert bool((moved[~feet] == 0).all())
    assert float(moved.max()) < 0.03


def test_refining_keeps_what_was_learnt_on_top_of_the_finer_body():
    box = Box(low_m=torch.zeros(3), high_m=torch.full((3,), 0.4))
    coarse, fine = (torch.randn(box.shape(v)) for v in (0.1, 0.05))
    values = torch.zeros(*coarse.shape, 2)
    values[..., 0] = coarse + 0.02
    values[..., 1] = 7.0
    out = refined(values, coarse, 0.1, fine, 0.05, box)
    torch.testing.assert_close(out[..., 0], fine + 0.02, atol=1e-5, rtol=0)
    torch.testing.assert_close(out[..., 1], torch.full_like(fine, 7.0))


@pytest.fixture(scope="module")
def canonical():
    body = load_anny()
    shaped = body.with_shape(body.shape_default)
    vertices = canonical_vertices(body, shaped).float()
    box = box_around(vertices, 0.12)
    return body, shaped, vertices, skin_volume(body, vertices, box, voxel_m=0.03, band_m=0.14)


def test_arms_and_legs_are_away_from_everything_in_canonical_space(canonical):
    body, shaped, vertices, _ = canonical
    rotvecs, R, t = canonical_bones(body, shaped)
    assert rotvecs.shape == (len(body.bone_names), 3)
    joints = (R @ shaped.joints_rest.detach()[..., None])[..., 0] + t

    def at(name: str) -> torch.Tensor:
        return joints[body.bone_names.index(body.humanoid[name])]

    for side, sign in (("left", 1.0), ("right", -1.0)):
        arm = at(side + "Hand") - at(side + "UpperArm")
        leg = at(side + "Foot") - at(side + "UpperLeg")
        assert math.isclose(math.degrees(math.atan2(-float(arm[1]), sign * float(arm[0]))), 30.0, abs_tol=1.5)
        assert 15.0 < math.degrees(math.atan2(sign * float(leg[0]), -float(leg[1]))) < 26.0
    torch.testing.assert_close(vertices.mean(0)[0], torch.tensor(0.0), atol=2e-3, rtol=0)


def test_skinning_weights_of_the_volume_are_those_of_the_body(canonical):
    body, _, vertices, volume = canonical
    dense = skin_at(volume, vertices, len(body.bone_names))
    torch.testing.assert_close(dense.sum(1), torch.ones(len(vertices)), atol=1e-4, rtol=0)
    own = torch.zeros_like(dense).scatter_add_(1, body.skin_joints.long(), body.skin_weights.float())
    trunk = body.vertex_parts == body.part_names.index("body")
    assert float((dense - own).abs().sum(1)[trunk].median()) < 0.25


def test_posed_vertices_come_back_to_canonical_space(canonical):
    body, shaped, vertices, volume = canonical
    skin = skin_nodes(volume)
    puppet = Puppet(body, vertices, skin)
    pose = 0.15 * torch.randn(len(body.bone_names), 3, generator=torch.Generator().manual_seed(2))
    pose = pose * (torch.tensor([p >= 0 for p in body.bone_parents]).float()[:, None])
    posed = shaped.with_pose(Pose(rotvecs=pose, translation_world_m=torch.zeros(3)))
    bones = bone_maps(posed.R_world_rest, posed.t_world_rest, *canonical_bones(body, shaped)[1:])
    nodes, vertex_maps = puppet.maps(bones)
    world = puppet.vertices_world(vertex_maps)
    torso = puppet.limbs == 0
    back, _, found = unskin(world, puppet.vertices, skin, nodes)
    assert float(found.float().mean()) > 0.97
    assert float((back - puppet.vertices)[found & torso].norm(dim=1).median()) < 0.01
    cells = puppet.cells(world, 0.08)
    at = ((world - cells.origin_world_m) / cells.voxel_m).long()
    seeds = cells.seeds[at[:, 0], at[:, 1], at[:, 2], 0]
    assert bool((seeds >= 0).all())
    away = (world[seeds.long()] - world).norm(dim=1)
    assert float(away.max()) < 0.5 * math.sqrt(3) * cells.voxel_m * 2 + 1e-3
    shape = cells.seeds.shape[:3]
    grid = torch.stack(torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij"), -1)
    centres = (cells.origin_world_m + (grid + 0.5) * cells.voxel_m).reshape(-1, 3).double()
    world = world.double()
    expected, reach_m = torch.full((len(centres), 2), torch.inf).double(), 0.08 + 0.5 * math.sqrt(3) * cells.voxel_m
    for limb in range(int(puppet.limbs.max()) + 1):
        near = torch.cdist(centres, world[puppet.limbs == limb]).amin(1)
        near = torch.where(near < reach_m, near, torch.inf)
        expected = torch.cat([expected, near[:, None]], 1).sort(1).values[:, :2]
    expected[:, 1][expected[:, 1] >= expected[:, 0] + 0.10] = torch.inf
    found = (centres[:, None] - world[cells.seeds.reshape(-1, 2).long()]).norm(dim=2)
    found = torch.where(cells.seeds.reshape(-1, 2) >= 0, found, torch.inf)
    assert int(torch.isfinite(found[:, 1]).sum()) > 100
    assert torch.allclose(found, expected, atol=1e-5)


def _scene(frames: int = 14, size: int = 96):
    """A disc with a rim of cloth wanders over a texture; the bare body is its core."""
    rng = np.random.default_rng(1)
    wall = rng.integers(30, 220, (size, size, 3)).astype(np.uint8)
    y, x = np.mgrid[:size, :size]
    pictures, bare, away, truth = [], [], [], []
    for f in range(frames):
        r = np.hypot(x - (12 + 5 * f), y - 24)
        picture = wall.copy()
        picture[r < 8] = (250, 20 + 3 * f, 20)
        pictures.append(picture)
        bare.append(r < 5)
        away.append((np.maximum(r - 5, 0) * 0.02).astype(np.float32))
        truth.append(r < 8)
    return wall, np.stack(pictures), np.stack(bare), np.stack(away), np.stack(truth)


def test_motion_tells_cloth_from_wall():
    wall, pictures, bare, away, truth = _scene()
    evidence = gather_evidence(pictures, bare, away)
    sure = evidence.confidence > 0.9
    rim = truth & ~bare & sure
    assert rim.sum() > 0.7 * (truth & ~bare).sum()
    assert (evidence.person[rim] > 0.5).mean() > 0.95
    assert (evidence.person[sure & ~truth] < 0.5).mean() > 0.99
    known = evidence.seen > 0.99
    assert np.abs(evidence.world - wall / 255.0)[known].max() < 0.02


def test_a_world_that_is_known_tells_cloth_from_itself_frame_by_frame():
    wall, pictures, bare, away, truth = _scene()
    sure = np.ones(wall.shape[:2], np.float32)
    sure[:10] = 0.0
    evidence = compare_with_world(pictures, bare, away, lambda place: (wall / np.float32(255.0), sure))
    rim = truth & ~bare
    assert ((evidence.person > 0.5) & (evidence.confidence > 0.9))[rim].mean() > 0.95
    outside = ~truth & (away < 0.3) & (sure > 0)
    assert ((evidence.person < 0.5) & (evidence.confidence > 0.9))[outside].mean() > 0.99
    unknown = ~truth & (away < 0.3) & (sure == 0)
    assert evidence.confidence[unknown].max() < 0.75  # what colours tell is never sure
    assert (evidence.person < 0.5)[unknown].mean() > 0.95


@pytest.mark.parametrize("light", [(0.6, 0.7, 0.8), (1.35, 1.25, 1.15)])
def test_a_floor_in_other_light_is_not_surely_the_person(light: tuple[float, float, float]):
    """What a shiny floor mirrors keeps its hue, more or less; farther off than clothes hang that is no person."""
    wall, pictures, bare, away, truth = _scene()
    wall = (0.6 * wall).astype(np.uint8)
    pictures = np.where(truth[..., None], pictures, (0.6 * pictures).astype(np.uint8))
    lit = ~truth & (away < 0.2)
    pictures[lit] = (np.broadcast_to(wall, pictures.shape)[lit] * np.array(light)).clip(0, 255).astype(np.uint8)
    sure = np.ones(wall.shape[:2], np.float32)
    evidence = compare_with_world(pictures, bare, away, lambda place: (wall / np.float32(255.0), sure))
    far = lit & (away > 0.1)
    assert far.sum() > 500 and ((evidence.person > 0.5) & (evidence.confidence > 0.9))[far].mean() < 0.02
    rim = truth & ~bare
    assert ((evidence.person > 0.5) & (evidence.confidence > 0.9))[rim].mean() > 0.95


def test_pixels_that_show_both_are_nobodys():
    wall, pictures, bare, away, truth = _scene()
    mixed = ndimage.binary_dilation(truth, np.ones((1, 3, 3))) & ~truth
    pictures[mixed] = (0.6 * np.broadcast_to(wall, pictures.shape)[mixed] + 0.4 * np.array([250, 60, 20])).astype(
        np.uint8
    )
    sure = np.ones(wall.shape[:2], np.float32)
    evidence = compare_with_world(pictures, bare, away, lambda place: (wall / np.float32(255.0), sure))
    near = mixed & (away < 0.3)
    assert ((evidence.person > 0.5) & (evidence.confidence > 0.5))[near].mean() < 0.05
    rim = truth & ~bare
    assert ((evidence.person > 0.5) & (evidence.confidence > 0.9))[rim].mean() > 0.95


def test_where_the_world_is_not_known_colours_tell():
    _, pictures, bare, away, truth = _scene()
    sure = np.ones(bare.shape[1:], np.float32)
    sure[:, 40:56] = 0.0
    evidence = compare_with_world(pictures, bare, away, lambda place: (_scene()[0] / np.float32(255.0), sure))
    open_ = (sure == 0)[None] & (away < 0.3) & ~bare
    told = open_ & (evidence.confidence > 0.5)
    assert told.sum() > 0.8 * open_.sum() and evidence.confidence[open_].max() < 0.75
    assert ((evidence.person > 0.5) == truth)[told].mean() > 0.97


def _standing(frames: int = 6, size: int = 240):
    """A person in red who hardly moves, before a green wall. The bare body is a little too wide on the left, and cloth
    hangs over it on the right."""
    rng = np.random.default_rng(3)

    def cloth(low: tuple[int, int, int], high: tuple[int, int, int]) -> np.ndarray:
        return np.stack([rng.integers(a, b, (size, size)) for a, b in zip(low, high, strict=True)], -1)

    wall, columns = cloth((0, 120, 0), (40, 200, 40)), np.mgrid[:size, :size][1]
    pictures, bare, away, truth = [], [], [], []
    for f in range(frames):
        at = columns - f % 2
        person, core = (at > 80) & (at < 150), (at > 79) & (at < 135)
        pictures.append(np.where(person[..., None], cloth((180, 0, 0), (250, 50, 50)), wall).astype(np.uint8))
        bare.append(core)
        away.append((0.01 * ndimage.distance_transform_edt(~core)).astype(np.float32))
        truth.append(person)
    return np.stack(pictures), np.stack(bare), np.stack(away), np.stack(truth)


def test_colours_tell_what_motion_leaves_open():
    pictures, bare, away, truth = _standing()
    person, confidence = np.zeros(bare.shape, np.float32), (away > 0.3).astype(np.float32)
    cut_by_color(pictures, bare, person, confidence)
    assert ((person > 0.5) == truth).mean() > 0.999
    assert confidence[away <= 0.3].min() > 0.6  # all cuts are alike in size, so they are believed
    wide = bare & ~truth
    assert wide.any() and (person[wide] < 0.5).mean() > 0.95


def test_a_dark_gap_between_dark_legs_is_the_worlds():
    """A cut along short edges would fill it."""
    rows, columns = np.mgrid[:240, :240]
    rng = np.random.default_rng(5)
    gap = (abs(columns - 120) < 10 * (rows - 60) / 160) & (rows > 60) & (rows < 200)
    person = (columns > 80) & (columns < 160) & (rows > 20) & (rows < 200) & ~gap
    colors = np.where(person[..., None], (40.0, 40.0, 60.0), (40.0, 60.0, 40.0)) + rng.normal(0.0, 15.0, (240, 240, 3))
    bare = ndimage.binary_erosion(person, iterations=3)
    away = 0.01 * ndimage.distance_transform_edt(~bare)
    found, confidence = np.zeros((1, 240, 240), np.float32), (away > 0.15).astype(np.float32)[None]
    cut_by_color(colors.clip(0, 255).astype(np.uint8)[None], bare[None], found, confidence)
    assert (found[0][gap] < 0.5).mean() > 0.85
    assert (found[0][person] > 0.5).mean() > 0.95


def test_what_motion_knows_is_not_asked_again_and_odd_cuts_are_doubted():
    pictures, bare, away, _ = _standing()
    person, confidence = np.zeros(bare.shape, np.float32), (away > 0.3).astype(np.float32)
    person[2, 20:30, 140:150], confidence[2, 20:30, 140:150] = 0.0, 1.0  # surely the world, whatever its colour
    pictures[4, :, 134:151] = pictures[4, :, 160:177]  # no cloth hangs here
    cut_by_color(pictures, bare, person, confidence)
    assert (person[2, 20:30, 140:150] == 0.0).all() and (confidence[2, 20:30, 140:150] == 1.0).all()
    inside = bare & (confidence < 1.0)
    assert confidence[4][inside[4]].max() < 0.8 * confidence[1][inside[1]].min()


def test_a_frame_without_anybody_is_cut_nowhere():
    pictures, _, _, _ = _standing(2)
    nobody, sure = np.zeros(pictures.shape[:3], bool), np.ones(pictures.shape[:3], np.float32)
    person = np.zeros_like(sure)
    cut_by_color(pictures, nobody, person, sure)
    assert (person == 0.0).all() and (sure == 1.0).all()


@pytest.mark.parametrize("radius", [0.008, 0.03, 0.06])
def test_an_outline_is_seen_where_the_surface_is(radius: float):
    beta, step = 0.004, 0.0005
    along = torch.arange(-0.12, 0.12, step)
    starts = torch.tensor([0, len(along)])
    opacities = []
    for away in (-0.003, 0.0, 0.003):
        sdf = ((radius + away) ** 2 + along**2).sqrt() - radius
        _, alpha, _ = composite_reference(
            sdf + sunk_m(beta, radius), torch.zeros(len(along), 3), starts, step, torch.tensor(beta)
        )
        opacities.append(float(alpha[0]))
    assert abs(opacities[1] - 0.5) < 0.06 and opacities[0] > 0.65 and opacities[2] < 0.4


def test_the_kernel_sinks_as_far_as_asked():
    for beta, radius in ((0.004, 0.008), (0.004, 0.06), (0.015, 0.03), (0.1, 0.007)):
        assert float(sunk_in(np.float32(radius), np.float32(beta))) == pytest.approx(sunk_m(beta, radius), abs=1e-6)


def test_limbs_are_as_thick_as_they_are():
    """A tube of 4 cm with a thin one of 1 cm at its end, on a lattice of 5 mm."""
    axes = [torch.arange(-0.1, 0.1, 0.005), torch.arange(-0.3, 0.3, 0.005), torch.arange(-0.1, 0.1, 0.005)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    away = (x * x + z * z).sqrt()
    sdf = torch.where(y < 0.0, away - 0.04, away - 0.01)
    radius = limb_radius(sdf, 0.005)
    middle = len(axes[0]) // 2
    thick, thin = radius[middle, 20, middle], radius[middle, 100, middle]
    assert float(thick) == pytest.approx(0.04, abs=0.004) and float(thin) == pytest.approx(0.01, abs=0.004)
    assert float(radius.min()) >= 0.007 - 1e-6
    assert float(radius[0, 20, 0]) == pytest.approx(0.06, abs=1e-3)  # 10 cm beside the limb: cloth, if anything


def test_a_shadow_is_nobody():
    _wall, pictures, bare, away, truth = _scene()
    shadow = np.zeros_like(truth)
    shadow[7, 34:42, 36:60] = True  # in one frame only
    shadow &= ~truth
    pictures[shadow] = (0.7 * pictures[shadow]).astype(np.uint8)
    evidence = gather_evidence(pictures, bare, away)
    near = shadow & (away < 0.3)
    assert near.sum() > 20
    assert ((evidence.person > 0.5) & (evidence.confidence > 0.5))[near].mean() < 0.1


def test_a_plate_is_a_world_with_exposure_that_learns_where_nobody_knows():
    plate, seen = torch.full((6, 8, 3), 0.5), torch.zeros(6, 8)
    seen[:, 4:] = 1.0
    world = PlateWorld(plate, seen, [3, 9], torch.tensor([[1.0, 1.0, 1.0], [0.8, 0.8, 0.8]]), 0.5)
    assert isinstance(world, World)
    at = torch.tensor([[3.0, 5.0], [13.0, 5.0]])
    torch.testing.assert_close(world.colors_at(9, at), torch.full((2, 3), 0.4))
    torch.testing.assert_close(world.colors_at(11, at), torch.full((2, 3), 0.4))  # the nearest frame's exposure
    torch.testing.assert_close(world.seen(3, at), torch.tensor([0.0, 1.0]))
    for _ in range(20):
        world.learn(3, at, (world.colors_at(3, at) - 0.9).sign(), 0.02)
    moved = world.colors_at(3, at)[:, 0]
    assert float(moved[0]) > 0.7 and abs(float(moved[1]) - 0.5) < 0.05


def test_entropy_and_empty_classes():
    p = torch.tensor([0.0, 0.5, 1.0])
    h = binary_entropy(p)
    assert math.isclose(float(h[1]), math.log(2.0), rel_tol=1e-6) and float(h[0]) < 2e-3 and float(h[2]) < 2e-3
    nobody = torch.zeros(3, dtype=torch.bool)
    terms = ray_terms(
        torch.zeros(3, 3), p, torch.zeros(3, 3), RayClasses(off=nobody, inside=nobody), None, 0.5, SurfaceConfig()
    )
    assert float(terms["sparse"]) == 0.0 and float(terms["inside"]) == 0.0 and "mask" not in terms
    classes = RayClasses.of(torch.tensor([-0.01, 0.02, 0.2]), 0.05)
    assert classes.inside.tolist() == [True, False, False] and classes.off.tolist() == [False, False, True]


def test_the_schedules_of_the_ray_terms_follow_progress():
    alpha, classes = torch.full((4,), 0.5), RayClasses(off=torch.ones(4, dtype=torch.bool), inside=torch.ones(4, dtype=torch.bool))  # fmt: skip
    found = [
        ray_terms(torch.zeros(4, 3), alpha, torch.zeros(4, 3), classes, None, p, SurfaceConfig()) for p in (0.0, 1.0)
    ]
    assert float(found[1]["sparse"]) > 20 * float(found[0]["sparse"]) > 0.0
    assert float(found[0]["inside"]) > 0.0 and float(found[1]["inside"]) == 0.0


def test_the_silhouette_term_pulls_from_afar():
    least = torch.tensor([0.3, 0.02, -0.3], requires_grad=True)
    person, sure = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1.0, 0.5, 1.0])
    silhouette_term(least, person, sure, 0.01, 3).backward()
    assert least.grad is not None
    torch.testing.assert_close(least.grad[0], torch.tensor(100.0 / 3.0))  # as strong as close by
    torch.testing.assert_close(least.grad[2], torch.tensor(-100.0 / 3.0))
    assert 0.0 < float(least.grad[1]) < 50.0 / 3.0


def test_a_new_decoder_shows_base_colours():
    decoder = new_decoder(15, 4, 8, 0)
    features = torch.randn(5, 15)
    rgb = decode(decoder, features, torch.randn(5, 3), torch.randn(12))
    torch.testing.assert_close(rgb, torch.sigmoid(features[:, :3]))


def test_pose_refinement_follows_the_gradient_and_is_held_by_fit_and_neighbours():
    movable = torch.tensor([True, False])
    poses = PoseRefinement(torch.zeros(3, 2, 3), torch.zeros(3, 3), movable, prior=0.0, temporal=0.0)
    poses.step(1, torch.ones(2, 3), torch.ones(3), (0.01, 0.02))
    torch.testing.assert_close(poses.rotvecs[1, 0], torch.full((3,), -0.01), atol=1e-5, rtol=0)
    torch.testing.assert_close(poses.translation[1], torch.full((3,), -0.02), atol=1e-5, rtol=0)
    assert not bool(poses.rotvecs[1, 1].any()) and not bool(poses.rotvecs[[0, 2]].any())
    held = PoseRefinement(torch.zeros(3, 2, 3), torch.zeros(3, 3), movable, prior=0.0, temporal=1.0)
    held.rotvecs[1, 0] = 0.1
    for _ in range(60):
        held.step(1, torch.zeros(2, 3), torch.zeros(3), (0.005, 0.0))
    assert float(held.rotvecs[1, 0].abs().max()) < 0.03


def test_masks_speak_as_loud_as_they_are_believed():
    mask = np.zeros((1, 4, 8), np.uint8)
    mask[:, :, :4] = 255
    frames = object.__new__(VideoFrames)  # without a video
    frames.masks, frames.has_mask, frames.height, frames.width = mask, np.array([True]), 4, 8
    cases: tuple[tuple[MaskUse, list[float], list[float]], ...] = (
        ("none", [0, 0, 0, 0], [1, 0.1, 0.1, 1]),
        ("soft", [0, 1, 0, 0], [1, 0.5, 0.5, 1]),
        ("trust", [1, 1, 0, 0], [1, 1, 1, 1]),
    )
    for use, person, confidence in cases:
        evidence = Evidence(
            person=np.zeros((1, 2, 4), np.float32),
            confidence=np.tile(np.array([1, 0.1, 0.1, 1], np.float32), (1, 2, 1)),
            world=np.zeros((2, 4, 3), np.float32),
            seen=np.zeros((2, 4), np.float32),
            gains=np.ones((1, 3), np.float32),
        )
        believe_masks(evidence, frames, use)
        np.testing.assert_allclose(evidence.person[0, 0], person)
        np.testing.assert_allclose(evidence.confidence[0, 0], confidence)
