"""A fit that begins at somebody's track ends where it ends without one, and takes motion between keyframes from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fit_truth import FOCAL_PX, Truth, observe, perform, track_joints

from bodydouble.body.anny import AnnyBody
from bodydouble.capture.values import BodyTrack
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix
from bodydouble.fit import track as fit_track_module
from bodydouble.fit.state import between, corrected_between, state_of_track
from bodydouble.fit.track import FitConfig, fit_observations

GIVEN = FitConfig(focal_px=FOCAL_PX, silhouettes=False, expressions=False)


@pytest.fixture(scope="module")
def truth(anny: AnnyBody) -> Truth:
    return perform(anny, frames=9)


@pytest.fixture(scope="module")
def own(anny: AnnyBody, truth: Truth) -> BodyTrack:
    return fit_observations(observe(truth, noise_px=2.0), anny, GIVEN, lambda event: None)


def error_mm(anny: AnnyBody, truth: Truth, track: BodyTrack) -> float:
    return 1000 * float(np.linalg.norm(track_joints(anny, track) - truth.joints_world(), axis=-1).mean())


def noisy(anny: AnnyBody, truth: Truth, own: BodyTrack) -> BodyTrack:
    """The truth with every main bone turned by about ten degrees, another height and a step aside."""
    rng = np.random.default_rng(2)
    rotvecs = torch.from_numpy(truth.rotvecs).float()
    big = [
        i for i, n in enumerate(anny.bone_names) if n.startswith(("upper", "lower", "spine0", "root", "neck", "foot"))
    ]
    turn = torch.from_numpy(rng.normal(size=(len(rotvecs), len(big), 3)) * np.radians(10) / np.sqrt(3)).float()
    rotvecs[:, big] = matrix_to_rotvec(rotvec_to_matrix(turn) @ rotvec_to_matrix(rotvecs[:, big]))
    place = torch.from_numpy(truth.state.translation).float() + torch.tensor([0.1, -0.05, -0.3])
    return own.replace(rotvecs=rotvecs, translation_world_m=place, focal_px=torch.tensor(FOCAL_PX))


def mirrored(anny: AnnyBody, truth: Truth, own: BodyTrack) -> BodyTrack:
    """Left arm and right arm exchanged."""
    rotvecs = torch.from_numpy(truth.rotvecs).float()
    names = anny.bone_names
    for i, name in enumerate(names):
        if name.endswith(".L") and name.startswith(("upperarm", "lowerarm", "wrist", "finger", "clavicle")):
            j = names.index(name[:-1] + "R")
            flip = torch.tensor([1.0, -1.0, -1.0])
            rotvecs[:, i], rotvecs[:, j] = rotvecs[:, j] * flip, rotvecs[:, i] * flip
    place = torch.from_numpy(truth.state.translation).float()
    return own.replace(rotvecs=rotvecs, translation_world_m=place)


@pytest.mark.parametrize("start", [noisy, mirrored])
def test_worse_starts_end_at_the_same_error(anny: AnnyBody, truth: Truth, own: BodyTrack, start) -> None:
    begun = start(anny, truth, own)
    found = fit_observations(observe(truth, noise_px=2.0), anny, GIVEN, lambda event: None, start=begun)
    before, after, usual = (error_mm(anny, truth, t) for t in (begun, found, own))
    assert before > 1.5 * usual
    assert after < 1.1 * usual + 1.0


def test_an_unknown_focal_length_begins_at_that_of_the_start(anny: AnnyBody, truth: Truth, own: BodyTrack) -> None:
    config = FitConfig(silhouettes=False, expressions=False, estimate_focal=False)
    begun = own.replace(focal_px=torch.tensor(900.0))
    found = fit_observations(observe(truth), anny, config, lambda event: None, start=begun)
    assert float(found.focal_px) == pytest.approx(900.0)
    assert found.focal_source == "estimated"


def test_between_keyframes_the_start_moves_on(anny: AnnyBody, truth: Truth, own: BodyTrack) -> None:
    """Keyframes that are right, and a start that is off by a constant: what lies between is right."""
    model = truth.landmarks
    right = state_of_track(own.replace(rotvecs=torch.from_numpy(truth.rotvecs).float()), truth.controls, model)
    keys = np.array([0, 4, 8])
    moved = np.full_like(right.theta, 0.1)
    from dataclasses import replace

    off = replace(right, theta=right.theta + moved, translation=right.translation + 0.2)
    keyed = replace(right, R_root=right.R_root[keys], translation=right.translation[keys], theta=right.theta[keys])
    found = corrected_between(off, keyed, keys, truth.times_s)
    assert np.abs(found.theta - right.theta).max() < 1e-9
    assert np.abs(found.translation - right.translation).max() < 1e-9
    assert np.abs(found.R_root - right.R_root).max() < 1e-9
    straight = between(keyed, truth.times_s[keys], truth.times_s)
    assert np.abs(straight.theta - right.theta).max() > 0.003


def test_few_keyframes_with_a_start(
    anny: AnnyBody, truth: Truth, own: BodyTrack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_track_module, "_KEYFRAMES", 4)
    found = fit_observations(
        observe(truth, noise_px=2.0), anny, GIVEN, lambda event: None, start=noisy(anny, truth, own)
    )
    assert error_mm(anny, truth, found) < 1.2 * error_mm(anny, truth, own) + 2.0
