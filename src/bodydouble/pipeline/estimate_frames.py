"""Which rows of a tracker's result show our subject, and in which frames: found by what was seen in the video itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.estimates.values import IN_WORLD, ForeignEstimate
from bodydouble.capture.values import Observations
from bodydouble.core.errors import InputError
from bodydouble.pipeline.estimate_camera import Lens, Seen

JOINTS = (
    "leftUpperArm", "rightUpperArm", "leftLowerArm", "rightLowerArm", "leftHand", "rightHand", "leftUpperLeg",
    "rightUpperLeg", "leftLowerLeg", "rightLowerLeg", "leftFoot", "rightFoot",
)  # fmt: skip
"""By humanoid names; `LANDMARKS` are what was seen of them."""
LANDMARKS = tuple(
    f"body/{side}_{name}"
    for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
)
_SURE = 0.5
_LEAST_OVERLAP = 0.15
_RATIOS = np.exp(np.linspace(np.log(0.6), np.log(1.6), 33))
_CLEARLY_BETTER = 0.8
"""Another reading of the frame numbers is believed when its error is at most this share of the plain reading's."""
_MAX_SAMPLES = 48
_NEAR_SHIFTS = (*range(-12, 13),)
_SAME_TURN_RAD = 0.35
_SAME_PLACE = 0.05


