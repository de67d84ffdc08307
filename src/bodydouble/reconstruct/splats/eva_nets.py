"""The nets of EVA's recipe: skinning weights, corrections of poses, confidence. Each with Adam on one flat vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from bodydouble.core.seeds import derived_seed
from bodydouble.reconstruct.splats.optimizer import NetAdam

_FREQUENCIES = 10
_WIDTH = 128
_TINY = 1e-5


def encoded(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 63"]:
    """Positions with sines and cosines of ten octaves."""
    scaled = points[:, None] * (2.0 ** torch.arange(_FREQUENCIES))[:, None]
    return torch.cat([points, scaled.sin().flatten(1), scaled.cos().flatten(1)], dim=1)


class SkinNet(nn.Module):
    """Residual of the logarithm of skinning weights by rest position: 63 - 4 x 128 - bones, the input joined once more."""

    def __init__(self, bones: int) -> None:
        super().__init__()
        first = 3 + 6 * _FREQUENCIES
        self.before = nn.Sequential(
            nn.Linear(first, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH),
            nn.ReLU(),
        )  # fmt: skip
        self.after = nn.Sequential(nn.Linear(_WIDTH + first, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, bones))

    def forward(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n bones"]:
        """Residuals at rest positions, metres."""
        inputs = encoded(points)
        return self.after(torch.cat([self.before(inputs), inputs], dim=1))


class PoseNet(nn.Module):
    """Correction of some bones' rotation vectors from the same: n - 128 - 128 - n, beginning with next to nothing."""

    def __init__(self, values: int) -> None:
        super().__init__()
        last = nn.Linear(_WIDTH, values)
        nn.init.uniform_(last.weight, -_TINY, _TINY)
        nn.init.zeros_(last.bias)
        self.net = nn.Sequential(nn.Linear(values, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH), nn.ReLU(), last)

    def forward(self, rotvecs: Float[Tensor, "*batch bones 3"]) -> Float[Tensor, "*batch bones 3"]:
        """Corrections, radians."""
        return self.net(rotvecs.flatten(-2)).reshape(rotvecs.shape)


class ConfidenceNet(nn.Module):
    """EVA's weight of each pixel, (1 + exp(x)) / 2, from the render's colour and depth: 23 numbers, no neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 3, 1), nn.Conv2d(7, 1, 1)
        for layer in (self.first, self.second):
            nn.init.kaiming_normal_(layer.weight)
            layer.weight.data.mul_(0.1)
            nn.init.zeros_(layer.bias)

    def forward(
        self, rgb: Float[Tensor, "height width 3"], depth: Float[Tensor, "height width"]
    ) -> Float[Tensor, "height width"]:
        """Weights, at least a half. Differentiable in the render, as published."""
        seen = torch.cat([rgb, depth[..., None]], dim=2).permute(2, 0, 1)[None]
        hidden = torch.nn.functional.leaky_relu(self.first(seen), 0.2)
        return 0.5 * (1.0 + self.second(torch.cat([seen, hidden], dim=1))[0, 0].exp())


class Learner:
    """A net and its Adam."""

    def __init__(self, make: Callable[[], nn.Module], seed: int, name: str) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, name))
            self.net = make()
        self.adam = NetAdam(parameters_to_vector(self.net.parameters()).detach().clone(), eps=1e-15)

    def step(self, rate: float) -> None:
        """One update from the gradients that `backward` left, which are then forgotten."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.net.parameters()]
        self.adam.step(torch.cat([g.reshape(-1) for g in gradients]), rate)
        vector_to_parameters(self.adam.parameters, self.net.parameters())
        self.net.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return self.adam.tensors()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a checkpoint."""
        self.adam.restore(tensors)
        vector_to_parameters(self.adam.parameters, self.net.parameters())


class PoseCorrection:
    """Three nets, for body, face and hands; each turns its own bones after their fitted rotation."""

    PARTS = ("body", "face", "hands")

    def __init__(self, bones: Sequence[Sequence[int]], seed: int) -> None:
        self.bones = [torch.tensor(list(part), dtype=torch.long) for part in bones]
        self.learners = [
            Learner(partial(PoseNet, 3 * max(len(part), 1)), seed, f"pose {name}")
            for part, name in zip(self.bones, self.PARTS, strict=True)
        ]

    def __call__(self, rotvecs: Float[Tensor, "*batch bones 3"]) -> Float[Tensor, "*batch bones 3"]:
        """Corrected rotation vectors, differentiable in the nets."""
        from bodydouble.core.geometry import quat_multiply_wxyz, quat_wxyz_to_rotvec, rotvec_to_quat_wxyz

        corrected = rotvecs
        for part, learner in zip(self.bones, self.learners, strict=True):
            if len(part) == 0:
                continue
            here = rotvecs[..., part, :]
            turned = quat_multiply_wxyz(rotvec_to_quat_wxyz(here), rotvec_to_quat_wxyz(learner.net(here)))
            corrected = corrected.index_copy(-2, part, quat_wxyz_to_rotvec(turned))
        return corrected

    def step(self, rate: float, details_share: float) -> None:
        """One update; hands and face at a share of the body's rate."""
        for part, name, learner in zip(self.bones, self.PARTS, self.learners, strict=True):
            if len(part):
                learner.step(rate if name == "body" else rate * details_share)
