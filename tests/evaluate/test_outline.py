"""The outline of an avatar on masks: it looks at no colour, and keeps what it cannot see."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_heldout import shifted
from tiny import TinyCapture, film

from bodydouble.capture.values import BodyTrack
from bodydouble.core.events import Progress
from bodydouble.fit import outline as outline_module
from bodydouble.fit.outline import DEFAULT_OUTLINE, outline_frames
from bodydouble.render.select import make_rasterizer


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyCapture:
    return film(tmp_path_factory.mktemp("tiny"), 16, absent=(15,))


def laid(tiny: TinyCapture, frames: list[int]) -> BodyTrack:
    assert tiny.avatar.splats is not None
    return outline_frames(
        tiny.capture,
        tiny.avatar.rig,
        tiny.avatar.splats,
        shifted(tiny.truth),
        frames,
        make_rasterizer("auto"),
        DEFAULT_OUTLINE,
        lambda _: None,
    )


def test_progress_ends_at_its_total(tiny: TinyCapture) -> None:
    told: list[Progress] = []
    assert tiny.avatar.splats is not None
    outline_frames(
        tiny.capture, tiny.avatar.rig, tiny.avatar.splats, tiny.truth, [3, 5], make_rasterizer("auto"),
        replace(DEFAULT_OUTLINE, sweeps=(1, 0)), lambda event: told.append(event),
    )  # fmt: skip
    assert [event.done for event in told] == list(range(1, told[0].total + 1))


def test_only_asked_frames_with_a_mask_move(tiny: TinyCapture) -> None:
    start, found = shifted(tiny.truth), laid(tiny, [3, 15])
    off_m = (found.translation_world_m - tiny.truth.translation_world_m).norm(dim=1)
    assert off_m[3] < 0.03
    still = [f for f in range(16) if f != 3]
    assert torch.equal(found.translation_world_m[still], start.translation_world_m[still])
    assert torch.equal(found.rotvecs[still], start.rotvecs[still])


def test_colors_of_frames_and_avatar_do_not_matter(tiny: TinyCapture, monkeypatch: pytest.MonkeyPatch) -> None:
    before = laid(tiny, [3])
    real = outline_module.person_crops

    def negative(*args, **options):
        for crop in real(*args, **options):
            yield replace(crop, rgb=255 - crop.rgb)

    monkeypatch.setattr(outline_module, "person_crops", negative)
    splats = tiny.avatar.splats
    assert splats is not None
    other = replace(tiny, avatar=replace(tiny.avatar, splats=splats.replace(sh=-splats.sh)))
    assert torch.equal(laid(other, [3]).rotvecs, before.rotvecs)


def test_frames_without_any_mask_leave_the_track_alone(tiny: TinyCapture) -> None:
    start = shifted(tiny.truth)
    assert torch.equal(laid(tiny, [15]).rotvecs, start.rotvecs)