@dataclass(frozen=True)
class Timing:
    """How a tracker's frame numbers lead to frames of the video: frame = round(rate * number + shift)."""

    rate: float
    shift: float

    def frames(self, numbers: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
        """Source frames of numbers."""
        return np.round(numbers * self.rate + self.shift).astype(np.int64)


PLAIN = Timing(1.0, 0.0)


@dataclass(frozen=True)
class Evidence:
    """What was seen of the subject in the frames that show it."""

    frame_indices: Int[np.ndarray, " frames"]
    xy_px: Float[np.ndarray, "frames joints 2"]
    xyz_world_m: Float[np.ndarray, "frames joints 3"]
    """Up to a place, in axes of the world of a fit."""
    sure: Bool[np.ndarray, "frames joints"]
    box_px: Float[np.ndarray, "frames 4"]
    person_px: Float[np.ndarray, " frames"]
    """Size of the person: the longer side of the box."""

    @staticmethod
    def of(observations: Observations) -> Evidence:
        """Frames with the subject only.

        Raises:
            InputError: When the observations have no landmarks.
        """
        missing = [name for name in LANDMARKS if name not in observations.landmark_names]
        if missing:
            raise InputError(
                "An estimate is placed by landmarks of the video, but the capture has none. Make the capture from the video: "
                "bodydouble create VIDEO --estimate PATH."
            )
        keep = observations.present
        columns = [observations.landmark_names.index(name) for name in LANDMARKS]
        box = observations.box_px[keep].double().numpy()
        return Evidence(
            observations.frame_indices[keep].numpy(),
            observations.xy_px[keep][:, columns].double().numpy(),
            observations.xyz_camera_m[keep][:, columns].double().numpy() * np.array([1.0, -1.0, -1.0]),
            (observations.confidence[keep][:, columns] > _SURE).numpy(),
            box,
            np.maximum(box[:, 2:] - box[:, :2], 1.0).max(1),
        )


@dataclass(frozen=True)
class Figures:
    """The main joints of our body in every row of an estimate, and how they look from our camera."""

    frame_number: Int[np.ndarray, " rows"]
    person: Int[np.ndarray, " rows"]
    joints_m: Float[np.ndarray, "rows joints 3"]
    """Relative to the root joint."""
    root_m: Float[np.ndarray, "rows 3"]
    lens: Lens

    @staticmethod
    def of(estimate: ForeignEstimate, seen: Seen, body: BodyModel, lens: Lens) -> Figures:
        """Of all rows."""
        root = seen.root_m.double().numpy()
        joints = seen.joints_m(body, JOINTS).numpy() - root[:, None]
        return Figures(estimate.frame_number.numpy(), estimate.person.numpy(), joints, root, lens)

    def pixels(self, rows: Int[np.ndarray, " chosen"], ratio: float = 1.0) -> Float[np.ndarray, "chosen joints 2"]:
        """Where our camera sees the joints when all distances are multiplied by `ratio`."""
        p = self.joints_m[rows] + ratio * self.root_m[rows, None]
        depth = np.maximum(-p[..., 2:], 0.05)
        middle = np.array([self.lens.width_px / 2, self.lens.height_px / 2])
        return p[..., :2] * np.array([1.0, -1.0]) / depth * self.lens.focal_px + middle


def choose_rows(
    estimate: ForeignEstimate, figures: Figures, evidence: Evidence, timing: Timing, person: int | None
) -> Int[np.ndarray, " frames"]:
    """The row of our subject in each frame of the evidence, -1 where there is none.

    People who are tracked are chosen as a whole, by how well their joints overlap with the subject's box over all frames;
    where numbers only count detections, each frame chooses for itself.

    Args:
        person: The number of a person or detection that was asked for.
    Raises:
        InputError: When nobody of that number is there.
    """
    rows = np.arange(len(figures.person))
    if person is not None:
        rows = rows[figures.person == person]
        if not len(rows):
            known = ", ".join(map(str, estimate.people[:12]))
            raise InputError(f"{estimate.path} has no person {person}; it has {known}. Change --estimate-person.")
    xy = figures.pixels(np.arange(len(figures.person)))
    boxes = np.concatenate([xy.min(1), xy.max(1)], axis=1)
    frames = timing.frames(figures.frame_number)
    place = np.searchsorted(evidence.frame_indices, frames)
    place = np.where(place < len(evidence.frame_indices), place, 0)
    there = evidence.frame_indices[place] == frames
    overlap = np.where(there, _overlap(boxes, evidence.box_px[place]), 0.0)
    if estimate.frame == IN_WORLD:
        overlap = there.astype(np.float64)  # where people of another world stand says nothing
    if estimate.tracked and person is None:
        rows = rows[figures.person == _main_person(estimate, figures.person, overlap)]
    best = np.full(len(evidence.frame_indices), -1)
    score = np.full(len(best), -1.0 if person is not None else _LEAST_OVERLAP)
    for row in rows[there[rows]]:
        if overlap[row] > score[place[row]]:
            best[place[row]], score[place[row]] = row, overlap[row]
    return best


def frame_errors(
    figures: Figures, evidence: Evidence, chosen: Int[np.ndarray, " frames"], ratio: float = 1.0
) -> Float[np.ndarray, " frames"]:
    """How far the joints of the chosen rows lie beside what was seen, as a share of the person's size; NaN unknown."""
    errors = np.full(len(chosen), np.nan)
    have = np.flatnonzero((chosen >= 0) & (evidence.sure.sum(1) >= 3))
    if len(have):
        distance = np.linalg.norm(figures.pixels(chosen[have], ratio) - evidence.xy_px[have], axis=-1)
        ordered = np.sort(np.where(evidence.sure[have], distance, np.inf), axis=1)
        middle = (evidence.sure[have].sum(1) - 1) // 2
        errors[have] = ordered[np.arange(len(have)), middle] / evidence.person_px[have]
    return errors


def size_ratio(
    figures: Figures, evidence: Evidence, chosen: Int[np.ndarray, " frames"], *, exactly: bool = True
) -> tuple[float, float]:
    """By which all distances must be multiplied so that our body looks as large as the person, and the error then left.

    The tracker's person may be taller or smaller than ours; only the ratio of height and distance can be seen.
    """
    have = np.flatnonzero(chosen >= 0)
    if not len(have):
        return 1.0, np.inf
    part = np.full(len(chosen), -1)
    some = have[np.unique(np.linspace(0, len(have) - 1, _MAX_SAMPLES).round().astype(int))]
    part[some] = chosen[some]
    best = min(_RATIOS, key=lambda r: typical(frame_errors(figures, evidence, part, r)))
    if not exactly:
        return float(best), typical(frame_errors(figures, evidence, part, best))
    fine = best * np.exp(np.linspace(-0.03, 0.03, 25))
    best = min(fine, key=lambda r: _spread(figures, evidence, part, r))
    return float(best), typical(frame_errors(figures, evidence, part, best))


def _spread(figures: Figures, evidence: Evidence, chosen: np.ndarray, ratio: float) -> float:
    """Robust sum of squares over all joints: smooth enough to tell ratios of half a per cent apart."""
    have = np.flatnonzero(chosen >= 0)
    distance = np.linalg.norm(figures.pixels(chosen[have], ratio) - evidence.xy_px[have], axis=-1)
    square = (distance / evidence.person_px[have, None]) ** 2
    return float((square / (square + _SAME_PLACE**2))[evidence.sure[have]].sum())


def timings(estimate: ForeignEstimate, evidence: Evidence, num_frames: int, first_frame: int) -> list[Timing]:
    """Readings of frame numbers that are usual: as they are, from 1, from the chosen part's beginning, at another rate."""
    low = int(estimate.frame_number.min())
    high = max(int(estimate.frame_number.max()), estimate.total_frames - 1)
    found = [PLAIN, Timing(1.0, -1.0), Timing(1.0, float(-low)), Timing(1.0, float(first_frame - low))]
    if high > low:
        for begin, end in ((0, num_frames - 1), (first_frame, int(evidence.frame_indices[-1]))):
            rate = (end - begin) / (high - low)
            if abs(rate - 1) > 0.02:
                found.append(Timing(rate, begin - rate * low))
    return list(dict.fromkeys(found))


def best_timing(candidates: list[Timing], error: Callable[[Timing], float]) -> Timing:
    """Numbers are taken as they are unless another reading, or one a few frames off it, fits clearly better."""
    scores = {timing: error(timing) for timing in candidates}
    best = min(scores, key=lambda t: scores[t])
    near = [Timing(best.rate, best.shift + s) for s in _NEAR_SHIFTS]
    scores |= {timing: error(timing) for timing in near if timing not in scores}
    best = min(scores, key=lambda t: scores[t])
    return best if scores[best] < _CLEARLY_BETTER * scores[PLAIN] else PLAIN


def typical(errors: Float[np.ndarray, " frames"]) -> float:
    """Median of what is known."""
    known = errors[np.isfinite(errors)]
    return float(np.median(known)) if len(known) else np.inf


def stood_in_camera(
    figures: Figures, evidence: Evidence, chosen: Int[np.ndarray, " frames"]
) -> tuple[Figures, Float[np.ndarray, "rows 3 3"]]:
    """Rows of a world whose camera is not known, turned and placed by the landmarks of the video.

    One turn serves all frames where they agree about it, as for a camera at rest; else each frame has its own.

    Returns:
        The figures with the chosen rows in place, and the turn of each row.
    """
    have = np.flatnonzero(chosen >= 0)
    rows = chosen[have]
    weight = evidence.sure[have].astype(np.float64) + 1e-6
    weight /= weight.sum(1, keepdims=True)
    own, seen = figures.joints_m[rows], evidence.xyz_world_m[have]
    a, b = ((weight[..., None] * x).sum(1, keepdims=True) for x in (own, seen))
    turn = _nearest_rotations(np.einsum("fp,fpi,fpj->fij", weight, seen - b, own - a))
    mean = _nearest_rotations(turn.sum(0)[None])[0]
    cosine = (np.einsum("fij,ij->f", turn, mean) - 1) / 2
    if np.median(np.arccos(np.clip(cosine, -1, 1))) < _SAME_TURN_RAD:
        turn = np.broadcast_to(mean, turn.shape)
    joints, root = figures.joints_m.copy(), figures.root_m.copy()
    turns = np.tile(np.eye(3), (len(root), 1, 1))
    turns[rows] = turn
    joints[rows] = np.einsum("fij,fpj->fpi", turn, own)
    middle = np.array([figures.lens.width_px / 2, figures.lens.height_px / 2])
    ray = (evidence.xy_px[have] - middle) / figures.lens.focal_px * np.array([1.0, -1.0])
    root[rows] = _placed_on_rays(joints[rows], ray, weight)
    return replace(figures, joints_m=joints, root_m=root), turns


def _placed_on_rays(joints: np.ndarray, ray: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Translations that put joints onto lines of sight (least squares): x + tx = ray_x (-z - tz), the same for y."""
    A = np.zeros((*joints.shape[:2], 2, 3))
    A[:, :, 0, 0] = A[:, :, 1, 1] = 1.0
    A[..., 2] = ray
    b = -ray * joints[..., 2:] - joints[..., :2]
    place = np.zeros((len(joints), 3))
    w = weight
    for _ in range(4):
        M = np.einsum("fp,fpki,fpkj->fij", w, A, A) + 1e-9 * np.eye(3)
        place = np.linalg.solve(M, np.einsum("fp,fpki,fpk->fi", w, A, b)[..., None])[..., 0]
        left = np.linalg.norm(np.einsum("fpki,fi->fpk", A, place) - b, axis=-1)
        scale = np.median(left, axis=1, keepdims=True) * 2 + 1e-6
        w = weight * (scale**2 / (scale**2 + left**2)) ** 2
    return place


def _nearest_rotations(K: np.ndarray) -> np.ndarray:
    U, _, Vt = np.linalg.svd(K)
    U[:, :, 2] *= np.linalg.det(U @ Vt)[:, None]
    return U @ Vt


def _main_person(estimate: ForeignEstimate, person: np.ndarray, overlap: np.ndarray) -> int:
    """Who shares most of the subject's box over all frames."""
    return max(estimate.people, key=lambda n: float(overlap[person == n].sum()))


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes, row by row."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    both = np.maximum(high - low, 0.0).prod(1)
    size_a, size_b = (np.maximum(x[:, 2:] - x[:, :2], 0.0).prod(1) for x in (a, b))
    return both / np.maximum(size_a + size_b - both, 1e-9)
