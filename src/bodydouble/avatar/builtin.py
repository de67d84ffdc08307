"""Motions that come with the program: made by rule for any humanoid rig, seamless when repeated."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.anatomy import (
    FINGER_BONES,
    frame_of,
    humanoid_bones,
    local_rotations,
    relaxed_hands,
    rest_anatomy,
    rotation_between,
    shortest_turn,
    spread_twists,
)
from bodydouble.avatar.expressions import EXPRESSIONS, expression_tensor
from bodydouble.avatar.humanoid import path_between
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Rig
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import ConfigError
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.core.skinning import bone_transforms

TAU = 2.0 * math.pi


def builtin_motion(
    name: str,
    rig: Rig,
    *,
    fps_hz: float = 30.0,
    floor_rest_m: float | None = None,
    relaxed_rotvecs: Float[Tensor, "bones 3"] | None = None,
) -> Motion:
    """One of `BUILTIN_MOTIONS` for a rig, standing on the floor (y = 0) over the origin, facing +Z.

    Args:
        name: `idle`, `wave`, `turn`, `squat` or `dance`.
        rig: Of the avatar, with a humanoid map.
        fps_hz: Frame rate of the result.
        floor_rest_m: Height of the soles in the rest pose (`retarget.rest_floor`); estimated from the feet if none.
        relaxed_rotvecs: Local rotations of bones that the motion leaves alone; none curls the fingers a little.
    Returns:
        A motion whose last frame leads to its first.
    Raises:
        ConfigError: For an unknown name or frame rate.
        InputError: When the rig is not that of a human.
    """
    if name not in BUILTIN_MOTIONS:
        raise ConfigError(
            f"There is no motion called {name!r}; known are {', '.join(BUILTIN_MOTIONS)}, or give a BVH file."
        )
    if not 1.0 <= fps_hz <= 1000.0:
        raise ConfigError(f"A frame rate between 1 and 1000 is needed, found {fps_hz}; 30 is usual.")
    seconds, play = BUILTIN_MOTIONS[name]
    puppet = Puppet(rig, max(2, round(seconds * fps_hz)), floor_rest_m)
    play(puppet)
    return puppet.motion(name, fps_hz, relaxed_rotvecs)


class Puppet:
    """A rig whose torso is turned, whose arms are pointed and whose feet stay where they stand.

    `phase` runs from 0 to 1 over the motion; everything that is set has one value for each frame.
    """

    def __init__(self, rig: Rig, frames: int, floor_rest_m: float | None) -> None:
        self.rig = rig
        self.frames = frames
        self.phase = torch.arange(frames, dtype=torch.float64) / frames
        self.bones = humanoid_bones(rig)
        self.joints = rig.joints_rest_m.double()
        self.directions, self.hinges = rest_anatomy(self.bones, self.joints)
        feet = [self.bones["leftFoot"], self.bones["rightFoot"]]
        below = [b for b, parent in enumerate(rig.bone_parents) if parent in feet]
        floor = min(float(self.joints[b, 1]) for b in (*feet, *below)) - 0.02 if floor_rest_m is None else floor_rest_m
        hips = self.joints[self.bones["hips"]]
        self.to_stage = torch.stack([-hips[0], torch.tensor(-floor, dtype=torch.float64), -hips[2]])
        self.hips_world = (hips + self.to_stage).repeat(frames, 1)
        self.expression = torch.zeros(frames, len(ARKIT_ACTIONS))
        self.wanted: dict[int, Tensor] = {}
        self.curl: dict[str, Tensor] = {}
        self.torso(self.angles())

    def wave(self, times: int, shift: float = 0.0) -> Float[Tensor, " frames"]:
        """A sine that fits into the motion a whole number of times."""
        return torch.sin(TAU * (times * self.phase + shift))

    def angles(
        self, pitch: Tensor | float = 0.0, yaw: Tensor | float = 0.0, roll: Tensor | float = 0.0
    ) -> Float[Tensor, "frames 3 3"]:
        """Rotations from degrees: pitch bows forward, yaw looks to the left, roll leans to the right."""
        parts = torch.stack(
            [torch.as_tensor(a, dtype=torch.float64).expand(self.frames) for a in (pitch, yaw, roll)], -1
        )
        eye = torch.eye(3, dtype=torch.float64)
        R_pitch, R_yaw, R_roll = (rotvec_to_matrix(torch.deg2rad(parts[:, i : i + 1]) * eye[i]) for i in range(3))
        return R_yaw @ R_roll @ R_pitch

    def torso(self, hips: Tensor, chest: Tensor | None = None, head: Tensor | None = None) -> None:
        """World rotations of hips, chest and head; vertebrae in between share the difference."""
        chest = hips if chest is None else chest
        head = chest if head is None else head
        top = self.bones.get("neck", self.bones["head"])
        spine = path_between(self.bones["hips"], top, self.rig.bone_parents)
        self.wanted[self.bones["hips"]] = hips
        for place, bone in enumerate(spine, start=1):
            self.wanted[bone] = rotation_between([hips, chest], place / len(spine))
        line = (top, *path_between(top, self.bones["head"], self.rig.bone_parents), self.bones["head"])
        for place, bone in enumerate(dict.fromkeys(line), start=1):
            self.wanted[bone] = rotation_between([chest, head], place / len(set(line)))
        self.chest = chest

    def arm(self, side: str, upper: Tensor, lower: Tensor) -> None:
        """Point upper arm and forearm, in the chest's frame; the hand goes on straight."""
        names = [f"{side}{bone}" for bone in ("UpperArm", "LowerArm", "Hand")]
        if not all(name in self.bones for name in names) or names[1] not in self.directions:
            return
        upper, lower = (torch.nn.functional.normalize(d.expand(self.frames, 3), dim=-1) for d in (upper, lower))
        hinge = torch.linalg.cross(upper, lower)
        rest = self.directions[names[0]], self.hinges[names[0]]
        R_upper = frame_of(upper, hinge) @ frame_of(*rest).T
        R_lower = shortest_turn((R_upper @ self.directions[names[1]]), lower) @ R_upper
        for name, R in zip(names, (R_upper, R_lower, R_lower), strict=True):
            self.wanted[self.bones[name]] = self.chest @ R

    def hang_arms(self, swing: Tensor | float = 0.0) -> None:
        """Arms beside the body, elbows hardly bent; `swing` moves both hands forward."""
        swing = torch.as_tensor(swing, dtype=torch.float64).expand(self.frames)
        for side, sign in (("left", 1.0), ("right", -1.0)):
            upper = torch.stack([torch.full_like(swing, 0.2 * sign), -torch.ones_like(swing), -0.04 + 0.5 * swing], -1)
            lower = torch.stack([torch.full_like(swing, 0.13 * sign), -torch.ones_like(swing), 0.2 + swing], -1)
            self.arm(side, upper, lower)

    def stand(self) -> None:
        """Bend the legs so that both feet stay as they stand in the rest pose, wherever the hips are.

        Two bones and a target: the knee's angle follows from the cosine rule, its side from the toes' direction. A
        target out of reach is approached with the leg straight.
        """
        hips_bone = self.bones["hips"]
        R_hips = self.wanted[hips_bone]
        forward = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
        for side in ("left", "right"):
            upper, lower, foot = (self.bones[f"{side}{b}"] for b in ("UpperLeg", "LowerLeg", "Foot"))
            thigh = self.joints[lower] - self.joints[upper]
            shank = self.joints[foot] - self.joints[lower]
            a, b = float(thigh.norm()), float(shank.norm())
            start = self.hips_world + (R_hips @ (self.joints[upper] - self.joints[hips_bone]))
            line = self.joints[foot] + self.to_stage - start
            distance = line.norm(dim=-1).clamp(abs(a - b) + 1e-4, a + b - 1e-6)
            along = torch.nn.functional.normalize(line, dim=-1)
            out = self.joints[foot] - self.joints[self.bones["hips"]]
            ahead = forward + torch.stack([out[0].sign() * 0.15, out[1] * 0, out[2] * 0])
            across = torch.nn.functional.normalize(ahead - (along @ ahead)[:, None] * along, dim=-1)
            cosine = ((a * a + distance**2 - b * b) / (2 * a * distance)).clamp(-1.0, 1.0)
            knee = along * (a * cosine)[:, None] + across * (a * (1 - cosine**2).sqrt())[:, None]
            hinge = torch.linalg.cross(along, across)
            rest_hinge = torch.linalg.cross(self.directions[f"{side}UpperLeg"], forward)
            R_upper = frame_of(knee, hinge) @ frame_of(thigh, rest_hinge).T
            R_lower = frame_of(along * distance[:, None] - knee, hinge) @ frame_of(shank, rest_hinge).T
            self.wanted[upper], self.wanted[lower] = R_upper, R_lower
            self.wanted[foot] = torch.eye(3, dtype=torch.float64).repeat(self.frames, 1, 1)

    def bend_fingers(self, side: str, share: Tensor) -> None:
        """How far the fingers of a hand are curled: 1 is relaxed, below 0 is stretched out."""
        self.curl[side] = share

    def feel(self, name: str, strength: Tensor | float = 1.0) -> None:
        """Add a named expression."""
        strength = torch.as_tensor(strength, dtype=torch.float32).expand(self.frames)
        self.expression += strength[:, None] * expression_tensor(EXPRESSIONS[name])

    def blink(self, *moments: float) -> None:
        """Close the eyes for a moment at these phases."""
        for moment in moments:
            away = (self.phase - moment).abs() * self.frames / 4.0
            self.feel("blink", (1.0 - away).clamp(0.0, 1.0) ** 0.5)

    def motion(self, name: str, fps_hz: float, relaxed: Tensor | None) -> Motion:
        """What was set, as a motion."""
        relaxed = relaxed_hands(self.rig) if relaxed is None else relaxed
        rotvecs = local_rotations(self.wanted, self.rig, relaxed, self.frames)
        for side, share in self.curl.items():
            for finger, segments in FINGER_BONES.items():
                for bone in (self.bones.get(f"{side}{finger}{segment}") for segment in segments):
                    if bone is not None:
                        rotvecs[:, bone] *= share[:, None]
        rotvecs = spread_twists(rotvecs, self.rig, self.bones, self.directions)
        hips = self.bones["hips"]
        still = torch.zeros(self.frames, 3, dtype=torch.float64)
        R, t = bone_transforms(rotvecs, self.joints, still, self.rig.bone_parents)
        translation = self.hips_world - (R[:, hips] @ self.joints[hips] + t[:, hips])
        return Motion(
            name=name,
            fps_hz=fps_hz,
            rotvecs=rotvecs.float(),
            translation_world_m=translation.float(),
            expression=self.expression.clamp(0.0, 1.0),
        )


