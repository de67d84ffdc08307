"""Registration: poses are corrected so that the rendered avatar lies on the frame. The largest lever on quality there is.

Rounds of: render the avatar in the current pose, follow its visible points into the frame by dense flow, and solve all
frames for the poses that put the points there. Flow finds the way from afar; photometric sweeps (`fit.photometric`) find
the place itself. The avatar stays as it is. The pull to the pose of the landmark fit and to neighbouring frames keeps
unseen freedom in place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch

from bodydouble.avatar.surfels import with_splats
from bodydouble.avatar.values import Avatar, Splats
from bodydouble.capture.crops import person_crops
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.events import Event
from bodydouble.fit.flow import FlowMatcher
from bodydouble.fit.looks import FrameLooks
from bodydouble.fit.photometric import align_photometrically
from bodydouble.fit.pose_problem import (
    GRAY,
    PoseProblem,
    RegisterConfig,
    frame_over_gray,
    frames_counted,
    rows_of_crops,
    visible_points,
)
from bodydouble.render.protocol import Rasterizer
from bodydouble.render.threads import side_by_side


def register_poses(
    problem: PoseProblem,
    splats: Splats,
    rasterizer: Rasterizer,
    progress: Callable[[int], None] | None = None,
    settle: Callable[[], None] | None = None,
) -> np.ndarray:
    """Run all rounds of flow, then all photometric sweeps, on `problem` in place.

    Args:
        problem, splats, rasterizer: The frames, and what is laid on them.
        progress: Told the place of each frame each time it was rendered (`RegisterConfig.renders`).
        settle: Called between the sweeps at two sizes, to adjust what `problem.dress` shows.
    Returns:
        Residual of the flow targets in crop pixels, one per frame, as it was before the last step.
    """
    config = problem.config
    frames, k = len(problem.crops), splats.joints.shape[1]
    matchers = threading.local()  # OpenCV's keep their pictures between calls
    joints_all, weights_all = splats.joints.long().numpy(), splats.weights.double().numpy()
    residual = np.zeros(frames)
    points = np.zeros((frames, config.max_points, 3))
    joints = np.zeros((frames, config.max_points, k), np.int64)
    weights = np.zeros((frames, config.max_points, k))
    targets = np.zeros((frames, config.max_points, 2))
    trust = np.zeros((frames, config.max_points))

    def look(f: int) -> None:
        crop = problem.crops[f]
        with torch.no_grad():
            dressed, cloud = problem.posed(splats, f)
            image = rasterizer(cloud, crop.camera, GRAY)
        chosen, at_px = visible_points(cloud, image, crop, config.max_points)
        trust[f] = 0.0
        if len(chosen) == 0:
            return
        if not hasattr(matchers, "own"):
            matchers.own = FlowMatcher()
        found, weight = matchers.own.match(image.pixels(), frame_over_gray(crop), at_px)
        n = len(chosen)
        points[f, :n], joints[f, :n] = dressed.means_rest_m.numpy()[chosen], joints_all[chosen]
        weights[f, :n] = weights_all[chosen]
        targets[f, :n], trust[f, :n] = found, weight

    for _ in range(config.rounds):
        side_by_side(look, frames, progress)
        residual = problem.solve(points, joints, weights, targets, trust)
    if config.sweeps:
        align_photometrically(problem, splats, rasterizer, progress, settle)
    return residual


def register_frames(
    capture: Capture,
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
        avatar: The avatar, which stays as it is; its splats are used, or those of its mesh (`avatar.surfels`).
        track: Poses to start from; its bones are the avatar's.
        frame_indices: Source frames to register; frames without a mask keep their pose.
        rasterizer: Renders the splats.
    Returns:
        The track with the poses of `frame_indices` replaced; with `config.looks` their expressions and `looks`, too.
    """
    splats = with_splats(avatar).splats
    assert splats is not None
    crops = list(person_crops(capture, frame_indices, size_px=config.size_px, focal_px=float(track.focal_px)))
    if not crops:
        return track
    rows = rows_of_crops(track, crops)
    looks = FrameLooks(avatar.rig, splats, track.expression[rows])
    problem = PoseProblem(
        avatar.rig, crops, track.times_s[rows].double().numpy(), track.rotvecs[rows],
        track.translation_world_m[rows], config, dress=looks.dress,
    )  # fmt: skip
    register_poses(
        problem, splats, rasterizer,
        frames_counted(emit, len(crops) * config.renders()),
        (lambda: looks.settle_folds(problem, splats, rasterizer)) if config.looks else None,
    )  # fmt: skip
    if config.looks:
        looks.settle_faces(problem, splats, rasterizer)
    registered = problem.into(track, rows)
    if not config.looks:
        return registered
    extra = torch.zeros(len(track.frame_indices), looks.extra.shape[1])
    extra[rows] = looks.extra
    expression = track.expression.index_copy(0, rows, looks.expression)
    return registered.replace(expression=expression, looks=extra)
