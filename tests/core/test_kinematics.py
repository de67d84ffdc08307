"""The compiled forward kinematics against its torch twin, forward and backward."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.core.kinematics import fast_bone_transforms
from bodydouble.core.skinning import bone_transforms

PARENTS = (-1, 0, 0, 1, 1, 2, 5, 5)


def _problem(seed: int, frames: int, scale: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return draw(frames, len(PARENTS), 3) * scale, draw(len(PARENTS), 3), draw(frames, 3)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), frames=st.integers(1, 4), scale=st.sampled_from([0.0, 1e-6, 1e-3, 0.7, 3.0]))
def test_agrees_with_the_torch_twin(seed: int, frames: int, scale: float) -> None:
    inputs = [x.requires_grad_() for x in _problem(seed, frames, scale)]
    slow, fast = bone_transforms(*inputs, PARENTS), fast_bone_transforms(*inputs, PARENTS)
    weights = [torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype) for x in slow]
    for a, b in zip(slow, fast, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    gradients = [
        torch.autograd.grad(sum((x * w).sum() for x, w in zip(out, weights, strict=True)), inputs)
        for out in (slow, fast)
    ]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_gradcheck(scale: float) -> None:
    inputs = tuple(x.requires_grad_() for x in _problem(3, 2, scale))
    assert torch.autograd.gradcheck(lambda r, j, t: fast_bone_transforms(r, j, t, PARENTS), inputs)


def test_float32_stays_float32() -> None:
    R, t = fast_bone_transforms(*(x.float() for x in _problem(0, 2, 0.5)), PARENTS)
    assert R.dtype == t.dtype == torch.float32
