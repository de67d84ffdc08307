"""How well two outlines agree: by area, and along the boundary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from bodydouble.core.errors import ConfigError
from bodydouble.evaluate.psnr import check_same_shape


@dataclass(frozen=True, kw_only=True)
class MaskAgreement:
    """Agreement of a mask with the truth by area. Two empty masks agree perfectly."""

    precision: float
    """Share of the mask that is true; 1 for an empty mask before an empty truth, else 0."""
    recall: float
    """Share of the truth that the mask covers; 1 where both are empty, else 0 for an empty truth."""
    f1: float
    iou: float


def mask_agreement(mask: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]) -> MaskAgreement:
    """Precision, recall, F1 and intersection over union of a mask."""
    check_same_shape("mask_agreement", mask, truth)
    both = int(np.count_nonzero(mask & truth))
    found, true = int(np.count_nonzero(mask)), int(np.count_nonzero(truth))
    if found + true == 0:
        return MaskAgreement(precision=1.0, recall=1.0, f1=1.0, iou=1.0)
    return MaskAgreement(
        precision=both / found if found else 0.0,
        recall=both / true if true else 0.0,
        f1=2.0 * both / (found + true),
        iou=both / (found + true - both),
    )


def mask_iou(a: Bool[np.ndarray, "height width"], b: Bool[np.ndarray, "height width"]) -> float:
    """Intersection over union of two masks; 1 when both are empty."""
    return mask_agreement(a, b).iou


def boundary_f(
    mask: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"], tolerance_px: float
) -> float:
    """Harmonic mean of how much of each outline lies within a tolerance of the other one.

    The boundary measure F of Perazzi et al., "A benchmark dataset and evaluation methodology for video object
    segmentation", 2016, with exact Euclidean distances between boundary pixels. A boundary pixel is one of the mask
    with a neighbour (of four) outside it; the image's own edge is no boundary.

    Args:
        tolerance_px: Largest distance, pixels, at which outlines count as the same.
    Returns:
        In [0, 1]; 1 where neither mask has a boundary, 0 where only one has.
    Raises:
        ConfigError: When the tolerance is negative.
    """
    check_same_shape("boundary_f", mask, truth)
    if tolerance_px < 0.0:
        raise ConfigError(f"boundary_f: tolerance_px must not be negative, got {tolerance_px}; 1 is strict, 10 lax.")
    edge, true_edge = mask_boundary(mask), mask_boundary(truth)
    if not edge.any() and not true_edge.any():
        return 1.0
    if not edge.any() or not true_edge.any():
        return 0.0
    precision = float((_distance_to(true_edge)[edge] <= tolerance_px).mean())
    recall = float((_distance_to(edge)[true_edge] <= tolerance_px).mean())
    return 2.0 * precision * recall / (precision + recall) if precision + recall else 0.0


def mask_boundary(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The mask's own pixels that have a neighbour (of four) outside it, inside the image."""
    padded = np.pad(mask, 1, mode="edge")
    surrounded = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~surrounded


def _distance_to(pixels: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.distanceTransform((~pixels).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
