"""Registration: poses are corrected so that the rendered avatar lies on the frame. The largest lever on quality there is.

Rounds of: render the avatar in the current pose, follow its visible points into the frame by dense flow, and solve all
frames for the poses that put the points there (`gauss_newton`). The avatar stays as it is. The pull to the pose of the
landmark fit and to neighbouring frames keeps unseen freedom in place. A few photometric steps may finish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.correctives import corrected_splats, pose_coefficients
from bodydouble.avatar.drive import pose_splats as drive_splats
from bodydouble.avatar.values import Avatar, Rig, Splats
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.crops import PersonCrop, half_size, person_crops
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.events import Event, Progress
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix
from bodydouble.core.kinematics import fast_bone_transforms
from bodydouble.fit.flow import FlowMatcher
from bodydouble.fit.gauss_newton import gauss_newton_step
from bodydouble.render.protocol import Rasterizer, RenderedSplats, SplatCloud
from bodydouble.render.threads import kernel_threads, run_kernel

_FINGERS = ("Thumb", "Index", "Middle", "Ring", "Little")
_STILL = ("Eye", "Toes", "jaw")
_FULL_SIZE_RATE = 0.4
"""Steps at full size are finer than those at half of it."""


@dataclass(frozen=True)
class RegisterConfig:
    """How frames are registered to an avatar."""

    rounds: int = 3
    """Rounds of render, flow, solve."""
    iterations: int = 3
    """Gauss-Newton steps a round."""
    max_points: int = 600
    """Visible points followed per frame."""
    size_px: int = 512
    """Side of the person crop."""
    rotation_sigma_rad: float = 0.15
    """How far a body bone may turn from the landmark fit."""
    finger_sigma_rad: float = 0.08
    translation_sigma_m: float = 0.08
    neighbour_sigma_rad: float = 0.08
    """How far the correction may differ between frames 1/30 s apart."""
    target_sigma_px: float = 3.0
    """Believed error of a flow target, neighbouring targets being far from independent."""
    robust_px: float = 8.0
    """Scale of the robust loss."""
    photometric_steps: int = 0
    """Adam steps on the image itself, at half the crop's size, after the last round."""
    full_size_steps: int = 0
    """Adam steps at the full size after those."""
    photometric_rate: float = 3e-3
    """Step of those, radians and metres."""


def active_bones(rig: Rig, *, fingers: bool) -> list[int]:
    """Bones that registration and training may move: the humanoid body, and fingers if asked."""
    chosen = {
        bone
        for name, bone in rig.humanoid.items()
        if not any(part in name for part in _STILL) and (fingers or not any(part in name for part in _FINGERS))
    }
    return [i for i, name in enumerate(rig.bone_names) if name in chosen]


def pose_splats(
    splats: Splats, rig: Rig, rotvecs: Float[Tensor, "bones 3"], translation_world_m: Float[Tensor, "3"]
) -> SplatCloud:
    """The splats in one pose, with their correctives, without facial actions. Differentiable in the pose and in the
    splats; the correctives' coefficients are taken from the pose as constants."""
    R, t = fast_bone_transforms(rotvecs[None], rig.joints_rest_m, translation_world_m[None], rig.bone_parents)
    if splats.correctives is not None:
        basis = splats.correctives.basis
        splats = corrected_splats(splats, pose_coefficients(basis, R[0].detach(), rig.bone_parents))
    return drive_splats(splats, R[0], t[0])


