"""What the performer does: greets, turns once around, spreads and raises the arms, works hands and face.

The choreography is written in shares of its length, so that it always shows the whole person; the speeds of waving,
stepping and blinking are in seconds. Everything is smooth in time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from bodydouble.body.parts import finger_flexion_axes
from bodydouble.body.protocol import BodyModel
from bodydouble.core.geometry import matrix_to_quat_wxyz, quat_wxyz_to_rotvec, rotvec_to_matrix
from bodydouble.core.seeds import numpy_rng
from bodydouble.core.struct import TensorStruct, tensor_struct

_TURN = (0.22, 0.62)
"""Shares of the clip between which the performer turns around."""
_STEPS_HZ = 1.7
_LEFT, _UP, _FORWARD = np.eye(3)
"""Axes of the rest frame: +X is the performer's left."""
_FINGERS = ("Index", "Middle", "Ring", "Little")


@tensor_struct
class Performance(TensorStruct):
    """A pose and an expression for every frame; the body stands on the world's rest-frame origin."""

    rotvecs: Float[Tensor, "frames bones 3"]
    sway_m: Float[Tensor, "frames 3"]
    """Where the hips are beside their resting place; up and down follow from the feet."""
    expression: Float[Tensor, "frames actions"]


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """What the parts of the choreography share."""

    body: BodyModel
    joints: Float[ndarray, "bones 3"]
    time_s: Float[ndarray, " frames"]
    share: Float[ndarray, " frames"]
    energy: float
    """Scales amplitudes, about 1."""
    mirrored: bool
    rotations: dict[int, ndarray]
    """Accumulated rotation matrices (frames, 3, 3) of bones."""

    def bone(self, vrm: str) -> int:
        return self.body.bone_names.index(self.body.humanoid[vrm])

    def side(self, name: str) -> str:
        """The other side when the choreography is mirrored."""
        return {"left": "right", "right": "left"}[name] if self.mirrored else name

    def joint(self, vrm: str) -> ndarray:
        return self.joints[self.bone(vrm)]

    def turn(self, bone: int, axis: ndarray, angle_rad: ndarray | float) -> None:
        """Rotate a bone further about an axis of the rest frame, inside the rotations it already has."""
        angles = np.broadcast_to(np.asarray(angle_rad, float), self.time_s.shape)
        rotvecs = torch.from_numpy(angles[:, None] * axis / np.linalg.norm(axis))
        step = rotvec_to_matrix(rotvecs).numpy()
        self.rotations[bone] = self.rotations[bone] @ step if bone in self.rotations else step


def perform(
    body: BodyModel, joints_rest_m: Float[Tensor, "bones 3"], *, seed: int, num_frames: int, fps_hz: float
) -> Performance:
    """The performance that belongs to a seed.

    Args:
        body: Whose bones and actions it is for.
        joints_rest_m: Rest joints of the performer's shape.
        num_frames, fps_hz: Length and rate.
    """
    rng = numpy_rng(seed, "synth/motion")
    stage = _stage_of(body, joints_rest_m, rng, num_frames, fps_hz)
    yaw, sway = _turn_around(stage, -1.0 if rng.random() < 0.5 else 1.0)
    _torso_and_head(stage, yaw)
    for side in ("left", "right"):
        _arm(stage, side)
        _fingers(stage, side)
    return Performance(rotvecs=_rotvecs_of(stage), sway_m=torch.from_numpy(sway).float(), expression=_face(stage, rng))


def gestures(
    body: BodyModel, joints_rest_m: Float[Tensor, "bones 3"], *, seed: int, num_frames: int, fps_hz: float
) -> Performance:
    """Fingers and face alone, for motions that have none: everything else rests.

    Args:
        body, joints_rest_m, seed, num_frames, fps_hz: As for `perform`.
    """
    stage = _stage_of(body, joints_rest_m, numpy_rng(seed, "synth/gestures"), num_frames, fps_hz)
    for side in ("left", "right"):
        _fingers(stage, side)
    still = torch.zeros(num_frames, 3)
    return Performance(rotvecs=_rotvecs_of(stage), sway_m=still, expression=_face(stage, numpy_rng(seed, "synth/face")))


def _stage_of(
    body: BodyModel, joints_rest_m: Tensor, rng: np.random.Generator, num_frames: int, fps_hz: float
) -> _Stage:
    frames = np.arange(num_frames)
    return _Stage(
        body=body,
        joints=joints_rest_m.double().numpy(),
        time_s=frames / fps_hz,
        share=frames / max(num_frames - 1, 1),
        energy=float(rng.uniform(0.9, 1.1)),
        mirrored=bool(rng.random() < 0.5),
        rotations={},
    )


def _rotvecs_of(stage: _Stage) -> Float[Tensor, "frames bones 3"]:
    rotvecs = torch.zeros(len(stage.time_s), len(stage.body.bone_names), 3)
    for bone, matrices in stage.rotations.items():
        rotvecs[:, bone] = quat_wxyz_to_rotvec(matrix_to_quat_wxyz(torch.from_numpy(matrices))).float()
    return rotvecs


