"""The compiled skinning against `core.skinning.skin_points`, forward and backward."""

from __future__ import annotations

import pytest
import torch

from bodydouble.body.linear import LinearRig, LinearShapedBody
from bodydouble.body.protocol import Pose
from bodydouble.body.skin import fast_skin_points
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.core.skinning import bone_transforms, skin_points


def _case(frames: int, shapes: int, dtype: torch.dtype = torch.float64):
    generator = torch.Generator().manual_seed(frames * 10 + shapes)
    points = torch.randn(shapes, 11, 3, generator=generator, dtype=dtype)
    R = rotvec_to_matrix(torch.randn(frames, 5, 3, generator=generator, dtype=dtype))
    t = torch.randn(frames, 5, 3, generator=generator, dtype=dtype)
    joints = torch.randint(0, 5, (11, 3), generator=generator)
    weights = torch.rand(11, 3, generator=generator, dtype=dtype)
    weights[:4, 2] = 0.0
    return points, R, t, joints, weights / weights.sum(1, keepdim=True)


@pytest.mark.parametrize(("frames", "shapes"), [(1, 1), (4, 1), (4, 4)])
def test_fast_skinning_equals_its_twin(frames, shapes):
    points, R, t, joints, weights = _case(frames, shapes)
    inputs = [x.requires_grad_() for x in (points, R, t)]
    seen = fast_skin_points(points, R, t, joints, weights)
    expected = skin_points(points, R, t, joints, weights)
    torch.testing.assert_close(seen, expected)
    direction = torch.randn(seen.shape, generator=torch.Generator().manual_seed(0), dtype=seen.dtype)
    for fast, slow in zip(
        torch.autograd.grad(seen, inputs, direction), torch.autograd.grad(expected, inputs, direction), strict=True
    ):
        torch.testing.assert_close(fast, slow)


def test_fast_skinning_gradcheck():
    points, R, t, joints, weights = _case(2, 1)
    inputs = [x.requires_grad_() for x in (points, R, t)]
    assert torch.autograd.gradcheck(lambda p, R, t: fast_skin_points(p, R, t, joints, weights), inputs)


@pytest.mark.parametrize("batch", [(), (2,), (3, 1)])
def test_stages_over_batch_axes(batch):
    generator = torch.Generator().manual_seed(1)
    parents = (-1, 0, 1)
    weights = torch.rand(7, 3, generator=generator, dtype=torch.float64)
    rig = LinearRig(
        bone_parents=parents,
        skin_joints=torch.arange(3).repeat(7, 1),
        skin_weights=weights / weights.sum(1, keepdim=True),
        action_vertices=torch.tensor([2, 5]),
        action_deltas_m=torch.randn(4, 2, 3, generator=generator, dtype=torch.float64),
    )
    shaped = LinearShapedBody(
        rig=rig,
        vertices_rest=torch.randn(7, 3, generator=generator, dtype=torch.float64),
        joints_rest=torch.randn(3, 3, generator=generator, dtype=torch.float64),
    )
    expression = torch.rand(*batch, 4, generator=generator, dtype=torch.float64)
    rotvecs = torch.randn(*batch, 3, 3, generator=generator, dtype=torch.float64)
    translation = torch.randn(*batch, 3, generator=generator, dtype=torch.float64)
    posed = shaped.with_expression(expression).with_pose(Pose(rotvecs=rotvecs, translation_world_m=translation))
    assert posed.vertices().shape == (*batch, 7, 3)
    assert posed.joints_world.shape == (*batch, 3, 3)

    moved = shaped.vertices_rest.expand(*batch, 7, 3).clone()
    moved[..., rig.action_vertices, :] += torch.einsum("...a,avc->...vc", expression, rig.action_deltas_m)
    R, t = bone_transforms(rotvecs, shaped.joints_rest, translation, parents)
    torch.testing.assert_close(posed.vertices(), skin_points(moved, R, t, rig.skin_joints, rig.skin_weights))


def test_mixed_types_take_the_plain_path():
    points, _, t, joints, weights = _case(1, 1)
    rig = LinearRig(
        bone_parents=(-1, 0, 1, 1, 0),
        skin_joints=joints,
        skin_weights=weights.float(),
        action_vertices=torch.zeros(0, dtype=torch.int64),
        action_deltas_m=torch.zeros(0, 0, 3, dtype=torch.float64),
    )
    shaped = LinearShapedBody(rig=rig, vertices_rest=points[0], joints_rest=t[0])
    posed = shaped.with_pose(
        Pose(rotvecs=torch.zeros(5, 3, dtype=torch.float64), translation_world_m=torch.zeros(3, dtype=torch.float64))
    )
    torch.testing.assert_close(posed.vertices(), points[0], atol=1e-6, rtol=1e-6)
