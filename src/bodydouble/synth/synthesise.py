"""A synthetic video of a performer, with the truth about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from bodydouble.body.anny import load_anny
from bodydouble.capture.video import VideoWriter
from bodydouble.core.cameras import video_camera
from bodydouble.core.errors import ConfigError
from bodydouble.core.events import Event, Progress
from bodydouble.core.files import atomic_path, read_tensors, write_tensors
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.synth.film import Film
from bodydouble.synth.looks import draw_look
from bodydouble.synth.motion import perform
from bodydouble.synth.performer import make_performer
from bodydouble.synth.room import draw_lights, draw_room

VIDEO_NAME = "video.mp4"
TRUTH_NAME = "truth.safetensors"
MASKS_NAME = "truth_masks"
_CAMERA_HEIGHT_M = 1.05
_PERSON_HEIGHT_SHARE = 0.71
"""Of the picture's height, for a person of 1.75 m: raised hands stay inside."""
_FOCAL_PER_HEIGHT = 1.25


@tensor_struct
class SynthTruth(TensorStruct):
    """What is true about a synthetic video, in the world of its camera (at the origin, looking along -Z)."""

    shape: Float[Tensor, " shape"]
    rotvecs: Float[Tensor, "frames bones 3"]
    translation_world_m: Float[Tensor, "frames 3"]
    expression: Float[Tensor, "frames actions"]
    focal_px: Float[Tensor, ""]
    width_px: int
    height_px: int
    fps_hz: float
    seed: int

    @property
    def times_s(self) -> Float[Tensor, " frames"]:
        return torch.arange(len(self.rotvecs)) / self.fps_hz


def synthesise(
    out_dir: Path,
    *,
    seed: int = 0,
    seconds: float = 7.0,
    fps: float = 24.0,
    size: tuple[int, int] = (720, 960),
    emit: Callable[[Event], None] = lambda event: None,
) -> SynthTruth:
    """Film a seeded performer: greets, turns around once, moves arms, hands and face.

    Writes `video.mp4`, `truth.safetensors` and `truth_masks/frame_%06d.png` (coverage, 0 to 255) into `out_dir`. The
    truth describes the body under the clothes; the masks include clothes and hair.

    Args:
        out_dir: Made if missing.
        seed: Chooses body, clothes, room, light and details of the motion.
        seconds, fps: Length and rate.
        size: Width and height of the video, pixels.
        emit: Is told about the progress.
    Returns:
        The truth, as written.
    Raises:
        ConfigError: When the length, the rate or the size makes no video.
        OutputError: When `out_dir` cannot be written.
    """
    from PIL import Image

    num_frames = round(seconds * fps)
    width_px, height_px = size
    if num_frames < 2 or fps <= 0:
        raise ConfigError(f"synthesise: {seconds} s at {fps} frames/s are {num_frames} frames; at least 2 are needed.")
    if min(size) < 64:
        raise ConfigError(f"synthesise: size must be at least 64 x 64 pixels, got {width_px} x {height_px}.")
    film, truth = stage(seed, num_frames, fps, width_px, height_px)
    with (
        atomic_path(out_dir / MASKS_NAME) as masks,
        VideoWriter(out_dir / VIDEO_NAME, fps, width_px, height_px) as video,
    ):
        masks.mkdir()
        for frame, shot in enumerate(film.shots()):
            video.write(shot.rgb)
            Image.fromarray(shot.mask).save(masks / f"frame_{frame:06d}.png", compress_level=1)
            emit(Progress(stage="synthesise", done=frame + 1, total=num_frames, unit="frames"))
    write_truth(out_dir / TRUTH_NAME, truth)
    return truth


def stage(seed: int, num_frames: int, fps: float, width_px: int, height_px: int) -> tuple[Film, SynthTruth]:
    """Performer, performance, room and camera of a seed, ready to be filmed."""
    body = load_anny()
    look = draw_look(seed)
    performer = make_performer(body, look)
    performance = perform(body, performer.shaped.joints_rest, seed=seed, num_frames=num_frames, fps_hz=fps)
    # A landscape picture must hold the spread arms as well.
    reference_px = min(height_px, 1.34 * width_px)
    focal_px = _FOCAL_PER_HEIGHT * reference_px
    person_m = -focal_px * 1.75 / (_PERSON_HEIGHT_SHARE * reference_px)
    lights = draw_lights(seed)
    room = draw_room(
        seed,
        lights,
        width_px=width_px,
        height_px=height_px,
        focal_px=focal_px,
        floor_m=-_CAMERA_HEIGHT_M,
        person_m=person_m,
    )
    camera = video_camera(width_px, height_px, focal_px)
    film = Film(performer, performance, lights, room, camera, floor_m=-_CAMERA_HEIGHT_M, person_m=person_m, fps_hz=fps)
    truth = SynthTruth(
        shape=performer.body_shape,
        rotvecs=performance.rotvecs,
        translation_world_m=film.translations_world_m,
        expression=performance.expression,
        focal_px=torch.tensor(float(focal_px)),
        width_px=width_px,
        height_px=height_px,
        fps_hz=float(fps),
        seed=seed,
    )
    return film, truth


def write_truth(path: Path, truth: SynthTruth) -> None:
    """Write the truth as one .safetensors file."""
    tensors = {name: value for name, value in vars(truth).items() if isinstance(value, Tensor)}
    numbers = {name: repr(value) for name, value in vars(truth).items() if not isinstance(value, Tensor)}
    write_tensors(path, tensors, numbers)


def read_truth(path: Path) -> SynthTruth:
    """Read what `synthesise` wrote.

    Raises:
        InputError: When the file is missing or damaged.
    """
    tensors, numbers = read_tensors(path)
    return SynthTruth(
        **tensors,
        width_px=int(numbers["width_px"]),
        height_px=int(numbers["height_px"]),
        fps_hz=float(numbers["fps_hz"]),
        seed=int(numbers["seed"]),
    )


def read_masks(folder: Path) -> Float[ndarray, "frames height width"]:
    """The performer's true coverage of each frame's pixels, in [0, 1].

    Args:
        folder: The `truth_masks` folder.
    """
    from PIL import Image

    return np.stack([np.asarray(Image.open(path), np.float32) / 255 for path in sorted(folder.glob("frame_*.png"))])
