"""Scenes, cameras, blur and motions: what moves in the picture moves as geometry says."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.core.errors import ConfigError
from bodydouble.core.geometry import matrix_to_quat_wxyz, quat_wxyz_to_rotvec
from bodydouble.synth.cameras import CAMERA_HEIGHT_M, CameraPath, Framing, camera_path
from bodydouble.synth.film import Film, Sensor
from bodydouble.synth.places import PlaceKind, draw_scene
from bodydouble.synth.plan import Plan, Rectangle
from bodydouble.synth.scene import Scene
from bodydouble.synth.stage import SynthConfig, set_stage

_FRAMING = Framing(width_px=192, height_px=128, focal_px=150.0, distance_m=3.1)


def _hips(frames: int) -> torch.Tensor:
    return torch.tensor([0.0, -0.1, -3.1]).repeat(frames, 1)


def _turn_rad(T: torch.Tensor, other: torch.Tensor) -> float:
    return float(quat_wxyz_to_rotvec(matrix_to_quat_wxyz((other[:3, :3] @ T[:3, :3].T).double())).norm())


@settings(max_examples=6, deadline=None)
@given(kind=st.sampled_from(["orbit", "handheld"]), seed=st.integers(0, 10**6), fps=st.sampled_from([12.0, 24.0, 60.0]))
def test_camera_paths_are_smooth_rigid_and_hold_the_performer(kind, seed, fps):
    hips = _hips(round(4 * fps))
    path = camera_path(kind, _FRAMING, hips, seed=seed, fps_hz=fps, orbit_rad=1.5)
    again = camera_path(kind, _FRAMING, hips, seed=seed, fps_hz=fps, orbit_rad=1.5)
    assert torch.equal(path.T_camera_world, again.T_camera_world) and path.moves
    R = path.T_camera_world[:, :3, :3].double()
    torch.testing.assert_close(R @ R.transpose(1, 2), torch.eye(3).double().expand_as(R), atol=1e-5, rtol=0)
    speed = path.eyes_world().diff(dim=0).norm(dim=1) * fps
    turn = [_turn_rad(a, b) * fps for a, b in zip(path.T_camera_world, path.T_camera_world[1:], strict=False)]
    assert float(speed.max()) < 2.5 and max(turn) < 0.9  # metres and radians per second
    assert float(speed.diff().abs().max()) * fps < 8.0
    for frame in range(len(hips)):
        pixels, depth = path.camera(frame).project(hips[frame])
        assert 2.4 < float(depth) < 3.8
        assert abs(float(pixels[0]) - 96) < 16 and abs(float(pixels[1]) - 64) < 20


def test_orbit_goes_around_by_its_angle():
    path = camera_path("orbit", _FRAMING, _hips(30), seed=0, fps_hz=24.0, orbit_rad=2.0)
    away = path.eyes_world() - _hips(30)
    angle = torch.atan2(away[:, 0], away[:, 2])
    assert abs(float(angle[0])) < 1e-6 and abs(float(angle[-1]) - 2.0) < 1e-5
    torch.testing.assert_close(away[:, [0, 2]].norm(dim=1), torch.full((30,), 3.1), atol=1e-5, rtol=0)
    still = camera_path("static", _FRAMING, _hips(4), seed=0, fps_hz=24.0)
    assert not still.moves and float(still.eyes_world().abs().max()) == 0.0


def test_unknown_camera_is_refused(our_checks_alone):
    with pytest.raises(ConfigError, match="no camera 'crane'; known are static, orbit, handheld"):
        camera_path("crane", _FRAMING, _hips(4), seed=0, fps_hz=24.0)  # type: ignore[arg-type]


def test_between_frames_the_camera_is_between():
    path = camera_path("orbit", _FRAMING, _hips(10), seed=0, fps_hz=24.0, orbit_rad=2.0)
    for later in (-0.25, 0.25):
        T = path.camera_at(4, later).T_camera_world
        other = path.T_camera_world[4 + (1 if later > 0 else -1)]
        assert abs(_turn_rad(path.T_camera_world[4], T) - 0.25 * _turn_rad(path.T_camera_world[4], other)) < 1e-4
    assert torch.equal(path.camera_at(0, -0.2).T_camera_world, path.T_camera_world[0])


def _orbit_scene(kind: PlaceKind, seed: int, orbit_rad: float) -> tuple[Scene, CameraPath]:
    path = camera_path("orbit", _FRAMING, _hips(24), seed=seed, fps_hz=24.0, orbit_rad=orbit_rad)
    plan = Plan(
        floor_m=-CAMERA_HEIGHT_M,
        performer=Rectangle.of(_hips(24).double().numpy()),
        camera=Rectangle.of(path.eyes_world().double().numpy()),
    )
    return draw_scene(kind, seed, plan, [path.camera(i) for i in range(0, 24, 3)]), path


@pytest.fixture(scope="module", params=["room", "outdoors"])
def orbit(request) -> tuple[Scene, CameraPath]:
    return _orbit_scene(request.param, 4, 1.2)


def _picture(scene: Scene, path: CameraPath, frame: int) -> tuple[np.ndarray, np.ndarray]:
    layers = scene.layers([(path.camera(frame), (a, b)) for a in (-0.25, 0.25) for b in (-0.25, 0.25)])
    sharp = scene.layers([(path.camera(frame), (0.0, 0.0))])
    return layers.lamp_rgb + layers.sky_rgb, sharp.depth


def _sampled(image: np.ndarray, xy: np.ndarray) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    return np.stack([map_coordinates(image[..., k], [xy[:, 1] - 0.5, xy[:, 0] - 0.5], order=1) for k in range(3)], 1)


def test_the_floor_moves_as_its_homography_says(orbit):
    """The plane's homography K (R - t n' / d) K^-1 carries the floor of one frame onto that of another."""
    scene, path = orbit
    (a, depth_a), (b, _) = _picture(scene, path, 8), _picture(scene, path, 13)
    cameras = path.camera(8), path.camera(13)
    K = np.array([[150.0, 0, 96], [0, 150, 64], [0, 0, 1]])
    T_a, T_b = (c.T_camera_world.double().numpy() for c in cameras)
    T = T_b @ np.linalg.inv(T_a)
    normal = T_a[:3, :3] @ [0.0, 1.0, 0.0]  # of the floor, in the first camera
    distance = -(scene.floor_m + T_a[:3, 3] @ T_a[:3, :3] @ [0.0, 1.0, 0.0])  # from the first camera down to it
    H = K @ (T[:3, :3] - np.outer(T[:3, 3], normal) / distance) @ np.linalg.inv(K)
    y, x = np.mgrid[0:128, 0:192]
    world = np.stack([(x + 0.5 - 96) / 150, (y + 0.5 - 64) / 150, np.ones(x.shape)], -1) * depth_a[..., None]
    world = (world - T_a[:3, 3]) @ T_a[:3, :3]
    floor = np.abs(world[..., 1] - scene.floor_m) < 1e-4
    assert floor.mean() > 0.10
    here = np.stack([x[floor] + 0.5, y[floor] + 0.5], 1)
    there = np.concatenate([here, np.ones((len(here), 1))], 1) @ H.T
    there = there[:, :2] / there[:, 2:]
    moved = np.linalg.norm(there - here, axis=1)
    assert np.median(moved) > 8.0  # parallax that a still picture has not
    # The middle of the floor, where nothing stands in the way of either camera.
    inside = (np.abs(there - [96, 90]) < [60, 30]).all(1) & (np.abs(here - [96, 90]) < [60, 30]).all(1)
    error = np.abs(_sampled(b, there[inside]) - a[floor][inside]).mean()
    unmoved = np.abs(_sampled(b, here[inside]) - a[floor][inside]).mean()
    assert error < 0.45 * unmoved


def test_depth_of_the_scene_is_consistent_between_cameras(orbit):
    scene, path = orbit
    (_, depth_a), (_, depth_b) = _picture(scene, path, 2), _picture(scene, path, 5)
    assert np.isfinite(depth_a).mean() > 0.999 and depth_a.min() > 1.0
    y, x = np.mgrid[0:128, 0:192]
    camera = np.stack([(x + 0.5 - 96) / 150, (y + 0.5 - 64) / 150, np.ones(x.shape)], -1) * depth_a[..., None]
    T = path.camera(2).T_camera_world.double().numpy()
    world = (camera - T[:3, 3]) @ T[:3, :3]
    pixels, depth = path.camera(5).project(torch.from_numpy(world).float().reshape(-1, 3))
    column, row = (v.floor().long().numpy() for v in (pixels[:, 0], pixels[:, 1]))
    inside = (column >= 0) & (row >= 0) & (column < 192) & (row < 128)
    found, expected = depth_b[row[inside], column[inside]], depth.numpy()[inside]
    assert (np.abs(found / expected - 1) < 0.04).mean() > 0.80  # the rest is hidden, or at an edge
    assert (found < expected * 1.06).mean() > 0.93  # what is seen elsewhere stands before, not behind


@pytest.mark.parametrize(("kind", "seed"), [("room", 1), ("room", 2), ("outdoors", 3)])
def test_nothing_stands_between_camera_and_performer(kind, seed):
    scene, path = _orbit_scene(kind, seed, 2 * math.pi)
    for frame in range(0, 24, 4):
        depth = scene.layers([(path.camera(frame), (0.0, 0.0))]).depth
        assert depth[20:100, 66:126].min() > 3.0 + 0.5  # what the performer covers lies behind it


def test_scenes_are_repeatable_differ_and_are_chosen_by_seed():
    first, path = _orbit_scene("room", 7, 0.5)
    second, _ = _orbit_scene("room", 7, 0.5)
    np.testing.assert_array_equal(first.texels, second.texels)
    np.testing.assert_array_equal(first.face_light, second.face_light)
    other, _ = _orbit_scene("room", 8, 0.5)
    assert first.texels.shape != other.texels.shape or (first.texels != other.texels).any()
    plan = Plan(
        floor_m=-1.05,
        performer=Rectangle.of(_hips(1).double().numpy()),
        camera=Rectangle(x0=0.0, x1=0.0, z0=0.0, z1=0.0),
    )
    small = dataclasses.replace(path.camera(0), width_px=32, height_px=24)
    kinds = {draw_scene("auto", seed, plan, [small]).kind for seed in (0, 1)}
    assert kinds == {"room", "outdoors"}


@pytest.fixture(scope="module")
def waving() -> dict[float, Film]:
    """A waving performer, filmed with and without motion blur."""
    config = SynthConfig(seed=3, seconds=1.0, fps=12.0, size=(160, 120), scene="room", motion="wave")
    film = set_stage(config).film
    return {
        shutter: Film(film.actor, film.scene, film.path, Sensor(shutter=shutter, grain=0.0)) for shutter in (0.0, 0.9)
    }


def test_motion_blur_softens_what_moves_and_nothing_else(waving):
    sharp, blurred = (list(film.shots()) for film in waving.values())
    film = waving[0.9]
    speeds = []
    for frame in range(1, 11):
        pixels = [film.path.camera(frame).project(film.vertices_at(frame, t))[0] for t in (-0.45, 0.45)]
        speeds.append(float((pixels[1] - pixels[0]).norm(dim=1).max()))
    frame = int(np.argmax(speeds)) + 1
    assert speeds[frame - 1] > 4.0
    a, b = sharp[frame][0].mask / 255.0, blurred[frame][0].mask / 255.0
    assert abs(a.sum() - b.sum()) < 0.02 * a.sum()
    rows = np.flatnonzero(a.any(1))
    feet, arms = slice(rows[-1] - 8, rows[-1] + 1), slice(rows[0], rows[0] + len(rows) // 2)
    soft = [float(((m > 0.05) & (m < 0.95))[arms].sum()) for m in (a, b)]
    assert soft[1] > 1.15 * soft[0]
    np.testing.assert_allclose(a[feet], b[feet], atol=0.26)
    background = (a == 0) & (b == 0)
    background[:, 30:130] = False  # away from the shadow
    np.testing.assert_array_equal(sharp[frame][0].rgb[background], blurred[frame][0].rgb[background])


def test_vertices_between_frames_follow_a_parabola(waving):
    film = waving[0.0]
    here = film.vertices_world(5)
    assert torch.equal(film.vertices_at(5, 0.0), here)
    torch.testing.assert_close(film.vertices_at(5, 1.0), film.vertices_world(6), atol=1e-6, rtol=0)
    torch.testing.assert_close(film.vertices_at(5, -1.0), film.vertices_world(4), atol=1e-6, rtol=0)


def test_performer_throws_a_shadow_on_the_floor(waving):
    """Where the performer hides the lamp from the floor it is darker than without the performer."""
    film = waving[0.0]
    shot = film._shoot(0, film._openness_between(0))
    layers = film.scene.layers([(film.path.camera(0), (a, b)) for a in (-0.25, 0.25) for b in (-0.25, 0.25)])
    empty = (layers.lamp_rgb + layers.sky_rgb).mean(-1)
    free = shot.mask == 0
    shown = (shot.rgb / 255.0).mean(-1) ** 2.2 / 1.12
    ratio = np.where(free, shown / np.maximum(empty, 1e-3), 1.0)
    assert (ratio[100:] < 0.7).sum() > 12  # beside the feet
    assert np.median(ratio[:40]) > 0.9
