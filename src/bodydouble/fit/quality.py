"""How well a fit explains what was seen: reprojection error by limb, one figure by frame."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from bodydouble.capture.values import BodyTrack
from bodydouble.core.events import Warned
from bodydouble.fit.evidence import Evidence
from bodydouble.fit.landmarks import HEAD_POINTS, LandmarkModel

LIMBS = ("torso", "head", "left_arm", "right_arm", "left_hand", "right_hand", "left_leg", "right_leg")
GOOD_SHARE, BAD_SHARE = 0.01, 0.10
"""Errors in shares of the person's height in pixels: a frame's quality is 1 up to the first, 0 from the second."""
_POOR_FRAME, _POOR_SHARE = 0.5, 0.2
"""More poor frames than this share are worth a warning."""


def limb_of(name: str) -> str:
    """The limb that a landmark belongs to."""
    group, short = name.split("/")
    if group == "face" or short in HEAD_POINTS:
        return "head"
    if group != "body":
        return group
    side, bare = short.split("_", 1)
    if bare in ("shoulder", "hip"):
        return "torso"
    if bare in ("elbow", "wrist"):
        return f"{side}_arm"
    return f"{side}_hand" if bare in ("pinky", "index", "thumb") else f"{side}_leg"


def measure(
    evidence: Evidence,
    landmarks: LandmarkModel,
    predicted_px: Float[np.ndarray, "frames points 2"],
    person_px: Float[np.ndarray, " frames"],
) -> tuple[Float[np.ndarray, "frames limbs"], Float[np.ndarray, " frames"]]:
    """Figures of quality.

    Args:
        evidence: What was seen.
        landmarks: Names of the points.
        predicted_px: Where the fit puts every landmark.
        person_px: The person's standing height at its distance, pixels.
    Returns:
        Median error of each limb's seen landmarks in pixels (NaN where none was seen), and the frames' quality: the
        median over the seen limbs' errors as a share of the person's height, 1 up to 1 %, 0 from 10 %.
    """
    frames = len(person_px)
    error = np.full((frames, len(landmarks.names)), np.nan)
    for group in evidence.groups:
        distance = np.linalg.norm(group.xy_px - predicted_px[:, group.points], axis=-1)
        error[:, group.points] = np.where(group.precision > 0, distance, np.nan)
    error[~evidence.present] = np.nan
    limbs = np.array([LIMBS.index(limb_of(name)) for name in landmarks.names])
    by_limb = np.stack([_median(error[:, limbs == i]) for i in range(len(LIMBS))], axis=1)
    share = _median(by_limb) / np.maximum(person_px, 1.0)
    quality = np.clip((BAD_SHARE - share) / (BAD_SHARE - GOOD_SHARE), 0.0, 1.0)
    return by_limb, np.where(np.isnan(quality), 0.0, quality)


def quality_warnings(track: BodyTrack) -> tuple[Warned, ...]:
    """What nobody could have fitted, and what was fitted badly."""
    found = []
    unseen = [n for n, e in zip(track.limb_names, track.limb_error_px.T, strict=True) if bool(e.isnan().all())]
    if unseen and len(unseen) < len(track.limb_names):  # else nobody looked for landmarks
        found.append(
            Warned(
                code="limbs_unseen",
                message=f"Never seen in the video: {', '.join(unseen).replace('_', ' ')}; a neutral pose was assumed.",
                advice="Show these parts in the clip if the avatar shall have them right.",
            )
        )
    quality = track.frame_quality[track.valid]
    poor = float((quality < _POOR_FRAME).float().mean()) if len(quality) else 0.0
    if poor > _POOR_SHARE:
        found.append(
            Warned(
                code="poor_fit",
                message=f"In {100 * poor:.0f} % of the frames the body lies beside what was seen.",
                advice="Fewer occlusions, less motion blur and a whole person in view help.",
            )
        )
    return tuple(found)


def _median(values: np.ndarray) -> np.ndarray:
    """Median of the finite values in each row, NaN where there are none."""
    out = np.full(len(values), np.nan)
    some = np.isfinite(values).any(1)
    if some.any():
        out[some] = np.nanmedian(values[some], axis=1)
    return out
