"""Two rows of teeth for a mouth that opens: the upper one stays with the head, the lower one goes with the jaw.

No video of a whole person shows them well, and bodies have none, so they are what people have: arches a little behind the
lips, each a closed band, its crowns told apart by shade.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.reconstruct.inside_head import TOOTH, lip_rims

_COLUMNS, _CROWNS = 28, 10
_HALF_WIDTH = 0.40
"""Share of the mouth's width."""
_BEHIND_M, _UNDERBITE_M, _THICK_M = 0.005, 0.0025, 0.004
"""How far behind the lips' rim the upper row is, how much farther the lower one, and how thick they are."""
_UPPER_M, _LOWER_M = (-0.005, 0.009), (-0.011, -0.001)
"""Lowest and highest, above the lips' rim."""
_GUMS = 0.3
"""Share of that which is gums."""
_GUM = (0.45, 0.20, 0.20)
_JAW = ("jawOpen", "jawForward", "jawLeft", "jawRight")


@tensor_struct
class Teeth(TensorStruct):
    """Both rows."""

    vertices_rest_m: Float[Tensor, "verts 3"]
    faces: Int[Tensor, "faces 3"]
    """Two closed pieces."""
    colors: Float[Tensor, "verts 3"]
    """sRGB in even light."""
    deltas_m: Float[Tensor, "actions verts 3"]
    """Offset under each facial action at full strength."""


def teeth(body: BodyModel, vertices_rest: Float[Tensor, "verts 3"]) -> Teeth:
    """The rows behind a body's lips.

    Args:
        body: One with a mouth (`inside_head.mouth_opening`).
        vertices_rest: Its vertices at rest, metres.
    """
    lips = lip_rims(body)
    rim = vertices_rest[torch.cat(lips)]
    middle, width = 0.5 * (rim.amin(0) + rim.amax(0)), float((rim.amax(0) - rim.amin(0))[0])
    u = torch.linspace(-1.0, 1.0, _COLUMNS)
    x = middle[0] + _HALF_WIDTH * width * u
    z = _parabolas(rim[:, 0], rim[:, 2:], x)[:, 0]
    rows = []
    for lip, root_m, edge_m, behind_m, of_jaw in (
        (lips[0], _UPPER_M[1], _UPPER_M[0], _BEHIND_M, False),
        (lips[1], _LOWER_M[0], _LOWER_M[1], _BEHIND_M + _UNDERBITE_M, True),
    ):
        arch = torch.stack([x, middle[1].expand(_COLUMNS), z - behind_m], 1)
        deltas = torch.zeros(len(body.action_names), _COLUMNS, 3)
        if of_jaw:
            for name in _JAW:
                action = body.action_names.index(name)
                deltas[action] = _parabolas(vertices_rest[lip, 0], body.action_deltas[action, lip], arch[:, 0])
        crown = 1.0 - 0.30 * u**2 - 0.15 * (torch.sin(0.5 * math.pi * _CROWNS * u).abs() < 0.25)
        rows.append(_row(arch, root_m, edge_m, crown, deltas))
    return Teeth(
        vertices_rest_m=torch.cat([row.vertices_rest_m for row in rows]),
        faces=torch.cat([rows[0].faces, rows[1].faces + len(rows[0].vertices_rest_m)]),
        colors=torch.cat([row.colors for row in rows]),
        deltas_m=torch.cat([row.deltas_m for row in rows], dim=1),
    )


def _parabolas(x: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """Values along a lip, smoothed by a parabola each, at other places."""
    coefficients = torch.linalg.lstsq(torch.stack([x**0, x, x**2], 1).double(), values.double()).solution
    return (torch.stack([wanted**0, wanted, wanted**2], 1).double() @ coefficients).float()


def _row(arch: Tensor, root_m: float, edge_m: float, shade: Tensor, deltas: Tensor) -> Teeth:
    """A closed band along an arch, from gums at `root_m` above it to the crowns' edge at `edge_m`."""
    gums_m = root_m + _GUMS * (edge_m - root_m)
    around = ((root_m, 0.0), (gums_m, 0.0), (edge_m, 0.0), (edge_m, -_THICK_M), (root_m, -_THICK_M))
    if root_m < edge_m:
        around = around[::-1]  # outwards on the lower row, too
    sides = len(around)
    offsets = torch.tensor([(0.0, up, ahead) for up, ahead in around])
    tones = torch.tensor([_GUM if up == root_m else TOOTH for up, _ in around])
    column, side = (
        x.flatten() for x in torch.meshgrid(torch.arange(len(arch) - 1), torch.arange(sides), indexing="ij")
    )
    here, beside = column * sides + side, column * sides + (side + 1) % sides
    fan = torch.tensor([(0, k, k + 1) for k in range(1, sides - 1)])
    faces = torch.cat(
        [
            torch.stack([here, beside, here + sides], 1),
            torch.stack([beside, beside + sides, here + sides], 1),
            fan.flip(1),
            fan + (len(arch) - 1) * sides,
        ]
    )
    return Teeth(
        vertices_rest_m=(arch[:, None] + offsets).reshape(-1, 3),
        faces=faces,
        colors=(shade[:, None, None] * tones).reshape(-1, 3),
        deltas_m=deltas.repeat_interleave(sides, dim=1),
    )
