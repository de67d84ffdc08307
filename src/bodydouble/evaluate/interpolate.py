"""Poses of frames that were not trained on, corrected by what training found out about their neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.capture.values import BodyTrack
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix


def interpolated_track(
    fit_track: BodyTrack, refined_track: BodyTrack, train_indices: Sequence[int], frame_indices: Sequence[int]
) -> BodyTrack:
    """The fit with the refinement of neighbouring training frames carried over to other frames.

    The correction of a training frame is the rotation R_refined R_fit^-1 of each bone (in its parent's axes), the
    difference of the root's translation and of the facial actions. For each asked frame it is interpolated linearly in
    time, as rotation vectors, between the nearest training frame before and the one after; beyond the first and last
    it is held.

    Args:
        fit_track: Poses from the fit alone.
        refined_track: The same frames after refinement; only its training frames are read.
        train_indices: Source frames that were refined with their own pixels.
        frame_indices: Source frames to correct.
    Returns:
        `fit_track` with the poses of `frame_indices` corrected. Without any training frame it is unchanged.
    """
    fit_rows = {int(i): k for k, i in enumerate(fit_track.frame_indices)}
    refined_rows = {int(i): k for k, i in enumerate(refined_track.frame_indices)}
    asked = sorted(i for i in set(frame_indices) if i in fit_rows)
    anchors = sorted(
        i
        for i in set(train_indices) - set(asked)
        if i in fit_rows and i in refined_rows and bool(fit_track.valid[fit_rows[i]])
    )
    if not anchors or not asked:
        return fit_track
    at_fit = torch.tensor([fit_rows[i] for i in anchors])
    at_refined = torch.tensor([refined_rows[i] for i in anchors])
    R_fit = rotvec_to_matrix(fit_track.rotvecs[at_fit].double())
    R_refined = rotvec_to_matrix(refined_track.rotvecs[at_refined].double())
    turn = matrix_to_rotvec(R_refined @ R_fit.transpose(-1, -2))
    shift = (refined_track.translation_world_m[at_refined] - fit_track.translation_world_m[at_fit]).double()
    action = (refined_track.expression[at_refined] - fit_track.expression[at_fit]).double()

    rows = torch.tensor([fit_rows[i] for i in asked])
    times = fit_track.times_s.double()
    mix = _interpolation_matrix(times[at_fit], times[rows])
    dtype = fit_track.rotvecs.dtype
    turn_here = torch.einsum("ra,abc->rbc", mix, turn)
    R_here = rotvec_to_matrix(turn_here) @ rotvec_to_matrix(fit_track.rotvecs[rows].double())
    rotvecs, translation = fit_track.rotvecs.clone(), fit_track.translation_world_m.clone()
    expression = fit_track.expression.clone()
    rotvecs[rows] = matrix_to_rotvec(R_here).to(dtype)
    translation[rows] += (mix @ shift).to(dtype)
    expression[rows] = (expression[rows] + (mix @ action).to(dtype)).clamp(0.0, 1.0)
    return fit_track.replace(rotvecs=rotvecs, translation_world_m=translation, expression=expression)


def _interpolation_matrix(
    anchor_times_s: Float[Tensor, " anchors"], asked_times_s: Float[Tensor, " asked"]
) -> Float[Tensor, "asked anchors"]:
    """Rows of linear interpolation weights over ascending anchor times, held constant beyond both ends."""
    last = len(anchor_times_s) - 1
    after = torch.searchsorted(anchor_times_s.contiguous(), asked_times_s.contiguous()).clamp(0, last)
    before = (after - 1).clamp_min(0)
    gap = (anchor_times_s[after] - anchor_times_s[before]).clamp_min(1e-9)
    share = ((asked_times_s - anchor_times_s[before]) / gap).clamp(0.0, 1.0)
    rows = torch.arange(len(asked_times_s))
    weights = torch.zeros(len(asked_times_s), len(anchor_times_s), dtype=anchor_times_s.dtype)
    weights[rows, before] += 1.0 - share
    weights[rows, after] += share
    return weights
