"""An avatar in the hands of a Python program: load it, pose it, look at it, let it move, write it for others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bodydouble.api.notebook import as_png, card
from bodydouble.api.views import Focus, View, take_picture
from bodydouble.avatar.drive import PosedAvatar, pose_avatar
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Avatar as AvatarValue
from bodydouble.body.protocol import ARKIT_ACTIONS, Pose
from bodydouble.core.errors import ConfigError
from bodydouble.core.events import Event

if TYPE_CHECKING:
    from PIL.Image import Image

    from bodydouble.pipeline.export import Exported

_MOMENTS = 5
"""Of a performance, in a strip of pictures."""
Expression = str | Mapping[str, float]
"""A name (`smile`, `jawOpen`), or strengths in [0, 1] of named ARKit actions."""
Turns = Mapping[str, Sequence[float]]
"""Bone -> rotation vector in radians about the rest frame's axes: +X the avatar's left, +Y up, +Z out of its chest."""


def load(path: str | Path) -> Avatar:
    """Read an avatar.

    Args:
        path: An avatar.glb, a .vrm or another rigged .glb, or the folder of a run.
    Raises:
        InputError: When there is none, or it cannot be posed.
    """
    from bodydouble.avatar.glb import load_avatar

    path = Path(path)
    file = path / "avatar.glb" if path.is_dir() else path
    return Avatar(value=load_avatar(file), path=file)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Avatar:
    """An avatar: `load` one, or take a run's. In a notebook it shows itself."""

    value: AvatarValue
    """Rig, mesh and splats as tensors, for whoever wants to compute with them."""
    path: Path | None = None
    """Where it was read from."""

    @property
    def bones(self) -> tuple[str, ...]:
        """Names that `pose` takes: VRM's humanoid bones that the rig has, then the rig's own names."""
        rig = self.value.rig
        return (*rig.humanoid, *(name for name in rig.bone_names if name not in rig.humanoid))

    @property
    def expressions(self) -> tuple[str, ...]:
        """Names of facial expressions that `pose` takes: presets, then ARKit's 52 actions."""
        from bodydouble.avatar.expressions import EXPRESSIONS

        return (*EXPRESSIONS, *ARKIT_ACTIONS)

    @property
    def motions(self) -> tuple[str, ...]:
        """Names of built-in motions that `play` takes."""
        from bodydouble.avatar.builtin import BUILTIN_MOTIONS

        return tuple(BUILTIN_MOTIONS)

    def pose(self, turns: Turns | None = None, *, expression: Expression | None = None, strength: float = 1.0) -> Posed:
        """Turn bones out of the rest pose.

        Args:
            turns: Which bones, by a name of `bones`; the others stay as they are at rest.
            expression: A facial expression by name, or strengths of named actions.
            strength: Of an expression that is named, 0 to 1.
        Raises:
            ConfigError: For a bone, turn or expression that makes no sense.
        """
        return Posed(
            avatar=self, state=pose_avatar(self.value, self._pose(turns or {}), _actions(expression, strength))
        )

    def play(self, motion: str | Path | Motion, *, fps_hz: float = 30.0) -> Performance:
        """Let the avatar perform a motion.

        Args:
            motion: A built-in one by name, a motion file (.bvh, .npz, .glb, .vmd, a face's .csv), or a `Motion`.
            fps_hz: Frames per second.
        Raises:
            InputError: When there is no such motion, or it cannot be read.
        """
        from bodydouble.pipeline.motions import find_motion

        if not isinstance(motion, Motion):
            motion = find_motion(str(motion), self.value, fps_hz)
        return Performance(avatar=self, motion=motion.resampled(fps_hz))

    def export(self, path: str | Path, to: str | None = None, *, motion: str | Path | Motion | None = None,
               **choices: Any) -> Exported:  # fmt: skip
        """Write the avatar for another program.

        Args:
            path: The file.
            to: A format of `pipeline.export.FORMATS`; by default what the file's ending says.
            motion: Stored as a clip where the format has clips, else the source of the pose.
            choices: Further fields of `pipeline.export.ExportChoices`: `frame`, `meta`, ...
        Raises:
            ConfigError: For a format that is not known, or choices that it cannot honour.
        """
        from bodydouble.pipeline.export import ExportChoices, export_avatar, format_named

        path = Path(path)
        wanted = format_named(to or path.suffix.lower().removeprefix("."))
        played = None if motion is None else self.play(motion).motion
        return export_avatar(self.value, wanted, path, ExportChoices(motion=played, **choices))

    def save(self, path: str | Path, *, clips: Sequence[Motion] = ()) -> None:
        """Write the avatar.glb, with motions inside if any are given."""
        from bodydouble.avatar.glb import save_avatar

        save_avatar(self.value, Path(path), clips=clips)

    @property
    def facts(self) -> dict[str, str]:
        """What there is to know at a glance."""
        value = self.value
        found = {} if self.path is None else {"file": str(self.path)}
        if value.splats is not None:
            found["splats"] = f"{len(value.splats.means_rest_m):,}"
        if value.mesh is not None:
            found["mesh"] = f"{len(value.mesh.vertices_rest_m):,} vertices, {len(value.mesh.faces):,} triangles"
        part = value.splats or value.mesh
        found["skeleton"] = f"{len(value.rig.bone_names)} bones, {len(value.rig.humanoid)} of them humanoid"
        found["face"] = f"{len(part.morphs) if part is not None else 0} actions"
        if self.path is not None and self.path.is_file():
            found["size"] = f"{self.path.stat().st_size / 1e6:.1f} MB"
        origin = value.provenance
        found |= {name: text for name, text in (("method", origin.method), ("made", origin.created)) if text}
        return found

    def __repr__(self) -> str:
        return f"Avatar({', '.join(f'{name}: {text}' for name, text in self.facts.items())})"

    def _standing(self) -> Posed:
        """As it stands when nobody says anything: at ease if the rig is that of a human."""
        return self.play("idle").at(0.0) if "hips" in self.value.rig.humanoid else self.pose()

    def _repr_png_(self) -> bytes:
        return as_png(self._standing().render(360, 480))

    def _repr_html_(self) -> str:
        return card(self._repr_png_(), self.facts)

    def _pose(self, turns: Turns) -> Pose:
        rig = self.value.rig
        rotvecs = torch.zeros(len(rig.bone_names), 3)
        for name, turn in turns.items():
            bone = rig.humanoid.get(name, name)
            if bone not in rig.bone_names:
                raise ConfigError(
                    f"The avatar has no bone {name!r}{_close(name, self.bones)}. `bones` lists all names."
                )
            numbers = torch.tensor([float(value) for value in turn])
            if numbers.shape != (3,) or not bool(numbers.isfinite().all()):
                raise ConfigError(
                    f"The turn of {name!r} is {list(turn)}; expected a rotation vector of three numbers, radians."
                )
            rotvecs[rig.bone_names.index(bone)] = numbers
        return Pose(rotvecs=rotvecs, translation_world_m=torch.zeros(3))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Posed:
    """An avatar at one moment. In a notebook it shows itself."""

    avatar: Avatar
    state: PosedAvatar
    """Splats, vertices and joints in the world."""

    def render(
        self,
        width_px: int = 480,
        height_px: int = 640,
        *,
        azimuth_rad: float = 0.0,
        elevation_rad: float = 0.1,
        focus: Focus = "body",
        background: str = "white",
        device: str = "auto",
    ) -> Image:
        """Take a picture, in which the avatar is as large as fits.

        Args:
            width_px, height_px: Of the picture.
            azimuth_rad: Where the camera stands: 0 in front, positive towards the avatar's left.
            elevation_rad: Of the camera over the horizon.
            focus: `body` or `face`.
            background: A colour by name or as #rrggbb; `transparent` for a picture with an alpha channel.
            device: `cpu`, `cuda`, or `auto`.
        Raises:
            ConfigError: For a view that makes no sense.
        """
        view = View(
            width_px=width_px,
            height_px=height_px,
            azimuth_rad=float(azimuth_rad),
            elevation_rad=float(elevation_rad),
            focus=focus,
            background=background,
            device=device,
        )
        return take_picture(self.avatar.value, self.state, view)

    def __repr__(self) -> str:
        return f"Posed({self.avatar!r})"

    def _repr_png_(self) -> bytes:
        return as_png(self.render())


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Performance:
    """A motion on an avatar. In a notebook it shows some of its moments."""

    avatar: Avatar
    motion: Motion
    """On the avatar's rig."""

    @property
    def seconds(self) -> float:
        """How long it takes until it may start again."""
        return self.motion.duration_s

    def at(self, time_s: float) -> Posed:
        """The avatar at a time of the motion, which goes on over and over.

        Raises:
            ConfigError: For a time before the start.
        """
        if not time_s >= 0.0:
            raise ConfigError(f"time_s is {time_s:g}; expected seconds since the start, 0 or more.")
        frame = round(time_s * self.motion.fps_hz) % self.motion.num_frames
        state = pose_avatar(self.avatar.value, self.motion.pose(frame), self.motion.expression[frame])
        return Posed(avatar=self.avatar, state=state)

    def save(
        self, path: str | Path, *, device: str = "auto", listen: Callable[[Event], None] | None = None, **playback: Any
    ) -> int:
        """Write it as a video (.mp4, .webm) or, without an ending, as a folder of pictures.

        Args:
            path: Where to.
            device: `cpu`, `cuda` or `auto`.
            listen: Told about progress.
            playback: Fields of `pipeline.playback.Playback`: `camera`, `width_px`, `height_px`, `seconds`,
                `background` (none: transparent).
        Returns:
            The number of frames.
        """
        from bodydouble.pipeline.playback import Playback, render_video
        from bodydouble.render.select import make_rasterizer

        chosen = Playback(**{"fps_hz": self.motion.fps_hz, **playback})
        silent: Callable[[Event], None] = lambda event: None
        return render_video(
            self.avatar.value, self.motion, Path(path), chosen, make_rasterizer(device), listen or silent
        )

    def strip(self, moments: int = _MOMENTS, width_px: int = 160, height_px: int = 240) -> Image:
        """Pictures of evenly spaced moments side by side."""
        from PIL import Image

        if moments < 1:
            raise ConfigError(f"moments is {moments}; expected 1 or more.")
        sheet = Image.new("RGB", (moments * width_px, height_px), "white")
        for i in range(moments):
            picture = self.at((i + 0.5) / moments * self.seconds).render(width_px, height_px, azimuth_rad=0.35)
            sheet.paste(picture, (i * width_px, 0))
        return sheet

    def __repr__(self) -> str:
        return f"Performance({self.motion.name!r}, {self.seconds:.2f} s at {self.motion.fps_hz:g} Hz)"

    def _repr_png_(self) -> bytes:
        return as_png(self.strip())


def _actions(expression: Expression | None, strength: float) -> torch.Tensor | None:
    from bodydouble.avatar.expressions import expression_tensor, named_expression

    if expression is None:
        return None
    if isinstance(expression, str):
        return named_expression(expression, float(strength))
    return expression_tensor({name: float(value) for name, value in expression.items()}) * float(strength)


def _close(name: str, known: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
