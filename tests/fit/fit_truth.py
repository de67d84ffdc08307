"""Made-up performances of a body whose pose is known, and what a perfect (or worse) estimator would see of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from bodydouble.body.protocol import BodyModel, Pose
from bodydouble.capture.values import BodyTrack, Observations
from bodydouble.core.seeds import numpy_rng
from bodydouble.fit.controls import Controls, build_controls
from bodydouble.fit.evidence import CAMERA_TO_WORLD, line_of_sight
from bodydouble.fit.kinematics import exp_so3, place_points, pose_nodes
from bodydouble.fit.landmarks import LandmarkModel, build_landmarks, rest_geometry
from bodydouble.fit.state import State, track_rotvecs
from bodydouble.fit.terms import project

SIZE_PX = (720, 960)
FOCAL_PX = 1056.0  # 1.1 of the longer side: what the fit assumes


@dataclass(frozen=True)
class Truth:
    """A performance."""

    body: BodyModel
    controls: Controls
    landmarks: LandmarkModel
    state: State
    times_s: np.ndarray

    @property
    def rotvecs(self) -> np.ndarray:
        return track_rotvecs(self.state, self.controls, self.body)

    def joints_world(self) -> np.ndarray:
        """True positions of all bones' joints, metres."""
        return joints_of(self.body, self.state.shape, self.rotvecs, self.state.translation)


def joints_of(body: BodyModel, shape: np.ndarray, rotvecs: np.ndarray, translation: np.ndarray) -> np.ndarray:
    pose = Pose(
        rotvecs=torch.as_tensor(rotvecs, dtype=torch.float32),
        translation_world_m=torch.as_tensor(translation, dtype=torch.float32),
    )
    shaped = body.with_shape(torch.as_tensor(shape, dtype=torch.float32))
    return shaped.with_pose(pose).joints_world.double().numpy()


def track_joints(body: BodyModel, track: BodyTrack) -> np.ndarray:
    return joints_of(body, track.shape.numpy(), track.rotvecs.numpy(), track.translation_world_m.numpy())


def perform(
    body: BodyModel,
    *,
    frames: int = 24,
    fps_hz: float = 30.0,
    seed: int = 0,
    amplitude: float = 0.5,
    focal_px: float = FOCAL_PX,
    distance_m: float = 3.4,
    turn_rad: float = 0.7,
) -> Truth:
    """Slow random motion of every control around its mean, facing the camera more or less."""
    rng = numpy_rng(seed, "performance")
    controls, landmarks = build_controls(body), build_landmarks(body)
    times = np.arange(frames) / fps_hz
    count = len(controls.dofs)
    phase = rng.uniform(0, 2 * np.pi, size=(2, count))
    rate = rng.uniform(0.2, 0.5, size=(2, count))
    wave = sum(np.sin(2 * np.pi * rate[i] * times[:, None] + phase[i]) for i in range(2)) / 2.0
    theta = controls.array("mean") + amplitude * controls.array("sigma") * wave
    for side in ("left", "right"):  # bent limbs, so that their hinge can be seen
        theta[:, controls.index(f"{side}_knee_bend")] += 0.4
        theta[:, controls.index(f"{side}_elbow_bend")] += 0.3
    theta = np.clip(theta, controls.array("lower"), controls.array("upper"))
    yaw = turn_rad * np.sin(2 * np.pi * 0.25 * times + rng.uniform(0, 6))
    R_root = exp_so3(np.stack([0.05 * np.sin(times), yaw, 0.05 * np.cos(times)], -1))
    sway = np.stack([0.15 * np.sin(1.3 * times), 0.02 * np.sin(2 * times), 0.2 * np.sin(0.9 * times)], -1)
    shape = body.shape_default.double().numpy().copy()
    state = State(
        R_root,
        sway + np.array([0.0, -0.05, -distance_m]),
        theta,
        shape,
        float(np.log(focal_px)),
        np.zeros_like(landmarks.offsets),
    )
    return Truth(body, controls, landmarks, state, times)


def all_names(landmarks: LandmarkModel) -> tuple[str, ...]:
    """The modelled landmarks and some that nobody models, in another order."""
    return (*sorted(landmarks.names), "face/0a", "body/unheard_of")


def observe(
    truth: Truth,
    *,
    noise_px: float = 0.0,
    seed: int = 0,
    unseen: tuple[str, ...] = (),
    absent: tuple[int, ...] = (),
    offsets_m: np.ndarray | None = None,
) -> Observations:
    """What an estimator sees: every landmark, less the groups or names in `unseen` and the frames in `absent`."""
    state, landmarks, controls = truth.state, truth.landmarks, truth.controls
    rest = rest_geometry(truth.body, landmarks, controls, state.shape)
    posed = pose_nodes(controls, rest.joints, state.R_root, state.translation, state.theta)
    nodes = controls.node_of_bone[landmarks.bones]
    world = place_points(posed, rest, nodes, np.arange(len(nodes)))
    if offsets_m is not None:
        world = world + np.einsum("fpij,pj->fpi", posed.R[:, nodes], offsets_m)
    pixels, _ = project(world, state.focal_px, SIZE_PX)
    frames, points = pixels.shape[:2]
    confidence = np.ones((frames, points))
    for i, name in enumerate(landmarks.names):
        if any(name == u or name.startswith(f"{u}/") for u in unseen):
            confidence[:, i] = 0.0
    present = np.ones(frames, dtype=bool)
    present[list(absent)] = False
    confidence[~present] = 0.0
    xyz = np.zeros((frames, points, 3))
    for group in ("body", "left_hand", "right_hand", "face"):
        index = [i for i, name in enumerate(landmarks.names) if name.startswith(f"{group}/")]
        if not index:
            continue
        sight = line_of_sight(pixels[:, index], confidence[:, index], SIZE_PX, state.focal_px)
        relative = world[:, index] - world[:, index].mean(1, keepdims=True)
        xyz[:, index] = np.einsum("fji,fpj->fpi", sight, relative) * CAMERA_TO_WORLD
    pixels = pixels + numpy_rng(seed, "noise").normal(size=pixels.shape) * noise_px
    names = all_names(landmarks)
    place = [names.index(n) for n in landmarks.names]

    def spread(values: np.ndarray) -> torch.Tensor:
        out = np.zeros((frames, len(names), *values.shape[2:]))
        out[:, place] = values * (confidence > 0).reshape(frames, points, *(1,) * (values.ndim - 2))
        return torch.as_tensor(out, dtype=torch.float32)

    low, high = pixels.min(1), pixels.max(1)
    return Observations(
        frame_indices=torch.arange(frames) + 3,
        times_s=torch.as_tensor(truth.times_s, dtype=torch.float32),
        width_px=SIZE_PX[0],
        height_px=SIZE_PX[1],
        landmark_names=names,
        xy_px=spread(pixels),
        xyz_camera_m=spread(xyz),
        confidence=spread(confidence),
        present=torch.as_tensor(present),
        box_px=torch.as_tensor(np.concatenate([low, high], 1) * present[:, None], dtype=torch.float32),
    )


def stepped(state: State, active: np.ndarray, column: int, step: float) -> State:
    """A state moved along one of the fit's unknowns: turn and shift of the root, then the active controls."""
    change = np.zeros(6 + len(active))
    change[column] = step
    theta = state.theta.copy()
    theta[:, active] += change[6:]
    R_root = exp_so3(np.tile(change[:3], (len(theta), 1))) @ state.R_root
    return replace(state, R_root=R_root, translation=state.translation + change[3:6], theta=theta)
