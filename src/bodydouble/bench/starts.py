"""Suite `starts`: the fit from starts that are deliberately bad ends where it ends from its own.

Every start is made of the truth of a standing performer, then spoilt: every bone turned at random, left and right
exchanged, or written as another tracker's file (SMPL-X's skeleton and average proportions, slow errors, no camera), read
back and laid onto the video as `--estimate` does. What the networks saw is the same for all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from bodydouble.bench.conditions import true_poses
from bodydouble.bench.performers import QUICK, STANDING, Standing, captured
from bodydouble.bench.rows import Row
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.events import Event, Progress
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix
from bodydouble.core.seeds import numpy_rng
from bodydouble.evaluate.body_scores import pose_figures
from bodydouble.fit.track import FitConfig, fit_track

Emit = Callable[[Event], None]
_NOISE_DEG, _SLOW_NOISE_DEG = 10.0, 6.0
_SLOW_S = 0.5
"""How long a tracker errs in the same way."""
_ASIDE_M = (0.1, -0.05, -0.3)
_FIGURES = {"mpjpe_root_mm": 3.0, "pa_mpjpe_mm": 2.0, "finger_error_mm": 2.0}
"""Figures of a pose, and how much further off a worse start may end than the fit's own."""


def run(folder: Path, emit: Emit, *, quick: bool) -> tuple[list[Row], list[str]]:
    """Fit each static standing performer from every start.

    Args:
        folder: Performers and what was seen of them lie here from run to run.
        emit: Told about progress.
        quick: One small, short performer.
    Returns:
        Errors of each start before and after the fit, and remarks: which start ended elsewhere.
    """
    performers = QUICK if quick else tuple(p for p in STANDING if p.camera == "static")
    rows: list[Row] = []
    remarks: list[str] = []
    for performer in performers:
        found, said = _performer(performer, folder, emit)
        rows, remarks = rows + found, remarks + said
    return rows, remarks


def _performer(performer: Standing, folder: Path, emit: Emit) -> tuple[list[Row], list[str]]:
    from bodydouble.pipeline.bodies import load_body
    from bodydouble.pipeline.presets import DRAFT

    filmed = captured(performer, folder, DRAFT, emit)
    seen, body = filmed.capture, load_body("anny")
    truth = true_poses(filmed.film, seen.track())
    own = fit_track(seen, body, FitConfig(), emit)
    scored = {"its own": (None, _errors(body, own, truth))}
    makers = (
        ("10 degrees of noise", noisy),
        ("left and right hands exchanged", exchanged),
        ("a foreign estimate", None),
    )
    for done, (name, make) in enumerate(makers, start=1):
        rng = numpy_rng(performer.seed, f"bench/starts/{name}")
        start = foreign(seen, body, truth, rng, emit) if make is None else make(body, truth, rng)
        ended = fit_track(seen, body, FitConfig(), emit, start=start)
        scored[name] = (_errors(body, start, truth), _errors(body, ended, truth))
        emit(Progress(stage="starts", done=done, total=len(makers), unit="starts"))
    return _rows(performer.name, scored)


def _rows(performer: str, scored: dict[str, tuple[dict | None, dict]]) -> tuple[list[Row], list[str]]:
    usual = scored["its own"][1]
    rows, remarks = [], []
    for name, (before, after) in scored.items():
        for figure, slack in _FIGURES.items():
            label = f"{performer}, from {name}: {figure.removesuffix('_mm')}"
            if before is not None:
                rows.append(
                    Row(suite="starts", name=f"{label} of the start", value=before[figure], unit="mm", better="lower")
                )
            rows.append(
                Row(suite="starts", name=label, value=after[figure], unit="mm", better="lower", tolerance=2.0 * slack)
            )
            if after[figure] > usual[figure] + slack:
                remarks.append(
                    f"{label} ends at {after[figure]:.1f} mm, from the fit's own start at {usual[figure]:.1f}."
                )
    return rows, remarks


def noisy(body: BodyModel, truth: BodyTrack, rng: np.random.Generator) -> BodyTrack:
    """Every bone of every frame turned by about ten degrees, fingers too, and the person a step aside."""
    turned = _turned(truth.rotvecs, _NOISE_DEG * rng.normal(size=truth.rotvecs.shape) / np.sqrt(3.0))
    place = truth.translation_world_m + torch.tensor(_ASIDE_M)
    return truth.replace(rotvecs=turned, translation_world_m=place)


def exchanged(body: BodyModel, truth: BodyTrack, rng: np.random.Generator) -> BodyTrack:
    """What the left arm with its hand and fingers does, the right one does, and the other way round."""
    rotvecs, names = truth.rotvecs.clone(), body.bone_names
    flip = torch.tensor([1.0, -1.0, -1.0])
    for human, bone in body.humanoid.items():
        if not human.startswith("left") or human.startswith(
            ("leftUpperLeg", "leftLowerLeg", "leftFoot", "leftToes", "leftEye")
        ):
            continue
        left, right = names.index(bone), names.index(body.humanoid["right" + human.removeprefix("left")])
        rotvecs[:, left], rotvecs[:, right] = truth.rotvecs[:, right] * flip, truth.rotvecs[:, left] * flip
    return truth.replace(rotvecs=rotvecs)


def foreign(seen: Capture, body: BodyModel, truth: BodyTrack, rng: np.random.Generator, emit: Emit) -> BodyTrack:
    """Another tracker's file: SMPL-X without fingers, in a world whose camera it does not tell, slowly erring."""
    from bodydouble.avatar.clips.rigs import as_source
    from bodydouble.avatar.clips.write import write_smplx
    from bodydouble.capture.estimates.kinds import read_estimate
    from bodydouble.pipeline.estimate_track import place_estimate
    from bodydouble.pipeline.track_motion import motion_of_track

    frames, bones = truth.rotvecs.shape[:2]
    times = truth.times_s.double().numpy()
    knots = np.arange(times[0], times[-1] + 2 * _SLOW_S, _SLOW_S)
    values = _SLOW_NOISE_DEG * rng.normal(size=(len(knots), bones * 3)) / np.sqrt(3.0)
    slow = np.stack([np.interp(times, knots, column) for column in values.T], 1).reshape(frames, bones, 3)
    motion, rig = motion_of_track(truth.replace(rotvecs=_turned(truth.rotvecs, slow)), body, "estimate")
    with tempfile.TemporaryDirectory(prefix="bodydouble-") as place:
        file = Path(place) / "estimate.npz"
        write_smplx(file, as_source(motion, rig))
        return place_estimate(read_estimate(file), seen.observations(), body, FitConfig()).track


def _turned(rotvecs: torch.Tensor, by_deg: Float[np.ndarray, "frames bones 3"]) -> torch.Tensor:
    turn = rotvec_to_matrix(torch.from_numpy(np.radians(by_deg)))
    return matrix_to_rotvec(turn @ rotvec_to_matrix(rotvecs.double())).to(rotvecs.dtype)


def _errors(body: BodyModel, track: BodyTrack, truth: BodyTrack) -> dict[str, float]:
    steps = torch.diff(truth.times_s.double())
    joints, true_joints = _joints(body, track), _joints(body, truth)
    return pose_figures(body, joints, true_joints, truth.frame_indices.tolist(), 1.0 / float(steps.median()))


def _joints(body: BodyModel, track: BodyTrack) -> Float[np.ndarray, "frames bones 3"]:
    with torch.no_grad():
        pose = track.pose()
        return body.with_shape(track.shape).with_pose(pose).joints_world.numpy()
