"""How far each pixel's error can be believed: a noise level by place, learnt as the scale of a Laplace distribution.

A small convolutional net sees the render, at an eighth of its size, and predicts log b. It is trained by the likelihood
of the errors that were found,

    mean over the person of  E / b + log b,    E = |error| + floor,

whose optimum is b = E where errors can be told apart by what the net sees. The logarithm is what keeps it from
declaring everything uncertain. What the net sees and the errors are detached: it judges, it does not push. The splats
are trained on errors weighted by mean(b) / b, so that what stays wrong whatever they do (cloth that moves, motion blur)
pulls less than what can be got right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bodydouble.core.seeds import torch_rng
from bodydouble.reconstruct.splats.config import ConfidenceConfig
from bodydouble.reconstruct.splats.optimizer import NetAdam
from bodydouble.render.protocol import RenderedSplats

SHRINK = 8
"""Pixels of the image along each side for each value of the map."""
_SAMPLE = 4
_INPUTS, _HIDDEN = 8, 8
_SHAPES = ((_HIDDEN, _INPUTS, 3, 3), (_HIDDEN,), (_HIDDEN, _HIDDEN, 3, 3), (_HIDDEN,), (1, _HIDDEN, 1, 1), (1,))
_SLOPE = 0.1


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What one image says."""

    weights: Float[Tensor, "height width"]
    """Of each pixel of the image, about 1 on average over the person."""
    noise: Float[Tensor, "rows columns"]
    """The noise level b, at an eighth of the size, in units of colour."""
    likelihood: float
    """Mean of E / b + log b over the person: what the net is trained to lower."""
    gradient: Float[Tensor, " parameters"]
    """Of the likelihood in the net's parameters."""


class Confidence:
    """The net and its optimiser."""

    def __init__(self, config: ConfidenceConfig, seed: int) -> None:
        self.config = config
        generator = torch_rng(seed, "confidence")
        parts = []
        for shape in _SHAPES:
            fan_in = shape[1] * shape[2] * shape[3] if len(shape) == 4 else 0
            values = torch.randn(shape, generator=generator) * (2.0 / fan_in) ** 0.5 if fan_in else torch.zeros(shape)
            parts.append((values * (0.1 if shape[0] == 1 else 1.0)).flatten())
        parts[-1] += torch.tensor(0.05).log()
        self.adam = NetAdam(torch.cat(parts))

    def judge(
        self,
        image: RenderedSplats,
        target: Float[Tensor, "height width 3"],
        mask: Float[Tensor, "height width"],
    ) -> Judgement:
        """What the pixels of an image are worth, and what there is to `learn` from it.

        Args:
            image: The render.
            target: What it should be.
            mask: The person's.
        """
        with torch.no_grad():
            inputs = _inputs(image)
            seen = _sampled(image.rgb) - _sampled(target)
            error = _reduced(seen.abs().mean(2, keepdim=True))[0, 0] + self.config.floor
            person = _reduced(torch.maximum(_sampled(mask), _sampled(image.alpha))[..., None])[0, 0]
            person = person * (person > 0.1)
            share = person / person.sum().clamp_min(1e-6)
        parameters = self.adam.parameters.clone().requires_grad_()
        log_noise = _forward(parameters, inputs)
        loss = (share * (error * (-log_noise).exp() + log_noise)).sum()
        (gradient,) = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            noise = log_noise.exp()
            low, high = self.config.weight_range
            weights = 1.0 / noise
            weights = (weights / (weights * share).sum().clamp_min(1e-6)).clamp(low, high)
            weights = torch.where(person > 0.0, weights, torch.ones_like(weights))  # nothing was learnt out there
            full = F.interpolate(weights[None, None], size=target.shape[:2], mode="bilinear", align_corners=False)
        return Judgement(weights=full[0, 0], noise=noise, likelihood=float(loss.detach()), gradient=gradient)

    def learn(self, judged: Judgement) -> None:
        """One update of the net."""
        self.adam.step(judged.gradient, self.config.rate)

    def noise(self, image: RenderedSplats) -> Float[Tensor, "rows columns"]:
        """The noise level expected of a render, at an eighth of its size, in units of colour; 0 off the person."""
        with torch.no_grad():
            noise = _forward(self.adam.parameters, _inputs(image)).exp()
            return noise * (_reduced(_sampled(image.alpha)[..., None])[0, 0] > 0.3)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return self.adam.tensors()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a checkpoint."""
        self.adam.restore(tensors)


def _sampled(image: Float[Tensor, "height width ..."]) -> Float[Tensor, "rows columns ..."]:
    """Every fourth pixel of every fourth row: enough for a mean, and a sixteenth of the time."""
    return image[_SAMPLE // 2 :: _SAMPLE, _SAMPLE // 2 :: _SAMPLE]


def _reduced(samples: Float[Tensor, "height width channels"]) -> Float[Tensor, "1 channels rows columns"]:
    return F.avg_pool2d(samples.permute(2, 0, 1)[None], SHRINK // _SAMPLE, ceil_mode=True)


def _inputs(image: RenderedSplats) -> Float[Tensor, "1 8 rows columns"]:
    """Colour, opacity, outline, relative depth, and where in the crop."""
    planes = [_sampled(image.rgb), _sampled(image.alpha)[..., None], _sampled(image.depth)[..., None]]
    seen = _reduced(torch.cat(planes, dim=2))
    alpha = seen[:, 3:4]
    depth = seen[:, 4:5] / alpha.clamp_min(1e-3)
    middle = (depth * alpha).sum() / alpha.sum().clamp_min(1e-3)
    relative = ((depth - middle) * 4.0).clamp(-2.0, 2.0) * (alpha > 0.05)
    rows, columns = seen.shape[2:]
    y = torch.linspace(-1.0, 1.0, rows)[:, None].expand(rows, columns)
    x = torch.linspace(-1.0, 1.0, columns)[None, :].expand(rows, columns)
    outline = 4.0 * alpha * (1.0 - alpha)
    return torch.cat([2.0 * seen[:, :3] - 1.0, outline, relative, alpha, torch.stack([x, y])[None]], dim=1)


def _forward(
    parameters: Float[Tensor, " parameters"], inputs: Float[Tensor, "1 8 rows columns"]
) -> Float[Tensor, "rows columns"]:
    sizes = [int(torch.tensor(shape).prod()) for shape in _SHAPES]
    w1, b1, w2, b2, w3, b3 = (part.reshape(shape) for part, shape in zip(parameters.split(sizes), _SHAPES, strict=True))
    hidden = F.leaky_relu(F.conv2d(inputs, w1, b1, padding=1), _SLOPE)
    hidden = F.leaky_relu(F.conv2d(hidden, w2, b2, padding=1), _SLOPE)
    return F.conv2d(hidden, w3, b3)[0, 0].clamp(-5.0, 1.0)
