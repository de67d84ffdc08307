"""What closed lips hide, as splats: the mouth's cavity, tongue and teeth. They come to light only when the lips open."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.values import Morph, Splats
from bodydouble.body.protocol import BodyModel
from bodydouble.core.geometry import matrix_to_quat_wxyz
from bodydouble.core.seeds import numpy_rng
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.fit.features import RestPerson
from bodydouble.reconstruct.inside_head import (
    CAVITY,
    TONGUE,
    TOOTH,
    Opening,
    depth_shade,
    lip_rims,
    mouth_opening,
    tongue_vertices,
)
from bodydouble.reconstruct.skin import blend_skinning
from bodydouble.render.sh import rgb_to_sh

_ROWS, _COLUMNS, _LICK = 20, 18, 140
"""Splats of the curtain behind the lips, and on the tongue."""
_UPPER_TEETH, _LOWER_TEETH, _TOOTHED = (0.03, 0.19), (0.88, 0.96), 0.86
"""Shares of the curtain's height that are teeth, and share of its width."""
_CURTAIN_M, _DEEPER_M, _TEETH_BEHIND_M = 0.024, 0.010, 0.0025
"""How far behind closed lips the curtain hangs, how much deeper its sides are, and how far behind it the teeth are."""
_HEAP_M, _HEAPED = 0.045, 0.2
"""How far behind the lips the folded tongue lies, and its share of its own size there."""
_FOLDED, _FORWARD_M = 0.5, 0.010
"""Share of its width that the curtain has while the jaw is closed, and how far it comes forward as the jaw opens."""
_OPACITY = 0.96


def inner_mouth(
    body: BodyModel, rest: RestPerson, brightness: float, extra_coefficients: int = 0
) -> tuple[Splats, dict[str, Float[Tensor, "n 3"]]] | None:
    """Splats of cavity, tongue and teeth at rest, and their offset under each facial action; none without a cavity.

    Args:
        body: The body they belong to.
        rest: This person at rest.
        brightness: Tone of the video's light, 1 for even light.
        extra_coefficients: Further harmonics, all 0, so that they can join others.
    """
    vertices = rest.vertices_rest
    opening = mouth_opening(body, vertices)
    if opening is None:
        return None
    parts = [_curtain(body, vertices, opening), _tongue_splats(body, vertices, opening)]
    whole = _together([part for part in parts if part is not None])
    means = whole.means
    count = len(means)
    sh = torch.zeros(count, 1 + extra_coefficients, 3)
    sh[:, :1] = rgb_to_sh((whole.colors * brightness).clamp(0.0, 1.0))
    splats = Splats(
        means_rest_m=means,
        quats_wxyz=whole.quats,
        scales_m=whole.scales,
        opacities=torch.full((count,), _OPACITY),
        sh=sh,
        joints=whole.joints,
        weights=whole.weights,
        seen=torch.zeros(count),
    )
    return splats, dict(zip(body.action_names, whole.deltas, strict=True))


def joined(splats: Splats, inner: tuple[Splats, dict[str, Float[Tensor, "n 3"]]], floor_m: float) -> Splats:
    """Splats with others behind them; offsets below `floor_m` are dropped."""
    more, moved = inner
    first = len(splats.means_rest_m)
    morphs = []
    for morph in splats.morphs:
        deltas = moved.get(morph.name)
        index = (
            torch.zeros(0, dtype=torch.long) if deltas is None else torch.nonzero(deltas.norm(dim=1) > floor_m)[:, 0]
        )
        if deltas is not None and len(index):
            morph = Morph(
                name=morph.name,
                indices=torch.cat([morph.indices, index + first]),
                deltas_m=torch.cat([morph.deltas_m, deltas[index].to(morph.deltas_m)]),
            )
        morphs.append(morph)
    if splats.correctives is not None:  # they move as the skin next to them
        from scipy.spatial import cKDTree

        rest = splats.correctives
        near = torch.from_numpy(cKDTree(splats.means_rest_m.numpy()).query(more.means_rest_m.numpy())[1])
        nodes, weights = (torch.cat([field, field[near]]) for field in (rest.nodes, rest.weights))
        splats = splats.replace(correctives=rest.replace(nodes=nodes, weights=weights))
    names = ("means_rest_m", "quats_wxyz", "scales_m", "opacities", "sh", "joints", "weights", "seen")
    return splats.replace(
        **{name: torch.cat([getattr(splats, name), getattr(more, name)]) for name in names}, morphs=tuple(morphs)
    )


@tensor_struct
class _Inside(TensorStruct):
    means: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    scales: Float[Tensor, "n 3"]
    colors: Float[Tensor, "n 3"]
    joints: Tensor
    weights: Tensor
    deltas: Float[Tensor, "actions n 3"]


def _together(parts: list[_Inside]) -> _Inside:
    fields = ("means", "quats", "scales", "colors", "joints", "weights")
    joined_fields = {name: torch.cat([getattr(part, name) for part in parts]) for name in fields}
    return _Inside(**joined_fields, deltas=torch.cat([part.deltas for part in parts], dim=1))


