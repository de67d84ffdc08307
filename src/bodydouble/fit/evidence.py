"""Observations sorted for the solver: which points pull where, how strongly, and which limb directions were seen.

Points are grouped (body, each hand, face) so that each group's derivatives touch only the controls above it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from bodydouble.body.humanoid import SIDES
from bodydouble.capture.values import Observations
from bodydouble.fit.controls import Controls, unit
from bodydouble.fit.kinematics import hat
from bodydouble.fit.landmarks import HAND_FINGERS, HEAD_POINTS, LandmarkModel, landmark_columns

CAMERA_TO_WORLD = np.array([1.0, -1.0, -1.0])
"""Camera axes (+Y down, +Z forward) to those of the world that the fit uses; the same numbers lead back."""

RATE_HZ = 30.0
"""Frames count by the time they stand for; one of 1/30 s counts once."""

_SIGMA_M = {
    "shoulder": 0.018, "hip": 0.028, "elbow": 0.016, "wrist": 0.016, "knee": 0.018, "ankle": 0.016, "heel": 0.020,
    "foot_index": 0.018, "pinky": 0.035, "index": 0.035, "thumb": 0.035,
}  # fmt: skip
"""What a seen body landmark is off by, at the person's distance."""
_HEAD_SIGMA_M, _HAND_SIGMA_M, _FACE_SIGMA_M = 0.014, 0.008, 0.007
_DIRECTION_SPREADS = {
    "shoulder-elbow": 0.18, "hip-shoulder": 0.45, "hip-knee": 0.41, "shoulder-shoulder": 0.45, "hip-hip": 0.45,
}  # fmt: skip
"""Spread of the seen directions of some segments, in that of the others. Networks see well how upper arms and thighs point,
and lengths in the image hardly tell it: of a limb that lies across the view, 4 % of length is 0.28 of depth. Forearms,
shins and feet are told by their lengths, and networks underrate how they point to and fro."""
_MIN_CONFIDENCE = 0.2
_SHADOWED = 0.25
"""Share left to body landmarks of a hand or head that has its own, finer landmarks."""


@dataclass(frozen=True)
class Group:
    """Landmarks of one part of the person, and the directions between them."""

    name: str
    points: Int[np.ndarray, " points"]
    """Indices into the landmark model."""
    xy_px: Float[np.ndarray, "frames points 2"]
    precision: Float[np.ndarray, "frames points"]
    """1 / sigma^2 per square metre at the person's distance, times confidence; 0 where unseen."""
    confidence: Float[np.ndarray, "frames points"]
    pairs: Int[np.ndarray, "segments 2"]
    """Ends of the segments, as positions in `points`."""
    directions_world: Float[np.ndarray, "frames segments 3"]
    """Unit vectors from the first to the second end."""
    direction_weight: Float[np.ndarray, "frames segments"]


@dataclass(frozen=True)
class Evidence:
    """Everything the solver knows of a video."""

    groups: tuple[Group, ...]
    times_s: Float[np.ndarray, " frames"]
    frame_weight: Float[np.ndarray, " frames"]
    """Time each frame stands for, in units of 1 / RATE_HZ; 0 where the subject is absent."""
    present: Bool[np.ndarray, " frames"]
    size_px: tuple[int, int]

    def group(self, name: str) -> Group:
        """One group by name."""
        return next(g for g in self.groups if g.name == name)

    def select(self, frames: Int[np.ndarray, " kept"]) -> Evidence:
        """The evidence of some frames only; each then stands for more time, up to what smoothness bridges."""
        groups = tuple(
            replace(
                g,
                xy_px=g.xy_px[frames],
                precision=g.precision[frames],
                confidence=g.confidence[frames],
                directions_world=g.directions_world[frames],
                direction_weight=g.direction_weight[frames],
            )
            for g in self.groups
        )
        times, present = self.times_s[frames], self.present[frames]
        return Evidence(groups, times, frame_weights(times, present), present, self.size_px)


