"""From a tracker's result to a `BodyTrack` of the video: the start of a fit, with a trust for each frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from bodydouble.body.height import PRIOR_HEIGHT_M
from bodydouble.body.protocol import ARKIT_ACTIONS, BodyModel
from bodydouble.capture.estimates.kinds import read_estimate
from bodydouble.capture.estimates.values import IN_CAMERA, IN_WORLD, UNKNOWN, ForeignEstimate
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack, Observations
from bodydouble.core.errors import InputError
from bodydouble.core.events import Warned
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix
from bodydouble.fit.kinematics import unwrap_rotvecs
from bodydouble.fit.track import FitConfig
from bodydouble.pipeline.estimate_camera import Lens, Seen, lens_of, seen_rows, sized_to
from bodydouble.pipeline.estimate_choices import EstimateChoices
from bodydouble.pipeline.estimate_frames import (
    PLAIN,
    Evidence,
    Figures,
    Timing,
    best_timing,
    choose_rows,
    frame_errors,
    size_ratio,
    stood_in_camera,
    timings,
    typical,
)
from bodydouble.pipeline.foreign_track import LIMBS
from bodydouble.pipeline.stages import Emit

_HOPELESS, _POOR = 0.12, 0.05
"""Median error of joints, as a share of the person's size, beyond which a result is refused, or warned about."""
_BEST, _WORST = 0.01, 0.10
"""A frame's trust is 1 and 0 there, as `BodyTrack.frame_quality` is defined."""
_FEW_FRAMES = 0.5


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A tracker's result on our video."""

    track: BodyTrack
    kind: str
    frames: int
    """Frames of the video that have a row."""
    error_share: float
    """Median distance of main joints from the landmarks, as a share of the person's size."""
    timing: Timing
    size_ratio: float


def start_from_estimate(
    capture: Capture, body: BodyModel, fit: FitConfig, choices: EstimateChoices, emit: Emit
) -> BodyTrack:
    """Read a tracker's result and place it on a capture.

    Args:
        capture: With observations.
        body: Ours.
        fit: Focal length and height, where the user knows them.
        choices: Which result.
        emit: Told what was odd.
    Raises:
        InputError: When the result cannot be read, or does not lie on our subject.
    """
    estimate = read_estimate(choices.path, choices.kind)
    for note in estimate.notes:
        emit(Warned(code="estimate_note", message=note))
    observations = capture.observations()
    span = capture.span or (0, capture.info.num_frames)
    placed = place_estimate(
        estimate,
        observations,
        body,
        fit,
        focal_metadata_px=capture.info.focal_px,
        num_frames=capture.info.num_frames,
        first_frame=span[0],
        person=choices.person,
    )
    for warning in _warnings(placed, int(observations.present.sum())):
        emit(warning)
    return placed.track


def place_estimate(
    estimate: ForeignEstimate,
    observations: Observations,
    body: BodyModel,
    fit: FitConfig,
    *,
    focal_metadata_px: float | None = None,
    num_frames: int | None = None,
    first_frame: int = 0,
    person: int | None = None,
) -> Placed:
    """A tracker's result as a track of our body over the observed frames.

    Frames without a row are interpolated and have no trust. Distances are corrected for a person of another height than
    the tracker assumed, frame numbers for usual ways to count, by what was seen of the subject.

    Args:
        estimate: As read.
        observations: Of our video.
        body: Ours.
        fit: Focal length and height, where the user knows them.
        focal_metadata_px: Focal length that the video file states.
        num_frames: Of the whole video.
        first_frame: Of the part that was chosen.
        person: Number of the person in the estimate; None to find our subject.
    Raises:
        InputError: When the result does not lie on our subject.
    """
    size = observations.width_px, observations.height_px
    estimate = sized_to(estimate, *size)
    given = fit.focal_px if fit.focal_px is not None else focal_metadata_px
    lens, focal_source = lens_of(estimate, given, *size)
    focal_source = "metadata" if given is not None and fit.focal_px is None else focal_source
    height_m = PRIOR_HEIGHT_M if fit.height_cm is None else fit.height_cm / 100.0
    evidence = Evidence.of(observations)
    if not len(evidence.frame_indices):
        raise InputError("The video shows nobody, so an estimate cannot be placed in it.")
    usual = timings(estimate, evidence, num_frames or int(observations.frame_indices[-1]) + 1, first_frame)
    frames = (IN_CAMERA, IN_WORLD) if estimate.frame == UNKNOWN else (estimate.frame,)
    if estimate.frame == UNKNOWN and _behind(estimate):
        frames = (IN_WORLD,)
    readings = (_located(estimate.replace(frame=f), body, lens, height_m, evidence, usual, person) for f in frames)
    found = next(readings)
    for other in readings if found.error > _POOR else ():
        found = other if other.error < found.error else found
    _check(estimate, found, evidence)
    seen, quality = found.seen, np.where(found.chosen >= 0, _trust(found.errors), 0.0)
    track = _track(seen, found.chosen, quality, observations, evidence, body)
    track = track.replace(
        focal_px=torch.tensor(lens.focal_px, dtype=torch.float32),
        focal_source=focal_source,
        height_source="given" if fit.height_cm is not None else "prior",
    )
    return Placed(
        track=track,
        kind=estimate.kind,
        frames=int((found.chosen >= 0).sum()),
        error_share=found.error,
        timing=found.timing,
        size_ratio=found.ratio,
    )


