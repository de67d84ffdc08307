"""Cameras found from background tracks, against paths that are known exactly."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from bodydouble.capture.camera_motion import load_camera, save_camera, still_camera
from bodydouble.core.errors import MissingDependencyError
from bodydouble.fit import camera_sfm
from bodydouble.fit.camera_scale import scale_from_feet
from bodydouble.fit.camera_small import small_motion, turning_only, widest_turn
from bodydouble.fit.camera_structure import median_error
from bodydouble.fit.camera_tracks import BackgroundTracks, follow_background, motion_between

WIDTH, HEIGHT, FOCAL_PX = 640, 480, 700.0


def looking(eyes: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Camera poses from where cameras are and how they are turned (rotation vectors, camera after world)."""
    T = np.tile(np.eye(4), (len(eyes), 1, 1))
    T[:, :3, :3] = Rotation.from_rotvec(turns).as_matrix()
    T[:, :3, 3] = -np.einsum("fij,fj->fi", T[:, :3, :3], eyes)
    return T


def sightings(T: np.ndarray, points: np.ndarray, noise_px: float = 0.1, seed: int = 0) -> BackgroundTracks:
    """What these cameras see of the points."""
    rng = np.random.default_rng(seed)
    frames, ids, places = [], [], []
    for k, pose in enumerate(T):
        camera = points @ pose[:3, :3].T + pose[:3, 3]
        xy = camera[:, :2] / camera[:, 2:] * FOCAL_PX + [WIDTH / 2, HEIGHT / 2]
        seen = (camera[:, 2] > 0.2) & (xy > 5).all(1) & (xy < [WIDTH - 5, HEIGHT - 5]).all(1)
        frames.append(np.full(seen.sum(), k))
        ids.append(np.flatnonzero(seen))
        places.append(xy[seen] + noise_px * rng.standard_normal((seen.sum(), 2)))
    return BackgroundTracks(
        num_frames=len(T), num_points=len(points), width_px=WIDTH, height_px=HEIGHT, frame=np.concatenate(frames),
        point=np.concatenate(ids), xy_px=np.concatenate(places), rgb=np.zeros((len(points), 3)),
    )  # fmt: skip


def in_a_hand(frames: int = 24, sway_m: float = 0.05) -> np.ndarray:
    t = np.linspace(0, 4, frames)[:, None]
    eyes = sway_m * np.sin(t * [1.7, 1.1, 0.8] + [0.0, 0.4, 1.0])
    turns = 0.03 * np.sin(t * [1.3, 0.9, 2.0] + [0.2, 0.0, 0.5])
    return looking(eyes - eyes[0], turns - turns[0])


def room(rng: np.random.Generator, count: int = 260) -> np.ndarray:
    """Points in front of a camera at the origin that looks along +Z, two to eight metres away."""
    depth = rng.uniform(2.0, 8.0, count)
    return np.stack([depth * rng.uniform(-0.5, 0.5, count), depth * rng.uniform(-0.38, 0.38, count), depth], axis=1)


def turn_error_rad(R: np.ndarray, R_true: np.ndarray) -> np.ndarray:
    """Angle between rotations since the first frame."""
    since, since_true = R @ R[0].T, R_true @ R_true[0].T
    return Rotation.from_matrix(since @ since_true.transpose(0, 2, 1)).magnitude()


def eyes_of(T: np.ndarray) -> np.ndarray:
    return -np.einsum("fji,fj->fi", T[:, :3, :3], T[:, :3, 3])


def test_a_hand_that_sways_by_centimetres_is_followed_and_tells_the_focal_length():
    T = in_a_hand()
    tracks = sightings(T, room(np.random.default_rng(1)))
    found = small_motion(tracks, 0.93 * FOCAL_PX, refine_focal=True)
    assert found is not None and found.found.all()
    assert abs(found.focal_px / FOCAL_PX - 1.0) < 0.02
    assert np.degrees(turn_error_rad(found.T_camera_world[:, :3, :3], T[:, :3, :3]).max()) < 0.1
    eyes, true = eyes_of(found.T_camera_world), eyes_of(T)
    unit = (eyes * true).sum() / (eyes**2).sum()
    assert unit > 0.0
    assert np.linalg.norm(unit * eyes - true, axis=1).max() < 0.06 * np.linalg.norm(true, axis=1).max()
    assert found.error_px < 0.3


def test_a_camera_on_a_pivot_only_turns():
    T = in_a_hand(sway_m=0.0)
    tracks = sightings(T, room(np.random.default_rng(2), 120))
    found = turning_only(tracks, FOCAL_PX)
    assert found is not None and found.error_px < 0.2 and not len(found.points_world)
    assert np.degrees(turn_error_rad(found.T_camera_world[:, :3, :3], T[:, :3, :3]).max()) < 0.03
    assert abs(widest_turn(tracks, FOCAL_PX) - Rotation.from_matrix(T[:, :3, :3]).magnitude().max()) < 0.003


def test_frames_that_share_nothing_give_nothing():
    tracks = sightings(in_a_hand(3), room(np.random.default_rng(3), 12))
    assert small_motion(tracks, FOCAL_PX, refine_focal=False) is None
    assert turning_only(tracks, FOCAL_PX) is None
    assert widest_turn(tracks, FOCAL_PX) == float("inf")


