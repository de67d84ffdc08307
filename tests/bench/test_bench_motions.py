"""The suite `motions`: figures of motions whose truth is known, the table, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from avatar_fakes import bvh_text, humanoid_rig, make_avatar
from PIL import Image

from bodydouble.avatar.builtin import builtin_motion
from bodydouble.avatar.clips.rigs import as_source
from bodydouble.avatar.limb_ik import joint_places
from bodydouble.avatar.retarget import rest_floor, retarget
from bodydouble.bench.motions import BEGIN, END, measure, run, table, with_table
from bodydouble.bench.run import run_suites
from bodydouble.core.errors import ConfigError, InputError

AVATAR = make_avatar()


def test_a_motion_of_the_same_rig_stands_still_where_it_stood():
    idle = builtin_motion("idle", AVATAR.rig, fps_hz=20.0, floor_rest_m=rest_floor(AVATAR))
    found = measure("idle", as_source(idle, AVATAR.rig), AVATAR)
    assert found.frames == idle.num_frames
    assert found.held.contact_share > 0.9 and found.held.slide_cm_s < 0.5 and found.held.limits_share == 0.0
    assert found.held.penetration_max_cm < 0.5 and found.turned_deg < 5.0


def test_sliding_is_measured_and_held():
    """A standing figure that is pushed along: its feet slide at the speed of the push until contacts hold them."""
    idle = builtin_motion("idle", AVATAR.rig, fps_hz=20.0, floor_rest_m=rest_floor(AVATAR))
    push = 0.1 * torch.arange(idle.num_frames) / 20.0
    moved = idle.replace(translation_world_m=idle.translation_world_m + push[:, None] * torch.tensor([1.0, 0.0, 0.0]))
    found = measure("push", as_source(moved, AVATAR.rig), AVATAR)
    assert found.alone.slide_cm_s == pytest.approx(10.0, abs=1.0)
    assert found.held.slide_cm_s < 0.3 * found.alone.slide_cm_s


def test_a_capture_that_hovers_is_set_down():
    """Only its first frames stand on the floor; the rest is 15 cm up. One that stands is left as it is."""
    squat = builtin_motion("squat", AVATAR.rig, fps_hz=20.0, floor_rest_m=rest_floor(AVATAR))
    lifted = squat.translation_world_m.clone()
    lifted[4:, 1] += 0.15
    hovering = squat.replace(translation_world_m=lifted)
    heights = []
    for motion in (squat, hovering):
        ours = retarget(as_source(motion, AVATAR.rig), AVATAR.rig, fps_hz=20.0, floor_rest_m=rest_floor(AVATAR))
        _, places = joint_places(ours.rotvecs.double(), ours.translation_world_m.double(), AVATAR.rig)
        heights.append(places[10:, 0, 1])
    assert float((heights[1] - heights[0]).abs().max()) < 0.02


def test_the_suite_from_a_folder_to_a_page(tmp_path: Path):
    rig = humanoid_rig()
    still = bvh_text(rig, torch.zeros(12, len(rig.bone_names), 3), rig.joints_rest_m[0].expand(12, 3), fps_hz=12.0)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "still.bvh").write_text(still, encoding="utf-8")
    (tmp_path / "clips" / "broken.bvh").write_text("HIERARCHY\n", encoding="utf-8")
    (tmp_path / "clips" / "notes.txt").write_text("not a motion", encoding="utf-8")
    events = []
    rows, remarks = run(tmp_path / "out", tmp_path / "clips", AVATAR, events.append)
    assert {row.name.split(":")[0] for row in rows} == {"still.bvh"} and len(rows) == 22
    assert remarks[0].startswith("broken.bvh left out: ") and (events[-1].done, events[-1].total) == (2, 2)
    with Image.open(tmp_path / "out" / "motions.png") as sheet:
        assert sheet.size == (1200, 218)
    lines = table(rows).splitlines()
    assert len(lines) == 3 and lines[2].startswith("| still.bvh | ") and lines[0].count("|") == lines[2].count("|")
    page = with_table(f"Before\n{BEGIN}\nold\n{END}\nAfter\n", rows)
    assert page.startswith("Before\n") and page.endswith("After\n") and "old" not in page and table(rows) in page
    assert with_table(page, rows) == page
    with pytest.raises(InputError, match="lacks the lines"):
        with_table("nothing here", rows)
    with pytest.raises(ConfigError, match="no rows of the suite"):
        table([])


def test_it_asks_for_a_folder(tmp_path: Path):
    with pytest.raises(ConfigError, match="needs --motions FOLDER"):
        run_suites(("motions",), tmp_path, lambda event: None)
    with pytest.raises(ConfigError, match="holds no motion file"):
        run_suites(("motions",), tmp_path, lambda event: None, motions=tmp_path)
