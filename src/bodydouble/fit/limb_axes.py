"""Where a mask shows a limb from both sides, the limb lies between them.

Landmarks place elbows, wrists, knees and ankles; what they say of a limb wanders by a few pixels to either side. The
mask's two edges beside a limb bound it independently of how thick clothes make it, because only their middle is used.
The middle is not the bone: its constant distance, in the bone's own frame, is calibrated over the video.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from bodydouble.body.humanoid import SIDES
from bodydouble.body.protocol import BodyModel
from bodydouble.fit.kinematics import Posed, Rest
from bodydouble.fit.state import State
from bodydouble.fit.terms import Lines, Problem, project

_LIMBS = (
    ("UpperArm", "LowerArm", 0.17),
    ("LowerArm", "Hand", 0.13),
    ("UpperLeg", "LowerLeg", 0.26),
    ("LowerLeg", "Foot", 0.20),
)
"""From joint, to joint, and how far an edge may be from the axis, metres."""
_TRUNK = (("hips", "chest", 0.35), ("chest", "neck", 0.35))
"""Not the head: its many landmarks are surer than the outline of hair."""
_SHORTEST_M = 0.03
_ALONG = (0.25, 0.4, 0.55, 0.7, 0.85)
_STEP_M = 0.002
_MASK_LEVEL = 127
_SIGMA_M = 0.012
_TOGETHER = 0.4
"""The points of one limb err together: five of them count as two."""
_WIDTHS = (0.55, 1.45)
"""Accepted widths, as shares of the limb's usual width: beyond them something else is in the mask, too."""
_LEAST_SHOWN = 0.5
"""A limb that points at the camera more than this has no sides."""
_ROBUST_M = 0.03
_OFFSET_SIGMA_M = 0.03
_LEAST_FRAMES = 12


@dataclass(frozen=True)
class LimbPoints:
    """Points on the axes of the limbs."""

    nodes: Int[np.ndarray, " points"]
    levers: Float[np.ndarray, "points 3"]
    """From the node's joint, in its rest frame, metres."""
    reach_m: Float[np.ndarray, " points"]
    limb: Int[np.ndarray, " points"]

    def world(self, posed: Posed) -> Float[np.ndarray, "frames points 3"]:
        """Where the points are."""
        return posed.joints[:, self.nodes] + np.einsum("fpij,pj->fpi", posed.R[:, self.nodes], self.levers)


def limb_points(problem: Problem, body: BodyModel, rest: Rest) -> LimbPoints:
    """The points of a body's arms and legs."""
    node = {n: problem.controls.node_of_bone[body.bone_names.index(b)] for n, b in body.humanoid.items()}
    nodes, levers, reach, limb = [], [], [], []
    limbs = [(f"{side}{start}", f"{side}{end}", reach_m) for side in SIDES for start, end, reach_m in _LIMBS]
    for number, (start, end, reach_m) in enumerate((*limbs, *_TRUNK)):
        a, b = node[start], node[end]
        if np.linalg.norm(rest.joints[b] - rest.joints[a]) < _SHORTEST_M:
            continue
        for share in _ALONG:
            nodes.append(a)
            levers.append(share * (rest.joints[b] - rest.joints[a]))
            reach.append(reach_m)
            limb.append(number)
    return LimbPoints(np.array(nodes), np.array(levers), np.array(reach), np.array(limb))


