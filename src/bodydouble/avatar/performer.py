"""A captured performer: somebody else's skeleton brought to +Y up, with each bone's anatomy worked out.

What a rotation in a motion file means depends on the skeleton's zero pose, which every program chooses differently. Here
each recognised bone gets a *calibration* C: the rotation that this program's bone (no rest rotation, body upright and
facing +Z) would have at the moment when the source joint has the identity. The world rotation of our bone is then the
source joint's world rotation times C, in every frame.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.anatomy import FINGER_BONES, frame_of, shortest_turn
from bodydouble.avatar.bvh import SourceMotion
from bodydouble.avatar.humanoid import common_ancestor, guess_humanoid, path_between
from bodydouble.body.humanoid import FINGERS
from bodydouble.core.errors import InputError
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.core.struct import TensorStruct, tensor_struct

LIMBS: tuple[tuple[str, ...], ...] = (("UpperLeg", "LowerLeg", "Foot"), ("UpperArm", "LowerArm", "Hand"))

_Y_UP = {
    "y": torch.eye(3, dtype=torch.float64),
    "z": torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=torch.float64),
}


@tensor_struct
class Performer(TensorStruct):
    """World rotations and positions of a source skeleton, +Y up, in the source's unit of length."""

    fps_hz: float
    humanoid: dict[str, int]
    """VRM bone name -> joint."""
    parents: tuple[int, ...]
    R_world_joint: Float[Tensor, "frames joints 3 3"]
    joints_world: Float[Tensor, "frames joints 3"]
    offsets: Float[Tensor, "joints 3"]
    tips: Float[Tensor, "joints 3"]

    def toward(self, joint: int, others: list[int]) -> Float[Tensor, "3"]:
        """Direction, in the joint's own frame, to the middle of joints below it; 0 where they coincide."""
        zero = torch.stack([self._place(joint, other) for other in others]).mean(0)
        return torch.nn.functional.normalize(zero, dim=0) if float(zero.norm()) > 1e-6 else torch.zeros_like(zero)

    def _place(self, joint: int, other: int) -> Tensor:
        """Where a joint below lies in the frame of another, all rotations between them being the identity."""
        total = torch.zeros(3, dtype=self.offsets.dtype)
        while other != joint and other >= 0:
            total = total + self.offsets[other]
            other = self.parents[other]
        return total


def read_performer(source: SourceMotion, up_axis: str = "auto") -> Performer:
    """Recognise the bones of a source skeleton and bring its motion to +Y up.

    Args:
        source: A motion file's content.
        up_axis: `y`, `z`, or `auto` to find it from where the head is over the hips.
    Raises:
        InputError: When hips, legs or a head cannot be recognised by name.
    """
    parents = source.joint_parents
    names = guess_humanoid(source.joint_names, parents)
    humanoid = {human: source.joint_names.index(name) for human, name in names.items()}
    needed = ("hips", "leftUpperLeg", "rightUpperLeg", "leftLowerLeg", "rightLowerLeg")
    missing = [h for h in needed if h not in humanoid] + ([] if {"head", "neck"} & set(humanoid) else ["head"])
    if missing:
        raise InputError(
            f"The skeleton of motion {source.name!r} has no recognisable {', '.join(missing)} among its joints "
            f"({', '.join(source.joint_names)[:200]}). Rename its joints after Mixamo's (Hips, LeftUpLeg, Head, ...)."
        )
    offsets = source.offsets.double()
    R_world, positions = _forward_kinematics(source, offsets)
    top = humanoid.get("head", humanoid.get("neck"))
    assert top is not None  # asked for above
    up = (positions[:, top] - positions[:, humanoid["hips"]]).mean(0)
    axis = up_axis if up_axis in _Y_UP else ("z" if float(up[2]) > float(up[1]) else "y")
    R_y_up = _Y_UP[axis]
    return Performer(
        fps_hz=source.fps_hz,
        humanoid=humanoid,
        parents=parents,
        R_world_joint=R_y_up @ R_world,
        joints_world=positions @ R_y_up.T,
        offsets=offsets,
        tips=source.tips.double(),
    )