def _ramp(x: ndarray, low: float, high: float) -> ndarray:
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * t * (10 - 15 * t + 6 * t * t)


def _window(x: ndarray, a: float, b: float, c: float, d: float) -> ndarray:
    """Rises between a and b, falls between c and d."""
    return _ramp(x, a, b) * (1.0 - _ramp(x, c, d))


def _turn_around(stage: _Stage, direction: float) -> tuple[ndarray, ndarray]:
    """One full turn in small steps. Returns the yaw and the sway of the hips."""
    begin, end = _TURN
    turning = _window(stage.share, begin - 0.03, begin + 0.03, end - 0.03, end + 0.03)
    yaw = direction * 2 * np.pi * _ramp(stage.share, begin, end)
    rate = np.gradient(yaw, stage.time_s) if len(yaw) > 1 else np.zeros_like(yaw)
    phase = 2 * np.pi * _STEPS_HZ / 2 * (stage.time_s - begin * stage.time_s[-1])
    stage.turn(stage.bone("hips"), _UP, yaw)
    for side, shift in (("left", 0.0), ("right", np.pi)):
        lift = turning * np.maximum(np.sin(phase + shift), 0.0) ** 1.5
        # While a foot stands it stays behind the turning hips, while lifted it swings ahead of them.
        lag = rate / _STEPS_HZ * 0.5 * np.cos(phase + shift)
        leg, knee = stage.bone(f"{side}UpperLeg"), stage.bone(f"{side}LowerLeg")
        outwards = 1.0 if side == "left" else -1.0
        inwards = -0.075 * outwards  # the rest pose stands astride
        stage.turn(leg, _FORWARD, inwards)
        stage.turn(leg, _UP, np.clip(lag, -0.5, 0.5))
        stage.turn(leg, _LEFT, -0.03 - 0.42 * lift)
        stage.turn(knee, _LEFT, 0.06 + 0.85 * lift)
        stage.turn(stage.bone(f"{side}Foot"), _FORWARD, -inwards)
        stage.turn(stage.bone(f"{side}Foot"), _LEFT, -0.03 - 0.30 * lift)
    sway = np.zeros((len(yaw), 3))
    sway[:, 0] = 0.018 * turning * np.sin(phase + np.pi) + 0.008 * np.sin(2 * np.pi * 0.31 * stage.time_s)
    sway[:, 2] = 0.006 * np.sin(2 * np.pi * 0.23 * stage.time_s + 1.0)
    return yaw, sway


def _torso_and_head(stage: _Stage, yaw: ndarray) -> None:
    t, share = stage.time_s, stage.share
    breath = 0.012 * np.sin(2 * np.pi * 0.27 * t)
    lean = stage.energy * 0.10 * (_window(share, 0.66, 0.71, 0.74, 0.79) - _window(share, 0.74, 0.79, 0.83, 0.88))
    for bone in ("spine", "chest", "upperChest"):
        stage.turn(stage.bone(bone), _LEFT, breath / 2)
        stage.turn(stage.bone(bone), _FORWARD, lean / 3)
    begin, end = _TURN
    towards = (
        np.sign(yaw[-1])
        * 0.45
        * (
            _window(share, begin - 0.02, begin + 0.05, begin + 0.16, begin + 0.26)
            + 0.4 * _window(share, end - 0.20, end - 0.10, end - 0.04, end + 0.02)
        )
    )
    look = 0.40 * stage.energy * (_window(share, 0.86, 0.89, 0.90, 0.93) - _window(share, 0.90, 0.94, 0.95, 0.99))
    nod = 0.14 * _window(share, 0.80, 0.82, 0.82, 0.84) - 0.06 * _window(share, 0.66, 0.72, 0.76, 0.82)
    for bone, part in (("neck", 0.45), ("head", 0.55)):
        stage.turn(stage.bone(bone), _UP, part * (towards + look))
        stage.turn(stage.bone(bone), _LEFT, part * (nod + 0.03 * np.sin(2 * np.pi * 0.4 * t)))
        stage.turn(stage.bone(bone), _FORWARD, part * 0.05 * np.sin(2 * np.pi * 0.21 * t + 2.0))
    # The eyes hold the camera as long as they can.
    away = np.angle(np.exp(1j * (yaw + towards + look)))
    gaze = np.clip(-away, -0.32, 0.32) * (1.0 - _ramp(np.abs(away), 0.6, 1.0))
    for eye in ("leftEye", "rightEye"):
        stage.turn(stage.bone(eye), _UP, gaze)


