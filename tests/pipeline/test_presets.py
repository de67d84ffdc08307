"""Presets and settings: every one has a reader, schedules are shares, choices are checked."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import bodydouble
from bodydouble.core.errors import ConfigError
from bodydouble.pipeline.presets import PRESETS, STANDARD, preset, with_choices
from bodydouble.pipeline.stages import plain

SOURCES = {path: path.read_text(encoding="utf-8") for path in Path(bodydouble.__file__).parent.rglob("*.py")}


def settings_classes(config: object) -> set[type]:
    """The class of a settings value and of all that it holds."""
    found = {type(config)}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found |= settings_classes(value)
    return found


@pytest.mark.parametrize("kind", sorted(settings_classes(STANDARD), key=lambda kind: kind.__name__))
def test_every_setting_has_a_reader(kind: type):
    text = "\n".join(SOURCES.values())
    unread = [f.name for f in dataclasses.fields(kind) if not re.search(rf"\.{f.name}\b(?!\s*=[^=])", text)]
    assert unread == []


@pytest.mark.parametrize("config", PRESETS, ids=lambda config: config.preset)
def test_presets_are_frozen_plain_values(config):
    assert plain(config)["preset"] == config.preset
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 3


def test_presets_differ_in_effort():
    steps = [preset(name).splats.num_steps for name in ("draft", "standard", "fine")]
    assert steps == sorted(steps)
    assert len(set(steps)) == 3
    with pytest.raises(ConfigError, match="no preset named 'best'; expected one of: draft, standard, fine"):
        preset("best")


def test_longer_videos_get_more_steps_up_to_a_limit():
    splats = STANDARD.splats
    assert splats.for_video(100) == splats.for_video(splats.stretch_from)
    longer = splats.for_video(round(1.2 * splats.stretch_from))
    assert longer.num_steps == round(1.2 * splats.num_steps)
    assert longer.max_frames == round(1.2 * splats.max_frames)
    assert splats.for_video(10_000).num_steps == round(splats.stretch * splats.num_steps)
    assert longer.for_video(10_000) == longer
    draft = preset("draft").splats
    assert draft.for_video(10_000).num_steps == draft.num_steps


def test_choices_reach_their_stage():
    config = with_choices(STANDARD, start_s=1.0, end_s=2.0, focal_px=900.0, height_cm=180.0, seed=5, threads=1)
    assert (config.perceive.start_s, config.perceive.end_s) == (1.0, 2.0)
    assert (config.fit.focal_px, config.fit.height_cm) == (900.0, 180.0)
    assert (config.seed, config.splats.seed, config.threads) == (5, 5, 1)
