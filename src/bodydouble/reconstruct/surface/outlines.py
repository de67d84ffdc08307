"""Poses that lay the surface's outline where the evidence has it: Gauss-Newton over all frames, beside the training.

A ray through a pixel of the outline should touch the surface. The field's least value along it says how far it is from
that, so the place where it is least should move by so much across the outline. One such wish for each of a few hundred
pixels, and every bone of a frame has its step; a step of Adam with a noisy gradient needs dozens of visits for the same.
What is missed beside a bone in all frames alike is the surface's to learn, so it is left out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.avatar.values import Rig
from bodydouble.capture.crops import PersonCrop
from bodydouble.core.cameras import video_camera
from bodydouble.core.kinematics import fast_bone_transforms
from bodydouble.core.seeds import numpy_rng
from bodydouble.fit.pose_problem import PoseProblem, RegisterConfig
from bodydouble.reconstruct.surface.evidence import Evidence
from bodydouble.reconstruct.surface.frames import VideoFrames
from bodydouble.reconstruct.surface.rigging import nearest_skin, unposed_points
from bodydouble.reconstruct.surface.values import SurfaceField

Touch = Callable[[int, Int[np.ndarray, "n 2"]], tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]]
"""For a frame and pixels of half its working size: the least signed distance along their rays, and where in canonical
space that is; not a number where a ray misses the person by far."""
_POINTS = 240
_SURE = 0.5
"""Confidence that both sides of an outline need."""
_SMOOTH_PX = 2.0
"""Blur of the mask of which normals are taken."""
_REACH_M = 0.06
"""Rays that miss by more show another part of the body, or a fault of the evidence."""
_SIGMA_PX, _ROBUST_PX = 3.0, 6.0
"""Believed error of the outline, neighbouring pixels being far from independent, and scale of the robust loss."""


class Outlines:
    """The outlines of all training frames, and the poses that follow them.

    Args:
        rig: Skeleton of the person.
        frames, evidence: What is seen.
        focal_px: Focal length in pixels of the video.
        times_s: Of the frames.
        rotvecs, translation_world_m: The fit, which holds the poses.
    """

    def __init__(
        self,
        rig: Rig,
        frames: VideoFrames,
        evidence: Evidence,
        focal_px: float,
        times_s: Float[np.ndarray, " frames"],
        rotvecs: Float[Tensor, "frames bones 3"],
        translation_world_m: Float[Tensor, "frames 3"],
    ) -> None:
        height, width = evidence.person.shape[1:]
        camera = video_camera(width, height, 0.5 * focal_px * frames.scale)
        self._crops = [
            PersonCrop(
                frame_index=index, rgb=frames.half[place], mask=(255 * evidence.person[place]).astype(np.uint8),
                camera=camera, x0_px=0, y0_px=0, side_px=max(width, height),
            )
            for place, index in enumerate(frames.frame_indices)
        ]  # fmt: skip
        self._problem = PoseProblem(rig, self._crops, times_s, rotvecs, translation_world_m, RegisterConfig())
        self._pixels = [
            outline_pixels(evidence.person[place], evidence.confidence[place], _POINTS, index)
            for place, index in enumerate(frames.frame_indices)
        ]

    def follow(
        self,
        rotvecs: Float[Tensor, "frames bones 3"],
        translation_world_m: Float[Tensor, "frames 3"],
        field: SurfaceField,
        touch: Touch,
    ) -> tuple[Float[Tensor, "frames bones 3"], Float[Tensor, "frames 3"]]:
        """The poses one step nearer to the outlines.

        Args:
            rotvecs, translation_world_m: The poses as they are.
            field: The person as it is.
            touch: How rays pass it in those poses.
        """
        problem, rig = self._problem, self._problem.rig
        problem.rotvecs, problem.translation = rotvecs.clone(), translation_world_m.clone()
        R, t = fast_bone_transforms(rotvecs, rig.joints_rest_m, translation_world_m, rig.bone_parents)
        frames, k = len(self._crops), 4
        points, weights = np.zeros((frames, _POINTS, 3)), np.zeros((frames, _POINTS, k))
        joints = np.zeros((frames, _POINTS, k), np.int64)
        targets, information = np.zeros((frames, _POINTS, 2)), np.zeros((frames, _POINTS, 3))
        touched = [touch(place, pixels) for place, (pixels, _) in enumerate(self._pixels)]
        usual_m = self._usual(touched, field)
        for place, (least, nearest) in enumerate(touched):
            near = nearest.isfinite().all(1) & (least.abs() < _REACH_M)
            n = int(near.sum())
            bones, shares = nearest_skin(field.skin, nearest[near])
            rest = unposed_points(nearest[near], field.R_canonical_rest, field.t_canonical_rest, bones, shares)
            moved = (R[place][bones.long()] @ rest[:, None, :, None])[..., 0] + t[place][bones.long()]
            at_px, depth = self._crops[place].camera.project((shares[..., None] * moved).sum(1))
            across = self._pixels[place][1][near.numpy()]
            missed_m = least[near] - usual_m[bones[:, 0].long()]
            away_px = (missed_m / depth * self._crops[place].camera.focal_px[0]).numpy()
            points[place, :n], joints[place, :n], weights[place, :n] = rest, bones, shares
            targets[place, :n] = at_px.numpy() + across * away_px[:, None]
            x, y = across.T
            information[place, :n] = np.stack([x * x, x * y, y * y], axis=1) / _SIGMA_PX**2
        problem.step(points, joints, weights, targets, information, rho_px=_ROBUST_PX)
        return problem.rotvecs, problem.translation

    def _usual(self, touched: list[tuple[Tensor, Tensor]], field: SurfaceField) -> Float[Tensor, " bones"]:
        """By how much the surface misses the outlines beside each bone in most frames: cloth, not a pose."""
        least, nearest = (torch.cat(part) for part in zip(*touched, strict=True))
        near = nearest.isfinite().all(1) & (least.abs() < _REACH_M)
        leading = nearest_skin(field.skin, nearest[near])[0][:, 0].long()
        usual = torch.zeros(len(self._problem.rig.bone_names))
        for bone in leading.unique():
            usual[bone] = least[near][leading == bone].median()
        return usual


def outline_pixels(
    person: Float[np.ndarray, "height width"], confidence: Float[np.ndarray, "height width"], most: int, seed: int
) -> tuple[Int[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]:
    """The person's pixels beside the world's, both surely, and the directions out of the person there.

    Args:
        person, confidence: Of one frame, as in `Evidence`.
        most: So many of them at most, drawn at random.
        seed: For that.
    Returns:
        Column and row, and unit vectors (right, down).
    """
    import cv2

    solid, sure = person > 0.5, confidence > _SURE
    beside = cv2.dilate((~solid & sure).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    rows, columns = np.nonzero(solid & sure & beside)
    if len(rows) > most:
        chosen = numpy_rng(seed, "outline").choice(len(rows), most, replace=False)
        rows, columns = rows[chosen], columns[chosen]
    soft = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), _SMOOTH_PX)
    slope = np.stack([-cv2.Sobel(soft, cv2.CV_32F, 1, 0), -cv2.Sobel(soft, cv2.CV_32F, 0, 1)], axis=-1)[rows, columns]
    length = np.linalg.norm(slope, axis=1)
    clear = length > 1e-3
    return np.stack([columns, rows], axis=1)[clear], slope[clear] / length[clear, None]
