"""Captures in which estimates are replaced by the truth: which error comes from where."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from bodydouble.capture.folder import Capture, mask_name
from bodydouble.capture.values import BodyTrack
from bodydouble.core.files import remove_tree
from bodydouble.synth.truth import read_truth


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What is given and what is estimated."""

    true_pose: bool
    true_masks: bool

    @property
    def name(self) -> str:
        """For people and folders."""
        pose = "true" if self.true_pose else "estimated"
        mask = "true" if self.true_masks else "estimated"
        return f"{pose} pose, {mask} masks"

    @property
    def folder_name(self) -> str:
        """For the file system."""
        return self.name.replace(", ", "-").replace(" ", "-")


CONDITIONS = tuple(
    Condition(true_pose=pose, true_masks=masks)
    for pose, masks in ((True, True), (True, False), (False, True), (False, False))
)


def conditioned(capture: Capture, track: BodyTrack, masks: Path, folder: Path, condition: Condition) -> Capture:
    """A copy of a capture with some of its estimates replaced.

    Args:
        capture: Perceived and fitted.
        track: The true poses of the capture's frames, in the camera's frame.
        masks: The true masks, `frame_%06d.png`.
        folder: For the copy; what is there is replaced.
        condition: What to replace.
    """
    remove_tree(folder)
    shutil.copytree(capture.folder, folder)
    copy = Capture.open(folder)
    if condition.true_pose:
        copy.save_track(track)
    if condition.true_masks:
        remove_tree(copy.mattes_folder)
        for index in capture.observations().frame_indices.tolist():
            shutil.copyfile(masks / f"frame_{index:06d}.png", copy.masks_folder / mask_name(index))
    return copy


def true_poses(performer: Path, estimated: BodyTrack) -> BodyTrack:
    """The frames of an estimated track with the true shape, poses, expressions and focal length.

    Args:
        performer: Folder that `synth.synthesise` wrote.
        estimated: Tells which frames, and everything else.
    """
    truth = read_truth(performer)
    values, (rotvecs, translations) = truth.values, truth.pose_in_camera()
    at = estimated.frame_indices.long()
    return estimated.replace(
        shape=values.shape,
        rotvecs=rotvecs[at],
        translation_world_m=translations[at],
        expression=values.expression[at],
        focal_px=values.focal_px[0, 0],
        focal_source="given",
        height_source="given",
        valid=torch.ones(len(at), dtype=torch.bool),
        frame_quality=torch.ones(len(at)),
        limb_error_px=torch.zeros_like(estimated.limb_error_px),
    )
