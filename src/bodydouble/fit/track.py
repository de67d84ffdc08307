"""The body model fitted to a whole video: one shape, one camera, a pose for every frame.

Shared unknowns (shape, focal length, this video's landmark offsets) are settled on at most `_KEYFRAMES` frames spread
over the video; then all frames are posed at once with these kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bodydouble.body.height import PRIOR_HEIGHT_M
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack, Observations
from bodydouble.capture.video import Frame
from bodydouble.core.errors import ConfigError, NoSubjectError
from bodydouble.core.events import Done, Event, Progress, Warned
from bodydouble.fit.contact import with_balls
from bodydouble.fit.controls import build_controls
from bodydouble.fit.evidence import gather
from bodydouble.fit.face import fit_expression
from bodydouble.fit.initial import initial_state
from bodydouble.fit.kinematics import place_points
from bodydouble.fit.landmarks import build_landmarks, rest_geometry
from bodydouble.fit.limb_axes import limb_lines
from bodydouble.fit.quality import LIMBS, measure, quality_warnings
from bodydouble.fit.silhouette import refine_girth
from bodydouble.fit.solve import Stage, Targets, run_stage, shape_sigmas
from bodydouble.fit.state import State, between, corrected_between, state_of_track, track_rotvecs
from bodydouble.fit.terms import Problem, Weights, moved_rest, pose_state, project

DEFAULT_FOCAL = 1.1
"""Focal length where nothing is known, in longer image sides: that of a phone's main camera."""
_KEYFRAMES = 96
_GROUPS = ("body", "left_hand", "right_hand", "face")
_PARTS = ("body", "left_hand", "right_hand")

COARSE = (
    Stage("coarse", ("body",), ("body",), 12, Weights(robust_m=0.50, direction_sigma=0.15)),
    Stage("body", ("body", "face"), ("body",), 4, Weights(robust_m=0.25, direction_sigma=0.30), shape=True),
    Stage("shared", _GROUPS, _PARTS, 5, Weights(robust_m=0.12, direction_sigma=0.35), shape=True, offsets=True),
)
# Fast limbs lie far off between keyframes: with a narrow robust loss from the start they would be taken for outliers.
FINE = (
    Stage("all frames", ("body", "face"), ("body",), 4, Weights(robust_m=0.50, direction_sigma=0.25)),
    Stage("closer", _GROUPS, _PARTS, 3, Weights(robust_m=0.25, direction_sigma=0.35)),
    Stage("final", _GROUPS, _PARTS, 3, Weights(robust_m=0.12, direction_sigma=0.40)),
)

OUTLINE = Stage("outline", _GROUPS, _PARTS, 2, Weights(robust_m=0.12, direction_sigma=0.40))


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """What the user may know, and what may be left out."""

    focal_px: float | None = None
    """Focal length in pixels of the full image, if known."""
    height_cm: float | None = None
    """The person's height, if known; an image cannot tell it."""
    estimate_focal: bool = True
    """Whether an unknown focal length is refined from the motion, where that shows it."""
    self_calibrate: bool = True
    """Whether the video's own systematic landmark offsets are estimated."""
    silhouettes: bool = True
    """Whether masks refine the body's girth."""
    expressions: bool = True
    """Whether facial actions are estimated."""

    def __post_init__(self) -> None:
        if self.focal_px is not None and not self.focal_px > 0:
            raise ConfigError(f"The focal length must be a positive number of pixels, got {self.focal_px}.")
        if self.height_cm is not None and not 50.0 <= self.height_cm <= 260.0:
            raise ConfigError(
                f"The person's height must be between 50 and 260 cm, got {self.height_cm}. Is it in centimetres?"
            )


def fit_track(
    capture: Capture,
    body: BodyModel,
    config: FitConfig,
    emit: Callable[[Event], None],
    start: BodyTrack | None = None,
) -> BodyTrack:
    """Fit the body to a capture's observations (the result is returned, not saved).

    Args:
        capture: With observations and masks.
        body: The body model.
        config: What is known beforehand.
        emit: Receives progress and warnings.
        start: Begin here instead of at closed forms; nothing of it is kept for its own sake.
    Raises:
        NoSubjectError: When no frame shows a person well enough.
    """
    return fit_observations(
        capture.observations(),
        body,
        config,
        emit,
        focal_metadata_px=capture.info.focal_px,
        mask=capture.observed_mask,
        start=start,
        pictures=capture.frames,
    )


