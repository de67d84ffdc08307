"""The noise that the net believes in is the noise that is there."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from bodydouble.reconstruct.splats.confidence import SHRINK, Confidence
from bodydouble.reconstruct.splats.config import ConfidenceConfig
from bodydouble.render.protocol import RenderedSplats

SIZE = 96
LOW, HIGH = 0.05, 0.2


def scene(step: int) -> tuple[RenderedSplats, torch.Tensor, torch.Tensor]:
    """A dark and a bright half, whose targets differ from them by Laplace noise of two levels."""
    rgb = torch.full((SIZE, SIZE, 3), 0.2)
    rgb[:, SIZE // 2 :] = 0.8
    image = RenderedSplats(rgb=rgb, alpha=torch.ones(SIZE, SIZE), depth=torch.full((SIZE, SIZE), 3.0))
    uniform = torch.rand(SIZE, SIZE, 3, generator=torch.Generator().manual_seed(step)) - 0.5
    laplace = -uniform.sign() * torch.log1p(-2.0 * uniform.abs().clamp_max(0.499))
    level = torch.full((SIZE, SIZE, 1), LOW)
    level[:, SIZE // 2 :] = HIGH
    return image, rgb + level * laplace, torch.ones(SIZE, SIZE)


def learnt(steps: int, **changes: Any) -> tuple[Confidence, torch.Tensor, torch.Tensor]:
    confidence = Confidence(dataclasses.replace(ConfidenceConfig(use=True), **changes), seed=0)
    for step in range(steps):
        found = confidence.judge(*scene(step))
        confidence.learn(found)
    return confidence, found.noise, found.weights


def test_the_optimum_is_the_noise_and_not_certainty_or_doubt() -> None:
    """E / b + log b is least at b = E; without the logarithm b would grow for ever."""
    _, noise, weights = learnt(150, floor=0.0, rate=3e-2)
    half = noise.shape[1] // 2
    assert noise.shape == (SIZE // SHRINK, SIZE // SHRINK)
    assert float(noise[:, : half - 1].mean()) == pytest.approx(LOW, rel=0.15)
    assert float(noise[:, half + 1 :].mean()) == pytest.approx(HIGH, rel=0.15)
    assert weights.shape == (SIZE, SIZE)
    # What is four times as noisy counts a quarter, and the person as a whole counts as before.
    ratio = float(weights[:, : SIZE // 2 - SHRINK].mean() / weights[:, SIZE // 2 + SHRINK :].mean())
    assert 2.5 < ratio < 4.6
    assert float(weights.mean()) == pytest.approx(1.0, abs=0.05)


def test_errors_below_the_floor_do_not_count_as_certainty() -> None:
    _, noise, _ = learnt(150, floor=0.1, rate=3e-2)
    half = noise.shape[1] // 2
    assert float(noise[:, : half - 1].mean()) == pytest.approx(LOW + 0.1, rel=0.15)


def test_weights_stay_in_their_range() -> None:
    _, _, weights = learnt(20, floor=0.0, rate=5e-2, weight_range=(0.8, 1.2))
    assert float(weights.min()) > 0.799 and float(weights.max()) < 1.201


def test_judging_does_not_push_the_image() -> None:
    confidence = Confidence(ConfidenceConfig(use=True), seed=0)
    image, target, mask = scene(0)
    rgb = image.rgb.clone().requires_grad_()
    found = confidence.judge(image.replace(rgb=rgb), target, mask)
    assert not found.weights.requires_grad
    assert rgb.grad is None


def test_it_goes_on_from_what_it_kept() -> None:
    first, _, _ = learnt(5)
    second = Confidence(ConfidenceConfig(use=True), seed=3)
    second.restore({name: value.clone() for name, value in first.tensors().items()})
    a, b = first.judge(*scene(9)), second.judge(*scene(9))
    first.learn(a)
    second.learn(b)
    torch.testing.assert_close(a.noise, b.noise)
    torch.testing.assert_close(first.adam.parameters, second.adam.parameters)
