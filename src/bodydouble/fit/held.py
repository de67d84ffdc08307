"""Joints that landmarks place better than a young avatar does: registration keeps them where the fit has them.

Hands and the head are small in the crop and blurred while the avatar is being trained, so that pictures alone pull them
off their places, while their own landmarks are good to a few millimetres. Rotations cannot say that: the place of a wrist
is known far better than the angles of the arm that leads to it. So the joints of the fit are projected into the crop and
count as targets beside those that the pictures give.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.avatar.values import Rig
from bodydouble.body.humanoid import FINGERS
from bodydouble.capture.values import BodyTrack
from bodydouble.core.kinematics import fast_bone_transforms

_HEAD = ("head", "leftEye", "rightEye")
"""Three points that fix where the head is and where it looks."""
_NEAREST_M = 0.1


def landmark_trust(rig: Rig, track: BodyTrack, rows: Int[Tensor, " frames"]) -> Float[Tensor, "frames bones"]:
    """How much the fit's place of each joint is to be trusted in some rows of a track: wrists, fingers and head in
    frames where their landmarks were seen; 0 for the rest of the body, which pictures place better."""
    measured = (~track.limb_error_px[rows].isnan()).float()
    seen = dict(zip(track.limb_names, measured.unbind(1), strict=True))
    unseen = torch.zeros(len(rows))  # a limb that nobody measured, too
    trust = torch.zeros(len(rows), len(rig.bone_names))
    for human, bone in rig.humanoid.items():
        joint, side = rig.bone_names.index(bone), "left" if human.startswith("left") else "right"
        if any(finger in human for finger in FINGERS):
            trust[:, joint] = seen.get(f"{side}_hand", unseen)
        elif human == f"{side}Hand":
            trust[:, joint] = seen.get(f"{side}_arm", unseen)
        elif human in _HEAD:
            trust[:, joint] = seen.get("head", unseen)
    return trust


@dataclass(frozen=True)
class HeldJoints:
    """Targets for joints, in every frame the same ones."""

    bones: np.ndarray
    """[held] index of the bone that begins at the joint."""
    rest_m: np.ndarray
    """[held, 3] in the rest pose."""
    world_m: np.ndarray
    """[frames, held, 3] where the fit has them."""
    trust: np.ndarray
    """[frames, held] in [0, 1]."""
    sigma_m: float
    """Believed error of a trusted one, across the line of sight."""

    @classmethod
    def of_fit(
        cls,
        rig: Rig,
        rotvecs: Float[Tensor, "frames bones 3"],
        translation_world_m: Float[Tensor, "frames 3"],
        trust: Float[Tensor, "frames bones"],
        sigma_m: float,
    ) -> HeldJoints:
        """Where these poses have the joints that are trusted in any frame."""
        rest = rig.joints_rest_m.double()
        R, t = fast_bone_transforms(rotvecs.double(), rest, translation_world_m.double(), rig.bone_parents)
        world = (R @ rest[..., None])[..., 0] + t
        bones = torch.nonzero(trust.any(0))[:, 0]
        return cls(
            bones=bones.numpy(),
            rest_m=rest[bones].numpy(),
            world_m=world[:, bones].numpy(),
            trust=trust[:, bones].double().numpy(),
            sigma_m=sigma_m,
        )

    def joined(
        self,
        points: np.ndarray,
        joints: np.ndarray,
        weights: np.ndarray,
        targets: np.ndarray,
        information: np.ndarray,
        cameras: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The first five with the held joints at their end; what they are, `gauss_newton.gauss_newton_step` says.

        Args:
            cameras: [frames, 16] of `pose_problem.pack_camera`, whose pixels the targets are to be in.
        """
        frames, held = self.trust.shape
        R, t = cameras[:, 4:13].reshape(-1, 3, 3), cameras[:, None, 13:]
        seen = np.einsum("fij,fhj->fhi", R, self.world_m) + t
        depth = np.maximum(seen[..., 2], _NEAREST_M)
        at_px = seen[..., :2] / depth[..., None] * cameras[:, None, :2] + cameras[:, None, 2:4]
        sigma_px = cameras[:, None, 0] * self.sigma_m / depth
        known = (self.trust / sigma_px**2)[..., None] * np.array([1.0, 0.0, 1.0])
        on_bones = np.zeros((frames, held, joints.shape[2]), joints.dtype)
        on_bones[..., 0] = self.bones
        alone = np.zeros((frames, held, weights.shape[2]))
        alone[..., 0] = 1.0
        own = (np.broadcast_to(self.rest_m, (frames, held, 3)), on_bones, alone, at_px, known)
        given = (points, joints, weights, targets, information)
        together = [np.concatenate(pair, axis=1) for pair in zip(given, own, strict=True)]
        return together[0], together[1], together[2], together[3], together[4]