def fit_observations(
    observations: Observations,
    body: BodyModel,
    config: FitConfig,
    emit: Callable[[Event], None],
    *,
    focal_metadata_px: float | None = None,
    mask: Callable[[int], np.ndarray | None] | None = None,
    start: BodyTrack | None = None,
    pictures: Callable[[list[int]], Iterator[Frame]] | None = None,
) -> BodyTrack:
    """Fit the body to observations of any origin.

    Args:
        observations: Landmarks of a run of frames.
        body: The body model.
        config: What is known beforehand.
        emit: Receives progress and warnings.
        focal_metadata_px: Focal length that the file states.
        mask: Gives the subject's soft 8-bit mask of a source frame, or None; for girth.
        start: A track of the same frames to begin from in place of closed forms; everything is fitted as without it.
        pictures: Gives the video's frames by source index; for the face.
    """
    started = time.monotonic()
    if not bool(observations.present.any()):
        raise NoSubjectError("The observations hold no frame with a person; observe the video again.")
    outlines = (OUTLINE,) if config.silhouettes and mask is not None else ()
    meter = _Meter(emit, (*COARSE, *FINE, *outlines))
    controls, landmarks = build_controls(body), build_landmarks(body)
    targets, sources = _targets(observations, body, config, focal_metadata_px, emit)
    if start is not None and sources[0] == "estimated":
        targets = replace(targets, focal_px=float(start.focal_px))
    evidence = gather(observations, landmarks, targets.focal_px)
    problem = Problem(controls, landmarks, evidence)
    keys = spread_frames(evidence.present, _KEYFRAMES)
    begun = None if start is None else state_of_track(start, controls, landmarks)
    free_focal = sources[0] == "estimated"
    state, precision = _keyframe_state(problem, body, config, targets, free_focal, keys, meter, begun)
    if config.silhouettes and mask is not None:
        state = _with_girth(problem, body, state, keys, observations, mask, precision)
    if begun is None:
        state = between(state, evidence.times_s[keys], evidence.times_s)
    else:
        state = corrected_between(begun, state, keys, evidence.times_s)
    for stage in FINE:
        if stage is FINE[-1]:  # before that, hands are too far from their places for contact to mean anything
            problem = with_balls(problem, body, state.shape)
        state, _ = run_stage(problem, body, state, stage, targets, meter.tick)
    if outlines and mask is not None:
        state = _between_outlines(problem, body, state, targets, observations, mask, meter.tick)
    if config.expressions:
        expression = fit_expression(observations, body, pictures)
    else:
        expression = np.zeros((len(state.theta), len(body.action_names)))
    track = _to_track(problem, body, state, expression, observations, sources)
    for warning in quality_warnings(track):
        emit(warning)
    emit(Done(stage="fit", seconds=time.monotonic() - started))
    return track


class _Meter:
    """Counts iterations for whoever watches."""

    def __init__(self, emit: Callable[[Event], None], stages: tuple[Stage, ...]) -> None:
        self._emit, self._done = emit, 0
        self._total = sum(s.iterations for s in stages)

    def tick(self) -> None:
        """One iteration is over."""
        self._done += 1
        self._emit(Progress(stage="fit", done=self._done, total=self._total, unit="iterations"))


def _targets(
    observations: Observations,
    body: BodyModel,
    config: FitConfig,
    focal_metadata_px: float | None,
    emit: Callable[[Event], None],
) -> tuple[Targets, tuple[str, str]]:
    """What shape and camera start from, and where focal length and height come from."""
    longer = max(observations.width_px, observations.height_px)
    if config.focal_px is not None:
        focal, focal_source = config.focal_px, "given"
    elif focal_metadata_px is not None:
        focal, focal_source = focal_metadata_px, "metadata"
    else:
        focal, focal_source = DEFAULT_FOCAL * longer, "estimated"
    height_source = "given" if config.height_cm is not None else "prior"
    height_m = PRIOR_HEIGHT_M if config.height_cm is None else config.height_cm / 100.0
    if height_source == "prior":
        emit(
            Warned(
                code="height_assumed",
                message=f"The person's height cannot be seen in a video; {PRIOR_HEIGHT_M:.2f} m was assumed.",
                advice="Give it with --height-cm if the avatar's size matters.",
            )
        )
    return Targets(height_m, likely_shape(body, height_m), focal), (focal_source, height_source)


def likely_shape(body: BodyModel, height_m: float) -> np.ndarray:
    """The body's default shape, changed as little as its prior allows to stand this tall."""
    sigma = torch.from_numpy(shape_sigmas(body))
    shape = body.shape_default.double()
    for _ in range(20):
        values = shape.to(body.shape_default.dtype).requires_grad_(True)
        height = body.height_m(values)
        (slope,) = torch.autograd.grad(height, values)
        towards = sigma**2 * slope.double()
        gain = float((slope.double() * towards).sum())
        if gain < 1e-12:
            break
        shape = (shape + towards * (height_m - float(height.detach())) / gain).clamp(0.0, 1.0)
    return shape.numpy()


