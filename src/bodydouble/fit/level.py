"""Which way is up: roll and pitch of a track's world, told from how the person stands.

A fitted track lives in a world whose axes are the camera's, so a camera held at an angle gives a person who leans, and so
does an estimator that takes the head for nearer than it is. Nobody leans for long: over time the body's middle is above
the feet. Both angles are a Gaussian's posterior mean between what is
seen and how people hold cameras.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.values import BodyTrack
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix

_MASSES = {"hips": 0.4, "chest": 0.35, "neck": 0.15, "head": 0.1}
"""Shares in the body's middle; legs and arms swing about it."""
_STANDING_RAD = math.radians(40.0)
"""Knees bent further than this belong to somebody who sits, kneels or jumps."""
_HELD_RAD = (math.radians(3.0), math.radians(8.0))
"""Spread of how cameras are held: roll, pitch."""
_FIT_RAD = (math.radians(1.5), math.radians(5.0))
"""Error that all frames share: sideways the outline shows the lean, to the front only the estimate of depth does."""
_SWAY_RAD = (math.radians(3.0), math.radians(6.0))
"""Spread of one moment's lean, sideways and forwards."""
_MOMENT_S = 1.0
"""Frames nearer than this say the same."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """How the camera was held."""

    roll_rad: float
    """Positive when the world of the track must be turned by it about +Z, counter-clockwise as the camera sees it."""
    pitch_rad: float
    """Positive when it must be turned by it about +X: the camera looked down."""
    standing_s: float
    """How long the person was seen standing on both feet."""

    @property
    def R_level_world(self) -> Float[Tensor, "3 3"]:
        """From the track's world to one whose +Y is up."""
        roll = rotvec_to_matrix(torch.tensor([0.0, 0.0, self.roll_rad], dtype=torch.float64))
        return rotvec_to_matrix(torch.tensor([self.pitch_rad, 0.0, 0.0], dtype=torch.float64)) @ roll


def find_level(track: BodyTrack, body: BodyModel) -> Level:
    """Roll and pitch of the camera that filmed a track.

    Args:
        track: Fitted; legs that were not seen say nothing.
        body: The track's.
    Returns:
        0 and 0 where the person was never seen standing.
    """
    joints = _joints(track, body)
    limbs = list(track.limb_names)
    seen = track.valid.numpy() & np.all(
        [np.isfinite(track.limb_error_px[:, limbs.index(f"{side}_leg")].numpy()) for side in ("left", "right")], axis=0
    )
    straight = np.ones(len(seen), dtype=bool)
    for side in ("left", "right"):
        hip, knee, foot = (joints[f"{side}{part}"] for part in ("UpperLeg", "LowerLeg", "Foot"))
        straight &= _angle(knee - hip, foot - knee) < _STANDING_RAD
    middle = sum(share * joints[bone] for bone, share in _MASSES.items())
    up = (middle - 0.5 * (joints["leftFoot"] + joints["rightFoot"]))[seen & straight]
    if not len(up):
        return Level(roll_rad=0.0, pitch_rad=0.0, standing_s=0.0)
    step_s = float(track.times_s.double().diff().median()) if len(seen) > 1 else 0.0
    standing_s = len(up) * step_s
    # Turning about +Z by `roll` and then about +X by `pitch` brings the mean lean to +Y.
    x, y, z = np.median(up / np.linalg.norm(up, axis=1, keepdims=True), axis=0)
    leans = (math.atan2(x, y), math.atan2(-z, math.hypot(x, y)))
    moments = 1.0 + standing_s / _MOMENT_S
    found = []
    for lean, held, error, sway in zip(leans, _HELD_RAD, _FIT_RAD, _SWAY_RAD, strict=True):
        noise = error**2 + sway**2 / moments
        found.append(lean * held**2 / (held**2 + noise))
    return Level(roll_rad=found[0], pitch_rad=found[1], standing_s=standing_s)


def leveled(track: BodyTrack, root_rest_m: Float[Tensor, "3"], level: Level) -> BodyTrack:
    """The track in a world whose +Y is up. Its camera no longer looks along -Z: it is for motions, not for pictures.

    Args:
        track: Of a skeleton whose root joint rests at `root_rest_m`.
    """
    R, root_rest = level.R_level_world, root_rest_m.double()
    place = (root_rest + track.translation_world_m.double()) @ R.T - root_rest
    rotvecs = track.rotvecs.clone()
    rotvecs[:, 0] = matrix_to_rotvec(R @ rotvec_to_matrix(rotvecs[:, 0].double())).to(rotvecs.dtype)
    return track.replace(rotvecs=rotvecs, translation_world_m=place.to(track.translation_world_m.dtype))


def _joints(track: BodyTrack, body: BodyModel) -> dict[str, np.ndarray]:
    pose = track.pose()
    places = body.with_shape(track.shape).with_pose(pose).joints_world.double().numpy()
    names = list(body.bone_names)
    return {human: places[:, names.index(bone)] for human, bone in body.humanoid.items()}


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-9)
    return np.arccos(np.clip(cosine, -1.0, 1.0))
