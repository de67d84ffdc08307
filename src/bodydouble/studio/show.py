"""What the studio shows to all viewers: an avatar with its video, or one that is still being made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from bodydouble.avatar.values import Avatar
from bodydouble.core.errors import BodydoubleError
from bodydouble.pipeline.layout import CAPTURE, SPLATS_CHECKPOINT, avatar_file
from bodydouble.render.protocol import Rasterizer
from bodydouble.studio.footage import Footage, refined_track, stage_motion
from bodydouble.studio.motions import FROM_VIDEO, REST, Repertoire
from bodydouble.studio.scene import Scene


@dataclass(frozen=True, kw_only=True)
class DoubtMap:
    """A frame of the training with what it could not explain painted over, 8-bit sRGB."""

    title: str
    picture: UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True, kw_only=True)
class Show:
    """Everything viewers share."""

    title: str
    scene: Scene
    repertoire: Repertoire
    first_motion: str
    notes: tuple[str, ...] = ()
    """What the viewer should know, one sentence each."""
    doubts: tuple[DoubtMap, ...] = ()
    playing: bool = True
    """Whether the motion plays from the beginning."""

    def close(self) -> None:
        """Stop what works in the background."""
        if self.scene.footage is not None:
            self.scene.footage.close()


def open_show(path: Path, rasterizer: Rasterizer) -> Show:
    """Open a run folder or an avatar.

    Args:
        path: Of an avatar.glb (or another glTF file with splats or a skinned mesh), or of a folder of `create`.
        rasterizer: Draws splats.
    Raises:
        InputError: When there is no avatar.
    """
    from bodydouble.avatar.glb import load_avatar

    file = avatar_file(path)
    avatar = load_avatar(file)
    footage, notes = _footage_of(file.parent, avatar)
    scene = Scene(avatar, rasterizer, footage)
    repertoire = Repertoire(avatar, None if footage is None else lambda: stage_motion(footage.track, avatar))
    title = path.resolve().name if path.is_dir() else path.stem
    first = _first_playable(repertoire)
    if footage is not None:
        footage.start()
    return Show(
        title=title,
        scene=scene,
        repertoire=repertoire,
        first_motion=first,
        notes=tuple(notes),
        doubts=doubt_maps(file.parent),
    )


def doubt_maps(folder: Path) -> tuple[DoubtMap, ...]:
    """The frames with learnt noise that the training of a run left; none where it left none."""
    from bodydouble.reconstruct.splats.log import read_log

    try:
        _, maps = read_log(folder / SPLATS_CHECKPOINT)
    except BodydoubleError:
        return ()
    return tuple(
        DoubtMap(title=f"frame {m.frame_index}", picture=_painted(m.rendered.numpy(), m.noise.numpy())) for m in maps
    )


def _painted(rendered: np.ndarray, noise: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    """The picture in grey with doubt in orange; full where noise reaches the 98th percentile."""
    import cv2

    height, width = rendered.shape[:2]
    doubt = cv2.resize(noise.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    found = doubt[doubt > 0]
    share = np.clip(doubt / max(float(np.quantile(found, 0.98)) if found.size else 1.0, 1e-6), 0.0, 1.0)[..., None]
    grey = rendered.mean(2, keepdims=True) * 0.85 + 12.0
    return (grey * (1.0 - 0.8 * share) + np.array([255.0, 138.0, 60.0]) * 0.8 * share).clip(0, 255).astype(np.uint8)


def _footage_of(folder: Path, avatar: Avatar) -> tuple[Footage | None, list[str]]:
    """The video of the run that an avatar lies in, if there is one and it can be compared."""
    from bodydouble.capture.folder import Capture

    if not (folder / CAPTURE).is_dir():
        return None, []
    try:
        capture = Capture.open(folder / CAPTURE)
        track = refined_track(folder, capture)
        capture.source_path()
    except BodydoubleError as error:
        return None, [f"The video cannot be shown: {error}"]
    if track.rotvecs.shape[1] != len(avatar.rig.bone_names):
        return None, ["The avatar has other bones than the capture beside it, so the video's motion is left out."]
    return Footage(capture, track), []


def _first_playable(repertoire: Repertoire) -> str:
    """The video's motion, else standing and breathing, else (for a rig that is no human's) the rest pose."""
    for name in (FROM_VIDEO, "idle"):
        if name in repertoire.names:
            try:
                repertoire.motion(name)
            except BodydoubleError:
                continue
            return name
    return REST