class PoseProblem:
    """Poses of many frames on their way from the landmark fit to the image."""

    def __init__(
        self,
        rig: Rig,
        crops: Sequence[PersonCrop],
        times_s: np.ndarray,
        rotvecs: Float[Tensor, "frames bones 3"],
        translation_world_m: Float[Tensor, "frames 3"],
        config: RegisterConfig,
        *,
        prior_rotvecs: Float[Tensor, "frames bones 3"] | None = None,
        prior_translation_m: Float[Tensor, "frames 3"] | None = None,
    ) -> None:
        self.rig = rig
        self.crops = crops
        self.times_s = times_s
        self.config = config
        self.rotvecs = rotvecs.clone()
        self.translation = translation_world_m.clone()
        self._R_prior = rotvec_to_matrix(rotvecs if prior_rotvecs is None else prior_rotvecs).double()
        self._t_prior = (translation_world_m if prior_translation_m is None else prior_translation_m).double()
        self.bones = active_bones(rig, fingers=True)
        self.parents = np.asarray(rig.bone_parents, np.int64)
        self.slots = np.full(len(rig.bone_names), -1, np.int64)
        self.slots[self.bones] = np.arange(len(self.bones))
        self.cameras = np.stack([_pack_camera(crop) for crop in crops])
        finger_names = {b for n, b in rig.humanoid.items() if any(part in n for part in _FINGERS)}
        sigma = np.array([
            config.finger_sigma_rad if rig.bone_names[b] in finger_names else config.rotation_sigma_rad
            for b in self.bones
        ]).repeat(3)  # fmt: skip
        self.prior_precision = np.concatenate([sigma**-2, np.full(3, config.translation_sigma_m**-2)])
        self.smooth_precision = np.full(len(sigma) + 3, config.neighbour_sigma_rad**-2)

    def deviation(self) -> np.ndarray:
        """[frames, 3 active + 3] rotation (axes of the parent bone) and translation since the prior."""
        R_now = rotvec_to_matrix(self.rotvecs).double()[:, self.bones]
        turn = matrix_to_rotvec(R_now @ self._R_prior[:, self.bones].transpose(-1, -2))
        return torch.cat([turn.flatten(1), self.translation.double() - self._t_prior], dim=1).numpy()

    def _neighbours(self, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean deviation of the frames just before and after, and how much they count: less with every 1/30 s between."""
        total = np.zeros_like(deviation)
        weight = np.zeros((len(deviation), 1))
        if len(deviation) > 1:
            near = np.exp(-np.diff(self.times_s) * 30.0 / 4.0)[:, None]
            total[1:] += near * deviation[:-1]
            weight[1:] += near
            total[:-1] += near * deviation[1:]
            weight[:-1] += near
        return total / np.maximum(weight, 1e-9), weight

    def solve(
        self, points: np.ndarray, joints: np.ndarray, weights: np.ndarray, targets: np.ndarray, trust: np.ndarray
    ):
        """Gauss-Newton steps towards the targets; returns the residual in pixels of each frame before the last step."""
        config = self.config
        trust = trust / config.target_sigma_px**2
        rho = np.full(len(self.crops), config.robust_px)
        residual = np.zeros(len(self.crops))
        for _ in range(config.iterations):
            R, t = fast_bone_transforms(
                self.rotvecs.double(), self.rig.joints_rest_m.double(), self.translation.double(), self.parents
            )
            joints_world = (R @ self.rig.joints_rest_m.double()[..., None])[..., 0] + t
            deviation = self.deviation()
            neighbour, weight = self._neighbours(deviation)
            step = np.zeros_like(deviation)
            run_kernel(
                gauss_newton_step, kernel_threads(), points, joints, weights, targets, trust, rho, R.numpy(), t.numpy(), joints_world.numpy(),
                self.parents, self.slots, self.cameras, deviation, neighbour, weight[:, 0],
                self.prior_precision, self.smooth_precision, step, residual,
            )  # fmt: skip
            self._apply(torch.from_numpy(step))
        return residual

    def _apply(self, step: Tensor) -> None:
        turn = step[:, :-3].reshape(len(self.crops), -1, 3)
        # A bone that no point can see has a singular pull only to its prior; a wild step would be a bug, not a pose.
        turn = turn * (0.5 / turn.norm(dim=-1, keepdim=True).clamp_min(0.5))
        R_local = rotvec_to_matrix(turn) @ rotvec_to_matrix(self.rotvecs[:, self.bones].double())
        self.rotvecs[:, self.bones] = matrix_to_rotvec(R_local).to(self.rotvecs.dtype)
        self.translation += step[:, -3:].to(self.translation.dtype)


def _pack_camera(crop: PersonCrop) -> np.ndarray:
    camera = crop.camera
    parts = (camera.focal_px, camera.center_px, camera.T_camera_world[:3, :3].reshape(-1), camera.T_camera_world[:3, 3])
    return torch.cat([part.double().reshape(-1) for part in parts]).numpy()


_GRAY = torch.full((3,), 0.5)


def _frame_over_gray(crop: PersonCrop) -> np.ndarray:
    mask = crop.mask[..., None].astype(np.float32) / 255.0
    return crop.rgb.astype(np.float32) / 255.0 * mask + 0.5 * (1.0 - mask)


def _visible_points(
    cloud: SplatCloud, image: RenderedSplats, crop: PersonCrop, max_points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and pixels of splats that the image shows: near the rendered depth, where the render is opaque."""
    points_px, depth = crop.camera.project(cloud.means_world)
    height, width = image.alpha.shape
    column = points_px[:, 0].long().clamp(0, width - 1)
    row = points_px[:, 1].long().clamp(0, height - 1)
    inside = (points_px >= 1).all(1) & (points_px[:, 0] < width - 1) & (points_px[:, 1] < height - 1)
    alpha = image.alpha[row, column]
    surface = image.depth[row, column] / alpha.clamp_min(1e-3)
    seen = inside & (alpha > 0.8) & ((depth - surface).abs() < 0.03) & (cloud.opacities > 0.2)
    chosen = torch.nonzero(seen)[:, 0].numpy()
    if len(chosen) > max_points:
        chosen = np.sort(np.random.default_rng(crop.frame_index).choice(chosen, max_points, replace=False))
    return chosen, points_px[chosen].numpy()


def register_poses(
    problem: PoseProblem, splats: Splats, rasterizer: Rasterizer, progress: Callable[[int], None] | None = None
) -> np.ndarray:
    """Run all rounds on `problem` in place.

    Returns:
        Residual of the flow targets in crop pixels, one per frame, as it was before the last step.
    """
    config = problem.config
    frames, k = len(problem.crops), splats.joints.shape[1]
    matcher = FlowMatcher()
    rest, joints_all = splats.means_rest_m.double().numpy(), splats.joints.long().numpy()
    weights_all = splats.weights.double().numpy()
    residual = np.zeros(frames)
    for _ in range(config.rounds):
        points = np.zeros((frames, config.max_points, 3))
        joints = np.zeros((frames, config.max_points, k), np.int64)
        weights = np.zeros((frames, config.max_points, k))
        targets = np.zeros((frames, config.max_points, 2))
        trust = np.zeros((frames, config.max_points))
        for f, crop in enumerate(problem.crops):
            with torch.no_grad():
                cloud = pose_splats(splats, problem.rig, problem.rotvecs[f], problem.translation[f])
                image = rasterizer(cloud, crop.camera, _GRAY)
            chosen, at_px = _visible_points(cloud, image, crop, config.max_points)
            if progress is not None:
                progress(f)
            if len(chosen) == 0:
                continue
            found, weight = matcher.match(image.rgb.numpy(), _frame_over_gray(crop), at_px)
            n = len(chosen)
            points[f, :n], joints[f, :n], weights[f, :n] = rest[chosen], joints_all[chosen], weights_all[chosen]
            targets[f, :n], trust[f, :n] = found, weight
        residual = problem.solve(points, joints, weights, targets, trust)
    return residual


def refine_photometrically(problem: PoseProblem, splats: Splats, rasterizer: Rasterizer) -> None:
    """Adam steps on each frame's pose against the frame itself (squared error over grey), the avatar frozen.

    Most steps look at the crop at half its size; the last ones at all of it, from whichever of the first and the
    stepped pose fits it better, so that a frame never ends worse than it began.
    """
    config = problem.config
    for f, crop in enumerate(problem.crops):
        start = _Pose(problem.rotvecs[f].clone(), problem.translation[f].clone())
        descent = _Descent(problem.rig, splats.detach(), rasterizer, half_size(crop))
        coarse, _ = descent.run(start, config.photometric_steps, config.photometric_rate)
        descent = _Descent(problem.rig, splats.detach(), rasterizer, crop)
        better = min((start, coarse), key=descent.loss)
        fine, _ = descent.run(better, config.full_size_steps, config.photometric_rate * _FULL_SIZE_RATE)
        problem.rotvecs[f], problem.translation[f] = fine


class _Pose(NamedTuple):
    rotvecs: Float[Tensor, "bones 3"]
    translation_world_m: Float[Tensor, "3"]


class _Descent:
    """One frame's squared error as a function of the pose, and the way down."""

    def __init__(self, rig: Rig, splats: Splats, rasterizer: Rasterizer, crop: PersonCrop) -> None:
        self._rig, self._splats, self._rasterizer, self._camera = rig, splats, rasterizer, crop.camera
        self._target = torch.from_numpy(_frame_over_gray(crop))
        self._active = torch.zeros(len(rig.bone_names), 1)
        self._active[active_bones(rig, fingers=False)] = 1.0

    def _error(self, pose: _Pose) -> Tensor:
        image = self._rasterizer(pose_splats(self._splats, self._rig, *pose), self._camera, _GRAY)
        return ((image.rgb - self._target) ** 2).mean()

    def loss(self, pose: _Pose) -> float:
        """Mean squared error of a pose."""
        with torch.no_grad():
            return float(self._error(pose))

    def run(self, start: _Pose, steps: int, rate: float) -> tuple[_Pose, float]:
        """The best pose met on the way from `start`, and its error."""
        best, best_loss = start, float("inf")
        if steps == 0:
            return best, best_loss
        rotvecs = start.rotvecs.clone().requires_grad_()
        translation = start.translation_world_m.clone().requires_grad_()
        optimizer = torch.optim.Adam([rotvecs, translation], lr=rate, betas=(0.7, 0.95))
        for step in range(steps + 1):
            error = self._error(_Pose(rotvecs, translation))
            if error.item() < best_loss:
                best, best_loss = _Pose(rotvecs.detach().clone(), translation.detach().clone()), error.item()
            if step == steps:
                break
            optimizer.zero_grad()
            error.backward()
            assert rotvecs.grad is not None
            rotvecs.grad *= self._active
            for group in optimizer.param_groups:
                group["lr"] = rate * (1.0 - step / steps)
            optimizer.step()
        return best, best_loss


def register_frames(
    capture: Capture,
    body: BodyModel,
    avatar: Avatar,
    track: BodyTrack,
    frame_indices: Sequence[int],
    rasterizer: Rasterizer,
    config: RegisterConfig,
    emit: Callable[[Event], None],
) -> BodyTrack:
    """Register source frames to a finished avatar.

    Args:
        capture: Frames and masks.
        body: The body the track was fitted with (its bones are the avatar's).
        avatar: The avatar, which stays as it is; its splats are used.
        track: Poses to start from.
        frame_indices: Source frames to register; frames without a mask keep their pose.
        rasterizer: Renders the splats.
    Returns:
        The track with the poses of `frame_indices` replaced.
    """
    if avatar.splats is None:
        raise ValueError("register_frames: the avatar holds no splats to render; train it with --method splats.")
    crops = list(person_crops(capture, frame_indices, size_px=config.size_px, focal_px=float(track.focal_px)))
    if not crops:
        return track
    rows = torch.tensor([int((track.frame_indices == crop.frame_index).nonzero()[0, 0]) for crop in crops])
    problem = PoseProblem(
        avatar.rig, crops, track.times_s[rows].double().numpy(), track.rotvecs[rows],
        track.translation_world_m[rows], config,
    )  # fmt: skip
    passes = config.rounds + (1 if config.photometric_steps else 0)
    register_poses(
        problem, avatar.splats, rasterizer,
        lambda f: emit(Progress(stage="register", done=f + 1, total=len(crops) * passes, unit="frames")),
    )  # fmt: skip
    if config.photometric_steps:
        refine_photometrically(problem, avatar.splats, rasterizer)
    rotvecs, translation = track.rotvecs.clone(), track.translation_world_m.clone()
    rotvecs[rows], translation[rows] = problem.rotvecs, problem.translation
    return track.replace(rotvecs=rotvecs, translation_world_m=translation)
