"""Both recipes from beginning to end on a tiny person: they learn, tell what they did, and survive being killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from tiny_person import film_person

from bodydouble.avatar.values import Avatar
from bodydouble.body.anny import load_anny
from bodydouble.capture.folder import Capture
from bodydouble.core.events import Checkpointed, Densified, Event, Previewed, Step
from bodydouble.fit.pose_problem import RegisterConfig
from bodydouble.reconstruct.splats.config import ConfidenceConfig, DensityConfig, LossWeights, Rates, SplatsConfig
from bodydouble.reconstruct.splats.eva import reconstruct_eva
from bodydouble.reconstruct.splats.eva_config import EvaConfig, EvaDensity
from bodydouble.reconstruct.splats.frames import TrainingFrames
from bodydouble.reconstruct.splats.log import read_log
from bodydouble.reconstruct.splats.parts import GROUPS, group_maps
from bodydouble.reconstruct.splats.reach import hair_reach_m
from bodydouble.reconstruct.splats.recipes import reconstruct_by
from bodydouble.reconstruct.splats.result import driven_track, load_result
from bodydouble.reconstruct.splats.trainer import reconstruct

Train = Callable[[Capture, Path], Iterator[Event]]
EVERYTHING = SplatsConfig(
    num_steps=24,
    num_seeds=1500,
    max_splats=1900,
    max_frames=8,
    size_px=96,
    register_at=(0.4,),
    sh_degree=1,
    checkpoint_every=0.25,
    rates=Rates(skin_deltas=0.02),
    loss=LossWeights(hands=3.0, face=2.0),
    density=DensityConfig(rule="context", every=0.2),
    confidence=ConfidenceConfig(use=True),
    register=RegisterConfig(rounds=1, size_px=96),
)
PUBLISHED = EvaConfig(
    num_steps=24,
    sh_degree_from=12,
    opacity=0.2,  # so short a run cannot lift the published 0.004 over the limit at which splats go
    checkpoint_every=8,
    size_px=96,
    density=EvaDensity(after=4, every=8, before=20),
)


def ours(capture: Capture, folder: Path) -> Iterator[Event]:
    return reconstruct(capture, load_anny(), EVERYTHING, folder, "cpu")


def published(capture: Capture, folder: Path) -> Iterator[Event]:
    return reconstruct_eva(capture, load_anny(), PUBLISHED, folder, "cpu")


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return film_person(tmp_path_factory.mktemp("person"))


@pytest.fixture(scope="module", params=[ours, published], ids=["ours", "eva"])
def trained(request: pytest.FixtureRequest, capture: Capture, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("trained")
    events: list[Event] = []
    watched: list[Avatar] = []
    for event in request.param(capture, folder):
        events.append(event)
        if isinstance(event, Previewed):
            watched.append(event.take())
    return request.param, folder, events, watched


def test_the_loss_falls(trained) -> None:
    losses = [event.terms["photometric"] for event in trained[2] if isinstance(event, Step)]
    assert len(losses) == 24
    assert sum(losses[-6:]) < 0.95 * sum(losses[:6])


def test_whoever_watches_sees_every_step_as_it_was(trained) -> None:
    watched = [avatar.splats for avatar in trained[3]]
    assert len(watched) == 24 and None not in watched
    first, second, last = watched[0], watched[1], watched[-1]
    few = min(len(first.sh), len(last.sh), 200)
    assert (
        0
        < float((first.sh[:few, 0] - second.sh[:few, 0]).abs().max())
        < float((first.sh[:few, 0] - last.sh[:few, 0]).abs().max())
    ), "a picture of the training must not change with it"


def test_every_event_of_density_control_is_told_and_kept(trained) -> None:
    _, folder, events, _ = trained
    told = [event for event in events if isinstance(event, Densified)]
    assert told
    log, _ = read_log(folder)
    assert [event.step for event in log.events] == [event.step for event in told]
    for event in told:
        assert sum(part.total for part in event.parts) == event.total
        assert all(part.threshold == part.threshold for part in event.parts)


def test_the_avatar_needs_no_net(trained, capture: Capture) -> None:
    avatar, _ = load_result(trained[1], capture)
    assert avatar.splats is not None
    assert avatar.splats.sh.shape[1] == 4
    assert bool(avatar.splats.sh.isfinite().all())
    torch.testing.assert_close(avatar.splats.weights.sum(1), torch.ones(len(avatar.splats.weights)), atol=0.02, rtol=0)


def test_a_killed_training_ends_as_if_it_had_not_been(trained, capture: Capture, tmp_path: Path) -> None:
    train, folder, *_ = trained
    for event in train(capture, tmp_path):
        if isinstance(event, Checkpointed):
            break
    steps = [event.step for event in train(capture, tmp_path) if isinstance(event, Step)]
    assert steps and steps[0] > 1
    (whole, track), (resumed, again) = load_result(folder, capture), load_result(tmp_path, capture)
    # Adam makes a whole step of a gradient that is nothing but rounding: a few of many thousand numbers may differ.
    for name in ("means_rest_m", "weights", "sh"):
        difference = (getattr(resumed.splats, name) - getattr(whole.splats, name)).abs()
        assert float(difference.mean()) < 1e-5, name
        assert float(difference.max()) < 2e-2, name
    torch.testing.assert_close(again.rotvecs, track.rotvecs)


def test_frames_side_by_side_are_frames_one_after_the_other(capture: Capture, tmp_path: Path) -> None:
    config = replace(EVERYTHING, num_steps=6, register_at=())
    losses, means, threads = [], [], torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            events = reconstruct(capture, load_anny(), config, tmp_path / str(count), "cpu")
            losses.append([event.loss for event in events if isinstance(event, Step)])
            means.append(load_result(tmp_path / str(count), capture)[0].splats.means_rest_m)
    finally:
        torch.set_num_threads(threads)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    # As above: Adam makes a whole step of what is nothing but rounding.
    assert float((means[0] - means[1]).abs().mean()) < 1e-5


def test_doubts_are_shown_in_some_frames(capture: Capture, trained) -> None:
    train, folder, *_ = trained
    _, maps = read_log(folder)
    assert len(maps) == (6 if train is ours else 0)
    for found in maps:
        assert found.rendered.shape == (96, 96, 3)
        person = found.noise > 0
        assert 0.02 < float(person.float().mean()) < 0.6  # nobody doubts where nobody is
        assert float(found.noise[person].min()) > 0.01


def test_pose_nets_speak_for_every_frame_and_change_next_to_nothing(capture: Capture, trained) -> None:
    train, folder, *_ = trained
    fitted, driven = capture.track(), driven_track(folder, capture)
    if train is ours:
        assert torch.equal(fitted.rotvecs, driven.rotvecs)
        return
    change = (driven.rotvecs - fitted.rotvecs).abs()
    assert 0.0 < float(change.max()) < 0.05
    assert float(change[7].max()) > 0.0  # the held-out frame
    torch.testing.assert_close(driven.rotvecs[:, 0], fitted.rotvecs[:, 0])  # the root stays
    assert torch.equal(driven.translation_world_m, fitted.translation_world_m)


def test_recipes_by_name(capture: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`eva` takes size, frames and seed from the settings and nothing else."""
    from bodydouble.reconstruct.splats import eva

    asked: list[EvaConfig] = []

    def note(capture, body, config, folder, device) -> Iterator[Event]:
        asked.append(config)
        yield from ()

    monkeypatch.setattr(eva, "reconstruct_eva", note)
    config = replace(EVERYTHING, seed=5)
    assert list(reconstruct_by("eva", capture, load_anny(), config, tmp_path, "cpu")) == []
    assert asked == [EvaConfig(size_px=96, max_frames=8, seed=5)]
    assert asked[0].num_steps == 2000