def _keyframe_state(
    problem: Problem,
    body: BodyModel,
    config: FitConfig,
    targets: Targets,
    free_focal: bool,
    keys: np.ndarray,
    meter: _Meter,
    begun: State | None = None,
) -> tuple[State, np.ndarray]:
    """Settle the shared unknowns on some frames; also returns what is known of the shape, as a precision matrix."""
    small = replace(problem, evidence=problem.evidence.select(keys))
    if begun is None:
        rest = rest_geometry(body, problem.landmarks, problem.controls, targets.shape_mean)
        state = initial_state(
            body, problem.landmarks, problem.controls, rest, small.evidence, targets.shape_mean, targets.focal_px
        )
    else:
        state = replace(begun, R_root=begun.R_root[keys], translation=begun.translation[keys], theta=begun.theta[keys])
    precision = np.zeros((0, 0))
    for stage in COARSE:
        chosen = replace(
            stage,
            offsets=stage.offsets and config.self_calibrate,
            focal=stage.offsets and free_focal and config.estimate_focal,
        )
        state, precision = run_stage(small, body, state, chosen, targets, meter.tick)
    count = len(body.shape_names)
    # The other shared unknowns are marginalised: they may follow the shape.
    return state, np.linalg.inv(np.linalg.inv(precision)[:count, :count])


def _with_girth(
    problem: Problem,
    body: BodyModel,
    state: State,
    keys: np.ndarray,
    observations: Observations,
    mask: Callable[[int], np.ndarray | None],
    precision: np.ndarray,
) -> State:
    weight = float(problem.evidence.select(keys).frame_weight.sum())
    size = problem.evidence.size_px
    numbers = observations.frame_indices.numpy()[keys]
    places = np.arange(len(keys))
    return refine_girth(body, problem.controls, state, places, numbers, mask, size, precision, weight)


def _between_outlines(
    problem: Problem,
    body: BodyModel,
    state: State,
    targets: Targets,
    observations: Observations,
    mask: Callable[[int], np.ndarray | None],
    tick: Callable[[], None],
) -> State:
    """Arms and legs to the middle of what the masks show of them."""
    rest = moved_rest(rest_geometry(body, problem.landmarks, problem.controls, state.shape), state)
    posed = pose_state(problem, state, rest)
    lines = limb_lines(problem, body, state, posed, rest, mask, observations.frame_indices.numpy())
    return run_stage(replace(problem, lines=lines), body, state, OUTLINE, targets, tick)[0]


def spread_frames(present: np.ndarray, count: int) -> np.ndarray:
    """At most `count` frames with the subject, evenly spread."""
    seen = np.nonzero(present)[0]
    return seen if len(seen) <= count else seen[np.round(np.linspace(0, len(seen) - 1, count)).astype(np.int64)]


def _to_track(
    problem: Problem,
    body: BodyModel,
    state: State,
    expression: np.ndarray,
    observations: Observations,
    sources: tuple[str, str],
) -> BodyTrack:
    limb_error, quality = measure_state(problem, body, state)

    def tensor(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32)

    return BodyTrack(
        body=body.name,
        frame_indices=observations.frame_indices,
        times_s=observations.times_s,
        shape=tensor(state.shape),
        rotvecs=tensor(track_rotvecs(state, problem.controls, body)),
        translation_world_m=tensor(state.translation),
        expression=tensor(expression),
        focal_px=tensor(np.array(state.focal_px)),
        focal_source=sources[0],
        height_source=sources[1],
        width_px=observations.width_px,
        height_px=observations.height_px,
        valid=observations.present,
        limb_names=LIMBS,
        limb_error_px=tensor(limb_error),
        frame_quality=tensor(quality),
    )


def measure_state(problem: Problem, body: BodyModel, state: State) -> tuple[np.ndarray, np.ndarray]:
    """Quality figures of a state (`quality.measure`)."""
    rest = moved_rest(rest_geometry(body, problem.landmarks, problem.controls, state.shape), state)
    posed = pose_state(problem, state, rest)
    nodes = controls_nodes(problem)
    world = place_points(posed, rest, nodes, np.arange(len(nodes)))
    pixels, _ = project(world, state.focal_px, problem.evidence.size_px)
    height = float(body.height_m(torch.as_tensor(state.shape, dtype=body.shape_default.dtype)))
    person_px = height * state.focal_px / np.maximum(-posed.joints[:, 0, 2], 0.2)
    return measure(problem.evidence, problem.landmarks, pixels, person_px)


def controls_nodes(problem: Problem) -> np.ndarray:
    """The node that carries each landmark."""
    return problem.controls.node_of_bone[problem.landmarks.bones]
