"""Masks told anew with the fitted body's help."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from filmed import FRAMES, Film

from bodydouble.body.anny import load_anny
from bodydouble.capture.folder import is_heldout
from bodydouble.core.events import Done, Progress
from bodydouble.perceive.matte import write_mattes
from bodydouble.perceive.telling import learnt_from
from bodydouble.perceive.whose import LimbCounts, Seen, limb_of_face, odds


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    return Film(tmp_path_factory.mktemp("matte"))


def test_mattes_mend_what_the_network_got_wrong(film: Film):
    events = []
    facts = write_mattes(film.capture, film.body, film.capture.track(), events.append)
    before, after = film.agreement(film.capture.observed_mask), film.agreement(film.capture.mask)
    assert after > 0.95 and 1.0 - after < 0.6 * (1.0 - before)
    assert facts.frames == FRAMES and facts.scene == "still" and facts.changed_share > 0.0
    assert film.capture.stage("matte") == {
        "frames": FRAMES, "scene": "still", "changed_share": pytest.approx(facts.changed_share)
    }  # fmt: skip
    progress = [e for e in events if isinstance(e, Progress)]
    assert [e.done for e in progress] == sorted(e.done for e in progress) and progress[-1].done == progress[-1].total
    assert isinstance(events[-1], Done)


def test_only_the_frames_that_are_asked_for(tmp_path: Path):
    film = Film(tmp_path)
    write_mattes(film.capture, film.body, film.capture.track(), lambda event: None, [1, 5, 700])
    assert sorted(path.name for path in film.capture.mattes_folder.iterdir()) == ["000001.png", "000005.png"]
    before = film.capture.observed_mask(2)
    assert before is not None
    np.testing.assert_array_equal(film.capture.mask(2), before)
    write_mattes(film.capture, film.body, film.capture.track(), lambda event: None, [2])
    assert [path.name for path in film.capture.mattes_folder.iterdir()] == ["000002.png"], "old ones go"


def test_what_is_learnt_comes_from_frames_that_are_not_held_out(film: Film):
    learnt = learnt_from(film.capture, list(range(FRAMES)))
    assert learnt == [i for i in range(FRAMES) if not is_heldout(i)] and len(learnt) < FRAMES
    held = [i for i in range(FRAMES) if is_heldout(i)]
    assert learnt_from(film.capture, held) == held, "there is nothing else"


def test_with_other_people_in_view_the_scene_says_nothing(tmp_path: Path):
    film = Film(tmp_path)
    film.capture.add_warning("several_people", "Besides the subject, another person is in view.")
    assert write_mattes(film.capture, film.body, film.capture.track(), lambda event: None).scene == "unknown"


def test_right_masks_stay_right(tmp_path: Path):
    film = Film(tmp_path, spoil=False)
    write_mattes(film.capture, film.body, film.capture.track(), lambda event: None)
    assert film.agreement(film.capture.mask) > 0.96


def test_a_body_that_is_somewhere_else_changes_nothing(tmp_path: Path):
    film = Film(tmp_path, spoil=False)
    track = film.capture.track()
    away = track.replace(translation_world_m=track.translation_world_m + torch.tensor([0.9, 0.0, 0.0]))
    facts = write_mattes(film.capture, film.body, away, lambda event: None)
    assert film.agreement(film.capture.mask) > 0.9
    assert facts.frames < FRAMES


def test_every_limb_has_faces():
    limbs = limb_of_face(load_anny())
    assert sorted(set(limbs.tolist())) == list(range(14))


def test_odds_follow_the_colours():
    """Where network and body are undecided, colours decide, by the very ratio of the densities."""
    rng = np.random.default_rng(3)
    shape = (40, 60)
    rgb = np.where(np.arange(60)[None, :, None] < 30, [200, 40, 40], [40, 60, 200]).astype(np.int64)
    rgb = (rgb + rng.integers(-6, 7, (*shape, 3))).clip(0, 255).astype(np.uint8)
    network = np.where(np.arange(60) < 30, 255, 0).astype(np.uint8)[None].repeat(40, 0)
    away = np.where(np.arange(60) < 30, -0.05, 0.3).astype(np.float32)[None].repeat(40, 0)
    limb = np.ones(shape, np.uint8)
    counts = LimbCounts()
    counts.add(Seen(rgb=rgb, first_mask=network, limb=limb, away_m=away, metre_px=100.0))
    knowledge = counts.knowledge()
    undecided = (
        np.where((np.arange(60) > 12) & (np.arange(60) < 18), 128, network[0]).astype(np.uint8)[None].repeat(40, 0)
    )
    swapped = rgb.copy()
    swapped[:, 13:15] = rgb[:, 45:47]
    told = odds(Seen(rgb=swapped, first_mask=undecided, limb=limb, away_m=away, metre_px=100.0), knowledge, None)
    assert (told[:, 16:18] > 3.0).all(), "the person's own colour"
    assert (told[:, 13] < told[:, 17] - 3.0).all(), "the wall's colour"
