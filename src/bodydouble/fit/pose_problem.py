"""Poses of many frames on their way to the pictures: what moves, what holds them, and one step of the solver."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.avatar.correctives import corrected_splats, pose_coefficients
from bodydouble.avatar.drive import pose_splats as drive_splats
from bodydouble.avatar.values import Rig, Splats
from bodydouble.body.humanoid import FINGERS
from bodydouble.capture.crops import PersonCrop
from bodydouble.capture.values import BodyTrack
from bodydouble.core.events import Event, Progress
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix
from bodydouble.core.kinematics import fast_bone_transforms
from bodydouble.fit.gauss_newton import gauss_newton_step
from bodydouble.fit.held import HeldJoints
from bodydouble.render.protocol import RenderedSplats, SplatCloud
from bodydouble.render.threads import kernel_threads, run_kernel

_STILL = ("Eye", "Toes", "jaw")


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
    held_sigma_m: float = 0.001
    """Believed error of a joint that is held. Pictures count every pixel as if it knew nothing of the next one, so that
    it must be smaller than it is."""
    target_sigma_px: float = 3.0
    """Believed error of a flow target, neighbouring targets being far from independent."""
    robust_px: float = 8.0
    """Scale of the robust loss."""
    sweeps: tuple[int, ...] = ()
    """Photometric sweeps after those rounds, one entry each: how many times the crop is halved for it."""
    looks: bool = False
    """Whether the frame's own folds and face are found, too (`fit.looks`)."""
    sweep_points: int = 2000
    """Visible points that share a frame's pixels among them."""
    window_px: float = 4.5
    """Half the window around each."""
    color_sigma: float = 0.15
    """Believed difference of a pixel of the right pose; cloth and light move, too."""

    def renders(self) -> int:
        """How often each frame is rendered: once a round and sweep, and once more at each size to see what came of it."""
        return self.rounds + len(self.sweeps) + len(set(self.sweeps))


def frames_counted(emit: Callable[[Event], None], total: int) -> Callable[[int], None]:
    """Tells of one more frame aligned each time it is called."""
    counted = itertools.count(1)
    return lambda _: emit(Progress(stage="register", done=next(counted), total=total, unit="frames"))


def active_bones(rig: Rig, *, fingers: bool) -> list[int]:
    """Bones that registration and training may move: the humanoid body, and fingers if asked."""
    chosen = {
        bone
        for name, bone in rig.humanoid.items()
        if not any(part in name for part in _STILL) and (fingers or not any(part in name for part in FINGERS))
    }
    return [i for i, name in enumerate(rig.bone_names) if name in chosen]


Dress = Callable[[Splats, Tensor, int], Splats]
"""Gives the splats, still in the rest pose, as one frame shows them: (splats, R_world_rest of all bones, frame)."""