def _vector(*xyz: Tensor | float) -> Tensor:
    parts = [torch.as_tensor(v, dtype=torch.float64) for v in xyz]
    return torch.stack(torch.broadcast_tensors(*parts), dim=-1)


def _idle(puppet: Puppet) -> None:
    """Breathing, weight moving from foot to foot, a glance and two blinks."""
    breath, sway = puppet.wave(2), puppet.wave(1)
    puppet.hips_world = puppet.hips_world + _vector(0.014 * sway, -0.012 + 0.002 * breath, 0.004 * puppet.wave(1, 0.25))
    hips = puppet.angles(pitch=0.4 * breath, yaw=1.5 * sway, roll=-1.6 * sway)
    chest = puppet.angles(pitch=-0.5 - 1.0 * breath, yaw=1.0 * puppet.wave(1, 0.1), roll=1.2 * sway)
    look = puppet.wave(1, 0.6) + 0.3 * puppet.wave(2, 0.2)
    puppet.torso(hips, chest, puppet.angles(pitch=0.8 * puppet.wave(2, 0.15), yaw=5.0 * look, roll=0.8 * look))
    puppet.hang_arms(0.02 * breath + 0.015 * sway)
    puppet.stand()
    puppet.blink(0.22, 0.7)
    puppet.feel("smile", 0.15 + 0.1 * puppet.wave(1).float())


