"""A first pose for every frame in closed form: root by Kabsch, distance by weak perspective, limbs by two directions.

Gauss-Newton needs a start on the right side of every limb. Arms and legs get it from the directions of their two
segments; the hinge of a nearly straight limb is taken from the rest pose, since a straight limb is a saddle of the cost.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from bodydouble.body.humanoid import SIDES
from bodydouble.body.protocol import BodyModel
from bodydouble.core.errors import NoSubjectError
from bodydouble.fit.controls import Controls, arm_frames, leg_frames, unit
from bodydouble.fit.evidence import Evidence, Group
from bodydouble.fit.kinematics import Rest, exp_so3, log_so3, unwrap_rotvecs
from bodydouble.fit.landmarks import LandmarkModel
from bodydouble.fit.state import State

_TORSO = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")


def initial_state(
    body: BodyModel,
    landmarks: LandmarkModel,
    controls: Controls,
    rest: Rest,
    evidence: Evidence,
    shape: np.ndarray,
    focal_px: float,
) -> State:
    """A first state from closed forms.

    Raises:
        NoSubjectError: When no frame shows enough of the torso.
    """
    group = evidence.group("body")
    seen = _torso_seen(group, landmarks) & evidence.present
    if not seen.any():
        raise NoSubjectError(
            "No frame shows enough of a person to fit a body: shoulders or hips must be seen in at least one frame, "
            "found none. Use a clip that shows the person from the thighs up or whole."
        )
    R_root = _fill(_root_rotations(group, landmarks, rest, seen), seen)
    translation = _translations(group, landmarks, rest, R_root, evidence, focal_px, seen)
    theta = np.tile(controls.array("mean"), (len(seen), 1))
    joints = body.with_shape(body.shape_default).joints_rest.detach().double().numpy()
    for side in SIDES:
        _start_limb(theta, R_root, group, landmarks, controls, body, joints, side, "arm")
        _start_limb(theta, R_root, group, landmarks, controls, body, joints, side, "leg")
    return State(R_root, translation, theta, shape, float(np.log(focal_px)), np.zeros_like(landmarks.offsets))


def _column(group: Group, landmarks: LandmarkModel, name: str) -> int:
    return int(np.nonzero(group.points == landmarks.index(f"body/{name}"))[0][0])


def _torso_seen(group: Group, landmarks: LandmarkModel) -> np.ndarray:
    """At least two torso corners."""
    columns = [_column(group, landmarks, n) for n in _TORSO]
    return (group.precision[:, columns] > 0).sum(1) >= 2


def _direction(group: Group, landmarks: LandmarkModel, first: str, second: str) -> np.ndarray:
    pair = (_column(group, landmarks, first), _column(group, landmarks, second))
    slot = next(i for i, p in enumerate(group.pairs) if tuple(p) == pair)
    return group.directions_world[:, slot]


def _root_rotations(group: Group, landmarks: LandmarkModel, rest: Rest, seen: np.ndarray) -> np.ndarray:
    """Kabsch between the torso's segments at rest and as seen (directions, so that sizes do not matter)."""
    pairs = [("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")]
    pairs += [(f"{s}_hip", f"{s}_shoulder") for s in SIDES]
    B = np.zeros((len(seen), 3, 3))
    for first, second in pairs:
        a, b = (landmarks.index(f"body/{n}") for n in (first, second))
        B += _direction(group, landmarks, first, second)[:, :, None] * unit(rest.points[b] - rest.points[a])
    # Across and along span a plane; their cross product settles the third axis.
    across = unit(_direction(group, landmarks, *pairs[0]) + _direction(group, landmarks, *pairs[1]))
    up = unit(np.sum([_direction(group, landmarks, *p) for p in pairs[2:]], axis=0))
    B += unit(np.cross(across, up))[:, :, None] * unit(np.cross([-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]))
    U, _, Vt = np.linalg.svd(B)
    sign = np.linalg.det(U @ Vt)
    U[:, :, 2] *= sign[:, None]
    return U @ Vt