def limb_lines(
    problem: Problem,
    body: BodyModel,
    state: State,
    posed: Posed,
    rest: Rest,
    mask: Callable[[int], np.ndarray | None],
    frame_indices: Int[np.ndarray, " frames"],
) -> Lines:
    """Where the masks want the limbs: each point on a line along the limb, through the middle of its two edges.

    Args:
        problem, body: Of the fit.
        state, posed, rest: Where the limbs are now, within a few pixels.
        mask: Soft 8-bit mask of a source frame, or None.
        frame_indices: Source frames of the state.
    """
    points = limb_points(problem, body, rest)
    world = points.world(posed)
    pixels, depth = project(world, state.focal_px, problem.evidence.size_px)
    metres_per_px = np.maximum(depth, 1e-6) / state.focal_px
    normal, shown = _normals(points, posed, state, problem.evidence.size_px)
    middle, width = np.zeros(depth.shape), np.full(depth.shape, np.nan)
    for f in np.flatnonzero(problem.evidence.present):
        image = mask(int(frame_indices[f]))
        if image is not None:
            middle[f], width[f] = _between_edges(image, pixels[f], normal[f], metres_per_px[f], points.reach_m)
    usable = np.isfinite(width) & (shown > _LEAST_SHOWN)
    for limb in np.unique(points.limb):
        for p in np.flatnonzero(points.limb == limb):
            seen = usable[:, p]
            if seen.sum() < _LEAST_FRAMES:
                usable[:, p] = False
                continue
            usual = np.quantile(width[seen, p], 0.35)
            usable[:, p] &= (width[:, p] > _WIDTHS[0] * usual) & (width[:, p] < _WIDTHS[1] * usual)
    # How the image of a point moves across the limb with a shift in the bone's own frame.
    across = np.stack([normal[..., 0], -normal[..., 1], np.zeros(depth.shape)], -1)
    slope = np.einsum("fpi,fpij->fpj", across, posed.R[:, points.nodes])
    offset = _usual_offsets(middle, slope, usable)
    wanted_m = np.where(usable, middle - np.einsum("fpj,pj->fp", slope, offset), 0.0)
    target = pixels + normal * (wanted_m / metres_per_px)[..., None]
    precision = usable * (_TOGETHER / _SIGMA_M**2)
    return Lines(points.nodes, points.levers, target, normal, precision)


def _normals(
    points: LimbPoints, posed: Posed, state: State, size_px: tuple[int, int]
) -> tuple[Float[np.ndarray, "frames points 2"], Float[np.ndarray, "frames points"]]:
    """Unit vectors across each limb in the image, and how much of its length the image shows."""
    length = np.linalg.norm(points.levers, axis=1)
    direction = np.einsum("fpij,pj->fpi", posed.R[:, points.nodes], points.levers / length[:, None])
    start = posed.joints[:, points.nodes]
    near, depth = project(start, state.focal_px, size_px)
    far, _ = project(start + 0.1 * direction, state.focal_px, size_px)
    along = far - near
    size = np.linalg.norm(along, axis=-1, keepdims=True)
    along = along / np.maximum(size, 1e-9)
    shown = size[..., 0] * depth / state.focal_px / 0.1
    return np.stack([-along[..., 1], along[..., 0]], -1), shown


def _between_edges(
    image: np.ndarray, pixels: np.ndarray, normal: np.ndarray, metres_per_px: np.ndarray, reach_m: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of the middle of a point's two edges along the normal, and theirs from each other; NaN without both."""
    steps = np.arange(-reach_m.max(), reach_m.max() + _STEP_M, _STEP_M)
    at = pixels[:, None] + normal[:, None] * (steps[None, :, None] / metres_per_px[:, None, None])
    column, row = np.floor(at[..., 0]).astype(np.int64), np.floor(at[..., 1]).astype(np.int64)
    inside = (column >= 0) & (row >= 0) & (column < image.shape[1]) & (row < image.shape[0])
    covered = np.zeros(inside.shape, bool)
    covered[inside] = image[row[inside], column[inside]] > _MASK_LEVEL
    centre = int(np.argmin(np.abs(steps)))
    blocked = ~covered | (np.abs(steps)[None] > reach_m[:, None])
    ahead, behind = blocked[:, centre:], blocked[:, centre::-1]
    right, left = ahead.argmax(1), behind.argmax(1)
    found = covered[:, centre] & inside.all(1)
    found &= (steps[np.minimum(centre + right, len(steps) - 1)] < reach_m) & (left * _STEP_M < reach_m)
    middle = 0.5 * (right - left) * _STEP_M
    width = np.where(found, (right + left) * _STEP_M, np.nan)
    return np.where(found, middle, 0.0), width


def _usual_offsets(middle: np.ndarray, slope: np.ndarray, usable: np.ndarray) -> Float[np.ndarray, "points 3"]:
    """The middle's constant place in each bone's frame, by robust least squares with a pull to the bone."""
    offset = np.zeros((middle.shape[1], 3))
    for _ in range(5):
        residual = middle - np.einsum("fpj,pj->fp", slope, offset)
        weight = usable * (_ROBUST_M**2 / (_ROBUST_M**2 + residual**2)) ** 2
        A = np.einsum("fp,fpi,fpj->pij", weight, slope, slope) + np.eye(3) * (_SIGMA_M / _OFFSET_SIGMA_M) ** 2
        b = np.einsum("fp,fpi,fp->pi", weight, slope, middle)
        offset = np.linalg.solve(A, b[..., None])[..., 0]
    return offset
