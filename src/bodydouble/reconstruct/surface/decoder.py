"""From features to colour: a base colour and a small correction that knows the surface's direction and the pose."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.core.seeds import torch_rng
from bodydouble.reconstruct.surface.values import Decoder

_POSED = (
    "spine", "chest", "neck", "leftShoulder", "rightShoulder", "leftUpperArm", "rightUpperArm", "leftLowerArm",
    "rightLowerArm", "leftUpperLeg", "rightUpperLeg", "leftLowerLeg", "rightLowerLeg",
)  # fmt: skip
FIELDS = ("hidden_weight", "pose_weight", "hidden_bias", "out_weight", "out_bias")


def pose_bones(body: BodyModel) -> Int[Tensor, " posed"]:
    """Bones that bend clothes: those whose rotation a colour may depend on."""
    return torch.tensor([body.bone_names.index(body.humanoid[name]) for name in _POSED if name in body.humanoid])


def new_decoder(features: int, posed: int, hidden: int, seed: int) -> Decoder:
    """A decoder whose correction is 0 and whose base colours are as they are."""
    rng = torch_rng(seed, "decoder")
    inputs = features - 3 + 3
    return Decoder(
        hidden_weight=torch.randn(hidden, inputs, generator=rng) * (2.0 / inputs) ** 0.5,
        pose_weight=torch.zeros(hidden, 3 * posed),
        hidden_bias=torch.zeros(hidden),
        out_weight=torch.zeros(3, hidden),
        out_bias=torch.zeros(3),
    )


def decode(
    decoder: Decoder,
    features: Float[Tensor, "n features"],
    normals_world: Float[Tensor, "n 3"],
    pose: Float[Tensor, " angles"],
) -> Float[Tensor, "n 3"]:
    """Colours, sRGB values in (0, 1). Differentiable.

    Args:
        decoder: Its weights.
        features: Of the field at each point.
        normals_world: Deformed normals there.
        pose: Rotation vectors of the bones that it knows, flattened.
    """
    inputs = torch.cat([features[:, 3:], normals_world], dim=1)
    bias = decoder.hidden_bias + decoder.pose_weight @ pose
    hidden = torch.relu(torch.addmm(bias, inputs, decoder.hidden_weight.T))
    return torch.sigmoid(features[:, :3] + torch.addmm(decoder.out_bias, hidden, decoder.out_weight.T))
