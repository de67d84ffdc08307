"""What Anny knows of its surface, carried over to bodies whose surface is known to be Anny's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from smpl_files import in_a_t, model_body, thinned

from bodydouble.body.anny import load_anny
from bodydouble.body.segments import segment_maps
from bodydouble.body.smplx import BETA_SPAN
from bodydouble.body.transfer import carry_points, map_over, nearest_on_surface
from bodydouble.body.unwrap import triangle_atlas


def kept_parts(kind: str) -> np.ndarray:
    anny = load_anny()
    return np.array(anny.part_names)[anny.vertex_parts.numpy()[thinned(kind)[0]]]


def test_parts_of_the_skin_are_found() -> None:
    body = model_body("smplx")
    found, true = np.array(body.part_names)[body.vertex_parts.numpy()], kept_parts("smplx")
    for part in body.part_names:
        assert (found == part)[true == part].mean() > 0.95, part
        assert (true == part)[found == part].mean() > 0.95, part


def test_facial_actions_are_those_of_the_same_skin() -> None:
    anny, body = load_anny(), model_body("smplx")
    true = anny.action_deltas[:, thinned("smplx")[0]]
    error, size = (body.action_deltas - true).norm(dim=-1), true.norm(dim=-1)
    assert float(error[size > 1e-3].mean()) < 3e-4 < 0.1 * float(size[size > 1e-3].mean())
    assert float(error.max()) < 4e-3
    jaw = body.action_deltas[body.action_names.index("jawOpen")]
    assert float(jaw[:, 1].min()) < -0.01  # the chin goes down
    hands = torch.isin(body.vertex_parts, torch.tensor([body.part_names.index(f"{s}_hand") for s in ("left", "right")]))
    assert float(body.action_deltas[:, hands].abs().max()) == 0.0


def test_another_build_is_followed() -> None:
    """A body a third of a standard deviation off in everything, and larger: the nose stays the nose."""
    anny, body = load_anny(), model_body("smplx")
    betas = torch.tensor([2.0, 1.5, -1.0, 1.0, 0.5, 1.0, 2.0, -2.0, 1.0, 0.0])
    other = body.replace(shape_default=0.5 + betas / BETA_SPAN)
    carried = map_over(anny, other, None)
    surface = other.with_shape(other.shape_default).vertices_rest
    laid = carried.anny_vertices_m[torch.from_numpy(thinned("smplx")[0])]
    off = (laid - surface).norm(dim=-1).numpy()
    parts = kept_parts("smplx")
    assert np.median(off[parts == "face"]) < 0.004
    assert (
        np.median(off)
        < 0.006
        < 0.5 * np.median((surface - body.with_shape(body.shape_default).vertices_rest).norm(dim=-1))
    )


def test_points_inside_go_with_their_bones() -> None:
    anny, body = load_anny(), model_body("smplx")
    assert body.carried is not None
    shaped = anny.with_shape(anny.shape_default)
    names = ["leftLowerArm", "rightHand", "leftLowerLeg", "rightIndexIntermediate", "leftEye"]
    bones = np.array([anny.bone_names.index(anny.humanoid[n]) for n in names])
    theirs = body.with_shape(body.shape_default).joints_rest[[body.bone_names.index(body.humanoid[n]) for n in names]]
    found = carry_points(body.carried, shaped.joints_rest.double().numpy()[bones], bones)
    np.testing.assert_allclose(found, theirs.numpy(), atol=0.006)


def test_segments_bring_joints_together() -> None:
    anny, body = load_anny(), model_body("smplx")
    maps = segment_maps(anny, body)
    ours = anny.with_shape(anny.shape_default).joints_rest.double().numpy()
    theirs = body.with_shape(body.shape_default).joints_rest.double().numpy()
    for bone, end in (
        ("leftUpperArm", "leftLowerArm"),
        ("rightLowerLeg", "rightFoot"),
        ("leftHand", "leftIndexProximal"),
    ):
        A = maps[anny.bone_names.index(anny.humanoid[bone])]
        moved = A[:, :3] @ ours[anny.bone_names.index(anny.humanoid[end])] + A[:, 3]
        target = theirs[body.bone_names.index(body.humanoid[end])]
        np.testing.assert_allclose(moved, target, atol=1e-6 if "Hand" not in bone else 0.01)
        assert np.linalg.det(A[:, :3]) > 0.5


def test_the_nearest_place_on_a_surface() -> None:
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 5.0]])
    faces = np.array([[0, 1, 2], [0, 1, 3]])
    corners, shares = nearest_on_surface(np.array([[0.2, 0.3, 0.1], [0.5, -1.0, 2.0]]), vertices, faces)
    np.testing.assert_array_equal(corners, [[0, 1, 2], [0, 1, 3]])
    np.testing.assert_allclose(shares, [[0.5, 0.2, 0.3], [0.1, 0.5, 0.4]], atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 7, 500])
def test_every_triangle_has_a_place_of_its_own(count: int) -> None:
    uv, faces = triangle_atlas(count)
    corners = uv[faces].astype(np.float64)
    assert corners.min() >= 0 and corners.max() <= 1
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    assert (np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) > 0).all()
    # Separated by an axis or by the diagonal of their cell: no two share a point.
    low, high = corners.min(1), corners.max(1)
    apart = (low[:, None] > high).any(-1) | (low > high[:, None]).any(-1)
    for a, b in zip(*np.nonzero(~apart & ~np.eye(count, dtype=bool)), strict=True):
        assert a // 2 == b // 2 and corners[min(a, b)].sum(-1).max() < corners[max(a, b)].sum(-1).min()


def test_the_synthetic_template_is_a_t() -> None:
    anny = load_anny()
    joints = in_a_t(anny, anny.shape_default).joints_world
    arm = [joints[anny.bone_names.index(anny.humanoid[f"left{b}"])] for b in ("UpperArm", "LowerArm", "Hand")]
    assert float((arm[2] - arm[0])[1:].abs().max()) < 1e-4
