"""Judging a whole run: is there a usable person, where, and what should the user know?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.capture.values import VideoInfo
from bodydouble.core.errors import NoSubjectError
from bodydouble.core.events import Event, Warned
from bodydouble.perceive.mediapipe_holistic import BODY_INDEX
from bodydouble.perceive.parts import LEFT_HAND, RIGHT_HAND, RawLandmarks

_SMALL_HEIGHT_PX = 200
_CLEAR_STEP, _BLURRED_STEP = 0.15, 0.6
"""Motion of a hand in one frame, in hand lengths: sharp below the first, smeared above the second."""
_SEEN = 0.5
"""Confidence from which a landmark counts as seen."""


def settle(raw: RawLandmarks) -> RawLandmarks:
    """Confidences judged over time: a hand that moves by a good part of its length in one frame is a blur."""
    confidence = raw.confidence.clone()
    # A double step is no motion: only neighbouring frames are compared.
    neighbours = (raw.frame_indices[1:] - raw.frame_indices[:-1] == 1)[:, None]
    for rows in (LEFT_HAND, RIGHT_HAND):
        xy_px, seen = raw.xy_px[:, rows], raw.confidence[:, rows.start] > 0
        length_px = (xy_px[:, 9] - xy_px[:, 0]).norm(dim=-1) + (xy_px[:, 12] - xy_px[:, 9]).norm(dim=-1)
        both = neighbours[:, 0] & seen[1:] & seen[:-1]
        step = (xy_px[1:] - xy_px[:-1]).norm(dim=-1).median(-1).values / length_px[1:].clamp(min=1.0)
        step = torch.where(both, step, torch.zeros_like(step))
        fastest = torch.zeros(len(seen))
        fastest[1:] = step
        fastest[:-1] = torch.maximum(fastest[:-1], step)
        blurred = ((fastest - _CLEAR_STEP) / (_BLURRED_STEP - _CLEAR_STEP)).clamp(0.0, 1.0)
        confidence[:, rows] *= (1.0 - 0.7 * blurred)[:, None]
    return raw.replace(confidence=confidence)


def check_subject(raw: RawLandmarks, video: VideoInfo, emit: Callable[[Event], None]) -> None:
    """Refuse a video without a usable body; warn of what is missing.

    Raises:
        NoSubjectError: When nobody, or only a head with shoulders, is in view.
    """
    present = raw.present
    if not bool(present.any()):
        raise NoSubjectError(
            f"Nobody was found in {video.path}. One person should be in view, at least from the hips up; "
            "try a brighter clip or one where the person is larger."
        )

    def seen(*names: str) -> float:
        """Share of the subject's frames in which any of these landmarks is seen."""
        columns = [BODY_INDEX[n] for n in names]
        return float((raw.confidence[present][:, columns] > _SEEN).any(-1).float().mean())

    hips = seen("left_hip", "right_hip")
    elbows = seen("left_elbow", "right_elbow")
    if hips < 0.05 and elbows < 0.5:
        raise NoSubjectError(
            f"Only head and shoulders are in view in {video.path}: there is too little of the body to make a double. "
            "Film the person at least from the hips up, better whole."
        )
    absent = 1.0 - float(present.float().mean())
    if absent > 0.02:
        emit(
            Warned(
                code="subject_missing",
                message=f"The person is not found in {absent:.0%} of the frames.",
                advice="Keep the person in the picture, or choose a part with --start-s and --end-s.",
            )
        )
    if hips < 0.5:
        emit(
            Warned(
                code="torso_hardly_seen",
                message="The hips are hardly ever seen: the body below the chest is a guess.",
                advice="Film the person at least from the hips up, better whole.",
            )
        )
    elif seen("left_ankle", "right_ankle") < 0.1:
        knees = "feet" if seen("left_knee", "right_knee") > 0.3 else "legs"
        emit(
            Warned(
                code=f"{knees}_not_seen",
                message=f"The {knees} are never in the picture: they will be a guess.",
                advice="Step back until the whole body is in the picture.",
            )
        )
    boxes = raw.mask_box_px[present]
    height_px = float((boxes[:, 3] - boxes[:, 1]).median())
    if height_px < _SMALL_HEIGHT_PX:
        emit(
            Warned(
                code="subject_small",
                message=f"The person is only {height_px:.0f} pixels tall: the double will be coarse.",
                advice="Film from nearer by, or use the recording at its full size.",
            )
        )


def subject_box_px(raw: RawLandmarks, video: VideoInfo) -> Float[Tensor, "frames 4"]:
    """Box of mask and seen landmarks, clipped to the image; 0 where the subject is absent."""
    seen = (raw.confidence > _SEEN)[..., None]
    far = 1e9
    low = torch.where(seen, raw.xy_px, torch.full_like(raw.xy_px, far)).amin(1)
    high = torch.where(seen, raw.xy_px, torch.full_like(raw.xy_px, -far)).amax(1)
    has_mask = (raw.mask_box_px[:, 2] > raw.mask_box_px[:, 0])[:, None]
    low = torch.where(has_mask, torch.minimum(low, raw.mask_box_px[:, :2]), low)
    high = torch.where(has_mask, torch.maximum(high, raw.mask_box_px[:, 2:]), high)
    limit = torch.tensor([video.width_px, video.height_px], dtype=raw.xy_px.dtype)
    box = torch.cat([torch.minimum(low.clamp(min=0.0), limit), torch.minimum(high.clamp(min=0.0), limit)], dim=-1)
    usable = raw.present[:, None] & (box[:, 2:] > box[:, :2]).all(-1, keepdim=True)
    return torch.where(usable, box, torch.zeros_like(box))