def _behind(estimate: ForeignEstimate) -> bool:
    """Whether a body cannot be in a camera's axes."""
    return estimate.body is not None and float(estimate.body.translation[:, 2].median()) < 0.3


@dataclass(frozen=True)
class _Located:
    seen: Seen
    chosen: np.ndarray
    errors: np.ndarray
    timing: Timing
    ratio: float

    @property
    def error(self) -> float:
        return typical(self.errors)


def _located(
    estimate: ForeignEstimate,
    body: BodyModel,
    lens: Lens,
    height_m: float,
    evidence: Evidence,
    usual: list[Timing],
    person: int | None,
) -> _Located:
    """The rows of our subject, in our frames, at the right distance."""
    seen = seen_rows(estimate, body, lens, height_m)
    figures = Figures.of(estimate, seen, body, lens)

    def rows(timing: Timing) -> np.ndarray:
        return choose_rows(estimate, figures, evidence, timing, person)

    def error(timing: Timing) -> float:
        chosen = rows(timing)
        share = max(float((chosen >= 0).mean()), 1e-6)
        if estimate.frame == IN_WORLD:
            left = typical(frame_errors(stood_in_camera(figures, evidence, chosen)[0], evidence, chosen))
        else:
            left = size_ratio(figures, evidence, chosen, exactly=False)[1]
        return left / share**0.25

    timing = best_timing(usual, error)
    chosen = rows(timing)
    if estimate.frame == IN_WORLD:
        stood, turns = stood_in_camera(figures, evidence, chosen)
        at = body.bone_parents.index(-1)
        rotvecs = seen.rotvecs.clone()
        rotvecs[:, at] = matrix_to_rotvec(torch.from_numpy(turns) @ rotvec_to_matrix(rotvecs[:, at]))
        seen = replace(seen, rotvecs=rotvecs, root_m=torch.from_numpy(stood.root_m))
        return _Located(seen, chosen, frame_errors(stood, evidence, chosen), timing, 1.0)
    ratio, _ = size_ratio(figures, evidence, chosen)
    errors = frame_errors(figures, evidence, chosen, ratio)
    return _Located(seen.nearer(ratio), chosen, errors, timing, ratio)


def _check(estimate: ForeignEstimate, found: _Located, evidence: Evidence) -> None:
    have = int((found.chosen >= 0).sum())
    frames = len(evidence.frame_indices)
    numbers = f"{int(estimate.frame_number.min())} to {int(estimate.frame_number.max())}"
    if have == 0:
        raise InputError(
            f"{estimate.path} ({estimate.kind}): none of its {len(estimate.people)} people is where the video's subject is, "
            f"in frames {numbers} of the video or as they are usually counted. Is it the result of another video? If a person "
            "in it is the right one, name it with --estimate-person."
        )
    if found.error > _HOPELESS:
        raise InputError(
            f"{estimate.path} ({estimate.kind}) does not lie on the video's subject: over {have} of {frames} frames its "
            f"joints are {100 * found.error:.0f} % of the person's size beside what is seen (at most {100 * _HOPELESS:.0f} % "
            "expected). It may belong to another video, another person (--estimate-person) or other frames, or follow "
            "another convention than its kind does."
        )