def test_an_orbit_is_found_by_structure_from_motion():
    pytest.importorskip("pycolmap", reason="the extra [sfm] is not installed")
    angle = np.linspace(0.0, np.radians(60.0), 13)
    middle = np.array([0.0, 0.0, 4.0])
    eyes = middle + 4.0 * np.stack([np.sin(angle), 0 * angle, -np.cos(angle)], axis=1)
    T = looking(eyes, np.stack([0 * angle, angle, 0 * angle], axis=1))
    rng = np.random.default_rng(4)
    points = middle + rng.uniform(-1, 1, (400, 3)) * [3.0, 1.6, 3.0]
    tracks = sightings(T, points)
    found = camera_sfm.structure_from_tracks(tracks, FOCAL_PX, refine_focal=False, seed=0)
    assert found is not None and found.found.all()
    assert np.degrees(turn_error_rad(found.T_camera_world[:, :3, :3], T[:, :3, :3]).max()) < 0.3
    a, b = eyes_of(found.T_camera_world), eyes
    a, b = a - a.mean(0), b - b.mean(0)
    U, S, Vt = np.linalg.svd(b.T @ a)
    R = U @ np.diag([1, 1, np.linalg.det(U @ Vt)]) @ Vt
    drift = np.linalg.norm(b - (S.sum() / (a**2).sum()) * a @ R.T, axis=1)
    assert drift.max() < 0.03
    assert median_error(
        tracks, found.point_ids, found.points_world, found.focal_px, found.T_camera_world, found.found
    ) == pytest.approx(found.error_px)


def test_without_pycolmap_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def refuse(name: str, *args: object, **kwargs: object):
        if name == "pycolmap":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingDependencyError, match=r"camera moves.*bodydouble\[sfm\].*tripod"):
        camera_sfm.structure_from_tracks(
            sightings(in_a_hand(), room(np.random.default_rng(5))), FOCAL_PX, refine_focal=False, seed=0
        )


def test_feet_that_stand_tell_the_unit():
    T = in_a_hand(60, sway_m=0.2)
    times_s = np.linspace(0, 6, 60)
    step = 0.6 * np.floor(times_s)  # two feet that take turns, half a second apart
    feet = np.stack(
        [np.stack([step, 0 * step + 1.0, 0 * step + 4], 1), np.stack([step + 0.3, 0 * step + 1.0, 0 * step + 4], 1)], 1
    )
    feet[:, 1, 0] += 0.6 * ((times_s % 1.0) > 0.5)
    in_camera = np.einsum("fij,fkj->fki", T[:, :3, :3], feet) + T[:, None, :3, 3]
    in_camera += 0.005 * np.random.default_rng(0).standard_normal(in_camera.shape)
    shrunk = T.copy()
    shrunk[:, :3, 3] /= 3.0
    scale = scale_from_feet(in_camera, shrunk, np.ones(60, bool), times_s)
    assert scale is not None and abs(scale.metres / 3.0 - 1.0) < 0.05 and scale.spread < 0.1
    still = T.copy()
    still[:, :3, 3] = 0.0
    assert scale_from_feet(in_camera, still, np.ones(60, bool), times_s) is None


def test_points_are_followed_outside_the_person_alone():
    rng = np.random.default_rng(6)
    import cv2

    texture = cv2.GaussianBlur(rng.integers(0, 255, (260, 340, 3)).astype(np.uint8), (0, 0), 2.0)
    texture = cv2.normalize(texture, np.zeros_like(texture), 0, 255, cv2.NORM_MINMAX)
    person = np.zeros((200, 240), bool)
    person[60:160, 90:150] = True

    def frames(step_px: int):
        for k in range(6):
            rgb = np.ascontiguousarray(texture[20:220, 20 + step_px * k : 260 + step_px * k])
            rgb[70:150, 100:140] = np.roll(rgb[70:150, 100:140], 7 * k, axis=1)  # the person does as it likes
            yield k, rgb

    tracks = follow_background(frames(3), lambda row: person, num_frames=6, most_points=120)
    columns, lines = (tracks.xy_px - 0.5).round().astype(int).T
    assert not person[lines, columns].any()
    moved, pairs = motion_between(tracks)
    assert len(pairs) == 5 and np.allclose(moved, 3.0 * (pairs[:, 1] - pairs[:, 0]), atol=0.1)
    still, _ = motion_between(follow_background(frames(0), lambda row: person, num_frames=6, most_points=120))
    assert still.max() < 0.05


def test_a_camera_is_kept_beside_the_capture(tmp_path):
    assert load_camera(tmp_path) is None
    motion = still_camera(torch.arange(3), 64, 48, torch.tensor(70.0), method="static", motion_px=0.1)
    save_camera(tmp_path, motion)
    back = load_camera(tmp_path)
    assert back is not None and not back.moves and back.method == "static" and back.motion_px == 0.1
    assert torch.equal(back.T_camera_world, motion.T_camera_world)
    point = torch.tensor([0.0, 0.0, -2.0])  # before the camera, in the world of a fit
    xy, depth = back.camera(1).project(point)
    assert torch.allclose(xy, torch.tensor([32.0, 24.0])) and float(depth) == pytest.approx(2.0)
