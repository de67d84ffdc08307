"""The mesh of one moment, without a skeleton: OBJ and PLY with a colour for each vertex."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.core.normals import unit_normals_array


def mesh_to_obj(
    vertices: Float[Tensor, "verts 3"],
    faces: Int[Tensor, "faces 3"],
    colors: Float[Tensor, "verts 3"],
    *,
    uv: Float[Tensor, "verts 2"] | None = None,
    material_file: str = "",
) -> bytes:
    """Wavefront OBJ: `v x y z r g b` (sRGB in [0, 1], as MeshLab and Blender read it), normals, triangles.

    Args:
        vertices: Metres, +Y up.
        faces: Corners, counter-clockwise seen from outside.
        colors: sRGB in [0, 1].
        uv: Texture coordinates, v down as glTF has it, for a mesh with a texture.
        material_file: Name of the .mtl that says which (`obj_material`).
    """
    places = vertices.detach().cpu().numpy().astype(np.float32)
    corners = faces.detach().cpu().numpy()
    table = np.concatenate([places, colors.detach().cpu().numpy().astype(np.float32)], axis=1)
    lines = ["# metres, +Y up; vertex colours in sRGB", "o avatar"]
    if uv is not None:
        lines = [lines[0], f"mtllib {material_file}", lines[1], "usemtl baked"]
    lines += ["v {:.6f} {:.6f} {:.6f} {:.4f} {:.4f} {:.4f}".format(*row) for row in table.tolist()]
    lines += ["vn {:.4f} {:.4f} {:.4f}".format(*row) for row in unit_normals_array(places, corners).tolist()]
    corner = "{0}//{0} {1}//{1} {2}//{2}"
    if uv is not None:
        # OBJ counts v from the bottom.
        lines += [f"vt {u:.6f} {1.0 - v:.6f}" for u, v in uv.detach().cpu().tolist()]
        corner = "{0}/{0}/{0} {1}/{1}/{1} {2}/{2}/{2}"
    lines += ["f " + corner.format(*row) for row in (corners + 1).tolist()]
    return ("\n".join(lines) + "\n").encode("ascii")


def obj_material(texture_file: str) -> bytes:
    """The .mtl of a textured OBJ: the picture is the colour, nothing shines. File names are relative to its own folder."""
    lines = ["newmtl baked", "Ka 0 0 0", "Kd 1 1 1", "Ks 0 0 0", "illum 1", f"map_Kd {texture_file}"]
    return ("\n".join(lines) + "\n").encode("utf-8")


def mesh_to_ply(
    vertices: Float[Tensor, "verts 3"], faces: Int[Tensor, "faces 3"], colors: Float[Tensor, "verts 3"]
) -> bytes:
    """Binary PLY with normals, 8-bit colours and triangles.

    Args:
        vertices, faces, colors: As for `mesh_to_obj`.
    """
    places = vertices.detach().cpu().numpy().astype("<f4")
    corners = faces.detach().cpu().numpy()
    floats = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    fields = [*floats, *((name, "u1") for name in ("red", "green", "blue"))]
    rows = np.zeros(len(places), np.dtype(fields))
    normals = unit_normals_array(places, corners)
    for axis, name in enumerate("xyz"):
        rows[name], rows[f"n{name}"] = places[:, axis], normals[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        rows[name] = np.round(np.clip(colors[:, channel].detach().cpu().numpy(), 0, 1) * 255)
    triangles = np.zeros(len(corners), np.dtype([("count", "u1"), ("corners", "<i4", (3,))]))
    triangles["count"], triangles["corners"] = 3, corners
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(places)}"]
    head += [f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in fields]
    head += [f"element face {len(corners)}", "property list uchar int vertex_indices", "end_header", ""]
    return "\n".join(head).encode("ascii") + rows.tobytes() + triangles.tobytes()