def _forward_kinematics(source: SourceMotion, offsets: Tensor) -> tuple[Tensor, Tensor]:
    R_local = source.R_parent_joint.double()
    R: list[Tensor] = []
    p: list[Tensor] = []
    for joint, parent in enumerate(source.joint_parents):
        if parent < 0:
            R.append(R_local[:, joint])
            p.append(source.root_position.double())
        else:
            R.append(R[parent] @ R_local[:, joint])
            p.append(p[parent] + R[parent] @ offsets[joint])
    return torch.stack(R, 1), torch.stack(p, 1)


def spine_chain(performer: Performer) -> list[int]:
    """Joints from the lowest of the spine to the one that carries the neck."""
    humanoid = performer.humanoid
    top = humanoid.get("neck", humanoid.get("head", -1))
    start = common_ancestor([humanoid["hips"], top], performer.parents)
    return path_between(start, top, performer.parents) if start >= 0 else []


def calibrate(
    performer: Performer, rest_directions: dict[str, Tensor], rest_hinges: dict[str, Tensor]
) -> dict[str, Float[Tensor, "3 3"]]:
    """The calibration C of every recognised bone, by VRM name, and of each joint of the spine (`spine/<joint>`).

    Torso, neck, head and collar bones are taken to stand straight in the zero pose; limbs and fingers are turned the
    shortest way from our rest direction into the source's. A zero pose that is no pose of a person (skeletons whose
    joints all point along one axis) is seen as such, and its torso, thighs and upper arms are calibrated from the
    motion itself: from the lines of hips and shoulders, and from the axes about which knees and elbows bend.

    Args:
        performer: The source.
        rest_directions: Direction of our bone in its rest pose, by VRM name.
        rest_hinges: Axis about which our knees and elbows bend in the rest pose, by VRM name of the upper bone.
    """
    torso = _zero_pose_axes(performer)
    if torso is not None:
        C = dict.fromkeys(performer.humanoid, torso)
        C.update({f"spine/{joint}": torso for joint in spine_chain(performer)})
    else:
        C = _torso_from_motion(performer)
    for side in ("left", "right"):
        for limb in LIMBS:
            _calibrate_limb(C, performer, [side + part for part in limb], rest_directions, rest_hinges, torso is None)
        _calibrate_hand(C, performer, side, rest_directions)
    return C


def _zero_pose_axes(performer: Performer) -> Tensor | None:
    """Left, up and forward (columns) of a zero pose in which a person could stand; none when nobody could."""
    humanoid, parents = performer.humanoid, performer.parents
    zero: list[Tensor] = []
    for joint, parent in enumerate(parents):
        zero.append(performer.offsets[joint] * 0 if parent < 0 else zero[parent] + performer.offsets[joint])
    hips = (zero[humanoid["leftUpperLeg"]] + zero[humanoid["rightUpperLeg"]]) / 2
    axes = _axes(
        zero[humanoid["leftUpperLeg"]] - zero[humanoid["rightUpperLeg"]],
        zero[humanoid.get("neck", humanoid.get("head", 0))] - hips,
    )
    if axes is None:
        return None
    left, up = axes[:, 0], axes[:, 1]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        upper, lower = humanoid[f"{side}UpperLeg"], humanoid[f"{side}LowerLeg"]
        thigh = torch.nn.functional.normalize(zero[lower] - zero[upper], dim=0)
        if float(thigh @ up) > -0.6:
            return None
        if f"{side}UpperArm" in humanoid and f"{side}LowerArm" in humanoid:
            arm = zero[humanoid[f"{side}LowerArm"]] - zero[humanoid[f"{side}UpperArm"]]
            arm = torch.nn.functional.normalize(arm, dim=0)
            if float(arm @ left) * sign < -0.3 or float(arm @ up) > 0.6:
                return None
    return _snapped(axes, 30.0)


