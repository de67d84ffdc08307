"""Camera and world of a capture in one call: what the trainer is given when the camera moves, and nothing when it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.camera_motion import CameraMotion, load_camera, save_camera
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.events import Event
from bodydouble.core.files import write_json
from bodydouble.fit.camera_find import CameraConfig, camera_facts, find_camera_motion
from bodydouble.reconstruct.surface.world_config import WorldConfig
from bodydouble.reconstruct.surface.world_splats import MovingWorld, save_world
from bodydouble.reconstruct.surface.world_train import learn_world

CAMERA_FACTS, WORLD_FILE = "camera.json", "world.safetensors"


def world_of(
    capture: Capture,
    track: BodyTrack,
    body: BodyModel,
    emit: Callable[[Event], None],
    *,
    keep: Path,
    config: WorldConfig | None = None,
    camera: CameraConfig | None = None,
    device: str = "auto",
) -> tuple[CameraMotion, MovingWorld | None]:
    """How the camera moved, and the world it saw.

    Args:
        capture, track, body: As for `find_camera_motion` and `learn_world`.
        emit: Told about progress and about what the user should know.
        keep: Folder for `camera.safetensors`, `camera.json` and, where the camera moves, `world.safetensors`. A motion that
            lies there is taken as it is.
        config, camera, device: How.
    Returns:
        The motion, and the learnt world; None when the camera stands still: then a clean plate is all that is needed.
    """
    motion = load_camera(keep)
    if motion is None or motion.frame_indices.tolist() != track.frame_indices.tolist():
        motion = find_camera_motion(capture, track, body, emit, camera)
        save_camera(keep, motion)
        write_json(keep / CAMERA_FACTS, camera_facts(motion))
    if not motion.moves:
        return motion, None
    world = learn_world(capture, track, body, motion, emit, config, device=device)
    save_world(keep / WORLD_FILE, world)
    return motion, world