def _fill(R: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Rotations of unseen frames: those of the nearest seen frame."""
    known = np.nonzero(seen)[0]
    nearest = known[np.abs(np.arange(len(seen))[:, None] - known).argmin(1)]
    return R[nearest]


def _translations(
    group: Group,
    landmarks: LandmarkModel,
    rest: Rest,
    R_root: np.ndarray,
    evidence: Evidence,
    focal_px: float,
    seen: np.ndarray,
) -> np.ndarray:
    """Root translation from the size and place of the torso and head in the image."""
    names = [*_TORSO, "nose", "left_ear", "right_ear"]
    columns = [_column(group, landmarks, n) for n in names]
    points = rest.points[[landmarks.index(f"body/{n}") for n in names]] - rest.joints[0]
    model = np.einsum("fij,pj->fpi", R_root, points)
    weight = group.precision[:, columns]
    weight = weight / np.maximum(weight.sum(1, keepdims=True), 1e-12)
    xy = group.xy_px[:, columns] - 0.5 * np.array(evidence.size_px)
    flat = model[..., :2] * np.array([1.0, -1.0])
    centre_px, centre = ((weight[..., None] * v).sum(1, keepdims=True) for v in (xy, flat))
    spread_px, spread = (
        np.sqrt((weight * ((v - c) ** 2).sum(-1)).sum(1)) for v, c in ((xy, centre_px), (flat, centre))
    )
    depth = focal_px * spread / np.maximum(spread_px, 1e-3)
    known = np.nonzero(seen & (spread_px > 1e-3))[0]
    every = np.arange(len(seen))
    depth = np.interp(every, known, _running_median(depth[known], 9))
    place = np.stack([np.interp(every, known, centre_px[known, 0, i]) for i in range(2)], -1)
    lateral = place * depth[:, None] / focal_px - centre[:, 0]
    root = np.stack([lateral[:, 0], -lateral[:, 1], -depth], -1)
    return root - rest.joints[0]


def _running_median(values: np.ndarray, width: int) -> np.ndarray:
    from scipy.ndimage import median_filter

    return median_filter(values, size=width, mode="nearest")


def _swing(start: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Smallest rotation from one direction to each of many."""
    axis = np.cross(start, ends)
    angle = np.arctan2(np.linalg.norm(axis, axis=-1), ends @ start)
    return exp_so3(unit(axis) * angle[:, None])


def limb_axes(
    first: Float[np.ndarray, "frames 3"], second: Float[np.ndarray, "frames 3"], frame: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "frames 3 3"]:
    """Right-handed axes of a limb, as rows: its hinge, its first segment, and what is across both.

    Args:
        first, second: Unit directions of the limb's segments; 0 where nobody saw them.
        frame: The same axes at rest, which a limb has whose first segment was not seen.
    """
    first = np.where(np.linalg.norm(first, axis=-1, keepdims=True) > 0.5, first, frame[1])
    default = _swing(frame[1], first) @ frame[0]
    normal = np.cross(first, second)
    # A positive hinge angle bends further, so a seen normal that contradicts the default is noise of a straight limb.
    sharp = np.clip((np.linalg.norm(normal, axis=-1) - 0.2) / 0.3, 0.0, 1.0)[:, None]
    hinge = sharp * unit(normal) + (1.0 - sharp) * default
    hinge -= first * (hinge * first).sum(-1, keepdims=True)
    hinge = np.where(np.linalg.norm(hinge, axis=-1, keepdims=True) > 1e-6, unit(hinge), default)
    return np.stack([hinge, first, np.cross(hinge, first)], -2)


def _start_limb(
    theta: np.ndarray,
    R_root: np.ndarray,
    group: Group,
    landmarks: LandmarkModel,
    controls: Controls,
    body: BodyModel,
    joints: np.ndarray,
    side: str,
    limb: str,
) -> None:
    """Write first angles of an arm (shoulder, elbow) or a leg (hip, knee) into `theta`."""
    arm = limb == "arm"
    marks = [f"{side}_{n}" for n in (("shoulder", "elbow", "wrist") if arm else ("hip", "knee", "ankle"))]
    bones = [f"{side}{n}" for n in (("UpperArm", "LowerArm", "Hand") if arm else ("UpperLeg", "LowerLeg", "Foot"))]
    at = [body.bone_names.index(body.humanoid[b]) for b in bones]
    frame = arm_frames(joints, *at) if arm else leg_frames(joints, *at[:2])
    root_name, hinge_name = ("shoulder", "elbow") if arm else ("hip", "knee")
    seen = group.precision[:, [_column(group, landmarks, m) for m in marks[:2]]].min(1) > 0

    to_root = np.swapaxes(R_root, -1, -2)
    first = np.einsum("fij,fj->fi", to_root, _direction(group, landmarks, marks[0], marks[1]))
    second = np.einsum("fij,fj->fi", to_root, _direction(group, landmarks, marks[1], marks[2]))
    rotvecs = log_so3(np.swapaxes(limb_axes(first, second, frame), -1, -2) @ frame)
    local = unwrap_rotvecs(rotvecs) @ frame.T
    rest_second = unit(joints[at[2]] - joints[at[1]])
    bend = np.arccos(np.clip((first * second).sum(-1), -1, 1)) - np.arccos(np.clip(frame[1] @ rest_second, -1, 1))
    for axis, name in enumerate(("bend", "twist", "raise")):
        theta[seen, controls.index(f"{side}_{root_name}_{name}")] = local[seen, axis]
    k = controls.index(f"{side}_{hinge_name}_bend")
    theta[seen, k] = np.clip(bend, controls.dofs[k].lower + 0.15, controls.dofs[k].upper)[seen]
