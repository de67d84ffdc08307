"""The body's face and hands in a clothed surface: sewn in without a gap, moving as the body's, in colours of their own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from smpl_files import model_body

from bodydouble.avatar.drive import apply_morphs
from bodydouble.avatar.values import Mesh
from bodydouble.body.anny import AnnyBody, load_anny
from bodydouble.body.protocol import ARKIT_ACTIONS, BodyModel
from bodydouble.fit.features import RestPerson, rest_body
from bodydouble.reconstruct.inside_head import part_vertices
from bodydouble.reconstruct.surface.extract import ClosedMesh, decimated, extract_mesh, mesh_facts
from bodydouble.reconstruct.surface.face import sew_face
from bodydouble.reconstruct.surface.hands import sew_hand
from bodydouble.reconstruct.surface.rigging import rig_mesh
from bodydouble.reconstruct.surface.sewing import disc, piece_of, ring, strip
from bodydouble.reconstruct.surface.sewn import Sewn, body_texels, unsewn
from bodydouble.reconstruct.surface.textured import paint, unwrapped_mesh

AHEAD_M = 0.004


@pytest.fixture(scope="module")
def anny() -> AnnyBody:
    return load_anny()


@pytest.fixture(scope="module")
def person(anny: AnnyBody) -> RestPerson:
    return rest_body(anny, anny.shape_default)


def rigged(body: BodyModel, surface: ClosedMesh) -> Mesh:
    bones = len(body.bone_names)
    rest = body.with_shape(body.shape_default).vertices_rest
    return rig_mesh(surface, body, rest.float(), torch.eye(3).expand(bones, 3, 3), torch.zeros(bones, 3))


def clothed_of(body: BodyModel) -> Mesh:
    """The body's outer skin with few triangles, a little farther ahead."""
    rest = body.with_shape(body.shape_default).vertices_rest.float()
    piece = piece_of(body.faces.long(), len(rest))
    own = body.faces.long()[piece[body.faces.long()[:, 0]] == piece.mode().values]
    used, faces = torch.unique(own, return_inverse=True)
    ahead = rest[used] + torch.tensor([0.0, 0.0, AHEAD_M])
    return rigged(body, decimated(ClosedMesh(vertices_m=ahead, faces=faces), 8000))


@pytest.fixture(scope="module")
def clothed(anny: AnnyBody) -> Mesh:
    return clothed_of(anny)


@pytest.fixture(scope="module")
def sewn(anny: AnnyBody, person: RestPerson, clothed: Mesh) -> Sewn:
    found = sew_face(unsewn(clothed, person), anny)
    assert found is not None
    return found


