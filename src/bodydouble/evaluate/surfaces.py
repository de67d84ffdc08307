"""How far two surfaces are apart, how well their normals agree, and how much of their volume they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from bodydouble.core.errors import ConfigError
from bodydouble.evaluate.triangle_tree import TriangleTree, nearest_on_surface, triangle_tree, winding_numbers

_OUTWARDS_M = 0.002


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A triangle mesh in the world, metres; faces counter-clockwise seen from outside. It need not be closed."""

    vertices_m: np.ndarray
    faces: np.ndarray


@dataclass(frozen=True, kw_only=True)
class SurfaceAgreement:
    """A surface against the true one."""

    chamfer_cm: float
    """Mean of the two directed mean distances below."""
    p2s_cm: float
    """Mean distance of points of the surface from the true surface."""
    completeness_cm: float
    """Mean distance of points of the true surface from the surface."""
    normal_consistency: float
    """Mean cosine between a point's normal and that of the nearest point of the other surface, both directions."""
    volume_iou: float
    """Intersection over union of the volumes."""


def compare_surfaces(
    surface: Surface, truth: Surface, *, samples: int = 100_000, grid_m: float = 0.02
) -> SurfaceAgreement:
    """Compare two surfaces as they lie; align them first where that is wanted.

    Points are drawn evenly by area on what shows of both surfaces (`outer_faces`) and compared with the nearest point of
    what shows of the other one (exact, on its triangles). Normals are those of the triangles. Volumes are compared at the
    centres of a grid of cubes over both boxes; a point is inside where the surface's winding number exceeds 0.5, so
    neither has to be closed.

    Args:
        surface, truth: In one frame.
        samples: Points on each surface.
        grid_m: Side of the grid's cubes, metres.
    """
    if samples < 1 or not grid_m > 0.0:
        raise ConfigError(f"compare_surfaces: samples {samples} and grid_m {grid_m} must be positive.")
    tree, true_tree = (triangle_tree(s.vertices_m, s.faces) for s in (surface, truth))
    rng = np.random.default_rng(0)
    outer, true_outer = outer_faces(surface, tree), outer_faces(truth, true_tree)
    p2s_m, cosine = _directed(outer, true_outer, samples, rng)
    s2p_m, back_cosine = _directed(true_outer, outer, samples, rng)
    return SurfaceAgreement(
        chamfer_cm=50.0 * (p2s_m + s2p_m),
        p2s_cm=100.0 * p2s_m,
        completeness_cm=100.0 * s2p_m,
        normal_consistency=0.5 * (cosine + back_cosine),
        volume_iou=_volume_iou(tree, true_tree, grid_m),
    )


def sample_surface(
    surface: Surface, samples: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "samples 3"], Int[np.ndarray, " samples"]]:
    """Points drawn evenly by area, metres, and the faces they lie on."""
    a, b, c = (surface.vertices_m.astype(np.float64)[surface.faces[:, k]] for k in range(3))
    edges = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1))
    face = np.minimum(np.searchsorted(edges, rng.random(samples) * edges[-1], side="right"), len(edges) - 1)
    u, v = rng.random((2, samples))
    over = u + v > 1.0
    u, v = np.where(over, 1.0 - u, u)[:, None], np.where(over, 1.0 - v, v)[:, None]
    return (1.0 - u - v) * a[face] + u * b[face] + v * c[face], face


def face_normals(surface: Surface) -> Float[np.ndarray, "faces 3"]:
    """Unit normals; 0 for faces without area."""
    a, b, c = (surface.vertices_m.astype(np.float64)[surface.faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.where(length > 1e-18, normal / np.maximum(length, 1e-18), 0.0)


def outer_faces(surface: Surface, tree: TriangleTree) -> Surface:
    """What shows of a surface: without the faces behind which, 2 mm outwards, its own inside goes on.

    A dressed person made of several meshes has skin under hair and hems, and eyes in their sockets. Nobody who sees
    only the outside can know or could be asked for them.
    """
    outside = surface.vertices_m.astype(np.float64)[surface.faces].mean(axis=1) + _OUTWARDS_M * face_normals(surface)
    shown = winding_numbers(tree, outside) <= 0.5
    return Surface(vertices_m=surface.vertices_m, faces=surface.faces[shown]) if shown.any() else surface


def _directed(source: Surface, target: Surface, samples: int, rng: np.random.Generator) -> tuple[float, float]:
    points, face = sample_surface(source, samples, rng)
    distance, nearest = nearest_on_surface(triangle_tree(target.vertices_m, target.faces), points)
    cosine = (face_normals(source)[face] * face_normals(target)[nearest]).sum(axis=1)
    return float(distance.mean()), float(cosine.mean())


def _volume_iou(tree: TriangleTree, true_tree: TriangleTree, grid_m: float) -> float:
    low = np.minimum(tree.low_m[0], true_tree.low_m[0])
    high = np.maximum(tree.high_m[0], true_tree.high_m[0])
    counts = np.maximum(np.ceil((high - low) / grid_m).astype(int), 1)
    axes = [low[k] + (np.arange(counts[k]) + 0.5) * grid_m for k in range(3)]
    both, either = 0, 0
    for y in axes[1]:  # one slice at a time: a fine grid does not have to fit into memory
        points = np.stack(np.meshgrid(axes[0], [y], axes[2], indexing="ij"), axis=-1).reshape(-1, 3)
        inside, truly = _inside(tree, points), _inside(true_tree, points)
        both += int((inside & truly).sum())
        either += int((inside | truly).sum())
    return both / either if either else float("nan")


def _inside(tree: TriangleTree, points: np.ndarray) -> np.ndarray:
    """Whether points are inside: never beyond the surface's box, where it covers less than half of the view."""
    inside = ((points > tree.low_m[0]) & (points < tree.high_m[0])).all(axis=1)
    inside[inside] = winding_numbers(tree, points[inside]) > 0.5
    return inside
