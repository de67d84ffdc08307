"""An avatar as the camera of its own video saw the person: one picture for each source frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bodydouble.avatar.values import Avatar
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import video_camera
from bodydouble.core.errors import ConfigError, InputError, OutputError
from bodydouble.core.events import Progress
from bodydouble.core.files import atomic_path
from bodydouble.evaluate.predictions import rgba_of_row
from bodydouble.pipeline.stages import Emit
from bodydouble.render.protocol import Rasterizer

FrameChoice = Literal["heldout", "heldout-pairs", "train", "all"]
PoseChoice = Literal["fit", "registered"]


def chosen_frames(capture: Capture, choice: FrameChoice) -> list[int]:
    """Source indices of the frames with the subject in view.

    Raises:
        InputError: When there are none.
    """
    if choice == "heldout":
        frames = capture.heldout_indices()
    elif choice == "heldout-pairs":
        seen = set(capture.heldout_indices() + capture.train_indices())
        frames = sorted({f for held in capture.heldout_indices() for f in (held - 1, held)} & seen)
    elif choice == "train":
        frames = capture.train_indices()
    else:
        frames = sorted(capture.heldout_indices() + capture.train_indices())
    if not frames:
        raise InputError(f"{capture.folder} has no {choice} frames with the person in view. Choose --frames all.")
    return frames


def registered_track(
    capture: Capture,
    avatar: Avatar,
    refined_track: BodyTrack | None,
    frames: Sequence[int],
    rasterizer: Rasterizer,
    emit: Emit,
) -> BodyTrack:
    """The track with each of `frames` aligned to its own picture, the avatar frozen.

    Args:
        refined_track: Poses as training left them, if they are known: training frames keep them, and the others start
            from their neighbours' corrections, as in an evaluation.
    """
    from bodydouble.evaluate.heldout import DEFAULT_REGISTER, refined_indices
    from bodydouble.evaluate.interpolate import interpolated_track
    from bodydouble.evaluate.picture_run import with_poses
    from bodydouble.fit.register import register_frames

    trained = set() if refined_track is None else set(capture.train_indices())
    wanted = [index for index in frames if index not in trained]
    start = capture.track()
    if refined_track is not None:
        train = refined_indices(capture, start, refined_track)
        start = with_poses(interpolated_track(start, refined_track, train, wanted), refined_track, train)
    if not wanted:
        return start
    return register_frames(capture, avatar, start, wanted, rasterizer, DEFAULT_REGISTER, emit)


def render_like(
    avatar: Avatar,
    capture: Capture,
    track: BodyTrack,
    frames: Sequence[int],
    out: Path,
    rasterizer: Rasterizer,
    emit: Emit,
) -> list[Path]:
    """Write `frame_%06d.png` by source frame index: RGBA, the video's own size and camera, nothing cut by a mask.

    Args:
        avatar: With splats, or else with a mesh.
        capture: Of the same person's video.
        track: Poses and camera.
        frames: Source indices, all in the track.
        out: A new or empty folder; it appears only when it is whole.
        rasterizer: Renders the splats.
        emit: Told about progress.
    Returns:
        The files.
    """
    from PIL import Image

    if len(track.rotvecs[0]) != len(avatar.rig.bone_names):
        raise InputError(
            f"The avatar has {len(avatar.rig.bone_names)} bones and the capture's body {len(track.rotvecs[0])}: "
            "they do not belong together. Use the avatar and the capture of one run."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is not an empty folder: nothing there is touched. Choose a new one with -o.")
    camera = video_camera(capture.info.width_px, capture.info.height_px, track.focal_px)
    row_of = {int(index): row for row, index in enumerate(track.frame_indices)}
    missing = [index for index in frames if index not in row_of]
    if missing:
        raise ConfigError(f"Frame {missing[0]} has no pose in this capture. Choose --frames heldout, train or all.")
    with atomic_path(out) as partial:
        partial.mkdir(parents=True)
        for done, index in enumerate(frames, start=1):
            rgba = rgba_of_row(avatar, track, row_of[index], camera, rasterizer)
            Image.fromarray(rgba).save(partial / picture_name(index), compress_level=4)
            emit(Progress(stage="render", done=done, total=len(frames), unit="frames"))
    return [out / picture_name(index) for index in frames]


def picture_name(frame_index: int) -> str:
    """File name of a picture by source frame index."""
    return f"frame_{frame_index:06d}.png"


def render_run_like(
    avatar_path: Path,
    capture_folder: Path,
    out: Path,
    *,
    frames: FrameChoice,
    poses: PoseChoice,
    device: str,
    emit: Emit,
) -> list[Path]:
    """Load an avatar and a capture and write the pictures of `render_like`.

    With `poses="registered"`, training frames of the capture's own run have the poses that training left; all others
    are aligned to their picture now.
    """
    from bodydouble.avatar.glb import load_avatar
    from bodydouble.render.select import make_rasterizer

    capture = Capture.open(capture_folder)
    track = capture.track()
    avatar = load_avatar(avatar_path)
    indices = chosen_frames(capture, frames)
    rasterizer = make_rasterizer(device)
    if poses == "registered":
        track = registered_track(
            capture, avatar, _refined_by_training(capture_folder, avatar_path), indices, rasterizer, emit
        )
    return render_like(avatar, capture, track, indices, out, rasterizer, emit)


def _refined_by_training(capture_folder: Path, avatar_path: Path) -> BodyTrack | None:
    """The track that training left, if avatar and capture are of one run and its checkpoints are there."""
    from bodydouble.pipeline.finish import trained_result

    run = capture_folder.resolve().parent
    if avatar_path.resolve().parent != run:
        return None
    try:
        return trained_result(run, Capture.open(capture_folder))[1]
    except InputError:
        return None