def body_segments() -> list[tuple[str, str]]:
    """Pairs of body landmarks whose direction in space tells the pose."""
    pairs = [("left_hip", "right_hip"), ("left_shoulder", "right_shoulder"), ("left_ear", "right_ear")]
    for side in SIDES:
        pairs += [
            (f"{side}_{a}", f"{side}_{b}")
            for a, b in (
                ("hip", "shoulder"), ("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "index"), ("wrist", "pinky"),
                ("hip", "knee"), ("knee", "ankle"), ("heel", "foot_index"), ("ankle", "foot_index"), ("ear", "nose"),
            )
        ]  # fmt: skip
    pairs[-1] = ("right_ear", "nose")
    return [(a, b.replace("left_nose", "nose").replace("right_nose", "nose")) for a, b in pairs]


def hand_segments() -> list[tuple[str, str]]:
    """Pairs of hand landmarks whose direction in space tells the hand's pose."""
    pairs = [("index_mcp", "pinky_mcp")]
    for finger in HAND_FINGERS:
        chain = ["cmc", "mcp", "ip", "tip"] if finger == "thumb" else ["mcp", "pip", "dip", "tip"]
        names = ["wrist"] + [f"{finger}_{j}" for j in chain]
        pairs += itertools.pairwise(names)
    return pairs


RIGID_FACE = (
    1, 4, 5, 6, 168, 195, 197, 98, 327, 9, 10, 151, 67, 297, 33, 133, 263, 362, 127, 356, 234, 454, 93, 323, 50, 280, 205,
    425, 116, 345,
)  # fmt: skip
"""Points of the 478-point face mesh that follow the skull: nose, brow, temples, eye corners, cheek bones."""
EXPRESSIVE_FACE = (
    159, 145, 386, 374, 158, 153, 385, 380, 160, 144, 387, 373, 13, 14, 0, 17, 61, 291, 78, 308, 37, 267, 84, 314, 105,
    334, 66, 296, 107, 336, 70, 300, 152, 148, 377, 199,
)  # fmt: skip
"""Points that facial actions move: lids, lips, brows, chin."""

FACE_SEGMENTS = (("234", "454"), ("10", "152"), ("6", "1"))
"""Across, down and out of the face; those whose points are modelled are used."""


def frame_weights(times_s: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Time that each frame stands for, in units of 1 / RATE_HZ; lone frames count once, gaps do not count."""
    if len(times_s) < 2:
        return present.astype(np.float64)
    step = np.clip(np.diff(times_s), 1e-3, 0.25)
    spans = np.concatenate([step[:1], 0.5 * (step[1:] + step[:-1]), step[-1:]])
    return spans * RATE_HZ * present


def gather(observations: Observations, landmarks: LandmarkModel, focal_px: float) -> Evidence:
    """Sort the observations into groups.

    Args:
        observations: Of any estimator.
        landmarks: The body's landmark model.
        focal_px: For turning directions from the person's own line of sight to camera axes.
    """
    columns = landmark_columns(landmarks, observations.landmark_names)
    xy = observations.xy_px.double().numpy()[:, columns]
    xyz = observations.xyz_camera_m.double().numpy()[:, columns]
    confidence = observations.confidence.double().numpy()[:, columns]
    present = observations.present.numpy()
    confidence = confidence * present[:, None] * (confidence >= _MIN_CONFIDENCE)
    size = (observations.width_px, observations.height_px)
    seen = confidence * _inside(xy, size)
    times = observations.times_s.double().numpy()
    groups = []
    parts = {name: [i for i, n in enumerate(landmarks.names) if n.startswith(f"{name}/")] for name in
             ("body", "left_hand", "right_hand", "face")}  # fmt: skip
    found = {name: seen[:, index].mean(1) if index else np.zeros(len(seen)) for name, index in parts.items()}
    for name, index in parts.items():
        if not index:
            continue
        points = np.array(index)
        short = [landmarks.names[i].split("/")[1] for i in index]
        precision = seen[:, points] ** 2 * _precisions(name, short)
        if name == "body":
            precision = precision * _shadow(short, found)
        pairs = _pairs(name, short)
        rays = line_of_sight(xy[:, points], confidence[:, points], size, focal_px)
        directions, strength = _directions(xyz[:, points], confidence[:, points], pairs, rays)
        strength = strength * _direction_precisions(short, pairs)
        groups.append(Group(name, points, xy[:, points], precision, seen[:, points], pairs, directions, strength))
    return Evidence(tuple(groups), times, frame_weights(times, present), present, size)


def _inside(xy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """1 inside the image, 0 well outside: what the network places beyond the border is its guess."""
    margin = 0.01 * max(size)
    beyond = np.maximum(np.maximum(-xy, xy - np.array(size)), 0.0).max(-1)
    return np.clip(1.0 - beyond / margin, 0.0, 1.0)


def _precisions(group: str, short: list[str]) -> np.ndarray:
    # Many points of one detection err together: a face or a hand counts like some eight independent ones.
    if group == "face":
        rigid = np.array([int(n) in RIGID_FACE for n in short], dtype=np.float64)
        return rigid * min(1.0, 8.0 / max(rigid.sum(), 1.0)) / _FACE_SIGMA_M**2
    if group != "body":
        return np.full(len(short), min(1.0, 8.0 / len(short)) / _HAND_SIGMA_M**2)
    bare = [n.removeprefix("left_").removeprefix("right_") if n not in HEAD_POINTS else n for n in short]
    return np.array([1.0 / _SIGMA_M.get(n, _HEAD_SIGMA_M) ** 2 for n in bare])


def _direction_precisions(short: list[str], pairs: np.ndarray) -> np.ndarray:
    bare = [n.removeprefix("left_").removeprefix("right_") for n in short]
    return np.array([_DIRECTION_SPREADS.get(f"{bare[a]}-{bare[b]}", 1.0) ** -2 for a, b in pairs])


def _shadow(short: list[str], found: dict[str, np.ndarray]) -> np.ndarray:
    """Less weight to the body's own hand and head points where the hand or the face was found."""
    out = np.ones((len(found["body"]), len(short)))
    for i, name in enumerate(short):
        for side in SIDES:
            if name in (f"{side}_pinky", f"{side}_index", f"{side}_thumb"):
                out[:, i] = 1.0 - (1.0 - _SHADOWED) * np.minimum(1.0, 1.5 * found[f"{side}_hand"])
        if name in HEAD_POINTS:
            out[:, i] = 0.6 * (1.0 - (1.0 - _SHADOWED) * np.minimum(1.0, 1.5 * found["face"]))
    return out


def _pairs(group: str, short: list[str]) -> np.ndarray:
    wanted = {"body": body_segments(), "face": FACE_SEGMENTS}.get(group, hand_segments())
    place = {n: i for i, n in enumerate(short)}
    return np.array([(place[a], place[b]) for a, b in wanted if a in place and b in place], dtype=np.int64).reshape(
        -1, 2
    )


def line_of_sight(xy: np.ndarray, confidence: np.ndarray, size: tuple[int, int], focal_px: float) -> np.ndarray:
    """Rotation that turns the optical axis to the line of sight of each frame's points.

    Landmark networks look at a crop: what they call depth runs along the line of sight, not along the camera's axis.
    """
    weight = confidence[..., None] + 1e-9
    centre = (xy * weight).sum(1) / np.maximum(weight.sum(1), 1e-9)  # 0 for a body without points of this group
    offset = np.where(confidence.sum(1)[:, None] > 0, centre - 0.5 * np.array(size), 0.0) / focal_px
    ray = unit(np.stack([offset[:, 0], -offset[:, 1], -np.ones(len(xy))], -1))
    axis = np.array([0.0, 0.0, -1.0])
    K = hat(np.cross(axis, ray))
    return np.eye(3) + K + K @ K / (1.0 + ray @ axis)[:, None, None]


def _directions(
    xyz_camera: np.ndarray, confidence: np.ndarray, pairs: np.ndarray, rays: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    world = np.einsum("fij,fpj->fpi", rays, xyz_camera * CAMERA_TO_WORLD)
    vectors = world[:, pairs[:, 1]] - world[:, pairs[:, 0]]
    length = np.linalg.norm(vectors, axis=-1)
    weight = confidence[:, pairs[:, 0]] * confidence[:, pairs[:, 1]] * (length > 1e-6)
    return unit(vectors), weight


def controls_above(controls: Controls, nodes: np.ndarray, active: np.ndarray) -> np.ndarray:
    """The active controls that move any of the nodes."""
    reach = controls.below[nodes].any(0)
    moving = np.abs(controls.axes).sum(1) > 0
    return active[moving[reach][:, active].any(0)]
