"""What a frame shows beside its pose: folds and swing (coefficients of the correctives) and the face (actions).

Both are few numbers with a large effect on the picture, so their derivatives are differences of renders: exact, with
everything that hides and shades included, and no slower than one pass of gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.avatar.correctives import corrected_splats, pose_coefficients
from bodydouble.avatar.drive import pose_splats
from bodydouble.avatar.values import Rig, Splats
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.capture.crops import PersonCrop, half_size
from bodydouble.core.cameras import Camera
from bodydouble.fit.pose_problem import GRAY, PoseProblem, frame_over_gray
from bodydouble.render.protocol import Rasterizer, SplatCloud
from bodydouble.render.threads import side_by_side

ACTIONS = (
    "jawOpen", "mouthClose", "mouthPucker", "mouthSmileLeft", "mouthSmileRight", "eyeBlinkLeft", "eyeBlinkRight",
    "browInnerUp", "browDownLeft", "browDownRight",
)  # fmt: skip
"""Facial actions that a picture of a person's size can tell apart."""
_ACTION_SIGMA = 0.15
"""How far an action may leave what the landmarks said."""
_LEAST_SPREAD = 0.3
"""Coefficients that training explained by the pose alone may still differ this much."""
_COLOR_SIGMA = 0.5
"""Believed difference of a pixel; neighbouring pixels are far from independent."""
_STEP = 0.25
_LEAST_FACE_PX = 24
_BESIDE_PX = 12.0
"""Splats whose centres are so far outside of a picture do not reach into it."""
_PER_SPLAT = ("means_rest_m", "quats_wxyz", "scales_m", "opacities", "sh", "joints", "weights", "seen")


class FrameLooks:
    """Corrective coefficients beyond the pose's, and facial actions, of each frame of a `PoseProblem`."""

    def __init__(self, rig: Rig, splats: Splats, expression: Float[Tensor, "frames actions"]) -> None:
        self._rig = rig
        basis = None if splats.correctives is None else splats.correctives.basis
        self.extra = torch.zeros(len(expression), 0 if basis is None else len(basis.offsets_m))
        self.expression = expression.clone()
        self._spread = torch.ones(0) if basis is None else basis.spread.clamp_min(_LEAST_SPREAD)
        self._expression_start = expression.clone()
        moving = [m.indices for m in splats.morphs if m.name in ACTIONS and m.indices.numel()]
        self._face = torch.cat(moving).unique() if moving else torch.zeros(0, dtype=torch.long)
        self._acted, self._deltas = _dense_morphs(splats)

    def dress(self, splats: Splats, R_world_rest: Tensor, frame: int) -> Splats:
        """`pose_problem.Dress`: the splats at rest with the frame's coefficients and actions."""
        if splats.correctives is not None:
            asked = pose_coefficients(splats.correctives.basis, R_world_rest.detach(), self._rig.bone_parents)
            splats = corrected_splats(splats, asked + self.extra[frame])
        acted = (self.expression[frame] @ self._deltas).reshape(-1, 3)
        return splats.replace(means_rest_m=splats.means_rest_m.index_add(0, self._acted, acted))

    def settle_folds(self, problem: PoseProblem, splats: Splats, rasterizer: Rasterizer) -> None:
        """One step of every frame's coefficients, kept where it brings the render closer to the frame."""

        def settle(f: int) -> None:
            half = half_size(problem.crops[f])
            live, target = self.extra[f], frame_over_gray(half)

            def draw(_: Tensor) -> np.ndarray:
                with torch.no_grad():
                    image = rasterizer(problem.posed(splats, f)[1], half.camera, GRAY)
                return half.agreeing_beyond(image.pixels(), target)

            live.copy_(_step_towards(live, torch.zeros_like(live), self._spread, target, draw, live))

        side_by_side(settle, len(problem.crops) if self.extra.shape[1] else 0)

    def settle_faces(self, problem: PoseProblem, splats: Splats, rasterizer: Rasterizer) -> None:
        """The same for facial actions."""
        side_by_side(lambda f: self._settle_face(problem, splats, rasterizer, f, problem.crops[f]), len(problem.crops))

    def _settle_face(
        self, problem: PoseProblem, splats: Splats, rasterizer: Rasterizer, f: int, crop: PersonCrop
    ) -> None:
        box = self._face_box(problem, splats, f, crop)
        if box is None:
            return
        x0, y0, x1, y1 = box
        camera = crop.camera.cropped(x0, y0, (x1 - x0, y1 - y0), (x1 - x0, y1 - y0))
        columns = torch.tensor(
            [ARKIT_ACTIONS.index(m.name) for m in splats.morphs if m.name in ACTIONS and m.indices.numel()]
        )
        whole = self.expression[f]
        values = whole[columns].clone()
        pose = problem.bone_transforms(f)
        near, moved, deltas = self._beside(problem.posed(splats, f), camera, columns)

        def draw(_: Tensor) -> np.ndarray:
            acted = ((values.clamp(0.0, 1.0) - whole[columns]) @ deltas).reshape(-1, 3)
            dressed = near.replace(means_rest_m=near.means_rest_m.index_add(0, moved, acted))
            with torch.no_grad():
                image = rasterizer(pose_splats(dressed, *pose), camera, GRAY)
            return within.agreeing_beyond(image.pixels(), target)

        target = frame_over_gray(crop)[y0:y1, x0:x1]
        within = replace(crop, beyond=None if crop.beyond is None else crop.beyond[y0:y1, x0:x1])
        sigma = torch.full((len(values),), _ACTION_SIGMA)
        found = _step_towards(values, self._expression_start[f, columns], sigma, target, draw, values)
        whole[columns] = found.clamp(0.0, 1.0)

    def _beside(
        self, posed: tuple[Splats, SplatCloud], camera: Camera, columns: Int[Tensor, " actions"]
    ) -> tuple[Splats, Int[Tensor, " m"], Float[Tensor, "actions coordinates"]]:
        """The splats that a camera sees or nearly sees, dressed; which of them these actions move, and how."""
        dressed, cloud = posed
        at, depth = camera.project(cloud.means_world)
        room = torch.tensor([camera.width_px, camera.height_px])
        inside = ((at > -_BESIDE_PX) & (at < room + _BESIDE_PX)).all(1) & (depth > 0.0)
        rows = torch.nonzero(inside)[:, 0]
        kept = {name: getattr(dressed, name)[rows] for name in _PER_SPLAT}
        there = inside[self._acted]
        deltas = self._deltas[columns].reshape(len(columns), -1, 3)[:, there].flatten(1)
        return Splats(**kept), torch.searchsorted(rows, self._acted[there]), deltas

    def _face_box(
        self, problem: PoseProblem, splats: Splats, f: int, crop: PersonCrop
    ) -> tuple[int, int, int, int] | None:
        """Crop pixels that facial actions may change; none where the face is small or turned away."""
        if len(self._face) == 0 or float(self._expression_start[f].abs().sum()) == 0.0:
            return None  # the fit saw no face here
        with torch.no_grad():
            at, _ = crop.camera.project(problem.posed(splats, f)[1].means_world[self._face])
        low, high = at.quantile(0.02, dim=0) - 3, at.quantile(0.98, dim=0) + 3
        height, width = crop.mask.shape
        x0, y0 = max(int(low[0]), 0), max(int(low[1]), 0)
        x1, y1 = min(int(high[0]) + 1, width), min(int(high[1]) + 1, height)
        return (x0, y0, x1, y1) if min(x1 - x0, y1 - y0) >= _LEAST_FACE_PX else None


