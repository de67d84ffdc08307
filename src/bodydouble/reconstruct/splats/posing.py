"""From the training state to splats in the world: facial actions, skinning with learnt weights, view-dependent colour."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.drive import rotate_sh
from bodydouble.avatar.values import Avatar, Provenance, Rig, Splats
from bodydouble.core.geometry import quat_multiply_wxyz, quat_wxyz_to_matrix
from bodydouble.reconstruct.splats.seed import SplatState
from bodydouble.render.protocol import SplatCloud
from bodydouble.render.skin import skin_splats

_NO_WEIGHT = 1e-8


def skin_weights(weights: Float[Tensor, "n k"], deltas: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """softmax(log(weights) + deltas), differentiable in the deltas; a bone without weight stays without it."""
    return torch.softmax((weights + _NO_WEIGHT).log() + deltas, dim=1)


def baked_weights(state: SplatState) -> Float[Tensor, "n 4"]:
    """The skinning weights that training arrived at."""
    return skin_weights(state.weights, state.skin_deltas) if bool(state.skin_deltas.any()) else state.weights


def as_splats(state: SplatState) -> Splats:
    """The training state as an avatar's splats (no facial actions, nothing marked unseen)."""
    return Splats(
        means_rest_m=state.means,
        quats_wxyz=state.quats,
        scales_m=state.log_scales.exp(),
        opacities=torch.sigmoid(state.logit_opacities),
        sh=torch.cat([state.sh, state.sh_rest], dim=1),
        joints=state.joints,
        weights=baked_weights(state),
        seen=torch.ones(len(state.means)),
    )


def preview(state: SplatState, rig: Rig) -> Avatar:
    """The training state as an avatar to look at: splats alone, in tensors that the training will not change."""
    splats = as_splats(state).map(lambda tensor: tensor.detach().clone())
    return Avatar(rig=rig, mesh=None, splats=splats, provenance=Provenance(generator="bodydouble", method="preview"))


def posed_cloud(
    fields: dict[str, Tensor],
    state: SplatState,
    R_world_rest: Float[Tensor, "bones 3 3"],
    t_world_rest: Float[Tensor, "bones 3"],
    means_rest: Float[Tensor, "n 3"],
) -> SplatCloud:
    """Splats in the world, differentiable in `fields` and in the bones.

    Args:
        fields: The learnt fields of the state, by name (`seed.LEARNT`).
        state: The rest.
        R_world_rest, t_world_rest: Motion of each bone since the rest pose.
        means_rest: `fields["means"]` with whatever moves splats before they are skinned.
    """
    moved = fields["skin_deltas"].requires_grad or bool(fields["skin_deltas"].any())
    weights = skin_weights(state.weights, fields["skin_deltas"]) if moved else state.weights
    means, quats = skin_splats(means_rest, fields["quats"], R_world_rest, t_world_rest, state.joints, weights)
    sh = fields["sh"]
    if fields["sh_rest"].shape[1]:
        with torch.no_grad():
            undo = fields["quats"] * torch.tensor([1.0, -1.0, -1.0, -1.0])
            turn = quat_wxyz_to_matrix(quat_multiply_wxyz(quats, undo))
        sh = rotate_sh(torch.cat([sh, fields["sh_rest"]], dim=1), turn)
    return SplatCloud(
        means_world=means,
        quats_wxyz=quats,
        scales_m=fields["log_scales"].exp(),
        opacities=torch.sigmoid(fields["logit_opacities"]),
        sh=sh,
    )
