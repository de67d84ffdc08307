"""Adam over the splats (moments follow density control) and over per-frame poses (each frame counts its own visits); over small nets."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.reconstruct.splats.config import Rates
from bodydouble.reconstruct.splats.seed import LEARNT, SplatState
from bodydouble.render.adam import AdamMoments, adam_step, zero_moments

_EPS = 1e-15


class NetAdam:
    """A small net's parameters, all in one row, and Adam on them."""

    def __init__(self, parameters: Float[Tensor, " parameters"], *, eps: float = 1e-8) -> None:
        self.parameters = parameters
        self._moments = zero_moments(parameters)
        self._steps, self._eps = 0, eps

    def step(self, gradient: Float[Tensor, " parameters"], rate: float) -> None:
        """One update, in place."""
        self._steps += 1
        adam_step(self.parameters, gradient, self._moments, step=self._steps, lr=rate, eps=self._eps)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        moments, steps = self._moments, torch.tensor(self._steps)
        return {"parameters": self.parameters, "first": moments.first, "second": moments.second, "steps": steps}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a checkpoint."""
        self.parameters = tensors["parameters"]
        self._moments = AdamMoments(first=tensors["first"], second=tensors["second"])
        self._steps = int(tensors["steps"])


class SplatAdam:
    """Adam (Kingma & Ba, 2015) on the learnt fields of a `SplatState`, in place."""

    def __init__(self, state: SplatState) -> None:
        self.step_count = 0
        self.moments = {name: zero_moments(getattr(state, name)) for name in LEARNT}

    def step(self, state: SplatState, gradients: dict[str, Tensor], rates: Rates, decay: float) -> None:
        """One update; `decay` multiplies every rate."""
        self.step_count += 1
        base = {
            "means": rates.means_m,
            "log_scales": rates.log_scales,
            "quats": rates.quats,
            "logit_opacities": rates.logit_opacities,
            "sh": rates.sh,
            "sh_rest": rates.sh_rest,
            "skin_deltas": rates.skin_deltas,
        }
        for name, gradient in gradients.items():
            if gradient.numel() == 0 or base[name] == 0.0:
                continue
            adam_step(
                getattr(state, name), gradient, self.moments[name],
                lr=base[name] * decay, step=self.step_count, eps=_EPS,
            )  # fmt: skip

    def follow(self, origin: Int[Tensor, " m"]) -> None:
        """Rearrange the moments after density control; new splats (-1) start at zero."""
        fresh = origin < 0

        def moved(value: Tensor) -> Tensor:
            value = value[origin.clamp_min(0)]
            value[fresh] = 0.0
            return value

        self.moments = {
            name: AdamMoments(first=moved(m.first), second=moved(m.second)) for name, m in self.moments.items()
        }

    def restart(self, name: str, parameter: Tensor) -> None:
        """Forget the moments of a parameter that has got another shape."""
        self.moments[name] = zero_moments(parameter)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        pairs = ((name, m) for name, m in self.moments.items())
        kept = {f"{name}.{part}": getattr(m, part) for name, m in pairs for part in ("first", "second")}
        return kept | {"steps": torch.tensor(self.step_count)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a checkpoint."""
        self.step_count = int(tensors["steps"])
        self.moments = {
            name: AdamMoments(first=tensors[f"{name}.first"], second=tensors[f"{name}.second"]) for name in LEARNT
        }


class PoseAdam:
    """Adam on one row of a per-frame parameter at a time; bias correction counts that row's own steps."""

    def __init__(self, values: Float[Tensor, "frames ..."]) -> None:
        self.first = torch.zeros_like(values)
        self.second = torch.zeros_like(values)
        self.visits = torch.zeros(len(values), dtype=torch.long)

    def step(self, values: Float[Tensor, "frames ..."], row: int, gradient: Tensor, rate: float) -> None:
        """Update `values[row]` in place."""
        self.visits[row] += 1
        n = int(self.visits[row])
        self.first[row].mul_(0.9).add_(gradient, alpha=0.1)
        self.second[row].mul_(0.99).addcmul_(gradient, gradient, value=0.01)
        mean = self.first[row] / (1.0 - 0.9**n)
        spread = (self.second[row] / (1.0 - 0.99**n)).sqrt()
        values[row] -= rate * mean / (spread + 1e-12)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"first": self.first, "second": self.second, "visits": self.visits}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a checkpoint."""
        self.first, self.second, self.visits = tensors["first"], tensors["second"], tensors["visits"]

    def reset(self) -> None:
        """Forget everything: the values were moved by somebody else."""
        self.first.zero_()
        self.second.zero_()
        self.visits.zero_()