def _dense_morphs(splats: Splats) -> tuple[Int[Tensor, " m"], Float[Tensor, "actions coordinates"]]:
    """Splats that any facial action moves, and how: `avatar.drive.apply_morphs` as one product, for many renders."""
    morphs = [m for m in splats.morphs if m.name in ARKIT_ACTIONS and m.indices.numel()]
    if not morphs:
        return torch.zeros(0, dtype=torch.long), torch.zeros(len(ARKIT_ACTIONS), 0)
    acted = torch.cat([m.indices for m in morphs]).unique()
    deltas = torch.zeros(len(ARKIT_ACTIONS), len(acted), 3)
    for morph in morphs:
        deltas[ARKIT_ACTIONS.index(morph.name), torch.searchsorted(acted, morph.indices)] = morph.deltas_m
    return acted, deltas.flatten(1)


def _step_towards(
    values: Tensor,
    mean: Tensor,
    sigma: Tensor,
    target: np.ndarray,
    draw: Callable[[Tensor], np.ndarray],
    live: Tensor,
) -> Tensor:
    """One Gauss-Newton step of a few values that `draw` renders; halved, then given up, where the picture gets worse.

    Args:
        values: Where to start.
        mean, sigma: Of their prior.
        target: The picture wanted.
        draw: Renders with what is in `live`, which is left as it was.
    """
    start = values.clone()
    first = draw(start)
    slopes = np.empty((len(start), first.size), np.float32)
    for k in range(len(start)):
        by = float(_STEP * sigma[k])
        live[k] = start[k] + by
        slopes[k] = (draw(live) - first).reshape(-1) / np.float32(by)
        live[k] = start[k]
    wanted = (target - first).reshape(-1)
    precision = (sigma.double() ** -2).numpy()
    H = (slopes @ slopes.T).astype(np.float64) / _COLOR_SIGMA**2 + np.diag(precision)
    g = (slopes @ wanted).astype(np.float64) / _COLOR_SIGMA**2 - precision * (start - mean).double().numpy()
    step = torch.from_numpy(np.linalg.solve(H, g)).to(start.dtype)

    before = float((wanted**2).mean())
    best = start
    for share in (1.0, 0.4):
        live.copy_(start + share * step)
        if float(((target - draw(live)) ** 2).mean()) < before:
            best = live.clone()
            break
    live.copy_(start)
    return best