def _wave(puppet: Puppet) -> None:
    """The right arm goes up, waves four times, and comes down; with a smile."""
    up = _rise(puppet.phase, 0.06, 0.2, 0.8, 0.96)
    swing = torch.sin(TAU * 6 * (puppet.phase - 0.2)) * _rise(puppet.phase, 0.18, 0.26, 0.76, 0.84)
    breath = puppet.wave(2)
    puppet.hips_world = puppet.hips_world + _vector(0.012 * up, -0.012 + 0.002 * breath, 0.0)
    hips = puppet.angles(roll=-1.2 * up)
    chest = puppet.angles(pitch=-0.8 * breath, yaw=-2.0 * up, roll=-1.5 * up + 0.8 * swing)
    puppet.torso(hips, chest, puppet.angles(pitch=-1.0 * up, yaw=-4.0 * up, roll=4.0 * up))
    puppet.hang_arms(0.01 * breath)
    blend = up[:, None]
    low_upper, low_lower = _vector(-0.2, -1.0, -0.04), _vector(-0.13, -1.0, 0.2)
    upper = low_upper * (1 - blend) + _vector(-0.92, -0.25, 0.3) * blend
    # On its way up the forearm passes in front of the body, never through it.
    lower = (
        low_lower * (1 - blend)
        + _vector(-0.18 - 0.42 * swing, 1.0, 0.2) * blend
        + _vector(-0.2, 0.0, 1.6) * blend * (1 - blend)
    )
    puppet.arm("right", upper, lower)
    puppet.bend_fingers("right", 1.0 - 1.9 * up)
    puppet.stand()
    puppet.blink(0.1, 0.6)
    puppet.feel("smile", 0.15 + 0.75 * up.float())