def _torso_from_motion(performer: Performer) -> dict[str, Tensor]:
    """Calibrations of the torso's bones from the lines of hips and shoulders, averaged over the motion."""
    humanoid, p = performer.humanoid, performer.joints_world
    hips = (p[:, humanoid["leftUpperLeg"]] + p[:, humanoid["rightUpperLeg"]]) / 2
    across_hips = p[:, humanoid["leftUpperLeg"]] - p[:, humanoid["rightUpperLeg"]]
    top = humanoid.get("neck", humanoid.get("head", 0))
    chain = spine_chain(performer)
    F_hips = _axes_batch(across_hips, p[:, chain[len(chain) // 2] if chain else top] - hips)
    F_chest = F_hips
    if "leftUpperArm" in humanoid and "rightUpperArm" in humanoid:
        across = p[:, humanoid["leftUpperArm"]] - p[:, humanoid["rightUpperArm"]]
        F_chest = _axes_batch(across, p[:, top] - hips)

    def mean_of(joint: int, F: Tensor) -> Tensor:
        return _snapped(_mean_rotation(performer.R_world_joint[:, joint].transpose(1, 2) @ F), 35.0)

    C = {human: mean_of(joint, F_chest) for human, joint in humanoid.items()}
    C["hips"] = mean_of(humanoid["hips"], F_hips)
    for place, joint in enumerate(chain):
        C[f"spine/{joint}"] = mean_of(joint, F_hips if place < len(chain) / 2 else F_chest)
    return C


def _calibrate_limb(
    C: dict[str, Tensor],
    performer: Performer,
    bones: list[str],
    rest_directions: dict[str, Tensor],
    rest_hinges: dict[str, Tensor],
    from_motion: bool,
) -> None:
    """Turn each bone of a limb from the bone above it into the source's direction."""
    upper, lower, end = bones
    joints = performer.humanoid
    if upper not in joints or lower not in joints:
        return
    previous = C[upper]
    for bone, following in ((upper, lower), (lower, end)):
        if bone not in joints:
            return
        direction = performer.toward(joints[bone], [joints[following]]) if following in joints else previous[:, 0] * 0
        C[bone] = _turned(previous, rest_directions.get(bone), direction)
        if bone == upper and from_motion:
            hinge = _bending_axis(performer, joints[upper], joints[lower], joints.get(end))
            if hinge is not None and upper in rest_directions:
                C[bone] = frame_of(direction, hinge) @ frame_of(rest_directions[upper], rest_hinges[upper]).T
        previous = C[bone]
    if end in joints:
        below = [j for j, parent in enumerate(performer.parents) if parent == joints[end]]
        if end.endswith("Foot") and below:
            toe_bone = end.replace("Foot", "Toes")
            toes = [joints[toe_bone]] if toe_bone in joints else below
            # How steep the line from ankle to toes is, every skeleton chooses for itself; a sole on the floor is flat.
            flat = _flat_foot_from_motion(performer, joints[end], toes) if from_motion else None
            if not from_motion:
                direction = C["hips"].T @ performer.toward(joints[end], toes)
                flat = _heading(direction, rest_directions.get(end))
                flat = None if flat is None else C["hips"] @ flat
            if flat is None:
                flat = _turned(previous, rest_directions.get(end), performer.toward(joints[end], toes))
            C[end] = flat
            if toe_bone in joints:
                C[toe_bone] = flat
        else:
            C[end] = previous


def _heading(direction: Tensor, rest_direction: Tensor | None) -> Tensor | None:
    """The turn about +Y from a rest direction to another, both seen from above; none where one is too steep."""
    if rest_direction is None:
        return None
    a, b = rest_direction[[0, 2]], direction[[0, 2]]
    if float(a.norm()) < 0.3 or float(b.norm()) < 0.3:
        return None
    angle = torch.atan2(b[0], b[1]) - torch.atan2(a[0], a[1])
    return rotvec_to_matrix(torch.stack([angle * 0, angle, angle * 0]))


def _flat_foot_from_motion(performer: Performer, foot: int, toes: list[int]) -> Tensor | None:
    """Calibration of a foot from the frames in which its toes rest: there its sole is taken to lie flat."""
    p, R = performer.joints_world, performer.R_world_joint[:, foot]
    place = p[:, toes].mean(1)
    line = place - p[:, foot]
    speed = torch.zeros(len(p), dtype=p.dtype)
    speed[1:] = (place[1:] - place[:-1]).norm(dim=1)
    resting = speed <= torch.quantile(speed, 0.3)
    slope = torch.atan2(line[:, 1], line[:, [0, 2]].norm(dim=1))
    usual = torch.quantile(slope[resting], 0.5)
    resting &= ((slope - usual).abs() < 0.2) & (line[:, [0, 2]].norm(dim=1) > 1e-3 * line.norm(dim=1))
    if not bool(resting.any()):
        return None
    angle = torch.atan2(line[resting, 0], line[resting, 2])
    R_heading = rotvec_to_matrix(torch.stack([angle * 0, angle, angle * 0], dim=-1))
    return _mean_rotation(R[resting].transpose(1, 2) @ R_heading)


def _mean_rotation(R: Float[Tensor, "n 3 3"]) -> Float[Tensor, "3 3"]:
    """The rotation next to the mean of rotation matrices."""
    u, _, vt = torch.linalg.svd(R.mean(0))
    flip = torch.diag(torch.tensor([1.0, 1.0, float(torch.det(u @ vt).sign())], dtype=R.dtype))
    return u @ flip @ vt


def _calibrate_hand(C: dict[str, Tensor], performer: Performer, side: str, rest_directions: dict[str, Tensor]) -> None:
    joints = performer.humanoid
    hand = f"{side}Hand"
    if hand not in joints:
        return
    knuckles = [f"{side}{finger}Proximal" for finger in FINGERS[1:]]
    found = [k for k in knuckles if k in joints and k in rest_directions]
    across = f"{side}across"
    if len(found) >= 2 and across in rest_directions:
        forward = performer.toward(joints[hand], [joints[k] for k in found])
        first, last = (
            performer._place(joints[hand], joints[found[0]]),
            performer._place(joints[hand], joints[found[-1]]),
        )
        if float(forward.norm()) > 0 and float(torch.linalg.cross(forward, last - first).norm()) > 1e-6:
            C[hand] = frame_of(forward, last - first) @ frame_of(rest_directions[hand], rest_directions[across]).T
    for finger, segments in FINGER_BONES.items():
        bones = [f"{side}{finger}{segment}" for segment in segments]
        previous = C[hand]
        for bone, following in itertools.zip_longest(bones, bones[1:]):
            if bone not in joints:
                break
            if following in joints:
                direction = performer.toward(joints[bone], [joints[following]])
                previous = _turned(previous, rest_directions.get(bone), direction)
            C[bone] = previous


def _bending_axis(performer: Performer, upper: int, lower: int, end: int | None) -> Tensor | None:
    """Axis about which a knee or elbow bends, in the upper joint's frame; none when it never bends by 10 degrees."""
    if end is None:
        return None
    p = performer.joints_world
    first, second = p[:, lower] - p[:, upper], p[:, end] - p[:, lower]
    length = (first.norm(dim=1) * second.norm(dim=1)).clamp_min(1e-12)
    axes_world = torch.linalg.cross(first, second) / length[:, None]
    axes = (performer.R_world_joint[:, upper].transpose(1, 2) @ axes_world[:, :, None])[:, :, 0]
    bent = axes.norm(dim=1) > 0.17
    if not bool(bent.any()):
        return None
    axis = axes[bent].sum(0)
    return torch.nn.functional.normalize(axis, dim=0) if float(axis.norm()) > 1e-6 else None


def _turned(R: Tensor, rest_direction: Tensor | None, direction: Tensor) -> Tensor:
    """R, turned the shortest way such that it takes the rest direction into another; R where either is unknown."""
    if rest_direction is None or float(direction.norm()) < 0.5 or float(rest_direction.norm()) < 0.5:
        return R
    return shortest_turn(R @ rest_direction, direction) @ R


def _axes_batch(left: Float[Tensor, "n 3"], up: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    """Left, up, forward as columns; up leads."""
    up = torch.nn.functional.normalize(up, dim=-1)
    left = torch.nn.functional.normalize(left - (left * up).sum(-1, keepdim=True) * up, dim=-1)
    return torch.stack([left, up, torch.linalg.cross(left, up)], dim=-1)


def _axes(left: Tensor, up: Tensor) -> Tensor | None:
    if float(torch.linalg.cross(left, up).norm()) < 1e-3 * float(left.norm() * up.norm()) or float(up.norm()) == 0:
        return None
    return _axes_batch(left[None], up[None])[0]


def _snapped(R: Tensor, within_deg: float) -> Tensor:
    """The rotation by quarter turns next to R if it is near enough, else R: skeletons are built along axes."""
    best, best_trace = R, 1.0 + 2.0 * float(torch.cos(torch.deg2rad(torch.tensor(within_deg))))
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            candidate = torch.zeros(3, 3, dtype=R.dtype)
            for row, (column, sign) in enumerate(zip(order, signs, strict=True)):
                candidate[row, column] = sign
            trace = float((candidate * R).sum())
            if float(torch.det(candidate)) > 0 and trace > best_trace:
                best, best_trace = candidate, trace
    return best
