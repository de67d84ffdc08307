"""The compiled kinematics against its torch twin: values and gradients."""

import pytest
import torch

from bodydouble.core.kinematics import fast_bone_transforms
from bodydouble.core.skinning import bone_transforms

PARENTS = (-1, 0, 1, 1, 0, 4, 2)


def inputs(scale: float) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    shapes = ((4, len(PARENTS), 3), (len(PARENTS), 3), (4, 3))
    rotvecs, joints, translation = (torch.randn(*s, generator=rng, dtype=torch.float64) for s in shapes)
    return [x.requires_grad_() for x in (rotvecs * scale, joints, translation)]


@pytest.mark.parametrize("scale", [0.0, 1e-6, 0.4, 2.0])
def test_equals_the_torch_twin(scale: float):
    fast_inputs, slow_inputs = inputs(scale), inputs(scale)
    R_fast, t_fast = fast_bone_transforms(*fast_inputs, PARENTS)
    R_slow, t_slow = bone_transforms(*slow_inputs, PARENTS)
    torch.testing.assert_close(R_fast, R_slow)
    torch.testing.assert_close(t_fast, t_slow)
    rng = torch.Generator().manual_seed(1)
    g_R = torch.randn(R_slow.shape, generator=rng, dtype=torch.float64)
    g_t = torch.randn(t_slow.shape, generator=rng, dtype=torch.float64)
    torch.autograd.backward([R_fast, t_fast], [g_R, g_t])
    torch.autograd.backward([R_slow, t_slow], [g_R, g_t])
    for fast, slow in zip(fast_inputs, slow_inputs, strict=True):
        torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-6, atol=1e-6)
