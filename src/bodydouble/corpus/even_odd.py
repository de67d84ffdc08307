"""Twenty frames of a capture as a capture of their own, every second one held out: the split of WildAvatar's benchmark.

The rule of every capture (frames 7, 15, 23, ... are held out) stays untouched, so training and evaluation need to know
nothing of this: the frames to train on get the numbers 0, 8, 16, ... and those to test on 7, 15, 23, .... What lies between
them in the video is never observed. Times stay those of the source.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from bodydouble.capture.folder import HELDOUT_EVERY, Capture
from bodydouble.capture.values import Observations
from bodydouble.core.errors import InputError

FRAMES = 20
_TENSORS = ("xy_px", "xyz_camera_m", "confidence", "present", "box_px", "times_s")


def even_odd_numbers(count: int) -> list[int]:
    """Numbers of frames that make even places trained on and odd places held out."""
    return [HELDOUT_EVERY * (place // 2) + (HELDOUT_EVERY - 1) * (place % 2) for place in range(count)]


def even_odd_capture(source: Capture, rows: list[int], folder: Path) -> Capture:
    """Write the capture of some frames.

    Args:
        source: With observations, masks and a fitted body.
        rows: Places of the frames in its track, ascending; an even number of them.
        folder: New.
    Raises:
        InputError: When the frames are not an even number of at least four, or the track does not follow the observations.
    """
    from bodydouble.capture.video import probe
    from bodydouble.capture.video_write import VideoWriter

    observations, track = source.observations(), source.track()
    if len(rows) < 4 or len(rows) % 2:
        raise InputError(
            f"A split into even and odd frames needs an even number of at least 4 frames, got {len(rows)}."
        )
    if not torch.equal(observations.frame_indices, track.frame_indices):
        raise InputError(f"{source.folder}: observations and body are of different frames. Make the capture again.")
    sources = [int(track.frame_indices[row]) for row in rows]
    numbers = even_odd_numbers(len(rows))
    folder.mkdir(parents=True)
    video = folder / "frames.mp4"
    with VideoWriter(video, source.info.fps_hz, source.info.width_px, source.info.height_px, lossless=True) as writer:
        next_number = 0
        for number, frame in zip(numbers, source.frames(sources, threads=1), strict=True):
            while next_number <= number:
                writer.write(frame.rgb)
                next_number += 1
    info = dataclasses.replace(probe(video), focal_px=float(track.focal_px))
    capture = Capture.create(folder, info)
    capture.set_span(0, info.num_frames)
    for number, index in zip(numbers, sources, strict=True):
        mask = source.mask(index)
        if mask is not None:
            capture.save_mask(number, mask)
    at = torch.tensor(rows)
    chosen = {name: getattr(observations, name)[at] for name in _TENSORS}
    capture.save_observations(
        Observations(
            frame_indices=torch.tensor(numbers),
            width_px=observations.width_px,
            height_px=observations.height_px,
            landmark_names=observations.landmark_names,
            **chosen,
        )
    )
    per_frame = ("times_s", "rotvecs", "translation_world_m", "expression", "valid", "limb_error_px", "frame_quality")
    capture.save_track(
        track.replace(frame_indices=torch.tensor(numbers), **{name: getattr(track, name)[at] for name in per_frame})
    )
    capture.record_stage("even_odd", {"source_frames": sources, "source_sha256": source.info.sha256})
    return capture
