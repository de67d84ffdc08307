"""What a performer does and where: the seeded performance, a built-in motion, or one from a file, put on the floor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.builtin import BUILTIN_MOTIONS, builtin_motion
from bodydouble.avatar.bvh import read_bvh
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.retarget import retarget
from bodydouble.avatar.smpl_motion import read_smpl_motion
from bodydouble.avatar.values import Rig
from bodydouble.body.anny import AnnyBody
from bodydouble.body.humanoid import FINGERS
from bodydouble.body.protocol import Pose
from bodydouble.core.errors import InputError
from bodydouble.core.events import Event, Warned
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.synth.motion import Performance, gestures, perform
from bodydouble.synth.performer import Performer

DEFAULT_MOTION = "performance"
_WIDEST_M = 3.6
"""A path wider than this is shortened, so that the performer stays in view."""


@tensor_struct
class Choreography(TensorStruct):
    """A performance at its place over the floor y = 0, about x = z = 0."""

    name: str
    performance: Performance
    translations_m: Float[Tensor, "frames 3"]


def choreograph(
    wanted: str,
    body: AnnyBody,
    performer: Performer,
    *,
    seed: int,
    num_frames: int,
    fps_hz: float,
    emit: Callable[[Event], None] = lambda event: None,
) -> Choreography:
    """The motion that `wanted` names, for a performer.

    Motions without fingers or expressions of their own get the seed's. A motion that is too short starts again where it
    ends as it began, and is played back and forth otherwise.

    Args:
        wanted: `performance`, one of `BUILTIN_MOTIONS`, or the path of a .bvh or .npz file.
        body: The performer's.
        performer: Who moves.
        seed: Of the performance, the fingers and the face.
        num_frames, fps_hz: Length and rate.
        emit: Told when a path had to be shortened.
    Raises:
        InputError: When there is no such motion, or the file cannot be read.
    """
    joints = performer.shaped.joints_rest
    if wanted == DEFAULT_MOTION:
        performance = perform(body, joints, seed=seed, num_frames=num_frames, fps_hz=fps_hz)
        return Choreography(name=wanted, performance=performance, translations_m=_on_the_floor(performer, performance))
    motion = _motion(wanted, body, performer, fps_hz)
    rows = _rows(motion, num_frames, seamless=wanted in BUILTIN_MOTIONS)
    rotvecs, expression = motion.rotvecs[rows], motion.expression[rows]
    own = gestures(body, joints, seed=seed, num_frames=num_frames, fps_hz=fps_hz)
    fingers = _fingers(body)
    if float((motion.rotvecs[:, fingers] - motion.rotvecs[:1, fingers]).abs().max()) < 1e-3:
        rotvecs[:, fingers] = own.rotvecs[:, fingers]
    if float(motion.expression.abs().max()) == 0.0:
        expression = own.expression
    translations = _kept_near(motion.translation_world_m[rows], joints[0], emit)
    still = torch.zeros(num_frames, 3)
    performance = Performance(rotvecs=rotvecs, sway_m=still, expression=expression)
    return Choreography(name=wanted, performance=performance, translations_m=translations)


def _motion(wanted: str, body: AnnyBody, performer: Performer, fps_hz: float) -> Motion:
    rig = Rig(
        bone_names=body.bone_names,
        bone_parents=body.bone_parents,
        joints_rest_m=performer.shaped.joints_rest,
        humanoid=body.humanoid,
    )
    floor = float(performer.shaped.vertices_rest[performer.ground_vertices, 1].min())
    if wanted in BUILTIN_MOTIONS:
        return builtin_motion(wanted, rig, fps_hz=fps_hz, floor_rest_m=floor, relaxed_rotvecs=body.relaxed_rotvecs)
    path = Path(wanted)
    readers = {".bvh": read_bvh, ".npz": read_smpl_motion}
    reader = readers.get(path.suffix.lower())
    known = ", ".join((DEFAULT_MOTION, *BUILTIN_MOTIONS))
    if reader is None:
        what = "no motion that can be read" if path.exists() else "neither a file nor the name of a motion"
        raise InputError(f"{wanted} is {what}; expected a .bvh or .npz file, or one of: {known}.")
    return retarget(reader(path), rig, fps_hz=fps_hz, floor_rest_m=floor, relaxed_rotvecs=body.relaxed_rotvecs)


def _rows(motion: Motion, num_frames: int, *, seamless: bool) -> Tensor:
    """Which frame of the motion to show in each frame."""
    count = motion.num_frames
    wanted = torch.arange(num_frames)
    if seamless or count < 2:
        return wanted % count
    there = wanted % (2 * (count - 1))
    return torch.where(there < count, there, 2 * (count - 1) - there)


def _fingers(body: AnnyBody) -> list[int]:
    return [body.bone_names.index(b) for vrm, b in body.humanoid.items() if any(finger in vrm for finger in FINGERS)]


def _on_the_floor(performer: Performer, performance: Performance) -> Float[Tensor, "frames 3"]:
    """Translations that put the lowest point of the soles on the floor in every frame."""
    soles, rig = performer.ground_vertices, performer.shaped.rig
    shoes = performer.shaped.replace(
        vertices_rest=performer.shaped.vertices_rest[soles],
        rig=rig.replace(skin_joints=rig.skin_joints[soles], skin_weights=rig.skin_weights[soles]),
    )
    pose = Pose(rotvecs=performance.rotvecs, translation_world_m=torch.zeros(len(performance.rotvecs), 3))
    translations = performance.sway_m.clone()
    translations[:, 1] -= shoes.with_pose(pose).vertices()[..., 1].amin(1)
    translations[:, 2] -= performer.shaped.joints_rest[0, 2]
    return translations


def _kept_near(translations: Tensor, root_rest_m: Tensor, emit: Callable[[Event], None]) -> Float[Tensor, "frames 3"]:
    """The path about the middle of the floor, shortened where it is wide."""
    path = (translations + root_rest_m)[:, [0, 2]]
    low, high = path.amin(0), path.amax(0)
    widest = float((high - low).max())
    share = min(1.0, _WIDEST_M / max(widest, 1e-6))
    if share < 1.0:
        emit(
            Warned(
                code="path-shortened",
                message=f"The motion covers {widest:.1f} m; its path was shortened to {_WIDEST_M} m, so feet may slide.",
                advice="Take a shorter part of it with --seconds.",
            )
        )
    near = (path - (low + high) / 2) * share
    placed = translations.clone()
    placed[:, 0], placed[:, 2] = near[:, 0] - root_rest_m[0], near[:, 1] - root_rest_m[2]
    return placed