def pose_correctives(rig: Rig) -> Dress:
    """Splats with the correctives that their pose asks for, without facial actions."""

    def dress(splats: Splats, R_world_rest: Tensor, _frame: int) -> Splats:
        if splats.correctives is None:
            return splats
        return corrected_splats(
            splats, pose_coefficients(splats.correctives.basis, R_world_rest.detach(), rig.bone_parents)
        )

    return dress


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
        dress: Dress | None = None,
        held: Float[Tensor, "frames bones"] | None = None,
    ) -> None:
        """Poses start at `rotvecs` and `translation_world_m`; the prior, if it is not them, is the landmark fit.

        Args:
            rig, crops, times_s: The skeleton, and the frames with when they were taken.
            dress: What the splats look like in a frame; by default with the correctives of its pose.
            held: Joints that stay where the prior has them in the picture, and how much (`held.landmark_trust`).
        """
        self.dress = pose_correctives(rig) if dress is None else dress
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
        self.cameras = np.stack([pack_camera(crop) for crop in crops])
        finger_names = {b for n, b in rig.humanoid.items() if any(part in n for part in FINGERS)}
        sigma = np.array([
            config.finger_sigma_rad if rig.bone_names[b] in finger_names else config.rotation_sigma_rad
            for b in self.bones
        ]).repeat(3)  # fmt: skip
        self.prior_precision = np.concatenate([sigma**-2, np.full(3, config.translation_sigma_m**-2)])
        self.smooth_precision = np.full(len(sigma) + 3, config.neighbour_sigma_rad**-2)
        self._held = None
        if held is not None and bool(held.any()):
            prior = matrix_to_rotvec(self._R_prior)
            self._held = HeldJoints.of_fit(rig, prior, self._t_prior, held, config.held_sigma_m)

    def posed(self, splats: Splats, frame: int) -> tuple[Splats, SplatCloud]:
        """The splats as a frame shows them, in the rest pose and in the frame's present pose."""
        R, t = self.bone_transforms(frame)
        dressed = self.dress(splats, R, frame)
        return dressed, drive_splats(dressed, R, t)

    def bone_transforms(self, frame: int) -> tuple[Float[Tensor, "bones 3 3"], Float[Tensor, "bones 3"]]:
        """R_world_rest and t_world_rest of every bone in a frame's present pose."""
        R, t = fast_bone_transforms(
            self.rotvecs[frame][None], self.rig.joints_rest_m, self.translation[frame][None], self.rig.bone_parents
        )
        return R[0], t[0]

    def into(self, track: BodyTrack, rows: Int[Tensor, " frames"]) -> BodyTrack:
        """A track with the present poses in its `rows`, in the order of the frames here."""
        return track.replace(
            rotvecs=track.rotvecs.index_copy(0, rows, self.rotvecs),
            translation_world_m=track.translation_world_m.index_copy(0, rows, self.translation),
        )

    def centre(self) -> None:
        """Take from all frames what they deviate alike: that is the avatar's to learn, so that poses of the fit, which
        know nothing of it, suit the avatar."""
        mean = torch.from_numpy(np.median(self.deviation(), axis=0))
        self._apply((-mean).expand(len(self.crops), -1))

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
    ) -> np.ndarray:
        """Gauss-Newton steps towards the targets; returns the residual in pixels of each frame before the last step.

        Args:
            points, joints, weights: Rest positions and skinning of each frame's own points.
            targets: Where they should lie, pixels of the crop.
            trust: In [0, 1] for each target.
        """
        config = self.config
        information = (trust / config.target_sigma_px**2)[..., None] * np.array([1.0, 0.0, 1.0])
        residual = np.zeros(len(self.crops))
        for _ in range(config.iterations):
            residual = self.step(points, joints, weights, targets, information, rho_px=config.robust_px)
        return residual

    def step(
        self,
        points: np.ndarray,
        joints: np.ndarray,
        weights: np.ndarray,
        targets: np.ndarray,
        information: np.ndarray,
        *,
        rho_px: float,
        damping: np.ndarray | None = None,
    ) -> np.ndarray:
        """One Gauss-Newton step of all frames; returns each frame's residual in pixels before it.

        Args:
            points, joints, weights, targets: As in `solve`.
            information: Inverse covariance (xx, xy, yy) of each target.
            rho_px: Scale of the robust loss.
            damping: Per frame, as in `gauss_newton_step`.
        """
        R, t = fast_bone_transforms(
            self.rotvecs.double(), self.rig.joints_rest_m.double(), self.translation.double(), self.parents
        )
        joints_world = (R @ self.rig.joints_rest_m.double()[..., None])[..., 0] + t
        deviation = self.deviation()
        neighbour, weight = self._neighbours(deviation)
        step, residual = np.zeros_like(deviation), np.zeros(len(self.crops))
        if self._held is not None:
            points, joints, weights, targets, information = self._held.joined(
                points, joints, weights, targets, information, self.cameras
            )
        run_kernel(
            gauss_newton_step, kernel_threads(), points, joints, weights, targets, information,
            np.full(len(self.crops), rho_px), R.numpy(), t.numpy(), joints_world.numpy(), self.parents, self.slots,
            self.cameras, deviation, neighbour, weight[:, 0], self.prior_precision, self.smooth_precision,
            np.zeros(len(self.crops)) if damping is None else damping, step, residual,
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


def pack_camera(crop: PersonCrop) -> np.ndarray:
    """Focal lengths, centre, rotation and translation of the crop's camera in one row, for kernels."""
    camera = crop.camera
    parts = (camera.focal_px, camera.center_px, camera.T_camera_world[:3, :3].reshape(-1), camera.T_camera_world[:3, 3])
    return torch.cat([part.double().reshape(-1) for part in parts]).numpy()


def rows_of_crops(track: BodyTrack, crops: Sequence[PersonCrop]) -> Int[Tensor, " crops"]:
    """Where the crops' frames stand in a track."""
    return torch.tensor([int((track.frame_indices == crop.frame_index).nonzero()[0, 0]) for crop in crops])


GRAY = torch.full((3,), 0.5)


def frame_over_gray(crop: PersonCrop) -> np.ndarray:
    """The person as float32 in [0, 1], gray where the mask ends."""
    import cv2

    share = cv2.merge((crop.mask,) * 3) * np.float32(1.0 / 255.0)
    return (crop.rgb * np.float32(1.0 / 255.0) - np.float32(0.5)) * share + np.float32(0.5)


def visible_points(
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
    if crop.beyond is not None:
        inside &= ~torch.from_numpy(crop.beyond)[row, column]
    seen = inside & (alpha > 0.8) & ((depth - surface).abs() < 0.03) & (cloud.opacities > 0.2)
    chosen = torch.nonzero(seen)[:, 0].numpy()
    if len(chosen) > max_points:
        chosen = np.sort(np.random.default_rng(crop.frame_index).choice(chosen, max_points, replace=False))
    return chosen, points_px[chosen].numpy()
