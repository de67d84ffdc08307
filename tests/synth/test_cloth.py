"""Loose cloth: its springs against closed forms, its shape against the body."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.body.anny import load_anny
from bodydouble.synth.actor import Actor
from bodydouble.synth.cloth import Drape, grid_faces, natural_frequencies_hz, swing
from bodydouble.synth.looks import Silhouette, draw_look
from bodydouble.synth.motion import Performance, perform
from bodydouble.synth.performer import make_performer

_DAMPING = 0.22  # the one parameter that the closed forms below need


def _path(times_s: np.ndarray) -> np.ndarray:
    """A smooth way there and back of one vertex: (frames, 1, 3)."""
    x = 0.3 * np.sin(2 * np.pi * 0.7 * times_s) * np.exp(-(((times_s - 2) / 1.0) ** 2))
    return np.stack([x, 0 * x, 0.2 * np.cos(2 * np.pi * 0.4 * times_s)], -1)[:, None]


def test_a_body_at_rest_or_in_even_motion_swings_nothing():
    still = np.broadcast_to(np.array([[[1.0, 2.0, 3.0]]]), (20, 1, 3))
    even = still + np.arange(20)[:, None, None] * 0.04
    for path in (still, even):
        np.testing.assert_allclose(swing(path, np.array([1.5]), 24.0), 0.0, atol=1e-12)


@pytest.mark.parametrize(("fps", "tolerance"), [(24.0, 0.03), (60.0, 0.005)])
@pytest.mark.parametrize("turns_hz", [0.35, 1.0])
def test_circling_agrees_with_the_driven_oscillator(fps, tolerance, turns_hz):
    """e'' + 2 z w e' + w^2 e = W^2 r has the steady state W^2 r / (w^2 - W^2 + 2 i z w W)."""
    hz = 1.5
    w, big = 2 * np.pi * hz, 2 * np.pi * turns_hz
    t = np.arange(round(12 * fps)) / fps
    circle = np.stack([np.cos(big * t), 0 * t, np.sin(big * t)], -1)[:, None]
    e = swing(circle, np.array([hz]), fps)[:, 0]
    gain = big**2 / (w**2 - big**2 + 2j * _DAMPING * w * big)
    expected = gain * np.exp(1j * big * t)
    late = t > 8
    assert np.abs(e[late, 0] + 1j * e[late, 2] - expected[late]).max() < tolerance * abs(gain)
    if turns_hz < hz:
        assert np.hypot(e[late, 0], e[late, 2]).min() > 0  # thrown outwards, as a skirt is
        assert ((e[late] * circle[late, 0]).sum(1) > 0).all()


def test_after_a_stop_it_rings_down_as_damped_springs_do():
    fps, hz = 48.0, np.array([1.4, 2.0, 5.0])
    path = np.minimum(np.arange(200), 20)[:, None, None] * np.array([0.03, 0.0, 0.0])
    e = swing(np.repeat(path, 3, axis=1), hz, fps)[20:, :, 0]
    t = np.arange(len(e)) / fps
    w = 2 * np.pi * hz
    damped = w * np.sqrt(1 - _DAMPING**2)
    # The stop is a kick of -v: e = -(v / damped) exp(-z w t) sin(damped t).
    expected = 0.03 * fps / damped * np.exp(-_DAMPING * w * t[:, None]) * np.sin(damped * t[:, None])
    np.testing.assert_allclose(e, expected, atol=1e-9)
    velocity = np.gradient(e, 1 / fps, axis=0)
    energy = velocity[1:-1] ** 2 + (w * e[1:-1]) ** 2
    assert (energy[24::24] < energy[:-24:24] * 0.6).all()


