"""One viewer: what they are shown, their motions and their camera. Knows nothing of servers.

Controls change it from one thread, the drawing thread reads it from another: `change` is the only way in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from bodydouble.avatar.motion import Motion
from bodydouble.core.cameras import Camera
from bodydouble.studio.motions import FROM_VIDEO, Repertoire
from bodydouble.studio.pace import FPS_HZ, STILL_SIDE_PX, Pace
from bodydouble.studio.scene import Scene
from bodydouble.studio.state import Shown, advanced, with_motion

STILL_AFTER_S = 0.25
"""A sharper picture follows when nothing has moved for so long."""
_EARLY_S = 0.002
"""Clocks and timers are not exact: a picture may come so much too early."""
_LONGEST_STEP_S = 0.25
"""After a pause of the drawing (a long export) motions go on from where they were, not from where they would be."""


class Viewer:
    """State of one viewer, and when their next picture is due."""

    def __init__(self, scene: Scene, repertoire: Repertoire, motion: str, *, playing: bool = True) -> None:
        """
        Args:
            scene: What draws.
            repertoire: Their motions.
            motion: The first.
            playing: Whether it plays.
        """
        self._lock = threading.RLock()
        self.scene, self.repertoire = scene, repertoire
        self._playing = repertoire.motion(motion)
        self._shown = Shown(motion=motion, layer=scene.layers[0], playing=playing)
        self.pace = Pace()
        self._clock_s: float | None = None
        self._changed_s = 0.0
        self._changed = True
        self._drawn_s = -1.0e9
        self._sharp = False

    @property
    def shown(self) -> Shown:
        """What is shown now."""
        with self._lock:
            return self._shown

    @property
    def motion(self) -> Motion:
        """What is played now."""
        with self._lock:
            return self._playing

    @property
    def duration_s(self) -> float:
        """Length of the timeline: of the motion, or of the video while the double is compared with it."""
        with self._lock:
            footage = self.scene.footage
            return footage.duration_s if footage is not None and self._shown.view != "stage" else self._length_s()

    def change(self, update: Callable[[Shown], Shown]) -> Shown:
        """Replace what is shown by what `update` makes of it."""
        with self._lock:
            self._shown = update(self._shown)
            self._changed = True
            return self._shown

    def play(self, name: str) -> Shown:
        """Play another motion from its beginning. Its making may take seconds; the present one goes on meanwhile.

        Raises:
            InputError: When there is none of this name.
        """
        motion = self.repertoire.motion(name)
        with self._lock:
            self._playing = motion
            return self.change(lambda shown: with_motion(shown, name))

    def look(self, view: str) -> Shown:
        """Change the view. The video is compared with its own motion only, so that is what plays then.

        Raises:
            InputError: When there is no video.
        """
        if view != "stage" and self.shown.motion != FROM_VIDEO:
            self.play(FROM_VIDEO)
        return self.change(lambda shown: shown.replace(view=view))

    def touch(self) -> None:
        """Something else has changed (the camera, the window): draw anew."""
        with self._lock:
            self._changed = True

    def tick(self, now_s: float) -> int | None:
        """Let time pass, and say whether a picture is due.

        Args:
            now_s: Of a monotonic clock.
        Returns:
            The longer side of the picture in pixels, or none when there is nothing to draw.
        """
        with self._lock:
            if now_s - self._drawn_s < 1.0 / FPS_HZ - _EARLY_S:
                return None
            elapsed = 0.0 if self._clock_s is None else min(now_s - self._clock_s, _LONGEST_STEP_S)
            self._clock_s = now_s
            before = self._shown
            self._shown = advanced(before, elapsed, self.duration_s)
            if self._changed or self._shown != before:
                self._changed, self._sharp = False, False
                self._changed_s = self._drawn_s = now_s
                return self.pace.side_px
            if not self._sharp and now_s - self._changed_s >= STILL_AFTER_S:
                self._sharp = True
                self._drawn_s = now_s
                return STILL_SIDE_PX
            return None

    def picture(self, camera: Camera) -> UInt8[np.ndarray, "height width 3"]:
        """What is shown now, from a camera."""
        with self._lock:
            shown, motion, scene = self._shown, self._playing, self.scene
        return scene.picture(shown, motion, camera)

    def _length_s(self) -> float:
        return self._playing.duration_s if self._playing.num_frames > 1 else 0.0
