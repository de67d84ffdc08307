"""What a viewer takes home: pictures, videos, and the avatar in other programs' formats, as bytes with a file name."""

from __future__ import annotations

import dataclasses
import io
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from bodydouble.avatar.export.vrm import VrmMeta
from bodydouble.avatar.motion import Motion
from bodydouble.core.cameras import Camera
from bodydouble.core.errors import ConfigError
from bodydouble.pipeline.export import ExportChoices, default_path, export_avatar, format_named
from bodydouble.studio.motions import frame_at
from bodydouble.studio.scene import Scene
from bodydouble.studio.state import Shown, advanced

VIDEO_FPS_HZ = 30.0
MAX_VIDEO_S = 60.0
_WITH_CLIP = ("glb", "html", "usd", "usda", "usdz")
_OF_A_POSE = ("ply", "spz", "obj", "mesh-ply")
FORMAT_LABELS: dict[str, str] = {
    "glb": "glb: everything, with this motion",
    "html": "html: a page to share, with this motion",
    "vrm": "vrm: for VRM viewers and games",
    "ply": "ply: splats in this pose",
    "spz": "spz: splats in this pose, small",
    "obj": "obj: mesh in this pose",
    "mesh-ply": "mesh.ply: mesh in this pose",
    "usdz": "usdz: mesh with this motion",
}


@dataclass(frozen=True, kw_only=True)
class Keepsake:
    """A file for the viewer."""

    name: str
    content: bytes
    note: str
    """What was left out, or how large it is; one sentence."""


def shown_motion(scene: Scene, shown: Shown, motion: Motion) -> Motion:
    """The motion with the viewer's pose and face added to every frame."""
    rotvecs, expression = motion.rotvecs, motion.expression
    if shown.pose and scene.poser is not None:
        rotvecs = scene.poser.apply(rotvecs, dict(shown.pose))
    if shown.face:
        from bodydouble.avatar.expressions import expression_tensor

        expression = (expression + expression_tensor(dict(shown.face))).clamp(0.0, 1.0)
    return motion.replace(rotvecs=rotvecs, expression=expression)


def export(scene: Scene, shown: Shown, motion: Motion, to: str, *, author: str = "") -> Keepsake:
    """The avatar in a format: with the motion where it holds clips, in the shown pose where it holds one.

    Args:
        scene, shown, motion: What is exported.
        to: One of `FORMAT_LABELS`.
        author: Named in a .vrm.
    Returns:
        One file; a .zip where the format needs several (a textured .obj).
    Raises:
        ConfigError, InputError, MissingDependencyError: As `pipeline.export.export_avatar`.
    """
    wanted = format_named(to)
    played = shown_motion(scene, shown, motion)
    choices = ExportChoices(meta=VrmMeta(authors=(author.strip(),)))
    if to == "vrm" and not author.strip():
        raise ConfigError(
            "A .vrm says who may use the likeness of a person, so it must name its author: fill in Author."
        )
    if to in _WITH_CLIP:
        choices = dataclasses.replace(choices, motion=played)
    elif to in _OF_A_POSE:
        choices = dataclasses.replace(choices, motion=played, frame=frame_at(played, shown.time_s))
    with tempfile.TemporaryDirectory(prefix="bodydouble-studio-") as folder:
        path = default_path(Path(folder) / "avatar", wanted)
        done = export_avatar(scene.avatar, wanted, path, choices)
        lost = "Nothing was left out." if done.lost == "nothing" else f"Left out: {done.lost}."
        files = sorted(Path(folder).iterdir())
        if len(files) == 1:
            return Keepsake(name=path.name, content=path.read_bytes(), note=lost)
        return Keepsake(name=f"{path.name}.zip", content=_zipped(files), note=lost)


def _zipped(files: list[Path]) -> bytes:
    with io.BytesIO() as packed:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, file.name)
        return packed.getvalue()


def screenshot(scene: Scene, shown: Shown, motion: Motion, camera: Camera) -> Keepsake:
    """The picture as a PNG."""
    from PIL import Image

    with io.BytesIO() as file:
        Image.fromarray(scene.picture(shown, motion, camera)).save(file, format="PNG")
        content = file.getvalue()
    return Keepsake(name="bodydouble.png", content=content, note=f"{camera.width_px} x {camera.height_px} pixels.")


def video(
    scene: Scene,
    shown: Shown,
    motion: Motion,
    camera: Camera,
    *,
    duration_s: float,
    tell: Callable[[float], bool],
) -> Keepsake | None:
    """The motion from its beginning to its end, as this viewer sees it, as H.264 in MP4.

    Args:
        scene, shown, motion, camera: As for a picture; the turntable goes on if it is turning.
        duration_s: Of the timeline; a still pose gives one turn of the turntable, or one second.
        tell: Called with the share that is done before each frame; it says whether to go on.
    Returns:
        None when `tell` said to stop.
    """
    from bodydouble.capture.video_write import VideoWriter
    from bodydouble.studio.state import TURN_S

    seconds = min(duration_s / shown.speed, MAX_VIDEO_S)
    if seconds <= 0.0:
        seconds = TURN_S if shown.turning else 1.0
    count = max(1, round(seconds * VIDEO_FPS_HZ))
    at = shown.replace(time_s=0.0, playing=True, loop=True)
    with tempfile.TemporaryDirectory(prefix="bodydouble-studio-") as folder:
        path = Path(folder) / "bodydouble.mp4"
        with VideoWriter(path, VIDEO_FPS_HZ, camera.width_px, camera.height_px) as file:
            for k in range(count):
                if not tell(k / count):
                    return None
                with torch.no_grad():
                    file.write(scene.picture(at, motion, camera))
                at = advanced(at, 1.0 / VIDEO_FPS_HZ, duration_s)
        return Keepsake(name=path.name, content=path.read_bytes(), note=f"{seconds:.1f} s at {VIDEO_FPS_HZ:.0f} Hz.")