@pytest.mark.parametrize("fps", [24.0, 30.0, 60.0])
def test_frame_rate_changes_nothing(fps):
    """Against 480 frames per second; the error falls with the square of the frame time."""
    hz = np.array([1.4, 3.0])
    fine = swing(np.repeat(_path(np.arange(1920) / 480.0), 2, 1), hz, 480.0)
    coarse = swing(np.repeat(_path(np.arange(round(4 * fps)) / fps), 2, 1), hz, fps)
    error = np.abs(coarse - fine[:: round(480 / fps)]).max()
    assert error < 60.0 * np.abs(fine).max() / fps**2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(5.0, 240.0))
def test_no_frame_rate_and_no_motion_blows_it_up(seed, fps):
    """Whatever jumps: the swing stays within the sum of its ringing kicks."""
    rng = np.random.default_rng(seed)
    targets = rng.uniform(-1, 1, (60, 4, 3))
    e = swing(targets, natural_frequencies_hz(rng.uniform(0, 0.8, 4)), fps)
    kicks = np.abs(np.diff(np.diff(targets, axis=0), axis=0)).sum(0).max() * fps
    assert np.isfinite(e).all() and np.abs(e).max() <= kicks / (2 * np.pi * 1.3)


def test_frequencies_are_a_pendulums():
    hz = natural_frequencies_hz(np.array([0.0, 0.05, 0.1, 0.25, 0.6]))
    assert (np.diff(hz) <= 0).all() and hz[0] == 7.0 and hz[-1] == pytest.approx(1.35)


def _cylinder(radius: float, low: float, high: float, rows: int, columns: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    y = np.linspace(high, low, rows)
    ring = np.stack([radius * np.sin(angle), 0 * angle, radius * np.cos(angle)], -1)
    return np.broadcast_to(ring, (rows, columns, 3)) + np.stack([0 * y, y, 0 * y], -1)[:, None]


def test_a_static_panel_stays_as_it_hangs():
    rest = _cylinder(0.3, 0.0, 0.6, 12, 40)
    drape = Drape(rest, pinned_rows=2, closed=True, clearance_m=0.01)
    legs = _cylinder(0.1, -0.2, 0.8, 40, 30).reshape(-1, 3)
    flat = rest.reshape(-1, 3)
    out = drape(flat, np.zeros_like(flat), legs, legs * [1, 0, 1] / 0.1)
    np.testing.assert_allclose(out, flat, atol=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.06, 0.12])
def test_a_panel_is_pushed_out_and_its_threads_keep_their_length(shift):
    """A leg that swings against the cloth from within."""
    rest = _cylinder(0.22, 0.0, 0.6, 24, 72)
    drape = Drape(rest, pinned_rows=3, closed=True, clearance_m=0.01)
    leg = _cylinder(0.12, -0.2, 0.62, 80, 60).reshape(-1, 3)
    normals = leg * [1, 0, 1] / 0.12
    bent = leg + np.array([shift, 0.0, 0.0]) * (np.clip(0.6 - leg[:, 1:2], 0, None) / 0.6)
    flat = rest.reshape(-1, 3)
    out = drape(flat, np.zeros_like(flat), bent, normals)
    center = np.array([shift, 0.0, 0.0]) * (np.clip(0.6 - out[:, 1:2], 0, None) / 0.6)
    reach = np.linalg.norm((out - center)[:, [0, 2]], axis=1)
    assert reach.min() > 0.12 + 0.01 - 0.002
    length = np.linalg.norm(np.diff(out.reshape(24, 72, 3), axis=0), axis=-1)
    np.testing.assert_allclose(length, np.linalg.norm(np.diff(rest, axis=0), axis=-1), rtol=0.15)
    np.testing.assert_array_equal(out.reshape(24, 72, 3)[:2], rest[:2])