def _arm(stage: _Stage, side: str) -> None:
    """Hanging, waving, spread, raised, folded before the chest."""
    share, t = stage.share, stage.time_s
    sign = 1.0 if side == "left" else -1.0
    shoulder, elbow, wrist = (stage.joint(f"{side}{name}") for name in ("UpperArm", "LowerArm", "Hand"))
    upper = (elbow - shoulder) / np.linalg.norm(elbow - shoulder)
    bend_axis = np.cross(upper, wrist - elbow)
    waves = stage.side("right") == side
    wave = _window(share, 0.01, 0.07, 0.15, 0.20) if waves else np.zeros_like(share)
    spread = _window(share, 0.62, 0.68, 0.72, 0.77)
    overhead = _window(share, 0.70, 0.75, 0.78, 0.83)
    before = _window(share, 0.82, 0.87, 0.93, 0.985)
    turning = _window(share, 0.18, 0.24, 0.60, 0.66)
    swing = 0.10 * turning * np.sin(2 * np.pi * _STEPS_HZ / 2 * t + (0.0 if side == "left" else np.pi))

    lowered = 0.53 - 0.20 * turning - 0.60 * wave - 1.02 * spread * stage.energy - 1.05 * overhead - 0.12 * before
    forward = swing + 0.10 * wave + 0.20 * overhead + 0.55 * before + 0.05
    collar = stage.bone(f"{side}Shoulder")
    stage.turn(collar, _FORWARD, sign * 0.16 * (spread * 0.5 + overhead))
    arm = stage.bone(f"{side}UpperArm")
    stage.turn(arm, _LEFT, -forward)
    stage.turn(arm, _FORWARD, -sign * lowered)
    outward_twist = 1.25 * wave + 0.35 * spread + 0.25 * overhead - 0.35 * before
    stage.turn(arm, upper, -sign * outward_twist)
    beat = np.sin(2 * np.pi * 2.1 * t)
    bend = 0.02 + wave * (0.95 + 0.28 * beat) - 0.30 * spread - 0.15 * overhead + before * (0.95 + 0.12 * np.sin(5 * t))
    stage.turn(stage.bone(f"{side}LowerArm"), bend_axis, bend)
    hand = stage.bone(f"{side}Hand")
    stage.turn(hand, _FORWARD, sign * 0.22 * wave * beat)
    stage.turn(hand, upper, sign * (0.25 * before - 0.3 * wave))


def _fingers(stage: _Stage, side: str) -> None:
    """Idle curl; open while waving and spreading; fists and back while the arms are up and before the chest."""
    share, t = stage.share, stage.time_s
    axes = finger_flexion_axes(stage.body.bone_names, stage.body.humanoid, torch.from_numpy(stage.joints)).numpy()
    relaxed = stage.body.relaxed_rotvecs.norm(dim=-1).double().numpy()
    opened = _window(share, 0.0, 0.06, 0.16, 0.20) + _window(share, 0.63, 0.67, 0.72, 0.75)
    fist = _window(share, 0.745, 0.765, 0.77, 0.795)
    play = _window(share, 0.86, 0.88, 0.93, 0.97)
    for order, finger in enumerate((*_FINGERS, "Thumb")):
        ripple = play * (0.5 + 0.5 * np.sin(2 * np.pi * 1.1 * t - 0.8 * order))
        segments = ("Metacarpal", "Proximal", "Distal") if finger == "Thumb" else ("Proximal", "Intermediate", "Distal")
        for segment in segments:
            bone = stage.bone(f"{side}{finger}{segment}")
            most = {"Metacarpal": 0.35, "Proximal": 1.0, "Intermediate": 1.25, "Distal": 0.7}[segment]
            most = 0.5 * most if finger == "Thumb" else most
            curl = relaxed[bone] * (1 - opened) - 0.18 * opened + most * np.maximum(fist, 0.75 * ripple)
            stage.turn(bone, axes[bone], curl)


def _face(stage: _Stage, rng: np.random.Generator) -> Float[Tensor, "frames actions"]:
    share, t = stage.share, stage.time_s
    values = torch.zeros(len(t), len(stage.body.action_names))

    def add(strength: ndarray, *names: str) -> None:
        for name in names:
            values[:, stage.body.action_names.index(name)] += torch.from_numpy(strength).float()

    smile = 0.75 * _window(share, 0.0, 0.05, 0.15, 0.22) + 0.6 * _window(share, 0.92, 0.95, 1.2, 1.3) + 0.08
    add(smile, "mouthSmileLeft", "mouthSmileRight")
    add(0.4 * smile, "cheekSquintLeft", "cheekSquintRight")
    talking = _window(share, 0.65, 0.68, 0.88, 0.91)
    syllables = np.maximum(np.sin(2 * np.pi * 1.9 * t), 0) * (0.6 + 0.4 * np.sin(2 * np.pi * 0.6 * t))
    add(0.50 * talking * syllables, "jawOpen")
    add(0.35 * talking * np.maximum(np.sin(2 * np.pi * 0.9 * t + 1), 0), "mouthFunnel")
    surprise = _window(share, 0.73, 0.76, 0.79, 0.82)
    add(0.75 * surprise, "jawOpen")
    add(0.8 * surprise, "browInnerUp", "browOuterUpLeft", "browOuterUpRight")
    add(0.5 * surprise, "eyeWideLeft", "eyeWideRight")
    moment = float(rng.uniform(0.5, 0.9))
    while moment < t[-1]:
        blink = np.exp(-(((t - moment) / 0.055) ** 2))
        add(0.95 * blink, "eyeBlinkLeft", "eyeBlinkRight")
        moment += float(rng.uniform(1.4, 2.6))
    return values.clamp(0.0, 1.0)
