"""Videos and pictures of avatars: everything stays in view, sizes and counts are right, alpha is straight."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from avatar_fakes import make_avatar
from PIL import Image
from scipy.ndimage import binary_dilation
from tiny import tiny_avatar

from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.motion import Motion
from bodydouble.capture.video import probe, read_frames
from bodydouble.core.errors import ConfigError, InputError, OutputError
from bodydouble.core.events import Event, Progress
from bodydouble.evaluate.predictions import straight_rgba
from bodydouble.pipeline.likeness import picture_name
from bodydouble.pipeline.motions import find_motion
from bodydouble.pipeline.playback import Playback, camera_path, frame_count, render_video, rendered_frames
from bodydouble.render.reference import rasterize_reference

SMALL = Playback(width_px=48, height_px=64, fps_hz=8.0, seconds=1.0)


def walk(avatar_bones: int, *, frames: int = 8, length_m: float = 3.0) -> Motion:
    """Gliding forward along +Z."""
    path = torch.zeros(frames, 3)
    path[:, 2] = torch.linspace(0.0, length_m, frames)
    return Motion(
        name="glide",
        fps_hz=8.0,
        rotvecs=torch.zeros(frames, avatar_bones, 3),
        translation_world_m=path,
        expression=torch.zeros(frames, 52),
    )


@pytest.mark.parametrize("camera", ["orbit", "fixed", "follow"])
def test_the_whole_motion_stays_in_view(camera: str):
    avatar = make_avatar()
    motion = walk(len(avatar.rig.bone_names))
    playback = replace(SMALL, camera=camera)
    for i, view in enumerate(camera_path(avatar, motion, playback)):
        joints = pose_avatar(avatar, motion.pose(i)).joints_world_m
        pixels, depth = view.project(joints)
        assert (depth > 0.2).all()
        assert (pixels >= 0).all()
        assert (pixels[:, 0] <= 48).all()
        assert (pixels[:, 1] <= 64).all()
        if camera == "follow" or (camera == "fixed" and i == len(motion.rotvecs) - 1):
            assert pixels[:, 1].max() - pixels[:, 1].min() > 0.4 * 64  # and it fills the picture


def test_orbit_goes_once_around_and_ends_where_it_begins():
    avatar = make_avatar()
    cameras = camera_path(avatar, walk(len(avatar.rig.bone_names), length_m=0.0), SMALL)
    azimuths = []
    for camera in cameras:
        eye = -camera.T_camera_world[:3, :3].T @ camera.T_camera_world[:3, 3]
        azimuths.append(float(torch.atan2(eye[0], eye[2])))
    assert azimuths[0] == pytest.approx(0.0, abs=1e-5)
    steps = np.diff(np.unwrap([*azimuths, azimuths[0] + 2 * np.pi]))
    np.testing.assert_allclose(steps, 2 * np.pi / 8, atol=0.02)  # about the middle of the body, not the origin


def test_length_of_the_video():
    motion = walk(4)
    assert frame_count(motion, replace(SMALL, seconds=2.5)) == 20
    assert frame_count(motion, replace(SMALL, seconds=None, camera="fixed")) == 8
    assert frame_count(motion, replace(SMALL, seconds=None)) == 48  # one turn takes six seconds


def test_a_video_of_splats(tmp_path: Path):
    avatar = tiny_avatar()
    events: list[Event] = []
    playback = replace(SMALL, background=(0.0, 0.0, 1.0))
    count = render_video(
        avatar, walk(4, length_m=0.0), tmp_path / "a.mp4", playback, rasterize_reference, events.append
    )
    info = probe(tmp_path / "a.mp4")
    assert (count, info.num_frames, info.width_px, info.height_px) == (8, 8, 48, 64)
    assert [e.done for e in events if isinstance(e, Progress)] == list(range(1, 9))
    picture = next(read_frames(tmp_path / "a.mp4", [0])).rgb.astype(int)
    assert picture[:4, :4, 2].min() > 200  # the background is blue
    assert picture[32, 24, 0] > picture[32, 24, 2] + 60  # the torso is red


def test_a_mesh_without_splats():
    avatar = replace(make_avatar(), splats=None)
    motion = walk(len(avatar.rig.bone_names), length_m=0.0)
    picture = next(rendered_frames(avatar, motion, SMALL, rasterize_reference))
    assert (picture == 255).all(-1).mean() > 0.3
    assert (picture != 255).any(-1).mean() > 0.02


def test_nothing_to_show():
    avatar = replace(make_avatar(), splats=None, mesh=None)
    with pytest.raises(InputError, match="neither splats nor a mesh"):
        next(rendered_frames(avatar, walk(34), SMALL, rasterize_reference))


def test_an_expression_is_added():
    avatar = make_avatar()
    motion = walk(len(avatar.rig.bone_names), length_m=0.0)
    calm = next(rendered_frames(avatar, motion, SMALL, rasterize_reference))
    actions = torch.ones(52)
    moved = next(rendered_frames(avatar, motion, SMALL, rasterize_reference, actions))
    assert not np.array_equal(calm, moved)


CLEAR = replace(SMALL, background=None)


def test_a_transparent_video_keeps_colours_and_edges(tmp_path: Path):
    import av

    avatar, motion = tiny_avatar(), walk(4, length_m=0.0)
    odd = replace(CLEAR, width_px=47)
    assert render_video(avatar, motion, tmp_path / "a.webm", odd, rasterize_reference, lambda event: None) == 8
    decoder = av.CodecContext.create("libvpx-vp9", "r")  # FFmpeg's own decoder passes over the alpha
    with av.open(str(tmp_path / "a.webm")) as file:
        frames = [frame for packet in file.demux(video=0) for frame in decoder.decode(packet)]
    found = frames[0].to_ndarray(format="rgba")[:, :47].astype(int)
    wanted = next(rendered_frames(avatar, motion, odd, rasterize_reference)).astype(int)
    assert len(frames) == 8 and wanted.shape == (64, 47, 4)
    solid, clear = wanted[..., 3] > 250, wanted[..., 3] < 2
    assert solid.sum() > 20 and clear.sum() > 500
    assert np.abs(found - wanted)[..., 3].mean() < 6.0
    assert np.abs(found - wanted)[solid][:, :3].mean() < 20.0
    # What is transparent near the body has the body's colours, or edges would turn black.
    near = clear & binary_dilation(wanted[..., 3] > 128, iterations=5)
    assert found[near][:, 0].mean() > 60.0


def test_pictures_go_to_a_folder_of_their_own(tmp_path: Path):
    avatar, motion = tiny_avatar(), walk(4, length_m=0.0)
    for playback, mode in ((CLEAR, "RGBA"), (SMALL, "RGB")):
        folder = tmp_path / mode
        count = render_video(avatar, motion, folder, playback, rasterize_reference, lambda event: None)
        files = sorted(folder.iterdir())
        assert [file.name for file in files] == [f"frame_{i:06d}.png" for i in range(count)]
        with Image.open(files[0]) as picture:
            assert (picture.mode, picture.size) == (mode, (48, 64))
            wanted = next(rendered_frames(avatar, motion, playback, rasterize_reference))
            np.testing.assert_array_equal(np.asarray(picture), wanted)
    with pytest.raises(OutputError, match="is not an empty folder: nothing there is touched"):
        render_video(avatar, motion, tmp_path / "RGB", SMALL, rasterize_reference, lambda event: None)


@pytest.mark.parametrize(
    ("name", "playback", "said"),
    [
        ("a.gif", SMALL, r"must end in \.mp4 .* or \.webm"),
        ("a.mp4", CLEAR, "cannot be transparent: H.264 has no alpha"),
    ],
)
def test_what_cannot_be_written_is_said_at_once(tmp_path: Path, name: str, playback: Playback, said: str):
    with pytest.raises(ConfigError, match=said):
        render_video(tiny_avatar(), walk(4), tmp_path / name, playback, rasterize_reference, lambda event: None)
    assert list(tmp_path.iterdir()) == []


def test_motions_by_name_and_file(tmp_path: Path):
    avatar = make_avatar()
    idle = find_motion("idle", avatar, 30.0)
    assert idle.rotvecs.shape[1] == len(avatar.rig.bone_names)
    with pytest.raises(InputError, match=r"neither a file nor one of: .*idle"):
        find_motion("moonwalk", avatar, 30.0)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"expected a \.bvh file"):
        find_motion(str(tmp_path / "notes.txt"), avatar, 30.0)
    with pytest.raises(InputError, match=r"absent\.bvh"):
        find_motion(str(tmp_path / "absent.bvh"), avatar, 30.0)


def test_alpha_is_straight():
    alpha = torch.tensor([[0.0, 0.5, 1.0]])
    color = torch.tensor([0.8, 0.4, 0.2])
    rgba = straight_rgba(alpha[..., None] * color, alpha)
    np.testing.assert_array_equal(rgba[0, 1], [204, 102, 51, 128])
    np.testing.assert_array_equal(rgba[0, 2], [204, 102, 51, 255])
    assert rgba[0, 0, 3] == 0


def test_picture_names():
    assert picture_name(7) == "frame_000007.png"
