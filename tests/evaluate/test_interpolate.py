"""Carrying the refinement of training frames over to held-out ones."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tracks import made_up_track

from bodydouble.capture.values import BodyTrack
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix
from bodydouble.evaluate.interpolate import interpolated_track


def make_track(frames: int = 24, bones: int = 5, seed: int = 0) -> BodyTrack:
    rng = torch.Generator().manual_seed(seed)
    return made_up_track(
        0.5 * torch.randn(frames, bones, 3, generator=rng),
        torch.randn(frames, 3, generator=rng),
        torch.zeros(3),
        expression=torch.full((frames, 4), 0.5),
    )


def turned(track: BodyTrack, turn: torch.Tensor, shift: torch.Tensor, action: float) -> BodyTrack:
    """Every frame's bones turned by `turn` [frames, bones, 3] (axes of the parent), the root shifted by `shift`."""
    R = rotvec_to_matrix(turn.double()) @ rotvec_to_matrix(track.rotvecs.double())
    return track.replace(
        rotvecs=matrix_to_rotvec(R).float(),
        translation_world_m=track.translation_world_m + shift,
        expression=(track.expression + action).clamp(0, 1),
    )


HELDOUT = [7, 15, 23]
TRAIN = [i for i in range(24) if i not in HELDOUT]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.0, 0.3))
def test_a_constant_correction_is_carried_over_exactly(seed: int, scale: float) -> None:
    track = make_track(seed=seed)
    turn = (scale * torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(seed + 1))).expand(24, 5, 3)
    refined = turned(track, turn, torch.tensor([0.1, -0.2, 0.05]), 0.2)
    wrong_at_heldout = refined.rotvecs.clone()
    wrong_at_heldout[HELDOUT] = 9.0  # these must never be read
    found = interpolated_track(track, refined.replace(rotvecs=wrong_at_heldout), TRAIN, HELDOUT)
    R_found, R_true = rotvec_to_matrix(found.rotvecs[HELDOUT]), rotvec_to_matrix(refined.rotvecs[HELDOUT])
    torch.testing.assert_close(R_found, R_true, atol=2e-5, rtol=0)
    torch.testing.assert_close(found.translation_world_m[HELDOUT], refined.translation_world_m[HELDOUT])
    torch.testing.assert_close(found.expression[HELDOUT], refined.expression[HELDOUT])
    torch.testing.assert_close(found.rotvecs[TRAIN], track.rotvecs[TRAIN])


def test_a_correction_that_grows_with_time_is_interpolated_linearly_and_held_at_the_ends() -> None:
    track = make_track()
    shift = torch.arange(24.0)[:, None] * torch.tensor([0.01, 0.0, 0.0])
    refined = turned(track, torch.zeros(24, 5, 3), shift, 0.0)
    found = interpolated_track(track, refined, [4, 12], [0, 7, 23])
    moved = (found.translation_world_m - track.translation_world_m)[:, 0]
    torch.testing.assert_close(moved[[0, 7, 23]], torch.tensor([0.04, 0.07, 0.12]), atol=1e-6, rtol=0)
    assert float(moved[1]) == 0.0


def test_absent_training_frames_are_not_believed() -> None:
    track = make_track()
    valid = track.valid.clone()
    valid[6] = False
    track = track.replace(valid=valid)
    shift = torch.zeros(24, 3)
    shift[6] = 5.0
    found = interpolated_track(track, turned(track, torch.zeros(24, 5, 3), shift, 0.0), TRAIN, HELDOUT)
    torch.testing.assert_close(found.translation_world_m[7], track.translation_world_m[7])


def test_without_training_frames_the_fit_is_unchanged() -> None:
    track = make_track()
    assert interpolated_track(track, track, HELDOUT, HELDOUT) is track
    assert interpolated_track(track, track, TRAIN, []) is track


def test_actions_stay_in_their_range() -> None:
    track = make_track().replace(expression=torch.full((24, 4), 0.95))
    refined = track.replace(expression=torch.full((24, 4), 0.2))
    low = interpolated_track(track.replace(expression=torch.full((24, 4), 0.1)), refined, TRAIN, HELDOUT)
    assert float(interpolated_track(track, refined, TRAIN, HELDOUT).expression[7, 0]) > 0.0
    assert bool(((low.expression >= 0) & (low.expression <= 1)).all())
