"""Pictures of the stage: against the rasteriser's own, and against what a turn or a wipe must do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from avatar_fakes import make_avatar

from bodydouble.avatar.drive import pose_avatar
from bodydouble.core.cameras import look_at_camera
from bodydouble.render.cpu import CpuRasterizer
from bodydouble.studio.controls import standpoint
from bodydouble.studio.motions import REST, Repertoire
from bodydouble.studio.scene import Scene, empty_stage, stage_camera, turned_camera
from bodydouble.studio.show import Show
from bodydouble.studio.state import Shown, with_action, with_control

AVATAR = make_avatar(splats_per_bone=30)
SCENE = Scene(AVATAR, CpuRasterizer())
REPERTOIRE = Repertoire(AVATAR)
WAVE = REPERTOIRE.motion("wave")
SHOWN = Shown(motion="wave", time_s=1.0)
EYE, TARGET = torch.tensor([0.4, 1.4, 3.2]), torch.tensor([0.0, 0.9, 0.0])
CAMERA = look_at_camera(EYE, TARGET, width_px=96, height_px=128, focal_px=160.0)


def test_the_double_is_drawn_as_the_rasteriser_draws_it_over_the_stage() -> None:
    picture = SCENE.picture(SHOWN, WAVE, CAMERA).astype(np.float32)
    posed = pose_avatar(AVATAR, WAVE.pose(30), WAVE.expression[30])
    assert posed.splats is not None
    image = CpuRasterizer()(posed.splats, CAMERA)
    solid = image.alpha.numpy() > 0.985
    assert solid.sum() > 30
    difference = np.abs(picture - 255.0 * image.rgb.numpy().clip(0, 1))[solid]
    assert difference.max() < 6.0  # the stage shines through by 1.5 %, and dither adds half a step
    nothing = image.alpha.numpy() < 1e-4
    ground = empty_stage(CAMERA).astype(np.float32)
    far = nothing & (np.arange(128) < 30)[:, None]  # above the floor there is no shadow
    assert np.abs(picture - ground)[far].max() <= 1.0


@pytest.mark.parametrize("layer", SCENE.layers)
def test_every_layer_shows_the_person_and_no_two_look_alike(layer: str) -> None:
    picture = SCENE.picture(SHOWN.replace(layer=layer), WAVE, CAMERA)
    ground = empty_stage(CAMERA)
    assert (np.abs(picture.astype(int) - ground).max(2) > 12).mean() > 0.02
    for other in SCENE.layers:
        if other != layer:
            assert (picture != SCENE.picture(SHOWN.replace(layer=other), WAVE, CAMERA)).any()


def test_turning_the_double_is_walking_around_it_the_other_way() -> None:
    turn = 0.7
    T = torch.eye(4)
    T[0, 0] = T[2, 2] = math.cos(turn)
    T[0, 2], T[2, 0] = math.sin(turn), -math.sin(turn)  # a turn to the left about the vertical
    points = torch.tensor([[0.3, 1.2, 0.1], [-0.2, 0.4, 0.5]])
    turned = points @ T[:3, :3].T
    expected, _ = CAMERA.project(turned)
    found, _ = turned_camera(CAMERA, turn).project(points)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0.0)
    # Floor, lines and shadow go along: after a full turn everything is as it was.
    again = SCENE.picture(SHOWN.replace(turn_rad=2.0 * math.pi), WAVE, CAMERA).astype(int)
    assert np.abs(again - SCENE.picture(SHOWN, WAVE, CAMERA)).max() <= 2


def test_what_the_viewer_adds_is_in_the_pose_and_on_the_face() -> None:
    shown = with_action(with_control(SHOWN, "nod", 30.0), "jawOpen", 0.6)
    pose, actions = SCENE.posed(shown, WAVE)
    plain, neutral = SCENE.posed(SHOWN, WAVE)
    changed = (pose.rotvecs - plain.rotvecs).norm(dim=1) > 1e-4
    assert {AVATAR.rig.bone_names[int(i)] for i in torch.nonzero(changed)} == {"neck", "head"}
    assert int(((actions - neutral).abs() > 1e-6).sum()) == 1


def test_a_viewers_camera_is_the_camera_of_the_program() -> None:
    R = CAMERA.T_camera_world[:3, :3].double()
    from bodydouble.core.geometry import matrix_to_quat_wxyz

    fov = 2.0 * math.atan(64.0 / 160.0)
    wxyz = matrix_to_quat_wxyz(R.T).numpy()
    found = stage_camera(wxyz, EYE.double().numpy(), fov_rad=fov, width_px=96, height_px=128)
    torch.testing.assert_close(found.T_camera_world, CAMERA.T_camera_world, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(found.focal_px, CAMERA.focal_px, atol=1e-2, rtol=0.0)


def test_where_the_person_is() -> None:
    place = SCENE.place(WAVE)
    assert 1.4 < place.height_m < 2.0
    assert abs(place.centre_m[0]) < 0.3
    assert place.face_m[1] > place.centre_m[1] + 0.4


@pytest.mark.parametrize("aspect", [0.4, 0.6, 1.0, 2.5])
def test_a_window_of_any_shape_begins_with_the_whole_person(aspect: float) -> None:
    avatar = make_avatar()
    repertoire = Repertoire(avatar)
    show = Show(title="any", scene=Scene(avatar, CpuRasterizer()), repertoire=repertoire, first_motion=REST)
    eye, target = standpoint(show, aspect=aspect)
    height = 800
    camera = look_at_camera(
        torch.tensor(eye), torch.tensor(target), width_px=round(aspect * height), height_px=height,
        focal_px=0.5 * height / math.tan(0.31),
    )  # fmt: skip
    at, depth = camera.project(pose_avatar(avatar, repertoire.motion(REST).pose(0)).joints_world_m)
    assert bool((depth > 0).all())
    assert bool(((at > 0) & (at < torch.tensor([aspect * height, height]))).all())


def test_the_floor_hides_nothing_from_below_and_the_sky_is_smooth() -> None:
    below = look_at_camera(torch.tensor([0.0, -1.0, 2.0]), TARGET, width_px=64, height_px=64, focal_px=60.0)
    assert empty_stage(below).shape == (64, 64, 3)
    level = look_at_camera(
        torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 0.0]), width_px=64, height_px=64, focal_px=60.0
    )
    rows = empty_stage(level).astype(float).mean((1, 2))
    assert np.all(np.diff(rows[:31]) > -0.8)  # brighter towards the horizon