def grid(n: int) -> torch.Tensor:
    """Triangles of a square of n x n cells; vertex (row, column) is number row * (n + 1) + column."""
    row, column = (x.flatten() for x in torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij"))
    a = row * (n + 1) + column
    b, c, d = a + 1, a + n + 1, a + n + 2
    return torch.cat([torch.stack([a, b, d], 1), torch.stack([a, d, c], 1)])


def test_a_ring_goes_once_around_and_a_border_that_touches_itself_has_none() -> None:
    faces = grid(4)
    around = ring(faces)
    assert around is not None and len(around) == 16 and len(set(around)) == 16
    cells = torch.arange(16).repeat(2)
    assert ring(faces[cells != 5]) is None  # a hole: two borders
    assert ring(faces[torch.isin(cells, torch.tensor([0, 5]))]) is None  # two cells that share a corner
    solid = extract_mesh(torch.linspace(-1, 1, 9).abs()[:, None, None].expand(9, 9, 9) - 0.5, torch.zeros(3), 0.1)
    assert ring(solid.faces) is None  # no border at all


@pytest.mark.parametrize("grow", [True, False])
def test_a_disc_has_no_holes_no_islands_and_no_touching_corners(grow: bool) -> None:
    faces, cells = grid(8), torch.arange(64).repeat(2)
    block = [10, 11, 12, 18, 20, 26, 27, 28]  # three by three with a hole
    wanted = torch.isin(cells, torch.tensor([*block, 37, 63]))  # one that touches at a corner, and one far away
    found = disc(faces, wanted, grow=grow)
    assert found is not None and ring(faces[found]) is not None
    assert bool(found[torch.isin(cells, torch.tensor([*block, 19]))].all()) or not grow
    assert not bool(found[cells == 63].any())
    assert bool(found[cells == 37].any()) == grow


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_a_strip_joins_two_rings_with_a_triangle_for_each_edge(way: float) -> None:
    outer, inner = list(range(7)), list(range(7, 20))
    around = np.concatenate([2 * math.pi * np.arange(7) / 7 + 0.9, 2 * math.pi * np.arange(13) / 13 - 2.0])
    triangles = strip(outer, inner, np.angle(np.exp(1j * way * around)))
    assert len(triangles) == 20
    edges = {(a, b) for t in triangles.tolist() for a, b in zip(t, t[1:] + t[:1], strict=True)}
    assert len(edges) == 60
    assert {(a, (a + 1) % 7) for a in range(7)} <= edges
    assert {(7 + (b + 1) % 13, 7 + b) for b in range(13)} <= edges
    lone = {(a, b) for a, b in edges if (b, a) not in edges}
    assert len(lone) == 20  # the two rings, nothing else is open


def test_it_stays_closed_and_every_triangle_keeps_its_side(clothed: Mesh, sewn: Sewn) -> None:
    before = mesh_facts(ClosedMesh(vertices_m=clothed.vertices_rest_m, faces=clothed.faces))
    after = mesh_facts(ClosedMesh(vertices_m=sewn.mesh.vertices_rest_m, faces=sewn.mesh.faces))
    assert before.manifold and after.manifold
    assert after.pieces == before.pieces + 5  # eyeballs, a tongue, two rows of teeth
    assert after.euler == before.euler + 10
    assert after.volume_m3 == pytest.approx(before.volume_m3, rel=0.01)
    assert torch.allclose(sewn.mesh.weights.sum(1), torch.ones(len(sewn.mesh.weights)), atol=1e-5)


def test_the_face_lies_where_the_surface_was(sewn: Sewn, person: RestPerson, anny: AnnyBody) -> None:
    own = sewn.body_vertex >= 0
    moved = sewn.mesh.vertices_rest_m[own] - person.vertices_rest[sewn.body_vertex[own]]
    assert float((moved[:, 2] - AHEAD_M).abs().max()) < 0.0015
    assert float(moved[:, :2].abs().max()) < 0.002
    eyes = part_vertices(anny, "eyes")[sewn.body_vertex.clamp_min(0)] & own
    for eye in ("leftEye", "rightEye"):
        joint = sewn.person.joints_rest[anny.bone_names.index(anny.humanoid[eye])]
        away = (sewn.mesh.vertices_rest_m[eyes] - joint).norm(dim=1)
        assert int((away < 0.0165).sum()) >= 72  # the ball has moved with its joint


def test_lips_and_lids_part(sewn: Sewn, anny: AnnyBody) -> None:
    vertex = sewn.body_vertex
    own = torch.nonzero(vertex >= 0)[:, 0]
    for name in ("jawOpen", "eyeBlinkLeft", "mouthSmileRight"):
        strength = torch.zeros(len(ARKIT_ACTIONS))
        strength[ARKIT_ACTIONS.index(name)] = 1.0
        moved = apply_morphs(sewn.mesh.vertices_rest_m, sewn.mesh.morphs, strength) - sewn.mesh.vertices_rest_m
        theirs = anny.action_deltas[anny.action_names.index(name), vertex[own]]
        assert torch.allclose(moved[own], theirs, atol=2e-4)
        assert float(moved[own].norm(dim=1).max()) > 0.004


def test_hands_are_the_bodys_and_the_surface_stays_closed(sewn: Sewn, anny: AnnyBody, person: RestPerson) -> None:
    whole = sewn
    for side in ("left", "right"):
        more = sew_hand(whole, anny, side)
        assert more is not None
        whole = more
    before = mesh_facts(ClosedMesh(vertices_m=sewn.mesh.vertices_rest_m, faces=sewn.mesh.faces))
    after = mesh_facts(ClosedMesh(vertices_m=whole.mesh.vertices_rest_m, faces=whole.mesh.faces))
    assert after.manifold and (after.pieces, after.euler) == (before.pieces, before.euler)
    assert after.volume_m3 == pytest.approx(before.volume_m3, rel=0.01)
    hands = part_vertices(anny, "left_hand") | part_vertices(anny, "right_hand")
    own = torch.nonzero((whole.body_vertex >= 0) & hands[whole.body_vertex.clamp_min(0)])[:, 0]
    assert len(own) > 0.8 * int(hands.sum())
    assert torch.equal(whole.mesh.vertices_rest_m[own], person.vertices_rest[whole.body_vertex[own]])
    tip = person.joints_rest[anny.bone_names.index(anny.humanoid["leftMiddleDistal"])]
    nearest = own[(whole.mesh.vertices_rest_m[own] - tip).norm(dim=1).argmin()]
    strongest = whole.mesh.joints[nearest, whole.mesh.weights[nearest].argmax()]
    assert "finger3" in anny.bone_names[int(strongest)]  # bends as the finger does
    assert bool((sewn.body_vertex >= 0).sum() + len(own) == (whole.body_vertex >= 0).sum())  # the face is still there


@pytest.mark.parametrize("kind", ["smplx", "smpl"])
def test_a_body_without_a_mouth_or_with_holes_leaves_the_surface_its_face(kind: str) -> None:
    """SMPL has no mouth; the skin of this SMPL-X, thinned from Anny's, has edges with one face or three."""
    body = model_body(kind)
    assert sew_face(unsewn(clothed_of(body), rest_body(body, body.shape_default)), body) is None


def test_a_hand_that_is_missing_is_not_sewn(clothed: Mesh, anny: AnnyBody, person: RestPerson) -> None:
    still = torch.zeros_like(clothed.joints)  # nothing hangs on a hand's bones
    bare = unsewn(clothed.replace(joints=still, weights=torch.tensor([1.0, 0, 0, 0]).expand(len(still), -1)), person)
    assert sew_hand(bare, anny, "left") is None


def test_there_is_none_where_there_is_no_face(anny: AnnyBody, person: RestPerson) -> None:
    axis = torch.arange(-0.3, 0.301, 0.05)
    away = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).norm(dim=-1)
    ball = rigged(anny, extract_mesh(away - 0.2, torch.full((3,), -0.3), 0.05))
    assert sew_face(unsewn(ball, person), anny) is None


def test_eyes_and_mouth_have_colours_of_their_own(sewn: Sewn, anny: AnnyBody) -> None:
    flat = unwrapped_mesh(sewn.mesh, 512)
    painted = paint(flat.mesh, [], find_body=lambda around, where: body_texels(sewn, anny, flat.source[around], where))
    body_vertex, colors = sewn.body_vertex[flat.source], painted.mesh.colors
    mouth = part_vertices(anny, "mouth")[body_vertex.clamp_min(0)] & (body_vertex >= 0)
    places = flat.mesh.vertices_rest_m
    joint = sewn.person.joints_rest[anny.bone_names.index(anny.humanoid["leftEye"])]
    eyes = part_vertices(anny, "eyes")[body_vertex.clamp_min(0)] & (body_vertex >= 0)
    ball = eyes & ((places - joint).norm(dim=1) < 0.0165)
    ahead = (places - joint)[:, 2] / 0.016
    assert float(colors[mouth].mean()) < 0.3
    assert float(colors[ball & (ahead < 0.8)].mean(0).min()) > 0.55  # white
    assert float(colors[ball & (ahead > 0.985)].mean()) < 0.2  # the iris
