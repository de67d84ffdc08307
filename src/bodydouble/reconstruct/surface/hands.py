"""The body's own hands in the place of the lattice's mittens: a lattice of centimetres has no fingers to move."""

from __future__ import annotations

import torch
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.reconstruct.inside_head import part_vertices
from bodydouble.reconstruct.surface.sewing import disc
from bodydouble.reconstruct.surface.sewn import Sewn, sew

_FROM_M, _GAP_M = 0.012, 0.010
"""The body's hand begins so far beyond the wrist's joint, and the hole that much before it."""
_OF_HAND = 0.5
"""What is moved by the hand's bones at least so much belongs to it."""


def sew_hand(sewn: Sewn, body: BodyModel, side: str) -> Sewn | None:
    """Replace a hand of a clothed surface by the body's.

    Args:
        sewn: The surface.
        body: Whose hand it gets.
        side: `left` or `right`.
    Returns:
        The surface, closed again; none where the body or the surface has no such hand that one could cut off.
    """
    hand = part_vertices(body, f"{side}_hand")
    if not {f"{side}Hand", f"{side}MiddleProximal"} <= set(body.humanoid) or not bool(hand.any()):
        return None
    wrist, knuckle = (
        sewn.person.joints_rest[body.bone_names.index(body.humanoid[f"{side}{bone}"])]
        for bone in ("Hand", "MiddleProximal")
    )
    along = torch.nn.functional.normalize(knuckle - wrist, dim=0)
    across = torch.nn.functional.normalize(torch.linalg.cross(along, torch.tensor([0.0, 0.0, 1.0])), dim=0)
    third = torch.linalg.cross(along, across)

    def beyond(places: Tensor, from_m: float) -> Tensor:
        return (places - wrist) @ along > from_m

    def around_rad(places: Tensor) -> Tensor:
        return torch.atan2((places - wrist) @ third, (places - wrist) @ across)

    mesh, faces = sewn.mesh, body.faces.long()
    moved = torch.isin(mesh.joints.long(), _below(body, body.bone_names.index(body.humanoid[f"{side}Hand"])))
    own = (mesh.weights * moved).sum(1) > _OF_HAND
    patch = disc(faces, (hand & beyond(sewn.person.vertices_rest, _FROM_M))[faces].all(1), grow=False)
    cut = own & beyond(mesh.vertices_rest_m, _FROM_M - _GAP_M)
    hole = disc(mesh.faces.long(), cut[mesh.faces.long()].any(1), grow=True)
    return None if patch is None or hole is None else sew(sewn, body, faces[patch], hole, around_rad)


def _below(body: BodyModel, bone: int) -> Tensor:
    """A bone and all that hang on it."""
    found = [bone]
    for child, parent in enumerate(body.bone_parents):
        if parent in found:
            found.append(child)
    return torch.tensor(found)