def _curtain(body: BodyModel, vertices: Tensor, opening: Opening) -> _Inside:
    """A dark curtain with rows of teeth between the lips, a line while they are closed: its upper edge goes with the
    upper lip, its lower edge with the lower lip, whatever they do. A cavity of its full size, and teeth that are there
    all the time, would show through thin lips and cheeks."""
    u = torch.linspace(-1.0, 1.0, _COLUMNS)
    x = opening.middle_m[0] + 0.46 * opening.width_m * u
    edges, moves = [], []
    for lip in lip_rims(body):
        near = (vertices[lip, 0][None] - x[:, None]).abs().topk(min(3, len(lip)), largest=False).indices
        edges.append(vertices[lip[near]].mean(1))
        moves.append(body.action_deltas[:, lip[near]].mean(2))
    t = torch.linspace(0.0, 1.0, _ROWS)[:, None, None]
    # Closed lips overlap: the curtain is folded into a line between them.
    y = (0.5 * (edges[0] + edges[1])[:, 1]).expand(_ROWS, -1)
    share = t[..., 0]
    teeth = ((share > _UPPER_TEETH[0]) & (share < _UPPER_TEETH[1])) | (
        (share > _LOWER_TEETH[0]) & (share < _LOWER_TEETH[1])
    )
    teeth = teeth & (u.abs() < _TOOTHED)[None]
    z = opening.front_m - _CURTAIN_M - _DEEPER_M * u**2 - _TEETH_BEHIND_M * teeth
    folded = opening.middle_m[0] + _FOLDED * (x - opening.middle_m[0])
    means = torch.stack([folded.expand_as(y), y, z], dim=-1).reshape(-1, 3)
    deltas = moves[0][:, None] * (1 - t) + moves[1][:, None] * t
    jaw = body.action_names.index("jawOpen")
    deltas[jaw] += torch.stack([x - folded, torch.zeros_like(x), torch.full_like(x, _FORWARD_M)], dim=-1)
    # The floor of the mouth is lighter: a tongue lies there.
    floor = torch.exp(-(((share - 0.72) / 0.16) ** 2) - ((u / 0.55) ** 2)[None])[..., None]
    tone = torch.tensor(CAVITY) * (1 - floor) + 0.75 * torch.tensor(TONGUE) * floor
    gap = 1.0 - 0.12 * (torch.arange(_COLUMNS) % 2)  # every other crown a little darker: teeth, not a plate
    tone = torch.where(teeth[..., None], torch.tensor(TOOTH) * gap[:, None], tone)
    color = (tone * (1.0 - 0.45 * u**2)[None, :, None]).reshape(-1, 3)
    head = _on_head(body, len(means))
    return _Inside(
        means=means,
        quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(len(means), 1),
        scales=torch.tensor([0.6 * opening.width_m / _COLUMNS, 0.0011, 0.0006]).repeat(len(means), 1),
        colors=color,
        joints=head[0],
        weights=head[1],
        deltas=deltas.reshape(len(body.action_names), -1, 3),
    )


def _on_head(body: BodyModel, count: int) -> tuple[Tensor, Tensor]:
    joints, weights = torch.zeros(count, 4, dtype=torch.long), torch.zeros(count, 4)
    joints[:, 0], weights[:, 0] = body.bone_names.index(body.humanoid["head"]), 1.0
    return joints, weights


def _tongue_splats(body: BodyModel, vertices: Tensor, opening: Opening) -> _Inside | None:
    """Splats on the tongue, folded into a small heap behind the curtain until it is put out."""
    rng = numpy_rng(0, "inner mouth")
    faces = body.faces.long()
    index = torch.nonzero(tongue_vertices(body)[faces].all(1))[:, 0]
    if not len(index):
        return None
    triangle = vertices[faces[index]]
    normal = torch.linalg.cross(triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0])
    area = 0.5 * normal.norm(dim=1).double().numpy() + 1e-12
    places = (np.arange(_LICK) + rng.random(_LICK)) / _LICK
    pick = torch.from_numpy(np.searchsorted(np.cumsum(area) / area.sum(), places).clip(max=len(index) - 1))
    u, v = np.sqrt(rng.random(_LICK)), rng.random(_LICK)
    barycentric = torch.from_numpy(np.stack([1 - u, u * (1 - v), u * v], 1)).float()
    corners = faces[index[pick]]
    natural = (vertices[corners] * barycentric[..., None]).sum(1)
    heap = opening.middle_m * torch.tensor([1.0, 1.0, 0.0]) + torch.tensor([0.0, 0.0, opening.front_m - _HEAP_M])
    means = heap + _HEAPED * (natural - natural.mean(0))
    deltas = (body.action_deltas[:, corners] * barycentric[None, ..., None]).sum(2)
    deltas[body.action_names.index("tongueOut")] += natural - means
    z = torch.nn.functional.normalize(normal[pick], dim=1)
    x = torch.nn.functional.normalize(triangle[pick, 1] - triangle[pick, 0], dim=1)
    joints, weights = blend_skinning(body, corners, barycentric)
    gap = float(np.sqrt(area.sum() / _LICK))
    return _Inside(
        means=means,
        quats=matrix_to_quat_wxyz(torch.stack([x, torch.linalg.cross(z, x), z], dim=-1)),
        scales=torch.tensor([0.6 * gap, 0.6 * gap, 0.2 * gap]).repeat(_LICK, 1),
        colors=torch.tensor(TONGUE) * depth_shade(natural, opening)[:, None],
        joints=joints,
        weights=weights,
        deltas=deltas,
    )
