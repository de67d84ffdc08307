"""Bad starts are as bad as they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tracks import made_up_track

from bodydouble.bench.starts import exchanged, noisy
from bodydouble.body.anny import AnnyBody, load_anny
from bodydouble.capture.values import BodyTrack
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix
from bodydouble.core.seeds import numpy_rng


@pytest.fixture(scope="module")
def anny() -> AnnyBody:
    return load_anny()


def _track(anny: AnnyBody, frames: int = 30) -> BodyTrack:
    bones = len(anny.bone_names)
    rotvecs = torch.from_numpy(numpy_rng(1, "pose").normal(size=(frames, bones, 3)) * 0.2).float()
    return made_up_track(rotvecs, torch.zeros(3), anny.shape_default, times_s=torch.arange(frames) / 10.0)


def test_noise_turns_every_bone_by_about_ten_degrees(anny: AnnyBody) -> None:
    truth = _track(anny)
    spoilt = noisy(anny, truth, numpy_rng(0, "noise"))
    turn = matrix_to_rotvec(
        rotvec_to_matrix(spoilt.rotvecs.double()) @ rotvec_to_matrix(truth.rotvecs.double()).mT
    ).norm(dim=-1)
    assert np.degrees(float(turn.square().mean().sqrt())) == pytest.approx(10.0, abs=0.4)
    assert (spoilt.translation_world_m - truth.translation_world_m).norm(dim=1).min() > 0.3


def test_exchanging_arms_twice_changes_nothing_and_once_mirrors_them(anny: AnnyBody) -> None:
    truth, rng = _track(anny), numpy_rng(0, "none")
    once = exchanged(anny, truth, rng)
    assert torch.allclose(exchanged(anny, once, rng).rotvecs, truth.rotvecs, atol=1e-6)
    left, right = (anny.bone_names.index(anny.humanoid[f"{side}IndexProximal"]) for side in ("left", "right"))
    mirror = torch.tensor([1.0, -1.0, -1.0])
    assert torch.allclose(once.rotvecs[:, left], truth.rotvecs[:, right] * mirror)
    leg = anny.bone_names.index(anny.humanoid["leftUpperLeg"])
    assert torch.equal(once.rotvecs[:, leg], truth.rotvecs[:, leg])
