"""A fitted body's motion against the true one, in the figures that papers on body estimation print."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from bodydouble.body.humanoid import FINGERS
from bodydouble.body.protocol import BodyModel
from bodydouble.evaluate.joints import acceleration_error_m_s2, limb_errors_m, mpjpe_m, pa_mpjpe_m, root_relative_m

_NO_JOINTS = ("Eye", "jaw")
_LIMBS: dict[str, tuple[str, ...]] = {
    "torso": ("hips", "spine", "chest", "upperChest", "neck"),
    "head": ("head",),
    **{f"{side}_arm": tuple(f"{side}{b}" for b in ("Shoulder", "UpperArm", "LowerArm", "Hand")) for side in ("left", "right")},
    **{f"{side}_leg": tuple(f"{side}{b}" for b in ("UpperLeg", "LowerLeg", "Foot", "Toes")) for side in ("left", "right")},
}  # fmt: skip


def main_joints(body: BodyModel) -> list[int]:
    """Bones of the humanoid without fingers, eyes and jaw."""
    names = [n for n in body.humanoid if not any(word in n for word in (*FINGERS, *_NO_JOINTS))]
    return [body.bone_names.index(body.humanoid[name]) for name in names]


def limb_joints(body: BodyModel) -> dict[str, list[int]]:
    """Bones of each limb; the names of `_LIMBS`."""
    return {
        limb: [body.bone_names.index(body.humanoid[name]) for name in names if name in body.humanoid]
        for limb, names in _LIMBS.items()
    }


def finger_error_m(
    body: BodyModel, joints: Float[np.ndarray, "frames bones 3"], truth: Float[np.ndarray, "frames bones 3"]
) -> float:
    """Mean error of the finger joints, metres, with the wrists laid upon each other; mean of both hands."""
    errors = []
    for side in ("left", "right"):
        names = [n for n in body.humanoid if n.startswith(side) and any(finger in n for finger in FINGERS)]
        wrist = body.bone_names.index(body.humanoid[f"{side}Hand"])
        columns = [body.bone_names.index(body.humanoid[name]) for name in names]
        errors.append(root_relative_m(joints[:, columns], truth[:, columns], joints[:, wrist], truth[:, wrist]))
    return float(np.mean(errors))


def pose_figures(
    body: BodyModel,
    joints: Float[np.ndarray, "frames bones 3"],
    truth: Float[np.ndarray, "frames bones 3"],
    frame_indices: Sequence[int],
    fps_hz: float,
) -> dict[str, float]:
    """Errors of a motion.

    Args:
        joints, truth: Of the same frames, metres, in the world of the video's camera.
        frame_indices: Source index of each frame, ascending.
        fps_hz: Of the video.
    Returns:
        `mpjpe_mm` as the joints lie (depth and height included); `mpjpe_root_mm` with the hips at the origin;
        `pa_mpjpe_mm` after the best similarity of each frame; `acceleration_error_mm_s2` over all runs of successive
        frames; `finger_error_mm` with the wrists at the origin; and `<limb>_root_mm` with the hips at the origin.
    """
    main = main_joints(body)
    hips = body.bone_names.index(body.humanoid["hips"])
    centred, true_centred = joints - joints[:, [hips]], truth - truth[:, [hips]]
    limbs = limb_errors_m(centred, true_centred, limb_joints(body))
    return {
        "mpjpe_mm": 1000.0 * mpjpe_m(joints[:, main], truth[:, main]),
        "mpjpe_root_mm": 1000.0 * mpjpe_m(centred[:, main], true_centred[:, main]),
        "pa_mpjpe_mm": 1000.0 * pa_mpjpe_m(joints[:, main], truth[:, main]),
        "acceleration_error_mm_s2": 1000.0 * _acceleration(joints[:, main], truth[:, main], frame_indices, fps_hz),
        "finger_error_mm": 1000.0 * finger_error_m(body, joints, truth),
        **{f"{limb}_root_mm": 1000.0 * error for limb, error in limbs.items()},
    }


def _acceleration(joints: np.ndarray, truth: np.ndarray, frame_indices: Sequence[int], fps_hz: float) -> float:
    """Over each run of successive frames, weighted by how many accelerations it has."""
    breaks = np.flatnonzero(np.diff(np.asarray(frame_indices)) != 1) + 1
    total, count = 0.0, 0
    for rows in np.split(np.arange(len(joints)), breaks):
        if len(rows) >= 3:
            total += acceleration_error_m_s2(joints[rows], truth[rows], fps_hz) * (len(rows) - 2)
            count += len(rows) - 2
    return total / count if count else float("nan")
