"""Making `ForeignBody` values from arrays of the SMPL family, and checking that they can be a body's."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from bodydouble.capture.foreign.values import ForeignBody, smpl_joint_names
from bodydouble.core.arrays import rows
from bodydouble.core.errors import InputError

_MAX_ANGLE_RAD = 4.0 * np.pi
"""Rotation vectors are seldom longer than half a turn; degrees taken for radians are much longer."""


def smpl_body(
    poses: Float[ndarray, "frames 72"],
    betas: Float[ndarray, "given betas"],
    translation: Float[ndarray, "places 3"],
    *,
    where: str,
    pivot: str = "pelvis",
    gender: str = "unknown",
    scale: Float[ndarray, " frames"] | None = None,
) -> ForeignBody:
    """A SMPL body from 72 pose values (global orientation first) and a shape for all or each of the frames.

    Raises:
        InputError: When the numbers of frames differ, or angles look like degrees.
    """
    return _body("smpl", poses, betas, np.zeros((len(poses), 0)), translation, where, pivot, gender, "none", scale)


def smplx_body(
    poses: Float[ndarray, "frames 165"],
    betas: Float[ndarray, "given betas"],
    expression: Float[ndarray, "faces expressions"],
    translation: Float[ndarray, "places 3"],
    *,
    where: str,
    gender: str = "unknown",
    hands: str = "flat",
) -> ForeignBody:
    """A SMPL-X body from 165 pose values: global, 21 body joints, jaw, eyes, left hand, right hand.

    Raises:
        InputError: As `smpl_body`.
    """
    return _body("smplx", poses, betas, expression, translation, where, "pelvis", gender, hands, None)


def _body(
    model: str,
    poses: ndarray,
    betas: ndarray,
    expression: ndarray,
    translation: ndarray,
    where: str,
    pivot: str,
    gender: str,
    hands: str,
    scale: ndarray | None,
) -> ForeignBody:
    names = smpl_joint_names(model)
    frames = len(poses)
    poses = rows(poses, 3 * len(names), f"{where}: poses")
    translation = rows(translation, 3, f"{where}: translation")
    betas = np.array(betas, dtype=np.float64)
    if len(betas) == 1:
        betas = np.repeat(betas, frames, 0)
    for what, values in (("translations", translation), ("shapes", betas), ("expressions", expression)):
        if len(values) != frames:
            raise InputError(f"{where} has {frames} poses but {len(values)} {what}. Take both from one file.")
    rotvecs = poses.reshape(frames, -1, 3)
    longest = np.linalg.norm(rotvecs, axis=2).max(initial=0.0)
    if longest > _MAX_ANGLE_RAD:
        raise InputError(
            f"{where}: a joint is turned by {longest:.0f}; axis-angle in radians stays below {_MAX_ANGLE_RAD:.1f}. "
            "Are these degrees, or another kind of rotation?"
        )
    if betas.size and np.abs(betas).max() > 30:
        raise InputError(f"{where}: a shape value is {np.abs(betas).max():.0f}; those of SMPL stay within a few units.")
    return ForeignBody(
        model=model,
        gender=gender if gender in ("neutral", "male", "female") else "unknown",
        joint_names=names,
        rotvecs=torch.from_numpy(rotvecs),
        betas=torch.from_numpy(betas),
        expression=torch.from_numpy(np.array(expression, dtype=np.float64)),
        translation=torch.from_numpy(translation),
        scale=torch.ones(frames, dtype=torch.float64) if scale is None else torch.from_numpy(scale),
        pivot=pivot,
        hands=hands,
        valid=torch.ones(frames, dtype=torch.bool),
    )


def common_frames(images: int, poses: int, where: str, notes: list[str]) -> int:
    """How many frames have both image and pose; a difference of up to two at the end is noted and cut.

    Raises:
        InputError: When the numbers differ by more.
    """
    if abs(images - poses) > 2:
        raise InputError(
            f"{where} has {images} images but {poses} poses: which pose belongs to which image is unknown. "
            "Take images and poses of one split, or all of both."
        )
    if images != poses:
        notes.append(f"{images} images but {poses} poses: the last {abs(images - poses)} were left out.")
    return min(images, poses)
