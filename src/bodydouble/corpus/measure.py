"""All scores of one item, computed once: what filters judge, `tune` plays with, and the datasheet shows."""

from __future__ import annotations

import numpy as np

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack, Observations
from bodydouble.corpus.agreement import Look, agreement
from bodydouble.corpus.consistency import PCK_RADII, keypoint_scores, outline_scores
from bodydouble.corpus.evidence import body_scores, observation_scores
from bodydouble.corpus.skin_tone import skin_scores

SCORES: dict[str, str] = {
    "frames": "frames of the span",
    "seconds": "length of the span",
    "presence": "share of the frames in which the person was found",
    "shorter_side_px": "shorter side of the video",
    "person_px": "height of the person's box, median over frames with the person, pixels",
    "person_share": "the same as a share of the picture's height",
    "uncut": "share of the frames in which the person's box does not touch the picture's edge",
    "confidence": "mean confidence of the twelve main joints in frames with the person",
    "visible": "share of the twelve main joints that are seen (confidence of at least one half)",
    "motion": "speed of the joints in the picture, sizes of the person a second (75th percentile over 0.2 s windows)",
    "others": "other people of some size in view",
    "agreement": "standard deviation of the joints over several looks, sizes of the person's box",
    "looks_found": "share of the looks in which the person was found again",
    "fit_quality": "mean quality of the fit's frames",
    "view_range_rad": "largest angle between two directions from which the person is seen",
    "pose_range_rad": "largest difference between two poses, mean angle over arms and legs",
    "height_m": "height of the fitted body",
    "stature_px": "how tall the fitted body would stand upright where it is, median over frames, pixels",
    **{
        f"pck_{round(100 * r):02d}": f"share of seen joints within {r:.0%} of the longer side of the person's box"
        for r in PCK_RADII
    },
    "soiou": "share of the body's silhouette outside the mask, mean over frames",
    "silhouette_iou": "intersection over union of silhouette and mask, mean over frames",
    "ssiou": "inverse of the mean intersection over union: looseness of clothing",
    "outline_frames": "frames in which outlines were compared",
    "given_masks": "masks of the source's annotation that were taken",
    "given_mask_iou": "intersection over union of annotated masks and those found, mean over frames",
    "given_frames": "frames whose annotated body was a beginning of the fit",
    "given_body_error": "distance of annotated joints from the landmarks, sizes of the person (median)",
    "skin_ita_deg": "typology angle of the cheeks as filmed",
    "skin_ita_sd_deg": "its standard deviation over points and frames",
}
"""Every score that this room computes, and its meaning. More may be stored beside them."""

_FRAMES = 8
_OUTLINE_FRAMES = 20


def measure_seen(capture: Capture, look: Look | None = None) -> dict[str, float]:
    """Scores of what was observed, before any body is fitted.

    Args:
        capture: With observations.
        look: Looks at frames again for the agreement; without it those scores are absent.
    """
    observations = capture.observations()
    scores = observation_scores(observations)
    if bool(observations.present.any()):
        frames = sampled_frames(capture, observations)
        scores |= skin_scores(observations, frames)
        if look is not None:
            found = agreement(observations, frames, look)
            scores |= {"agreement": found.spread, "looks_found": found.found}
    return scores


def sampled_frames(capture: Capture, observations: Observations) -> list[tuple[int, np.ndarray]]:
    """A few frames with the person, evenly spread: place in the observations, and the picture."""
    present = np.flatnonzero(observations.present.numpy())
    rows = present[np.unique(np.linspace(0, len(present) - 1, min(_FRAMES, len(present))).round().astype(int))]
    frames = capture.frames([int(observations.frame_indices[row]) for row in rows], threads=1)
    return [(int(row), frame.rgb) for row, frame in zip(rows, frames, strict=True)]


def measure_body(capture: Capture, body: BodyModel, track: BodyTrack | None = None) -> dict[str, float]:
    """Scores of a fitted body against what was observed.

    Args:
        capture: With observations and masks.
        body: The model of the track.
        track: The fit to judge; the capture's own by default (another one for a coarse fit or a refined one).
    """
    track = capture.track() if track is None else track
    scores = body_scores(track, body)
    for radius, per_frame in keypoint_scores(capture.observations(), track, body).items():
        if np.isfinite(per_frame).any():
            scores[f"pck_{round(100 * radius):02d}"] = float(np.nanmean(per_frame))
    valid = np.flatnonzero(track.valid.numpy())
    if len(valid):
        rows = valid[np.unique(np.linspace(0, len(valid) - 1, min(_OUTLINE_FRAMES, len(valid))).round().astype(int))]
        figures = outline_scores(capture, track, body, rows)
        scores["outline_frames"] = float(len(figures))
        if figures:
            iou = float(np.mean([f.iou for f in figures]))
            scores["soiou"] = float(np.mean([f.soiou for f in figures]))
            scores["silhouette_iou"] = iou
            if iou > 0.0:
                scores["ssiou"] = 1.0 / iou
    return scores
