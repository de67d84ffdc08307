"""What a training leaves in its checkpoint folder, whichever recipe it followed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.avatar.glb import load_avatar
from bodydouble.avatar.values import Avatar
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.files import read_tensors, write_tensors

CHECKPOINT = "checkpoint.safetensors"
AVATAR = "avatar.glb"
_POSES = "poses.safetensors"


def save_poses(
    checkpoint_dir: Path,
    rows: Int[Tensor, " frames"],
    rotvecs: Float[Tensor, "frames bones 3"],
    translation_world_m: Float[Tensor, "frames 3"],
    *,
    gains: Float[Tensor, "frames 3"] | None = None,
    driven_rotvecs: Float[Tensor, "all bones 3"] | None = None,
) -> None:
    """Write the poses that training arrived at.

    Args:
        rows: Rows of the track that were trained on.
        rotvecs, translation_world_m: Their poses.
        gains: Exposure of the trained frames, where a recipe learns it.
        driven_rotvecs: For every row of the track, what the recipe makes of the fitted pose before it drives the avatar.
    """
    tensors = {"rows": rows, "rotvecs": rotvecs, "translation_world_m": translation_world_m}
    if gains is not None:
        tensors["gains"] = gains
    if driven_rotvecs is not None:
        tensors["driven_rotvecs"] = driven_rotvecs
    write_tensors(checkpoint_dir / _POSES, tensors)


def load_result(checkpoint_dir: Path, capture: Capture) -> tuple[Avatar, BodyTrack]:
    """The trained avatar, and the capture's track with the training frames' poses as training left them."""
    return load_avatar(checkpoint_dir / AVATAR), refined_track(checkpoint_dir, capture)


def refined_track(checkpoint_dir: Path, capture: Capture) -> BodyTrack:
    """The capture's track with the training frames' poses as training left them."""
    tensors, _ = read_tensors(checkpoint_dir / _POSES)
    track = capture.track()
    rotvecs, translation = track.rotvecs.clone(), track.translation_world_m.clone()
    rotvecs[tensors["rows"]] = tensors["rotvecs"]
    translation[tensors["rows"]] = tensors["translation_world_m"]
    return track.replace(rotvecs=rotvecs, translation_world_m=translation)


def driven_track(checkpoint_dir: Path, capture: Capture) -> BodyTrack:
    """The capture's fitted poses, as the recipe's nets (if it has any) correct them for the avatar."""
    track = capture.track()
    path = checkpoint_dir / _POSES
    tensors = read_tensors(path)[0] if path.exists() else {}
    return track.replace(rotvecs=tensors["driven_rotvecs"]) if "driven_rotvecs" in tensors else track


def under(label: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a label, without it."""
    start = f"{label}."
    return {name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)}
