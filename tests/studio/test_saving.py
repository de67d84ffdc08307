"""What a viewer takes home is what they saw."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from avatar_fakes import make_avatar
from PIL import Image

from bodydouble.avatar.clips.read import read_motion
from bodydouble.avatar.values import Texture
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.capture.video import probe, read_frames
from bodydouble.core.cameras import look_at_camera
from bodydouble.core.errors import ConfigError, MissingDependencyError
from bodydouble.render.cpu import CpuRasterizer
from bodydouble.studio import saving
from bodydouble.studio.motions import Repertoire
from bodydouble.studio.scene import Scene
from bodydouble.studio.state import Shown, with_action, with_control

AVATAR = make_avatar(splats_per_bone=20)
SCENE = Scene(AVATAR, CpuRasterizer())
WAVE = Repertoire(AVATAR).motion("wave")
SHOWN = with_action(with_control(Shown(motion="wave", time_s=0.5), "nod", 30.0), "jawOpen", 0.5)
CAMERA = look_at_camera(
    torch.tensor([0.0, 1.2, 3.0]), torch.tensor([0.0, 0.9, 0.0]), width_px=64, height_px=96, focal_px=120.0
)


def test_a_screenshot_is_the_picture() -> None:
    kept = saving.screenshot(SCENE, SHOWN, WAVE, CAMERA)
    with Image.open(io.BytesIO(kept.content)) as image:
        np.testing.assert_array_equal(np.asarray(image), SCENE.picture(SHOWN, WAVE, CAMERA))


def test_a_video_is_the_motion_once_as_it_is_seen_and_stops_when_told(tmp_path: Path) -> None:
    shares: list[float] = []

    def tell(share: float) -> bool:
        shares.append(share)
        return True

    fast = SHOWN.replace(speed=3.0)
    kept = saving.video(SCENE, fast, WAVE, CAMERA, duration_s=WAVE.duration_s, tell=tell)
    assert kept is not None
    file = tmp_path / kept.name
    file.write_bytes(kept.content)
    assert probe(file).num_frames == round(WAVE.duration_s / 3.0 * 30) == len(shares)
    assert shares == sorted(shares)
    at = 5
    frame = next(iter(read_frames(file, [at]))).rgb.astype(int)
    expected = SCENE.picture(fast.replace(time_s=at * 3.0 / 30.0 + 1e-6), WAVE, CAMERA)
    assert np.abs(frame - expected).mean() < 6.0
    assert saving.video(SCENE, fast, WAVE, CAMERA, duration_s=4.0, tell=lambda share: share < 0.1) is None


@pytest.mark.parametrize("to", [name for name in saving.FORMAT_LABELS if name != "usdz"])
def test_every_format_in_the_list_is_written(to: str) -> None:
    try:
        kept = saving.export(SCENE, SHOWN, WAVE, to, author="Nobody")
    except MissingDependencyError as error:  # the web page's program is built apart
        pytest.skip(str(error))
    assert kept.name.startswith("avatar.")
    assert len(kept.content) > 1000
    assert kept.note


def test_the_exported_clip_has_what_the_viewer_added(tmp_path: Path) -> None:
    played = saving.shown_motion(SCENE, SHOWN, WAVE)
    head = AVATAR.rig.bone_names.index("head")
    assert float((played.rotvecs[:, head] - WAVE.rotvecs[:, head]).norm(dim=1).min()) > 0.1
    added = (played.expression - WAVE.expression).amax(0)
    assert float(added.sum()) == pytest.approx(0.5, abs=1e-5)
    file = tmp_path / "avatar.glb"
    file.write_bytes(saving.export(SCENE, SHOWN, WAVE, "glb").content)
    clip = read_motion(file)
    assert clip.R_parent_joint.shape[0] == WAVE.num_frames
    assert clip.expression is not None
    jaw = ARKIT_ACTIONS.index("jawOpen")
    torch.testing.assert_close(clip.expression[:, jaw], played.expression[:, jaw], atol=2e-3, rtol=0.0)


def test_a_pose_is_exported_at_the_time_that_is_shown() -> None:
    early = saving.export(SCENE, SHOWN.replace(time_s=0.0), WAVE, "obj").content
    later = saving.export(SCENE, SHOWN.replace(time_s=1.0), WAVE, "obj").content
    assert early != later
    with pytest.raises(ConfigError, match="no format 'fbx'"):
        saving.export(SCENE, SHOWN, WAVE, "fbx")
    with pytest.raises(ConfigError, match="must name its author: fill in Author"):
        saving.export(SCENE, SHOWN, WAVE, "vrm")


def test_a_format_of_several_files_comes_as_one_archive() -> None:
    assert AVATAR.mesh is not None
    texture = Texture(uv=torch.rand(len(AVATAR.mesh.vertices_rest_m), 2), image=torch.zeros(4, 4, 3, dtype=torch.uint8))
    scene = Scene(replace(AVATAR, splats=None, mesh=AVATAR.mesh.replace(texture=texture)), CpuRasterizer())
    kept = saving.export(scene, SHOWN, WAVE, "obj")
    assert kept.name == "avatar.obj.zip"
    with zipfile.ZipFile(io.BytesIO(kept.content)) as archive:
        names = archive.namelist()
        assert "avatar.obj" in names
        assert len(names) > 1
