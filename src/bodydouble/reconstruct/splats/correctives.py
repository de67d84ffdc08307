"""Learning pose-dependent correctives: clothes that shift and skin that shades (`avatar.correctives`).

Coefficients of a training frame are a fixed whitened projection of its pose, for the first `pose_terms`, plus a free,
regularised latent of the frame, for all. The patterns, and the latents, are learnt with the splats; the latents take up
what the pose does not explain (folds, swing), so that it does not end in the patterns of the pose. They are dropped in
use. Learning starts late, when poses have settled: what a pose can explain is the pose's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.avatar.correctives import MAX_SHADE, feature_bones, pose_features
from bodydouble.avatar.values import CorrectiveBasis, Correctives, Rig
from bodydouble.body.protocol import BodyModel
from bodydouble.core.kinematics import fast_bone_transforms
from bodydouble.core.seeds import torch_rng
from bodydouble.reconstruct.splats.nodes import SurfaceNodes, nodes_of_points, place_nodes

_STILL_PARTS = ("face", "left_hand", "right_hand", "eyes", "mouth")
"""Here offsets would compete with fingers and facial actions; shades are learnt everywhere."""
_LEAST_STD = 0.02
"""Pose components that vary less than this (in features: sines of half angles) are noise."""
_USUAL = 0.95
"""Share of the training frames whose coefficients are shorter than what is allowed in use."""


@dataclass(frozen=True)
class CorrectiveConfig:
    """How correctives are learnt."""

    start: float = 0.5
    """Share of the run from which on they are learnt; 1 leaves them out."""
    num_nodes: int = 320
    pose_terms: int = 10
    """Coefficients that follow the pose."""
    frame_terms: int = 4
    """Coefficients that only single frames have."""
    offset_rate_m: float = 1.2e-3
    """Root mean square step of a pattern's offsets."""
    shade_rate: float = 1.2e-2
    latent_rate: float = 0.1
    offset_scale_m: float = 0.01
    """Offsets and shades of this size are ordinary; the penalties count in these units."""
    shade_scale: float = 0.1
    size_weight: float = 1e-3
    smooth_weight: float = 2e-3
    latent_weight: float = 1e-3


@dataclass(frozen=True)
class CorrectiveLeaves:
    """What one look at a training frame learns: fresh leaves, so that several frames can be looked at side by side."""

    place: int
    """Of the training frame."""
    patterns: Float[Tensor, "terms nodes 4"]
    """Offsets (m) and shade of each node."""
    latent: Float[Tensor, " terms"]
    """What the frame's coefficients are beside what the pose says."""


