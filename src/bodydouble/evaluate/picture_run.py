"""Scores pictures of a person beside the frames of the video, by any picture protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch

from bodydouble.avatar.values import Avatar
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.errors import InputError
from bodydouble.core.events import Event, Progress
from bodydouble.evaluate.heldout import DEFAULT_REGISTER, refined_indices
from bodydouble.evaluate.interpolate import interpolated_track
from bodydouble.evaluate.lpips import LPIPS_FOLDER_VARIABLE, Lpips
from bodydouble.evaluate.picture_protocol import PictureProtocol
from bodydouble.evaluate.picture_results import PictureScores, ScoreColumn, ScoredFrame
from bodydouble.evaluate.picture_scores import FilmedFrame, Pair, score_pair
from bodydouble.evaluate.predictions import AvatarPictures, PictureSource
from bodydouble.evaluate.regions import mask_box
from bodydouble.evaluate.seen_parts import frame_speeds, part_boxes
from bodydouble.fit.outline import DEFAULT_OUTLINE, outline_frames
from bodydouble.fit.register import register_frames
from bodydouble.render.protocol import Rasterizer

FrameChoice = Literal["heldout", "protocol"]


def frames_to_score(capture: Capture, protocol: PictureProtocol, choice: FrameChoice) -> list[int]:
    """Source indices of the frames that a protocol is scored on.

    Args:
        choice: `heldout`: the capture's own held-out frames, whatever the protocol; `protocol`: the test frames that an
            imported data set names, else those that the protocol picks from the frames in which the person was seen.
    Raises:
        InputError: When there are none.
        ConfigError: When the protocol does not say which frames of this capture it tests on.
    """
    seen = sorted(capture.heldout_indices() + capture.train_indices())
    if capture.has_track():
        track = capture.track()
        fitted = set(track.frame_indices[track.valid].tolist())
        seen = [frame for frame in seen if frame in fitted]
    if choice == "heldout":
        held = set(capture.heldout_indices())
        frames = [frame for frame in seen if frame in held]
    elif declared := _declared_test_frames(capture):
        frames = [frame for frame in seen if frame in declared]
    else:
        sequence = (capture.stage("import") or {}).get("sequence", "")
        frames = protocol.split.test_frames(seen, f"{sequence} {capture.info.path}".strip())
    if not frames:
        raise InputError(
            f"{capture.folder} has no {choice} test frames with the person in view; nothing can be scored."
        )
    return frames


def frames_rule(capture: Capture, protocol: PictureProtocol, choice: FrameChoice) -> str:
    """Which frames `frames_to_score` picks, in words."""
    if choice == "heldout":
        return "the capture's own held-out frames (index % 8 == 7), whatever the protocol's split"
    if _declared_test_frames(capture):
        return "the test frames that the imported data set names"
    return f"the protocol's test frames ({protocol.split.describe()})"


def empty_frames(capture: Capture, frames: Sequence[int], protocol: PictureProtocol) -> list[int]:
    """Those of the frames whose mask is empty or missing."""
    return [frame for frame in frames if _mask(capture, frame, protocol) is None]


def score_pictures(
    capture: Capture,
    source: PictureSource,
    frames: Sequence[int],
    protocol: PictureProtocol,
    lpips: Lpips | None,
    emit: Callable[[Event], None],
    *,
    rule: str,
) -> PictureScores:
    """Score a source of pictures on some frames of a capture.

    Args:
        capture: Frames, masks and observations.
        source: The pictures.
        frames: Source indices, from `frames_to_score`.
        lpips: The protocol's network, if its weights are on the machine.
        emit: Told about progress.
        rule: Which frames these are, in words.
    """
    started = time.perf_counter()
    observations = capture.observations()
    skipped = set(empty_frames(capture, frames, protocol))
    wanted = [frame for frame in frames if frame not in skipped]
    times = dict(zip(observations.frame_indices.tolist(), observations.times_s.tolist(), strict=True))
    speeds = frame_speeds(observations, wanted, protocol.base)
    rows: dict[str, list[ScoredFrame]] = {column: [] for column in source.columns}
    with_before = protocol.has("flicker")
    for done, (frame, earlier) in enumerate(_filmed(capture, source, wanted, protocol, with_before), start=1):
        speed = speeds[frame.index]
        for column in source.columns:
            pair = Pair(
                frame=frame,
                rgba=source.rgba(column, frame.index),
                parts=part_boxes(observations, frame.index, protocol.base, protocol.detail),
                before=None if earlier is None else (earlier, source.rgba(column, earlier.index)),
            )
            rows[column].append(
                ScoredFrame(
                    frame_index=frame.index,
                    time_s=float(times[frame.index]),
                    speed_heights_per_s=speed,
                    moving=None if np.isnan(speed) else bool(speed >= protocol.base.still_speed_heights_per_s),
                    values=score_pair(pair, protocol, lpips),
                )
            )
        emit(Progress(stage="evaluate", done=done, total=len(wanted), unit="frames"))
    return PictureScores(
        protocol=protocol,
        frames_rule=rule,
        columns=tuple(ScoreColumn(name=name, rows=tuple(found)) for name, found in rows.items()),
        skipped=tuple(sorted(skipped)),
        absent=_absent(protocol, lpips),
        seconds=time.perf_counter() - started,
    )


def avatar_pictures(
    capture: Capture,
    avatar: Avatar,
    refined_track: BodyTrack,
    rasterizer: Rasterizer,
    frames: Sequence[int],
    protocol: PictureProtocol,
    emit: Callable[[Event], None],
    *,
    fit_track: BodyTrack | None = None,
) -> AvatarPictures:
    """Pictures of an avatar in the poses that a protocol asks for.

    Args:
        capture: With the fitted track.
        refined_track: Poses as training left them. They are used in the frames before test frames, where flicker is
            measured, except beside the fit's pose.
        frames: Test frames; none of them may have been trained on.
        fit_track: Poses of the fit as they drive the avatar; by default the capture's.
    Raises:
        InputError: When the avatar has nothing that can be drawn, or test frames were trained on.
    """
    fit_track = capture.track() if fit_track is None else fit_track
    train = refined_indices(capture, fit_track, refined_track)
    leaked = sorted(set(frames) & set(capture.train_indices()))
    if leaked:
        raise InputError(
            f"Frame {leaked[0]} was open to the training of this avatar ({len(leaked)} of {len(frames)} test frames of "
            f"{protocol.name} were), so its figures would not be held out. Use --frames heldout."
        )
    between = with_poses(interpolated_track(fit_track, refined_track, train, frames), refined_track, train)
    tracks = {"fit": fit_track, "interpolated": between}
    if "outlined" in protocol.poses and avatar.splats is not None:
        tracks["outlined"] = outline_frames(
            capture, avatar.rig, avatar.splats, fit_track, list(frames), rasterizer, DEFAULT_OUTLINE, emit
        )
    if "registered" in protocol.poses:
        tracks["registered"] = register_frames(
            capture, avatar, between, list(frames), rasterizer, DEFAULT_REGISTER, emit
        )
    columns = tuple(pose for pose in protocol.poses if pose in tracks)
    return AvatarPictures(
        avatar=avatar,
        columns=columns,
        tracks=tuple(tracks[pose] for pose in columns),
        rasterizer=rasterizer,
    )


def with_poses(track: BodyTrack, other: BodyTrack, frames: Sequence[int]) -> BodyTrack:
    """A track with the poses and expressions of another in some frames, both by source index."""
    row_of, other_row_of = (
        {int(i): k for k, i in enumerate(t.frame_indices)} for t in (track, other)
    )  # fmt: skip
    shared = [f for f in frames if f in row_of and f in other_row_of]
    at, there = torch.tensor([row_of[f] for f in shared]).long(), torch.tensor([other_row_of[f] for f in shared]).long()
    return track.replace(
        rotvecs=track.rotvecs.index_copy(0, at, other.rotvecs[there]),
        translation_world_m=track.translation_world_m.index_copy(0, at, other.translation_world_m[there]),
        expression=track.expression.index_copy(0, at, other.expression[there]),
    )


def _declared_test_frames(capture: Capture) -> set[int]:
    """Frames that the files of an imported data set call test frames; empty where they say nothing."""
    split = (capture.stage("import") or {}).get("split", [])
    return {frame for frame, name in enumerate(split) if name == "test"}


def _filmed(
    capture: Capture, source: PictureSource, wanted: Sequence[int], protocol: PictureProtocol, with_before: bool
) -> Iterator[tuple[FilmedFrame, FilmedFrame | None]]:
    """Each wanted frame, and the one before it where that is asked for, is known to the source and shows the person."""
    earlier = {frame - 1 for frame in wanted if with_before and frame > 0 and source.has(frame - 1)}
    observed = set(capture.observations().frame_indices.tolist())
    earlier = {f for f in earlier & observed if _mask(capture, f, protocol) is not None}
    last: FilmedFrame | None = None
    for frame in capture.frames(sorted(set(wanted) | earlier)) if wanted else ():
        mask = _mask(capture, frame.index, protocol)
        assert mask is not None, "frames without a mask were left out"
        filmed = FilmedFrame(index=frame.index, rgb=frame.rgb, mask=mask)
        if frame.index in wanted:
            follows = last is not None and last.index == frame.index - 1 and with_before
            yield filmed, last if follows else None
        last = filmed


def _mask(capture: Capture, frame: int, protocol: PictureProtocol) -> np.ndarray | None:
    mask = capture.mask(frame)
    if mask is None or mask_box(mask.astype(np.float32) / 255.0, protocol.base) is None:
        return None
    return mask


def _absent(protocol: PictureProtocol, lpips: Lpips | None) -> tuple[tuple[str, str], ...]:
    if lpips is not None:
        return ()
    why = (
        f"the weights of LPIPS ({protocol.lpips.network}) are not on this machine; name their folder with --lpips or "
        f"{LPIPS_FOLDER_VARIABLE}"
    )
    return tuple((name, why) for name in protocol.metrics if name.startswith("lpips"))