def test_maps_show_hands_and_face_where_they_are(capture: Capture) -> None:
    body, track = load_anny(), capture.track()
    frames = TrainingFrames(capture, track, [0, 4], 192)
    maps = group_maps(body, track, frames.rows, frames.full)
    assert maps.shape == (2, 48, 48)
    shares = [float((maps[0] == k).float().mean()) for k in range(len(GROUPS))]
    assert all(shares[GROUPS.index(name)] > 0.0 for name in ("body", "face", "hands", "feet"))
    assert shares[GROUPS.index("body")] > 3 * shares[GROUPS.index("hands")]
    face = torch.nonzero(maps[0] == GROUPS.index("face")).float().mean(0)
    feet = torch.nonzero(maps[0] == GROUPS.index("feet")).float().mean(0)
    assert float(face[0]) < 12 and float(feet[0]) > 36  # rows count from the top
    frames.groups = maps
    shown = frames.target(0, half=False, background=torch.zeros(3)).groups
    assert shown is not None and shown.shape == (192, 192)
    assert torch.equal(shown[::4, ::4], maps[0])


def test_hair_reaches_as_far_as_outlines_show(capture: Capture) -> None:
    body, track = load_anny(), capture.track()
    frames = TrainingFrames(capture, track, [0, 3], 192)
    depth_m, focal_px = 2.6, float(frames.full[0].camera.focal_px[0])
    for wider_px in (6, 12):
        wider = [
            replace(crop, mask=binary_dilation(crop.mask > 127, iterations=wider_px).astype(np.uint8) * 255)
            for crop in frames.full
        ]
        found = hair_reach_m(body, track, frames.rows, wider)
        assert found == pytest.approx(wider_px * depth_m / focal_px, rel=0.35)
    nobody = [replace(crop, mask=np.zeros_like(crop.mask)) for crop in frames.full]
    assert hair_reach_m(body, track, frames.rows, nobody) == 0.0
