"""A rigged mesh gets its texture: unwrapped, painted by the video, the rest filled in, and said how much that was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.avatar.values import Mesh, Morph, Texture
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.reconstruct.harmonic import fill_fields
from bodydouble.reconstruct.inside_head import face_brightness
from bodydouble.reconstruct.surface.texture import Gathered, Texels, TexturedFrame, compose, gather_colors, texels_of
from bodydouble.reconstruct.surface.unwrap import unwrap
from bodydouble.render.texture import sample_texture

_SAME_HUE, _FEW_TEXELS = 0.05, 50
"""Shares of red, green and blue that differ by less are one hue (that of a palm and of a hand's back, lit or not); of fewer
texels nothing is concluded."""


@dataclass(frozen=True, kw_only=True)
class TextureFacts:
    """What a texture is made of, as shares of the surface's area."""

    seen: float
    """Shown by the video."""
    mirrored: float
    """Never shown, but its mirror image on the other side was."""
    invented: float
    """Neither: filled in smoothly."""
    charts: int
    size_px: int


@dataclass(frozen=True, kw_only=True)
class FlatMesh:
    """A mesh laid out flat."""

    mesh: Mesh
    """With texture coordinates and a grey texture; vertices on seams are doubled."""
    source: Int[Tensor, " verts"]
    """Vertex of the closed mesh that each is a copy of."""
    charts: int


@tensor_struct
class BodyTexels(TensorStruct):
    """Which texels show parts of the body that frames are not simply believed about."""

    inside: Bool[Tensor, " texels"]
    """What lips and lids cover: a video hardly shows it, and what it shows there is blurred with skin."""
    colors: Float[Tensor, "texels 3"]
    """Of what is inside, sRGB in even light; other rows mean nothing."""
    face: Bool[Tensor, " texels"]
    """Whose brightness tones these colours."""
    hands: Bool[Tensor, " texels"]
    """Fingers are thin and move: many a frame shows there what is behind them."""


@dataclass(frozen=True, kw_only=True)
class Painted:
    """A textured mesh, and where its colours come from."""

    mesh: Mesh
    facts: TextureFacts
    seen: Float[Tensor, " verts"]
    """In [0, 1]: how well the video showed each vertex of the mesh."""


def unwrapped_mesh(mesh: Mesh, size_px: int) -> FlatMesh:
    """Lay a mesh out flat.

    Args:
        mesh: Closed, in the rest pose.
        size_px: Side of the texture.
    """
    flat = unwrap(mesh.vertices_rest_m, mesh.faces, size_px)
    source = flat.source
    doubled = Mesh(
        vertices_rest_m=mesh.vertices_rest_m[source],
        faces=flat.faces,
        colors=mesh.colors[source],
        joints=mesh.joints[source],
        weights=mesh.weights[source],
        morphs=tuple(_copied(morph, source, len(mesh.vertices_rest_m)) for morph in mesh.morphs),
        texture=Texture(uv=flat.uv, image=torch.full((size_px, size_px, 3), 128, dtype=torch.uint8)),
    )
    return FlatMesh(mesh=doubled, source=source, charts=flat.charts)


FindBody = Callable[[Int[Tensor, "texels 3"], Float[Tensor, "texels 3"]], BodyTexels]
"""Given the vertices around each texel and its barycentric coordinates."""


def paint(
    mesh: Mesh, frames: Iterable[TexturedFrame], *, charts: int = 0, find_body: FindBody | None = None
) -> Painted:
    """Paint a mesh with what frames show of it.

    Args:
        mesh: From `unwrapped_mesh`.
        frames: With this mesh's vertices in each frame's world.
        charts: Only to be reported.
        find_body: Says what is the body's, if the mesh has parts of one.
    Raises:
        ValueError: When the mesh has no texture coordinates.
    """
    if mesh.texture is None:
        raise ValueError("paint: the mesh has no texture coordinates; unwrap it first (unwrapped_mesh).")
    size_px = mesh.texture.image.shape[0]
    texels = texels_of(mesh.texture.uv, mesh.faces, size_px)
    whole, closed_faces, owner = welded(mesh)
    found = gather_colors(texels, mesh.faces, owner, frames)
    corners = closed_faces[texels.face]
    covered, own = torch.zeros(len(corners), dtype=torch.bool), found.rgb
    if find_body is not None:
        of_body = find_body(mesh.faces.long()[texels.face], texels.barycentric)
        tone = face_brightness(found.rgb, of_body.face & (found.trust > 0.9))
        covered, own = of_body.inside, (of_body.colors * tone).clamp(0.0, 1.0)
        # Lips and lids must not take over what colours lie behind them.
        doubted = covered | _strangers(found, of_body.hands)
        found = found.replace(trust=torch.where(doubted, 0.0, found.trust))
    colors, known = _on_vertices(found, corners, texels.barycentric, len(whole))
    filled = fill_fields(colors, known, whole, closed_faces).clamp(0.0, 1.0)
    guess = (filled[corners] * texels.barycentric[..., None]).sum(1)
    share = _smooth(found.trust)[:, None]
    image = compose(texels, torch.where(covered[:, None], own, share * found.rgb + (1.0 - share) * guess))
    texture = mesh.texture.replace(image=image)
    known[corners[covered].flatten()] = 1.0  # nothing of it is missing
    return Painted(
        mesh=mesh.replace(texture=texture, colors=sample_texture(image, texture.uv)),
        facts=_facts(texels, found, mesh, whole[corners], ~covered, charts),
        seen=known[owner],
    )


def welded(mesh: Mesh) -> tuple[Float[Tensor, "whole 3"], Tensor, Tensor]:
    """The closed mesh under a textured one: places, triangles, and the place that each vertex is a copy of."""
    places, owner = torch.unique(mesh.vertices_rest_m, dim=0, return_inverse=True)
    return places, owner[mesh.faces.long()], owner


def _copied(morph: Morph, source: Tensor, count: int) -> Morph:
    dense = torch.zeros(count, 3)
    dense[morph.indices] = morph.deltas_m
    touched = torch.zeros(count, dtype=torch.bool)
    touched[morph.indices] = True
    kept = torch.nonzero(touched[source])[:, 0]
    return morph.replace(indices=kept, deltas_m=dense[source[kept]])


def _on_vertices(
    found: Gathered, corners: Tensor, barycentric: Tensor, count: int
) -> tuple[Float[Tensor, "whole 3"], Float[Tensor, " whole"]]:
    """Mean colour of the texels around each vertex, and how well they were seen."""
    index = corners.reshape(-1)
    weight = (barycentric * found.trust[:, None]).reshape(-1)
    mass = torch.zeros(count).index_add_(0, index, weight)
    area = torch.zeros(count).index_add_(0, index, barycentric.reshape(-1))
    total = torch.zeros(count, 3).index_add_(0, index, found.rgb.repeat_interleave(3, 0) * weight[:, None])
    return total / mass.clamp_min(1e-9)[:, None], (mass / area.clamp_min(1e-9)).clamp(0.0, 1.0)


def _strangers(found: Gathered, part: Bool[Tensor, " texels"]) -> Bool[Tensor, " texels"]:
    """Texels of a part of one colour, such as hands, that are of another hue than most of it."""
    chosen = part & (found.trust > 0)
    if int(chosen.sum()) < _FEW_TEXELS:
        return torch.zeros_like(part)
    hue = found.rgb / found.rgb.sum(1, keepdim=True).clamp_min(0.05)
    away = (hue - hue[chosen].median(0).values).norm(dim=1)
    return part & (away > max(_SAME_HUE, 2.5 * float(away[chosen].median())))


def _smooth(values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    return values * values * (3.0 - 2.0 * values)


def _facts(
    texels: Texels, found: Gathered, mesh: Mesh, triangles: Float[Tensor, "texels 3 3"], outside: Tensor, charts: int
) -> TextureFacts:
    """Shares of the outer area: a texel stands for its triangle's area, divided among that triangle's texels."""
    from scipy.spatial import cKDTree

    area = torch.linalg.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]).norm(dim=1)
    per_face = torch.bincount(texels.face, minlength=len(mesh.faces)).clamp_min(1)
    area = (area / per_face[texels.face]).double() * outside
    area = area / area.sum()
    seen = found.trust > 0.25
    places = (triangles * texels.barycentric[..., None]).sum(1).numpy()
    mirrored = torch.zeros(len(seen), dtype=torch.bool)
    if bool(seen.any()) and not bool(seen.all()):
        tree = cKDTree(places[seen.numpy()][::7])
        away, _ = tree.query(places[~seen.numpy()] * [-1.0, 1.0, 1.0], distance_upper_bound=0.02)
        mirrored[~seen] = torch.from_numpy(away < 0.02)
    shown, lent = float(area[seen].sum()), float(area[mirrored].sum())
    return TextureFacts(
        seen=shown, mirrored=lent, invented=max(0.0, 1.0 - shown - lent), charts=charts, size_px=texels.size_px
    )