def test_panels_face_outwards():
    rest = _cylinder(0.3, 0.0, 0.6, 5, 16)
    faces = grid_faces(5, 16, closed=True)
    corner = rest.reshape(-1, 3)[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    assert (normal[:, [0, 2]] * corner.mean(1)[:, [0, 2]]).sum(1).min() > 0
    assert len(grid_faces(5, 16, closed=False)) == len(faces) - 8


def _actor(seed: int, frames: int, fps: float) -> Actor:
    body = load_anny()
    performer = make_performer(body, draw_look(seed))
    show = perform(body, performer.shaped.joints_rest, seed=seed, num_frames=frames, fps_hz=fps)
    return Actor(performer, show, show.sway_m, fps_hz=fps)


def _inside(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Winding numbers above one half (solid angles after Van Oosterom and Strackee), point by point."""
    total = np.zeros(len(points))
    for start in range(0, len(points), 64):
        a, b, c = np.moveaxis(triangles[None] - points[start : start + 64, None, None], 2, 0)
        la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
        volume = (a * np.cross(b, c)).sum(-1)
        below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
        total[start : start + 64] = 2 * np.arctan2(volume, below).sum(1)
    return total > 2 * np.pi


@pytest.mark.parametrize("seed", [8, 4])
def test_cloth_swings_and_stays_out_of_the_body(seed):
    """A skirt and a coat through the whole performance: non-rigid, and nowhere deeper than 4 mm in the skin."""
    from scipy.spatial import cKDTree

    look = draw_look(seed)
    assert look.silhouette in (Silhouette.SKIRT, Silhouette.COAT)
    actor = _actor(seed, 56, 8.0)
    loose = actor.performer.loose
    assert loose is not None
    chosen = slice(loose.first_vertex, loose.first_vertex + loose.rows * loose.columns)
    faces, moved = loose.collider_faces.numpy(), []
    for frame in (0, 20, 24):
        cloth = actor.vertices_world(frame)[chosen]
        skinned = actor._posed(frame).vertices()[chosen]
        moved.append(float((cloth - skinned).norm(dim=1).max()))
        skin = actor.body_vertices_world(frame)[loose.collider_vertices].double().numpy()
        points = cloth.double().numpy()
        points = points[cKDTree(skin).query(points)[0] < 0.03][::6]
        inside = points[_inside(points, skin[faces])]
        if len(inside):  # how far from a dense sample of the skin
            steps = np.linspace(0, 1, 6)
            mix = np.array([[a, b, 1 - a - b] for a in steps for b in steps if a + b <= 1])
            dense = (mix[:, None, :, None] * skin[faces][None]).sum(2).reshape(-1, 3)
            assert cKDTree(dense).query(inside)[0].max() < 0.004
    assert moved[0] < 0.02 and max(moved[1:5]) > 0.04  # still at first, swinging in the turn


def test_actors_are_repeatable_in_any_order():
    first, second = _actor(8, 12, 6.0), _actor(8, 12, 6.0)
    backwards = [second.vertices_world(frame) for frame in reversed(range(12))][::-1]
    for frame in range(12):
        assert torch.equal(first.vertices_world(frame), backwards[frame])
        own = first.performer.num_body_vertices
        assert torch.equal(first.vertices_world(frame)[:own], first.body_vertices_world(frame))


def test_a_still_performer_comes_to_rest():
    """After a jerk the pose is held: the cloth settles to where it hangs without any motion."""
    body = load_anny()
    performer = make_performer(body, draw_look(8))
    frames = 72
    rotvecs = torch.zeros(frames, len(body.bone_names), 3)
    rotvecs[6:, 0, 1] = 0.6
    still = Performance(
        rotvecs=rotvecs, sway_m=torch.zeros(frames, 3), expression=torch.zeros(frames, len(body.action_names))
    )
    actor = Actor(performer, still, still.sway_m, fps_hz=24.0)
    hung = Actor(
        performer,
        still.replace(rotvecs=rotvecs[-1:], sway_m=still.sway_m[-1:], expression=still.expression[-1:]),
        still.sway_m[-1:],
        fps_hz=24.0,
    )
    end = hung.vertices_world(0)
    away = [float((actor.vertices_world(frame) - end).norm(dim=1).max()) for frame in (8, 24, 40, 71)]
    assert away[0] > 0.03 and away[0] > away[1] > away[2] and away[3] < 0.001
