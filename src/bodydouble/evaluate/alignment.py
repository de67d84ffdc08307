"""The motion that brings points onto their counterparts: rigid, or with one scale for all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from bodydouble.evaluate.psnr import check_same_shape


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """p_truth = scale * R_truth_source @ p_source + t_truth_source_m."""

    R_truth_source: np.ndarray
    """3 x 3, proper rotation."""
    t_truth_source_m: np.ndarray
    """3, metres."""
    scale: float

    def apply(self, points_m: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """Move points of the source frame to the truth's, metres."""
        return self.scale * points_m @ self.R_truth_source.T + self.t_truth_source_m


def fitted_transform(
    source_m: Float[np.ndarray, "points 3"],
    target_m: Float[np.ndarray, "points 3"],
    *,
    scaled: bool,
    weights: Float[np.ndarray, " points"] | None = None,
) -> Alignment:
    """The transform of `source_m` with the least squared distance to `target_m`, point by point.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991; mirrored
    solutions are excluded.

    Args:
        source_m, target_m: Corresponding points, metres.
        scaled: Also fit one uniform scale; otherwise it is 1. Of points that all coincide the scale is 0 then.
        weights: Of the squared distances, not negative, some above 0; by default all the same.
    """
    check_same_shape("fitted_transform", source_m, target_m)
    source, target = source_m.astype(np.float64), target_m.astype(np.float64)
    share = np.full(len(source), 1.0 / len(source)) if weights is None else weights / weights.sum()
    mean_s, mean_t = share @ source, share @ target
    s, t = source - mean_s, target - mean_t
    U, D, Vt = np.linalg.svd((share[:, None] * t).T @ s)
    sign = np.ones(3)
    sign[-1] = np.sign(np.linalg.det(U) * np.linalg.det(Vt)) or 1.0
    R = (U * sign) @ Vt
    spread = float(share @ (s * s).sum(axis=1))
    scale = (float((D * sign).sum()) / spread if spread >= 1e-12 else 0.0) if scaled else 1.0
    return Alignment(R_truth_source=R, t_truth_source_m=mean_t - scale * R @ mean_s, scale=scale)


def body_alignment(
    body_m: Float[np.ndarray, "verts 3"],
    true_body_m: Float[np.ndarray, "verts 3"],
    faces: Int[np.ndarray, "faces 3"],
    *,
    scaled: bool,
) -> Alignment:
    """The transform that lays a fitted body upon the true one, each vertex counting by the skin around it.

    Without that, the thousands of vertices of face and hands would outvote trunk and legs.

    Args:
        body_m, true_body_m: Vertices of one body model in two poses and shapes, metres.
        faces: Of that model.
        scaled: See `fitted_transform`.
    """
    a, b, c = (true_body_m.astype(np.float64)[faces[:, corner]] for corner in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    around = np.bincount(faces.reshape(-1), np.repeat(area, 3), minlength=len(true_body_m))
    return fitted_transform(body_m, true_body_m, scaled=scaled, weights=around)