class CorrectiveTraining:
    """Correctives in the making. Idle until `begin`; everything that must survive a kill is in `tensors`."""

    def __init__(
        self, body: BodyModel, vertices_rest: Float[Tensor, "verts 3"], rig: Rig, config: CorrectiveConfig, seed: int
    ) -> None:
        self.body, self.rig, self.config, self._seed = body, rig, config, seed
        self._vertices_rest = vertices_rest
        self.surface: SurfaceNodes | None = None
        self._turn_bones, self._up_bones = feature_bones(rig)
        self._values: dict[str, Tensor] = {}
        self._hang: _Hang | None = None

    @property
    def active(self) -> bool:
        """Whether `begin` was called."""
        return bool(self._values)

    # --- beginning --------------------------------------------------------------------------------------------------

    def begin(self, rotvecs: Float[Tensor, "frames bones 3"]) -> None:
        """Fix what the pose terms are from the poses of the training frames, and start with no correction at all."""
        config = self.config
        features = self._features(rotvecs).double()
        mean = features.mean(0)
        _, singular, axes = torch.linalg.svd(features - mean, full_matrices=False)
        std = singular / max(len(rotvecs) - 1, 1) ** 0.5
        kept = min(config.pose_terms, int((std > _LEAST_STD).sum()))
        total = kept + config.frame_terms
        project = torch.zeros(total, features.shape[1])
        project[:kept] = (axes[:kept] / std[:kept, None]).float()
        generator = torch_rng(self._seed, "correctives")
        latents = torch.zeros(len(rotvecs), total)
        # Patterns and latents of single frames are products: one of the two must not start at zero.
        latents[:, kept:] = 0.5 * torch.randn(len(rotvecs), config.frame_terms, generator=generator)
        nodes = len(self._surface().vertices)
        self._values = {
            "feature_map": project,
            "feature_mean": mean.float(),
            "patterns": torch.zeros(total, nodes, 4),
            "latents": latents,
            "first": torch.zeros(total, nodes, 4),
            "second": torch.zeros(total, 2),
            "latent_first": torch.zeros_like(latents),
            "latent_second": torch.zeros_like(latents),
            "visits": torch.zeros(len(rotvecs) + 1, dtype=torch.long),
        }

    def _surface(self) -> SurfaceNodes:
        if self.surface is None:
            self.surface = place_nodes(self.body, self._vertices_rest, self.config.num_nodes)
            still = [i for i, name in enumerate(self.body.part_names) if name in _STILL_PARTS]
            moves = ~torch.isin(self.body.vertex_parts[self.surface.vertices].long(), torch.tensor(still))
            self._gate = torch.cat([moves[:, None].float().expand(-1, 3), torch.ones(len(moves), 1)], dim=1)
        return self.surface

    def _features(self, rotvecs: Float[Tensor, "frames bones 3"]) -> Float[Tensor, "frames features"]:
        R, _ = fast_bone_transforms(
            rotvecs, self.rig.joints_rest_m, torch.zeros(len(rotvecs), 3), self.rig.bone_parents
        )
        return pose_features(R, self.rig.bone_parents, self._turn_bones, self._up_bones)

    def bind(self, faces: Int[Tensor, " n"], barycentric: Float[Tensor, "n 3"]) -> None:
        """Hang splats on the nodes; anew whenever the set of splats changes."""
        if self.active:
            self._hang = _Hang(
                *nodes_of_points(self._surface(), self.body.faces.long()[faces], barycentric),
                num_nodes=len(self._surface().vertices),
            )

    # --- one step ---------------------------------------------------------------------------------------------------

    def leaves(self, place: int) -> CorrectiveLeaves | None:
        """What a look at training frame `place` is to learn; none before `begin`."""
        if not self.active or self._hang is None:
            return None
        patterns, latent = self._values["patterns"], self._values["latents"][place].clone()
        return CorrectiveLeaves(place, patterns.detach().requires_grad_(), latent.requires_grad_())

    def apply(
        self,
        means: Float[Tensor, "n 3"],
        R_world_rest: Float[Tensor, "bones 3 3"],
        place: int,
        leaves: CorrectiveLeaves | None = None,
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 1"] | None]:
        """Rest positions as training frame `place` has them, and how bright each splat is there; none before `begin`.

        Differentiable in `leaves`, where given; poses get no gradient from here.
        """
        if not self.active or self._hang is None:
            return means, None
        features = pose_features(R_world_rest.detach(), self.rig.bone_parents, self._turn_bones, self._up_bones)
        posed = (self._values["feature_map"] * (features - self._values["feature_mean"])).sum(1)
        patterns = self._values["patterns"] if leaves is None else leaves.patterns
        latent = self._values["latents"][place] if leaves is None else leaves.latent
        on_nodes = ((posed + latent)[:, None, None] * patterns).sum(0) * self._gate
        moved = self._hang.blend(on_nodes)
        return means + moved[:, :3], 1.0 + moved[:, 3:].clamp(-MAX_SHADE, MAX_SHADE)

    def penalty(self, leaves: CorrectiveLeaves | None) -> Tensor:
        """What large and rough patterns and a large latent cost; a number without unit, 0 for no leaves."""
        if leaves is None:
            return torch.zeros(())
        config, edges = self.config, self._surface().edges
        units = torch.tensor([config.offset_scale_m] * 3 + [config.shade_scale])
        patterns = leaves.patterns / units
        size = (patterns**2).mean()
        rough = ((patterns[:, edges[:, 0]] - patterns[:, edges[:, 1]]) ** 2).mean()
        latent = (leaves.latent**2).mean()
        return config.size_weight * size + config.smooth_weight * rough + config.latent_weight * latent

    def step(self, looks: Sequence[CorrectiveLeaves], decay: float) -> None:
        """Adam on what these looks found, after their backward passes.

        With one second moment per pattern and kind: nodes that the image says little about move little.
        """
        found = [look.patterns.grad for look in looks if look.patterns.grad is not None]
        if not found:
            return
        values, config = self._values, self.config
        values["visits"][-1] += 1
        n = int(values["visits"][-1])
        g = torch.stack(found).mean(0)
        power = torch.stack([(g[..., :3] ** 2).mean((1, 2)), (g[..., 3] ** 2).mean(1)], dim=1)
        values["first"].mul_(0.9).add_(g, alpha=0.1)
        values["second"].mul_(0.99).add_(power, alpha=0.01)
        scale = (values["second"] / (1.0 - 0.99**n)).sqrt() + 1e-12
        mean = values["first"] / (1.0 - 0.9**n)
        values["patterns"][..., :3] -= config.offset_rate_m * decay * mean[..., :3] / scale[:, None, :1]
        values["patterns"][..., 3] -= config.shade_rate * decay * mean[..., 3] / scale[:, 1:]
        for look in looks:
            if look.latent.grad is not None:
                self._step_latent(look.place, look.latent.grad, decay)

    def _step_latent(self, place: int, gradient: Tensor, decay: float) -> None:
        values = self._values
        values["visits"][place] += 1
        n = int(values["visits"][place])
        first, second = values["latent_first"][place], values["latent_second"][place]
        first.mul_(0.9).add_(gradient, alpha=0.1)
        second.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
        mean, spread = first / (1.0 - 0.9**n), (second / (1.0 - 0.99**n)).sqrt()
        values["latents"][place] -= self.config.latent_rate * decay * mean / (spread + 1e-12)

    # --- results ----------------------------------------------------------------------------------------------------

    def baked(
        self, faces: Int[Tensor, " n"], barycentric: Float[Tensor, "n 3"], rotvecs: Float[Tensor, "frames bones 3"]
    ) -> tuple[Correctives, Correctives] | None:
        """Correctives of splats and of the body's mesh; none when they were never learnt.

        Args:
            faces, barycentric: Where on the body the splats were born.
            rotvecs: Final poses of the training frames, whose range bounds the coefficients.
        """
        if not self.active:
            return None
        values, surface = self._values, self._surface()
        posed = (self._features(rotvecs) - values["feature_mean"]) @ values["feature_map"].T
        patterns = values["patterns"] * self._gate
        basis = CorrectiveBasis(
            turn_bones=self._turn_bones,
            up_bones=self._up_bones,
            feature_map=values["feature_map"],
            feature_mean=values["feature_mean"],
            lowest=posed.amin(0),
            highest=posed.amax(0),
            reach=posed.norm(dim=1).quantile(_USUAL),
            spread=(values["latents"] ** 2).mean(0).sqrt(),
            nodes_rest_m=self._vertices_rest[surface.vertices],
            offsets_m=patterns[..., :3].contiguous(),
            shades=patterns[..., 3].contiguous(),
        )
        nodes, weights = nodes_of_points(surface, self.body.faces.long()[faces], barycentric)
        return (
            Correctives(basis=basis, nodes=nodes, weights=weights),
            Correctives(basis=basis, nodes=surface.vertex_nodes, weights=surface.vertex_weights),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Everything a checkpoint needs; empty before `begin`."""
        return {f"correctives.{name}": value for name, value in self._values.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """What `tensors` gave."""
        prefix = "correctives."
        # Cloned: libraries sum in an order that depends on how memory is aligned, and files are not aligned as tensors are.
        self._values = {k.removeprefix(prefix): v.clone() for k, v in tensors.items() if k.startswith(prefix)}
        if self.active:
            self._surface()


class _Hang:
    """Blending of node values at splats as a sparse matrix, with its transpose for the way back."""

    def __init__(self, nodes: Int[Tensor, "n 4"], weights: Float[Tensor, "n 4"], num_nodes: int) -> None:
        from scipy.sparse import csr_matrix

        n = len(nodes)
        rows = np.arange(0, 4 * n + 1, 4, dtype=np.int32)
        columns = nodes.numpy().astype(np.int32).reshape(-1)
        self.down = csr_matrix((weights.numpy().reshape(-1).astype(np.float32), columns, rows), shape=(n, num_nodes))
        self.up = self.down.T.tocsr()

    def blend(self, on_nodes: Float[Tensor, "nodes channels"]) -> Float[Tensor, "n channels"]:
        """Values at the splats. Differentiable."""
        return _Blend.apply(on_nodes, self)


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, on_nodes: Tensor, hang: _Hang) -> Tensor:
        ctx.hang = hang
        return torch.from_numpy(hang.down @ on_nodes.detach().numpy())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor):
        return torch.from_numpy(ctx.hang.up @ gradients[0].contiguous().numpy()), None
