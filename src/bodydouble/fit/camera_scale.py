"""The unit of a moving camera's world, in metres: feet that stand do not slide, and the fitted body is metric.

A point of the body lies at a + s c in the world, where a is its place turned into the world's axes, c is where the camera
is in the structure's unit, and s is that unit in metres. The sum over time of how far the feet go between frames is
smallest at the right s: feet stand half of the time, and sums of distances (not of their squares) forgive the other half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.values import BodyTrack

_GAPS_S = (0.2, 0.45)
_BLOCKS = 8
_NEAR_M = 0.004
"""Distances below this are noise of the fit: there the sum of distances is rounded off."""


@dataclass(frozen=True)
class Scale:
    """Metres per unit of a structure."""

    metres: float
    spread: float
    """Standard error as a share of it (jackknife over eight parts of the video)."""


def scale_from_feet(
    feet_camera_m: Float[ndarray, "frames feet 3"],
    T_camera_world: Float[ndarray, "frames 4 4"],
    usable: ndarray,
    times_s: Float[ndarray, " frames"],
) -> Scale | None:
    """How many metres a structure's unit has.

    Args:
        feet_camera_m: Places of the feet (or of anything that rests now and then) in camera axes, metres.
        T_camera_world: Cameras in the structure's unit.
        usable: Frames to use.
        times_s: Of the frames.
    Returns:
        None when the camera does not move, or nothing rests at any positive scale.
    """
    Rt = T_camera_world[:, :3, :3].transpose(0, 2, 1)
    a = np.einsum("fij,fkj->fki", Rt, feet_camera_m)
    c = -np.einsum("fij,fj->fi", Rt, T_camera_world[:, :3, 3])
    steps, moves, when = [], [], []
    for gap_s in _GAPS_S:
        later = np.searchsorted(times_s, times_s + gap_s)
        first = np.flatnonzero((later < len(times_s)) & usable)
        first = first[usable[later[first]]]
        for k in range(feet_camera_m.shape[1]):
            steps.append(a[later[first], k] - a[first, k])
            moves.append(c[later[first]] - c[first])
            when.append(times_s[first])
    step, move, time_s = np.concatenate(steps), np.concatenate(moves), np.concatenate(when)
    if len(step) < 4 * _BLOCKS or not np.linalg.norm(move, axis=1).max() > 0.0:
        return None
    metres = _least_sliding(step, move)
    block = np.minimum((_BLOCKS * (time_s - time_s.min()) / max(np.ptp(time_s), 1e-9)).astype(int), _BLOCKS - 1)
    without = np.array([_least_sliding(step[block != b], move[block != b]) for b in range(_BLOCKS)])
    error = float(np.sqrt((_BLOCKS - 1) / _BLOCKS * ((without - without.mean()) ** 2).sum()))
    return Scale(metres, error / metres) if metres > 0.0 else None


def _least_sliding(step: Float[ndarray, "n 3"], move: Float[ndarray, "n 3"]) -> float:
    """s at which the sum of |step + s move| is least (iteratively reweighted least squares; the sum is convex in s)."""
    s = 0.0
    weights = np.ones(len(step))
    for _ in range(60):
        down = float((weights * (move**2).sum(1)).sum())
        before, s = s, -float((weights * (step * move).sum(1)).sum()) / max(down, 1e-300)
        weights = 1.0 / np.sqrt(((step + s * move) ** 2).sum(1) + _NEAR_M**2)
        if abs(s - before) < 1e-7 * max(abs(s), 1e-12):
            break
    return s


def feet_in_camera(track: BodyTrack, body: BodyModel, focal_px: float) -> Float[ndarray, "frames feet 3"]:
    """Ankles and toes in camera axes, metres, as a camera of another focal length would place them.

    What is seen stays: with a longer lens the same picture of a body of the same size comes from farther away.
    """
    with torch.no_grad():
        pose = track.pose()
        joints = body.with_shape(track.shape).with_pose(pose).joints_world.double().numpy()
    names = [n for n in ("leftFoot", "rightFoot", "leftToes", "rightToes") if n in body.humanoid]
    feet = joints[:, [body.bone_names.index(body.humanoid[n]) for n in names]] * [1.0, -1.0, -1.0]
    root = joints[:, [body.bone_names.index(body.humanoid["hips"])]] * [1.0, -1.0, -1.0]
    return feet + root * [0.0, 0.0, focal_px / float(track.focal_px) - 1.0]
