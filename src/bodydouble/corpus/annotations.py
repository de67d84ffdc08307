"""What somebody annotated of a source in WildAvatar's layout, as evidence: masks in place of ours, bodies as the fit's beginning.

Frames are numbered within a clip that begins at the source's `start_s`: number / frame rate is the time since then. So a
download at another rate or cut elsewhere does not fit, and that shows: in `given_mask_iou`, how the masks lie on those found
here, and in `given_body_error`, how far the joints lie beside the landmarks. Annotations that fit nobody here (another track,
another download) are left alone; nothing is refused for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack, VideoInfo
from bodydouble.core.errors import InputError
from bodydouble.corpus.values import Source

_LEAST_IOU = 0.5
"""Of a given mask with the one found here: below it they show different people, or different frames."""
_LEVEL = 128


@dataclass(frozen=True, kw_only=True)
class GivenBody:
    """The annotated bodies, placed on a capture."""

    track: BodyTrack | None
    """None where they lie on somebody else."""
    scores: dict[str, float]


def frames_of_numbers(source: Source, info: VideoInfo, numbers: Int[np.ndarray, " given"]) -> Int[np.ndarray, " given"]:
    """Frames of the video that the annotation's numbers mean."""
    wanted_s = (source.start_s or 0.0) + numbers / max(info.fps_hz, 1e-3)
    times_s = np.asarray(info.times_s)
    return np.abs(times_s[None] - wanted_s[:, None]).argmin(1)


def use_given_masks(source: Source, capture: Capture) -> dict[str, float]:
    """Put the annotation's masks in place of the capture's, frame by frame, where both show the same person.

    Returns:
        `given_mask_iou`, the mean intersection over union over the capture's frames that have both; `given_masks`, how many were
        taken. Empty where none is of these frames.
    Raises:
        InputError: When the annotation is damaged.
    """
    from bodydouble.capture.foreign.files import by_number, inside, pictures
    from bodydouble.capture.foreign.pictures import read_mask

    folder = Path(source.annotations)
    masks = inside(folder, "masks")
    files = by_number(pictures(masks)) if masks.is_dir() else {}
    if not files:
        return {}
    info, overlaps, taken = capture.info, [], 0
    frames = frames_of_numbers(source, info, np.array(list(files)))
    for frame, file in zip(frames.tolist(), files.values(), strict=True):
        ours = capture.mask(frame)
        if ours is None:
            continue
        given = read_mask(file, info.width_px, info.height_px, "nonzero")
        both, either = (ours >= _LEVEL) & (given > 0), (ours >= _LEVEL) | (given > 0)
        overlaps.append(float(both.sum() / max(either.sum(), 1)))
        if overlaps[-1] >= _LEAST_IOU:
            capture.save_mask(frame, given)
            taken += 1
    if not overlaps:
        return {}
    return {"given_mask_iou": float(np.mean(overlaps)), "given_masks": float(taken)}


def given_body(source: Source, capture: Capture, body: BodyModel) -> GivenBody:
    """The annotation's bodies as the beginning of a fit, by the importer of trackers' results (`pipeline.estimate_track`).

    Raises:
        InputError: When the annotation is damaged.
    """
    from bodydouble.capture.estimates.kinds import read_estimate
    from bodydouble.fit.track import FitConfig
    from bodydouble.pipeline.estimate_track import place_estimate

    estimate = read_estimate(Path(source.annotations) / "metadata.json", "wildavatar")
    frames = frames_of_numbers(source, capture.info, estimate.frame_number.numpy())
    first, stop = capture.span or (0, capture.info.num_frames)
    inside = (frames >= first) & (frames < stop)
    if not inside.any():
        return GivenBody(track=None, scores={})
    try:
        placed = place_estimate(
            estimate.replace(frame_number=torch.from_numpy(frames)),
            capture.observations(),
            body,
            FitConfig(),
            focal_metadata_px=capture.info.focal_px,
            num_frames=capture.info.num_frames,
            first_frame=first,
        )
    except InputError:  # they lie on somebody else: the fit begins on its own
        return GivenBody(track=None, scores={"given_frames": 0.0})
    scores = {"given_body_error": placed.error_share, "given_frames": float(placed.frames)}
    return GivenBody(track=placed.track, scores=scores)
