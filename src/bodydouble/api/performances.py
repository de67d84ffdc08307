"""An avatar that performs a motion: single moments of it, a video, a strip of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bodydouble.api.avatars import Avatar, Posed, as_png
from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.motion import Motion
from bodydouble.core.errors import ConfigError
from bodydouble.core.events import Event

if TYPE_CHECKING:
    from PIL.Image import Image

_MOMENTS = 5


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
        """Write it as a video (.mp4).

        Args:
            path: The video.
            device: `cpu`, `cuda` or `auto`.
            listen: Told about progress.
            playback: Fields of `pipeline.playback.Playback`: `camera`, `width_px`, `height_px`, `seconds`, `background`.
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
