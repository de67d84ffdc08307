"""Makes a tiny wardrobe in MakeHuman's layout: a vest, leggings, slippers, a cap and a wig, all grown from the skin.

Every garment is the body's own surface in some region, two centimetres out, tied to it by uneven weights and offsets.
Fitted to the shape it was made on, it must therefore come back exactly as its OBJ file has it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bodydouble.body.anny import AnnyBody
from bodydouble.body.anny_base import BaseMesh
from bodydouble.core.normals import vertex_normals_array

_SCALE_PAIRS = {"x_scale": (5399, 11998), "z_scale": (962, 5320), "y_scale": (791, 881)}
_OUT_M = 0.02
_REGIONS = {
    # kind, name: lowest and highest share of the stature, greatest distance from the middle plane in metres, z_depth
    ("clothes", "vest"): (0.50, 0.80, 0.20, 50),
    ("clothes", "leggings"): (0.08, 0.52, 0.40, 40),
    ("clothes", "slippers"): (-0.10, 0.06, 0.60, 5),
    ("clothes", "cap"): (0.94, 1.10, 0.60, 60),
    ("hair", "wig"): (0.92, 1.10, 0.60, 50),
}


def write_wardrobe(folder: Path, body: AnnyBody, base: BaseMesh, shape: torch.Tensor) -> dict[str, np.ndarray]:
    """Write the wardrobe; returns each garment's vertices as designed, metres, by name."""
    points = base.vertices_rest(shape).double().numpy()
    number = base.body_vertices.numpy()
    skin, faces = points[number], body.faces.numpy()
    normals = vertex_normals_array(skin, faces)
    share = (skin[:, 1] - skin[:, 1].min()) / np.ptp(skin[:, 1])
    designed = {}
    for (kind, name), (low, high, reach, layer) in _REGIONS.items():
        inside = (share > low) & (share < high) & (np.abs(skin[:, 0]) < reach) & (body.vertex_parts.numpy() < 7)
        own = faces[inside[faces].all(1)]
        used, local = np.unique(own, return_inverse=True)
        # Tie each vertex to the three corners of some face it belongs to.
        corner_of = np.zeros(len(skin), np.int64)
        corner_of[own.ravel()] = np.repeat(np.arange(len(own)), 3)
        anchors = own[corner_of[used]]
        weights = np.tile([0.55, 0.35, 0.10], (len(used), 1))
        vertices = skin[used] + _OUT_M * normals[used]
        offsets = vertices - (weights[..., None] * skin[anchors]).sum(1)
        designed[name] = vertices
        lines = ["# a garment for tests", f"name {name}", f"obj_file {name}.obj", "basemesh hm08", f"tag {kind}"]
        for axis, (title, (a, b)) in zip((0, 2, 1), _SCALE_PAIRS.items(), strict=True):
            lines.append(f"{title} {a} {b} {10 * abs(points[a, axis] - points[b, axis]):.9f}")
        lines += [f"z_depth {layer}", "", "verts 0", f"material {name}.mhmat"]
        for a, w, d in zip(number[anchors], weights, offsets * 10, strict=True):
            lines.append(" ".join([*map(str, a), *(f"{x:.9f}" for x in (*w, *d))]))
        hidden = np.sort(number[used])
        lines += ["", "delete_verts", f"{hidden[0]} - {hidden[0]} " + " ".join(map(str, hidden[1:].tolist()))]
        mesh = [f"v {x:.9f} {y:.9f} {z:.9f}" for x, y, z in vertices * 10]
        mesh += [f"vt {x:.6f} {y:.6f}" for x, y in vertices[:, :2]]
        mesh += ["f " + " ".join(f"{v + 1}/{v + 1}" for v in face) for face in local.reshape(-1, 3)]
        target = folder / kind / name
        target.mkdir(parents=True)
        (target / f"{name}.mhclo").write_text("\n".join(lines) + "\n")
        (target / f"{name}.obj").write_text("\n".join(mesh) + "\n")
    return designed
