"""The few numbers that pose a body: which bones they turn, how far they may go, how fast they may change.

A body has about a hundred bones; an estimator can tell some sixty angles of the body and twenty of each hand. Every
control is one angle. It turns one bone or, as in the spine, several bones in equal parts: `rotvec(bone) = A[bone] theta`.
The root's rotation is not among them: it turns freely and is kept as a matrix.

Bones are found through the humanoid map and the chains between its bones, so any body of the protocol can be posed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bodydouble.body.humanoid import FINGERS, SIDES
from bodydouble.body.parts import finger_flexion_axes
from bodydouble.body.protocol import BodyModel
from bodydouble.core.errors import ConfigError


@dataclass(frozen=True)
class Dof:
    """One angle: the bones it turns, each about its own axis (rest frame, unit or a share of it), and its limits."""

    name: str
    part: str
    """body, left_hand or right_hand."""
    bones: tuple[int, ...]
    axes: np.ndarray
    """[bones of this angle, 3]"""
    mean: float
    sigma: float
    """Spread of the prior, radians."""
    lower: float
    upper: float
    agility: float
    """Spectral density of the angular acceleration, rad / s^2 / sqrt(Hz): larger may change faster."""


@dataclass(frozen=True)
class Controls:
    """The restricted skeleton: nodes are the bones that some control turns (node 0 is the root), and their controls."""

    dofs: tuple[Dof, ...]
    node_bones: np.ndarray
    """[nodes] bone index of each node; parents come first."""
    node_parents: np.ndarray
    """[nodes] nearest node above; -1 for the root."""
    node_of_bone: np.ndarray
    """[bones] the node that carries each bone: itself or the nearest one above."""
    axes: np.ndarray
    """[nodes, 3, controls]: rotvec of a node is axes @ theta."""
    below: np.ndarray
    """[nodes, nodes] true where the column's node is the row's node or above it."""

    def indices(self, *parts: str) -> np.ndarray:
        """Which controls belong to any of the parts."""
        return np.array([i for i, d in enumerate(self.dofs) if d.part in parts], dtype=np.int64)

    def index(self, name: str) -> int:
        """The control of this name."""
        return next(i for i, d in enumerate(self.dofs) if d.name == name)

    def array(self, field: str) -> np.ndarray:
        """One field of all controls."""
        return np.array([getattr(d, field) for d in self.dofs], dtype=np.float64)


@dataclass(frozen=True)
class _Rest:
    """Names and rest joints of a body, with the look-ups that building controls needs."""

    body: BodyModel
    joints: np.ndarray
    flexion: np.ndarray
    """[bones, 3] axis about which each finger bone bends towards the palm."""

    def bone(self, humanoid: str) -> int:
        name = self.body.humanoid.get(humanoid)
        if name is None or name not in self.body.bone_names:
            raise ConfigError(
                f"The body {self.body.name} cannot be fitted: its humanoid map must name a bone for {humanoid}, "
                f"found {name!r}. Complete the map of the body's adapter."
            )
        return self.body.bone_names.index(name)

    def chain(self, top: str, bottom: str) -> list[int]:
        """Bones from `top` down to above `bottom`."""
        bones, b = [], self.body.bone_parents[self.bone(bottom)]
        while b >= 0:
            bones.append(b)
            if b == self.bone(top):
                return bones[::-1]
            b = self.body.bone_parents[b]
        raise ConfigError(
            f"The body {self.body.name} cannot be fitted: {bottom} must hang below {top} in its skeleton. "
            "Check the humanoid map of the body's adapter."
        )


def unit(v: np.ndarray) -> np.ndarray:
    """Vectors of length one along the last axis (zero stays zero)."""
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)


def build_controls(body: BodyModel) -> Controls:
    """Controls of a body, from its humanoid map and the rest joints of its default shape.

    Raises:
        ConfigError: When the humanoid map lacks a bone that fitting needs.
    """
    joints = body.with_shape(body.shape_default).joints_rest.detach()
    fingers = "leftIndexProximal" in body.humanoid
    flexion = finger_flexion_axes(body.bone_names, body.humanoid, joints) if fingers else torch.zeros_like(joints)
    rest = _Rest(body, joints.double().numpy(), flexion.double().numpy())
    dofs = _trunk(rest)
    for side in SIDES:
        dofs += _arm(rest, side) + _leg(rest, side)
    for side in SIDES if fingers else ():
        dofs += _hand(rest, side)
    return _assemble(body, rest.bone("hips"), dofs)


def _assemble(body: BodyModel, root: int, dofs: list[Dof]) -> Controls:
    turned = sorted({b for d in dofs for b in d.bones} | {root})
    node = {b: i for i, b in enumerate(turned)}
    node_of_bone = np.zeros(len(body.bone_names), dtype=np.int64)
    for b, parent in enumerate(body.bone_parents):
        node_of_bone[b] = node[b] if b in node else (node_of_bone[parent] if parent >= 0 else 0)
    parents = np.full(len(turned), -1, dtype=np.int64)
    for i, b in enumerate(turned):
        if i > 0:
            parents[i] = node_of_bone[body.bone_parents[b]]
    axes = np.zeros((len(turned), 3, len(dofs)))
    for k, dof in enumerate(dofs):
        for b, axis in zip(dof.bones, dof.axes, strict=True):
            axes[node[b], :, k] += axis
    below = np.eye(len(turned), dtype=bool)
    for i in range(1, len(turned)):
        below[i] |= below[parents[i]]
    return Controls(tuple(dofs), np.array(turned), parents, node_of_bone, axes, below)


def _spread(name: str, bones: list[int], axis: tuple[float, float, float], sigma: float, agility: float) -> Dof:
    """One angle that several bones share in equal parts."""
    share = np.tile(np.array(axis) / len(bones), (len(bones), 1))
    return Dof(name, "body", tuple(bones), share, 0.0, sigma, -1.4, 1.4, agility)


def _trunk(rest: _Rest) -> list[Dof]:
    spine = [b for b in rest.chain("hips", "neck") if b != rest.bone("hips")]
    cut = (len(spine) + 1) // 2
    neck = rest.chain("neck", "head")
    dofs = []
    for name, bones, (bend, lean, twist), agility in (
        ("spine_lower", spine[:cut], (0.35, 0.22, 0.25), 4.0),
        ("spine_upper", spine[cut:], (0.25, 0.18, 0.28), 4.0),
        ("neck", neck, (0.30, 0.22, 0.40), 5.0),
        ("head", [rest.bone("head")], (0.32, 0.25, 0.60), 8.0),
    ):
        dofs.append(_spread(f"{name}_bend", bones, (1.0, 0.0, 0.0), bend, agility))
        dofs.append(_spread(f"{name}_twist", bones, (0.0, 1.0, 0.0), twist, agility))
        dofs.append(_spread(f"{name}_lean", bones, (0.0, 0.0, 1.0), lean, agility))
    return dofs


def hinge_frame(first: np.ndarray, second: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """Rows: hinge axis (positive bends further), the first segment's direction, and their cross product.

    `fallback` gives the hinge where the two segments are nearly in line.
    """
    along = unit(first)
    normal = np.cross(along, unit(second))
    hinge = normal if np.linalg.norm(normal) > 0.25 else fallback
    hinge = unit(hinge - along * (hinge @ along))
    return np.stack([hinge, along, np.cross(hinge, along)])


def arm_frames(joints: np.ndarray, shoulder: int, elbow: int, wrist: int) -> np.ndarray:
    """`hinge_frame` of an arm at rest; a straight arm bends its hand forwards."""
    first, second = joints[elbow] - joints[shoulder], joints[wrist] - joints[elbow]
    return hinge_frame(first, second, np.cross(first, np.array([0.0, 0.0, 1.0])))


def leg_frames(joints: np.ndarray, hip: int, knee: int) -> np.ndarray:
    """`hinge_frame` of a leg at rest: knees bend backwards, about +X."""
    first = joints[knee] - joints[hip]
    return hinge_frame(first, first, np.array([1.0, 0.0, 0.0]))


def _angle(u: np.ndarray, v: np.ndarray) -> float:
    return float(np.arccos(np.clip(unit(u) @ unit(v), -1.0, 1.0)))


def _arm(rest: _Rest, side: str) -> list[Dof]:
    upper, lower = rest.chain(f"{side}UpperArm", f"{side}LowerArm"), rest.chain(f"{side}LowerArm", f"{side}Hand")
    hand, clavicle = rest.bone(f"{side}Hand"), rest.bone(f"{side}Shoulder")
    frame = arm_frames(rest.joints, upper[0], lower[0], hand)
    fore = unit(rest.joints[hand] - rest.joints[lower[0]])
    straight = -_angle(frame[1], fore)
    across = _across_palm(rest, side, fore)
    relaxed = rest.body.relaxed_rotvecs[upper[0]].detach().double().numpy()

    def dof(name, bones, axes, sigma, lower_limit=-3.0, upper_limit=3.0, agility=12.0, mean=0.0):
        axes = np.atleast_2d(np.asarray(axes, dtype=np.float64))
        return Dof(f"{side}_{name}", "body", tuple(bones), axes, mean, sigma, lower_limit, upper_limit, agility)

    dofs = [
        dof("clavicle_swing", [clavicle], [0, 1, 0], 0.16, -0.5, 0.5, 5.0),
        dof("clavicle_raise", [clavicle], [0, 0, 1], 0.20, -0.6, 0.6, 5.0),
        dof("shoulder_bend", [upper[0]], frame[0], 0.9, mean=float(relaxed @ frame[0])),
        dof("shoulder_twist", [upper[0]], frame[1], 0.7, mean=float(relaxed @ frame[1])),
        dof("shoulder_raise", [upper[0]], frame[2], 0.9, mean=float(relaxed @ frame[2])),
        dof("elbow_bend", [lower[0]], frame[0], 0.9, straight, straight + 2.7, 18.0),
        # A forearm of one bone turns all of its length at the elbow; of two bones, most at the lower.
        dof("elbow_twist", [lower[0]], fore, *((0.35, -1.2, 1.2) if len(lower) > 1 else (0.7, -1.9, 1.9)), 12.0),
    ]
    if len(upper) > 1:
        dofs.append(dof("upper_arm_twist", [upper[-1]], frame[1], 0.35, -1.2, 1.2, 8.0))
    if len(lower) > 1:
        dofs.append(dof("forearm_twist", [lower[-1]], fore, 0.6, -1.6, 1.6, 14.0))
    bend = unit(across - fore * (across @ fore))
    dofs += [
        dof("wrist_bend", [hand], bend, 0.45, -1.3, 1.3, 16.0),
        dof("wrist_tilt", [hand], np.cross(fore, bend), 0.22, -0.6, 0.6, 12.0),
        dof("wrist_twist", [hand], fore, 0.08, -0.3, 0.3, 12.0),
    ]
    return dofs


def _across_palm(rest: _Rest, side: str, fore: np.ndarray) -> np.ndarray:
    """Axis about which the hand bends: that of its knuckles; without fingers the palm is taken to face down at rest."""
    if f"{side}IndexProximal" not in rest.body.humanoid:
        return np.cross(fore, np.array([0.0, -1.0, 0.0]))
    return rest.flexion[[_finger_bones(rest, side, finger)[0] for finger in FINGERS[1:]]].mean(0)


def _leg(rest: _Rest, side: str) -> list[Dof]:
    upper, lower = rest.chain(f"{side}UpperLeg", f"{side}LowerLeg"), rest.chain(f"{side}LowerLeg", f"{side}Foot")
    foot = rest.bone(f"{side}Foot")
    frame = leg_frames(rest.joints, upper[0], lower[0])

    def dof(name, bone, axis, sigma, lower_limit=-2.6, upper_limit=2.6, agility=9.0):
        return Dof(
            f"{side}_{name}", "body", (bone,), np.atleast_2d(axis), 0.0, sigma, lower_limit, upper_limit, agility
        )

    dofs = [
        dof("hip_bend", upper[0], frame[0], 0.7),
        dof("hip_twist", upper[0], frame[1], 0.45, -1.0, 1.0),
        dof("hip_raise", upper[0], frame[2], 0.35),
        dof("knee_bend", lower[0], frame[0], 0.7, -0.12, 2.6, 12.0),
        dof("knee_twist", lower[0], frame[1], 0.08, -0.3, 0.3),
        dof("ankle_bend", foot, np.array([1.0, 0.0, 0.0]), 0.35, -0.9, 0.9, 10.0),
        dof("ankle_turn", foot, np.array([0.0, 1.0, 0.0]), 0.30, -0.7, 0.7, 6.0),
        dof("ankle_tilt", foot, np.array([0.0, 0.0, 1.0]), 0.18, -0.5, 0.5, 6.0),
    ]
    if len(upper) > 1:
        dofs.append(dof("thigh_twist", upper[-1], frame[1], 0.15, -0.6, 0.6, 5.0))
    return dofs


def _finger_bones(rest: _Rest, side: str, finger: str) -> list[int]:
    segments = ("Metacarpal", "Proximal", "Distal") if finger == "Thumb" else ("Proximal", "Intermediate", "Distal")
    return [rest.bone(f"{side}{finger}{segment}") for segment in segments]


def _hand(rest: _Rest, side: str) -> list[Dof]:
    """Three joints a finger: the first bends and spreads, the others bend. The prior's mean is the relaxed hand."""
    relaxed = rest.body.relaxed_rotvecs.detach().double().numpy()
    part = f"{side}_hand"
    dofs = []
    for finger in FINGERS:
        bones = _finger_bones(rest, side, finger)
        along = unit(np.diff(rest.joints[bones], axis=0))
        for j, bone in enumerate(bones):
            bend, direction = rest.flexion[bone], along[min(j, 1)]
            name, root_of_thumb = f"{part}_{finger.lower()}_{j}", j == 0 and finger == "Thumb"
            frame = [("bend", bend, 0.3, -0.8, 0.8) if root_of_thumb else ("bend", bend, 0.5, -0.6, 1.6)]
            if j == 0:
                frame.append(("spread", np.cross(direction, bend), 0.3 if root_of_thumb else 0.12, -0.7, 0.7))
            if root_of_thumb:
                frame.append(("twist", direction, 0.15, -0.5, 0.5))
            for kind, axis, sigma, lower, upper in frame:
                mean = float(np.clip(relaxed[bone] @ axis, lower, upper))
                dofs.append(Dof(f"{name}_{kind}", part, (bone,), axis[None], mean, sigma, lower, upper, 14.0))
    return dofs
