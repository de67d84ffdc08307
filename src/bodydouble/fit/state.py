"""All unknowns of the fit, and their way from and to a `BodyTrack`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.values import BodyTrack
from bodydouble.fit.controls import Controls
from bodydouble.fit.kinematics import exp_so3, log_so3, unwrap_rotvecs
from bodydouble.fit.landmarks import LandmarkModel


@dataclass(frozen=True)
class State:
    """All unknowns of the fit."""

    R_root: Float[np.ndarray, "frames 3 3"]
    translation: Float[np.ndarray, "frames 3"]
    theta: Float[np.ndarray, "frames controls"]
    shape: Float[np.ndarray, " shape"]
    log_focal: float
    offsets: Float[np.ndarray, "points 3"]
    """This video's own landmark offsets beyond the learnt ones, metres in each bone's rest frame."""

    @property
    def focal_px(self) -> float:
        """Focal length, pixels."""
        return float(np.exp(self.log_focal))


def between(state: State, key_times: np.ndarray, times: np.ndarray) -> State:
    """The state at other times: rotations on great circles, everything else linear, ends held."""
    from scipy.spatial.transform import Rotation, Slerp

    if len(key_times) == 1:
        repeat = np.zeros(len(times), dtype=np.int64)
        return replace(
            state, R_root=state.R_root[repeat], translation=state.translation[repeat], theta=state.theta[repeat]
        )
    clipped = np.clip(times, key_times[0], key_times[-1])

    def linear(values: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(clipped, key_times, values[:, i]) for i in range(values.shape[1])], axis=1)

    turned = Slerp(key_times, Rotation.from_matrix(state.R_root))(clipped).as_matrix()
    return replace(state, R_root=turned, translation=linear(state.translation), theta=linear(state.theta))


def corrected_between(begun: State, keyed: State, keys: np.ndarray, times: np.ndarray) -> State:
    """A state of all frames that was fitted on some: between those it moves as the state that the fit began with.

    Args:
        begun: Of all frames.
        keyed: Of the frames `keys`, fitted from there.
        keys: Rows of `begun`.
        times: Of all frames, seconds.
    """
    back = np.swapaxes(begun.R_root[keys], -1, -2)
    change = replace(
        keyed,
        R_root=keyed.R_root @ back,
        translation=keyed.translation - begun.translation[keys],
        theta=keyed.theta - begun.theta[keys],
    )
    change = between(change, times[keys], times)
    return replace(
        change,
        R_root=change.R_root @ begun.R_root,
        translation=change.translation + begun.translation,
        theta=change.theta + begun.theta,
    )


def state_of_track(track: BodyTrack, controls: Controls, landmarks: LandmarkModel) -> State:
    """The solver's state that stands for a track: bones without controls fall to rest."""
    rotvecs = track.rotvecs.double().numpy()
    nodes = rotvecs[:, controls.node_bones[1:]].reshape(len(rotvecs), -1)
    flat = controls.axes[1:].reshape(-1, controls.axes.shape[-1])
    theta = nodes @ np.linalg.pinv(flat).T
    return State(
        exp_so3(rotvecs[:, controls.node_bones[0]]),
        track.translation_world_m.double().numpy(),
        theta,
        track.shape.double().numpy(),
        float(np.log(float(track.focal_px))),
        np.zeros_like(landmarks.offsets),
    )


def track_rotvecs(state: State, controls: Controls, body: BodyModel) -> Float[np.ndarray, "frames bones 3"]:
    """Rotation vectors of all bones; the root's run on smoothly beyond half a turn."""
    rotvecs = np.zeros((len(state.theta), len(body.bone_names), 3))
    rotvecs[:, controls.node_bones] = np.einsum("nik,fk->fni", controls.axes, state.theta)
    rotvecs[:, controls.node_bones[0]] = unwrap_rotvecs(log_so3(state.R_root))
    return rotvecs