def _turn(puppet: Puppet) -> None:
    """The rest pose on a turntable."""
    hips = puppet.angles(yaw=360.0 * puppet.phase)
    puppet.torso(hips)
    identity = torch.eye(3, dtype=torch.float64)
    for human, bone in puppet.bones.items():
        if human[0] in "lr" and human.endswith(("UpperArm", "LowerArm", "Hand", "UpperLeg", "LowerLeg", "Foot")):
            puppet.wanted[bone] = hips @ identity


def _squat(puppet: Puppet) -> None:
    """Two knee bends with the arms held out."""
    depth = (0.5 - 0.5 * torch.cos(TAU * 2 * puppet.phase)) ** 0.8
    leg = float(puppet.hips_world[0, 1])
    puppet.hips_world = puppet.hips_world + _vector(0.0, -0.012 - 0.36 * leg * depth, -0.2 * leg * depth)
    puppet.torso(puppet.angles(pitch=28.0 * depth), puppet.angles(pitch=24.0 * depth), puppet.angles(pitch=4.0 * depth))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        blend = depth[:, None]
        upper = _vector(0.2 * sign, -1.0, -0.04) * (1 - blend) + _vector(0.2 * sign, 0.25, 1.0) * blend
        lower = _vector(0.13 * sign, -1.0, 0.2) * (1 - blend) + _vector(-0.05 * sign, 0.32, 1.0) * blend
        puppet.arm(side, upper, lower)
    puppet.stand()
    puppet.blink(0.5)


def _dance(puppet: Puppet) -> None:
    """Eight beats: knees bounce, hips swing, arms take turns, the head goes along."""
    beat, swing = torch.cos(TAU * 8 * puppet.phase), puppet.wave(4)
    slow = puppet.wave(1)
    puppet.hips_world = puppet.hips_world + _vector(0.055 * swing, -0.055 + 0.028 * beat, 0.02 * puppet.wave(2))
    hips = puppet.angles(pitch=3.0, yaw=9.0 * swing, roll=-6.0 * swing)
    chest = puppet.angles(pitch=5.0 - 3.0 * beat, yaw=-11.0 * swing + 10.0 * slow, roll=6.0 * swing)
    puppet.torso(hips, chest, puppet.angles(pitch=4.0 - 5.0 * beat, yaw=-4.0 * swing + 14.0 * slow, roll=6.0 * swing))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        pump = 0.5 + 0.5 * sign * swing
        raise_ = 0.5 - 0.5 * sign * torch.cos(TAU * puppet.phase)
        upper = _vector(sign * (0.5 + 0.25 * raise_), -0.9 + 0.75 * raise_, 0.15 + 0.35 * pump)
        lower = _vector(sign * (0.05 + 0.3 * (1 - pump)), -0.35 + 0.55 * pump + 0.55 * raise_, 0.9)
        puppet.arm(side, upper, lower)
    puppet.stand()
    puppet.blink(0.3, 0.8)
    puppet.feel("smile", 0.55 + 0.15 * slow.float())


def _rise(phase: Tensor, start: float, up: float, down: float, end: float) -> Tensor:
    """0, then smoothly to 1, then back to 0."""

    def smooth(low: float, high: float) -> Tensor:
        x = ((phase - low) / (high - low)).clamp(0.0, 1.0)
        return x * x * (3 - 2 * x)

    return smooth(start, up) - smooth(down, end)


BUILTIN_MOTIONS: dict[str, tuple[float, Callable[[Puppet], None]]] = {
    "idle": (6.0, _idle),
    "wave": (4.0, _wave),
    "turn": (6.0, _turn),
    "squat": (4.0, _squat),
    "dance": (4.0, _dance),
}
"""Name -> seconds until the motion repeats, and what makes it."""
