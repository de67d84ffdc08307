"""The tone of the skin as the video shows it, with its spread: the individual typology angle of the cheeks.

ITA = atan2(L* - 50, b*) in degrees (Chardon et al., 1991), above 55 very light, below -30 dark. Light, exposure and white
balance of a video move it by tens of degrees; it describes pictures, for the balance of a data set, and never a person.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from bodydouble.capture.values import Observations

CHEEKS = (50, 101, 118, 205, 280, 330, 347, 425)
"""Points of the face mesh on both cheeks."""
_MIN_CONFIDENCE = 0.5
_MIN_POINTS = 4
GROUPS: tuple[tuple[str, float], ...] = (
    ("very light", 55.0),
    ("light", 41.0),
    ("intermediate", 28.0),
    ("tan", 10.0),
    ("brown", -30.0),
    ("dark", -90.0),
)
"""Names of the usual classes and the angle above which they begin, degrees."""


def typology_angle_deg(rgb: UInt8[np.ndarray, "pixels 3"]) -> Float[np.ndarray, " pixels"]:
    """ITA of sRGB pixels, degrees."""
    import cv2

    lab = cv2.cvtColor(rgb[None].astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)[0]
    return np.degrees(np.arctan2(lab[:, 0] - 50.0, lab[:, 2])).astype(np.float64)


def group_of(angle_deg: float) -> str:
    """Name of the class of an angle."""
    return next(name for name, least in GROUPS if angle_deg > least or least == GROUPS[-1][1])


def skin_scores(observations: Observations, frames: Sequence[tuple[int, np.ndarray]]) -> dict[str, float]:
    """Skin tone over some frames.

    Args:
        observations: With the face's landmarks.
        frames: Place in the observations, and the picture (height x width x 3, 8-bit sRGB).
    Returns:
        `skin_ita_deg`, the median over frames of the cheeks' median; `skin_ita_sd_deg`, its standard deviation over cheek
        points and frames. Empty where no face was seen well enough.
    """
    place = {name: i for i, name in enumerate(observations.landmark_names)}
    columns = [place[f"face/{i}"] for i in CHEEKS if f"face/{i}" in place]
    angles: list[np.ndarray] = []
    for row, rgb in frames:
        sure = observations.confidence[row, columns].numpy() >= _MIN_CONFIDENCE
        if sure.sum() < _MIN_POINTS:
            continue
        points = observations.xy_px[row, columns].numpy()[sure]
        x = np.clip(points[:, 0].astype(int), 0, rgb.shape[1] - 1)
        y = np.clip(points[:, 1].astype(int), 0, rgb.shape[0] - 1)
        angles.append(typology_angle_deg(rgb[y, x]))
    if not angles:
        return {}
    return {
        "skin_ita_deg": float(np.median([np.median(a) for a in angles])),
        "skin_ita_sd_deg": float(np.std(np.concatenate(angles))),
    }