def _warnings(placed: Placed, frames: int) -> list[Warned]:
    found = []
    if placed.timing != PLAIN:
        rate, shift = placed.timing.rate, placed.timing.shift
        steps = "" if rate == 1 else f"{rate:.4g} times "
        found.append(
            Warned(
                code="estimate_timing",
                message=f"The estimate's frame numbers were read as {steps}its number {shift:+.4g}: that lies on the video.",
                advice="If that is not how the tracker's frames were taken, run it on the video itself.",
            )
        )
    if placed.frames < _FEW_FRAMES * frames:
        found.append(
            Warned(
                code="estimate_few_frames",
                message=f"The estimate has our subject in {placed.frames} of {frames} frames; the others were interpolated.",
                advice="Run the tracker on all frames.",
            )
        )
    if placed.error_share > _POOR:
        found.append(
            Warned(
                code="estimate_off",
                message=f"The estimate lies {100 * placed.error_share:.0f} % of the person's size beside what is seen.",
                advice="Look at the overlays of the report; without --estimate the program starts from its own landmarks.",
            )
        )
    return found


def _trust(errors: np.ndarray) -> np.ndarray:
    """From a frame's error; frames of which nothing is known are trusted a little."""
    trust = np.clip((_WORST - errors) / (_WORST - _BEST), 0.0, 1.0)
    return np.where(np.isfinite(errors), trust, 0.3)


def _track(
    seen: Seen,
    chosen: np.ndarray,
    quality: np.ndarray,
    observations: Observations,
    evidence: Evidence,
    body: BodyModel,
) -> BodyTrack:
    """All observed frames: those with a row as they are, the others between their neighbours."""
    have = np.flatnonzero(chosen >= 0)
    rows = torch.from_numpy(chosen[have])
    times = observations.times_s.double().numpy()
    place = np.searchsorted(observations.frame_indices.numpy(), evidence.frame_indices)
    keys = times[place[have]]
    rotvecs = _between(seen.rotvecs[rows].double().numpy(), keys, times)
    translation = _linear(seen.translation_m(body)[rows].double().numpy(), keys, times)
    frames = len(times)
    valid = torch.zeros(frames, dtype=torch.bool)
    valid[torch.from_numpy(place[have])] = True
    trust = torch.zeros(frames)
    trust[torch.from_numpy(place)] = torch.from_numpy(quality).float()
    return BodyTrack(
        body=body.name,
        frame_indices=observations.frame_indices,
        times_s=observations.times_s,
        shape=seen.shape,
        rotvecs=torch.from_numpy(rotvecs).float(),
        translation_world_m=torch.from_numpy(translation).float(),
        expression=torch.zeros(frames, len(ARKIT_ACTIONS)),
        focal_px=torch.tensor(0.0),
        focal_source="estimated",
        height_source="prior",
        width_px=observations.width_px,
        height_px=observations.height_px,
        valid=valid,
        limb_names=LIMBS,
        limb_error_px=torch.full((frames, len(LIMBS)), torch.nan),
        frame_quality=torch.where(valid, trust, torch.zeros(frames)),
    )


def _between(
    rotvecs: Float[np.ndarray, "keys bones 3"], keys: np.ndarray, times: np.ndarray
) -> Float[np.ndarray, "frames bones 3"]:
    """Rotations at other times, on great circles; ends held."""
    from scipy.spatial.transform import Rotation, Slerp

    if len(keys) == 1:
        return np.repeat(rotvecs, len(times), 0)
    clipped = np.clip(times, keys[0], keys[-1])
    turned = [Slerp(keys, Rotation.from_rotvec(rotvecs[:, b]))(clipped).as_rotvec() for b in range(rotvecs.shape[1])]
    return unwrap_rotvecs(np.stack(turned, 1))


def _linear(values: Float[np.ndarray, "keys 3"], keys: np.ndarray, times: np.ndarray) -> Float[np.ndarray, "frames 3"]:
    clipped = np.clip(times, keys[0], keys[-1])
    return np.stack([np.interp(clipped, keys, values[:, i]) for i in range(3)], 1)
