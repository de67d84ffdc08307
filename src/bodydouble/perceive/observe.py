"""The perceive stage: a video in, Observations and masks out."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import torch

from bodydouble.capture.folder import Capture, info_to_json
from bodydouble.capture.values import Observations, VideoInfo
from bodydouble.core.events import Done, Event, Progress, Warned
from bodydouble.core.files import atomic_path, remove_tree
from bodydouble.perceive.judge import check_subject, settle, subject_box_px
from bodydouble.perceive.parts import LANDMARK_NAMES, RawLandmarks, join_parts, load_part
from bodydouble.perceive.span import PerceiveConfig, choose_span
from bodydouble.perceive.subject import Subject, choose_subject, person_from_json
from bodydouble.perceive.workers import Workers

__all__ = ["PerceiveConfig", "observe"]

_NUM_RUNS = 2
"""The span is always cut into this many runs, so that the result does not depend on the number of cores."""
_MIN_RUN_FRAMES = 40
_SAMPLES = 10
"""Frames in which all people are looked for."""


def observe(
    video: VideoInfo,
    folder: Capture,
    config: PerceiveConfig,
    emit: Callable[[Event], None],
    *,
    subject: Subject | None = None,
    workers: Workers | None = None,
) -> Observations:
    """Look at every frame of the chosen span; write masks, then observations, into the capture.

    Args:
        video: Facts of the video.
        folder: Where the results go.
        config: What of the video is looked at.
        emit: Told about progress and warnings.
        subject: Who is followed; by default the most prominent person, who is looked for.
        workers: That look, and stay; by default some are started and ended here. How many there are decides nothing.
    Raises:
        NoSubjectError: When no usable person is in view.
        ConfigError: When the wanted span is empty.
    """
    began = time.perf_counter()

    def tell(event: Event) -> None:
        if isinstance(event, Warned):
            folder.add_warning(event.code, event.message, event.advice)
        emit(event)

    looking = Workers(_num_runs(video.num_frames)) if workers is None else contextlib.nullcontext(workers)
    with atomic_path(folder.masks_folder) as masks_folder, looking as crew:
        masks_folder.mkdir()
        # The workers load their networks while we look for cuts.
        first, stop = choose_span(video, config, tell)
        folder.set_span(first, stop)
        raw = settle(_estimate(crew, video, (first, stop), masks_folder, tell, subject))
        check_subject(raw, video, tell)
    observations = Observations(
        frame_indices=raw.frame_indices,
        times_s=torch.tensor([video.times_s[i] for i in raw.frame_indices.tolist()], dtype=torch.float32),
        width_px=video.width_px,
        height_px=video.height_px,
        landmark_names=LANDMARK_NAMES,
        xy_px=raw.xy_px,
        xyz_camera_m=raw.xyz_camera_m,
        confidence=raw.confidence,
        present=raw.present,
        box_px=subject_box_px(raw, video),
    )
    folder.save_observations(observations)
    emit(Done(stage="perceive", seconds=time.perf_counter() - began))
    return observations


def _num_runs(num_frames: int) -> int:
    return _NUM_RUNS if num_frames >= _NUM_RUNS * _MIN_RUN_FRAMES else 1


def _estimate(
    workers: Workers,
    video: VideoInfo,
    span: tuple[int, int],
    masks_folder: Path,
    emit: Callable[[Event], None],
    subject: Subject | None,
) -> RawLandmarks:
    """Run the networks over the span in worker processes."""
    first, stop = span
    count = stop - first
    runs = _num_runs(count)
    edges = [first + round(count * k / runs) for k in range(runs + 1)]
    spans = list(itertools.pairwise(edges))
    facts = info_to_json(video)
    parts_folder = masks_folder.with_name(masks_folder.name + ".parts.partial")
    remove_tree(parts_folder)
    parts_folder.mkdir()
    done = [0] * runs

    def progress(number: int, frames: int) -> None:
        done[number] = frames
        emit(Progress(stage="perceive", done=sum(done), total=count, unit="frames"))

    try:
        progress(0, 0)
        subject = subject or _find_subject(workers, facts, spans, video, emit)
        anchors = [dataclasses.asdict(p) for p in subject.anchors] if subject.num_others else []
        paths = [parts_folder / f"{k}.safetensors" for k in range(runs)]
        job = {"do": "run", "video": facts, "masks": str(masks_folder), "anchors": anchors}
        workers.ask([{**job, "frames": s, "part": str(p)} for s, p in zip(spans, paths, strict=True)], progress)
        return join_parts([load_part(path) for path in paths])
    finally:
        remove_tree(parts_folder)


def _find_subject(
    workers: Workers, facts: dict, spans: list[tuple[int, int]], video: VideoInfo, emit: Callable[[Event], None]
) -> Subject:
    """Look for everybody in a few frames and choose one person."""
    per_run = -(-_SAMPLES // len(spans))
    commands = []
    for first, stop in spans:
        here = min(per_run, stop - first)
        frames = sorted({first + int((k + 0.5) * (stop - first) / here) for k in range(here)})
        commands.append({"do": "people", "video": facts, "frames": frames})
    answers = workers.ask(commands)
    samples = [[person_from_json(p) for p in people] for answer in answers for people in answer["people"]]
    subject = choose_subject(samples, video.width_px, video.height_px)
    if subject.num_others:
        more = "another person is" if subject.num_others == 1 else f"{subject.num_others} other people are"
        emit(
            Warned(
                code="several_people",
                message=f"Besides the subject, {more} in view; the most prominent person is followed.",
                advice="Film one person alone, or cut the others out of the picture.",
            )
        )
    return subject
