"""An avatar while it is being made: the studio listens to the events of `create`, and the work knows nothing of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from bodydouble.avatar.values import Avatar
from bodydouble.core.errors import NoSubjectError
from bodydouble.core.events import Done, Event, Previewed, Progress, Step, Warned
from bodydouble.pipeline.stage_words import TRAINED, time_left, words_of
from bodydouble.render.protocol import Rasterizer
from bodydouble.studio.motions import REST, Repertoire
from bodydouble.studio.scene import Scene
from bodydouble.studio.show import Show, open_show

_STATUS_EVERY_S = 0.5
_SURE_AFTER_S = 2.0
"""A guess of the time left is told when a stage has gone on for so long."""
_PICTURE_EVERY_S = 1.0
"""Pictures of the training come no more often: it needs the cores itself."""


@runtime_checkable
class Screen(Protocol):
    """What shows it: the studio."""

    @property
    def viewers(self) -> int:
        """How many look."""
        ...

    def open(self, show: Show) -> None:
        """Show something else."""

    def refresh(self, scene: Scene) -> None:
        """Exchange what is drawn."""

    def status(self, text: str, share: float | None) -> None:
        """Say what goes on; nothing for an empty text."""


class LiveShow:
    """Shows what a run's events tell."""

    def __init__(self, screen: Screen, rasterizer: Rasterizer, *, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            screen: Where to show it.
            rasterizer: Draws the splats.
            clock: Seconds, of a clock that only goes forwards.
        """
        self._screen, self._rasterizer, self._clock = screen, rasterizer, clock
        self._status_s = self._picture_s = -1e9
        self._stage, self._training = "", TRAINED[0]
        self._begun_s, self._begun_share = 0.0, 0.0
        self._step: Step | None = None
        self._layers: tuple[str, ...] = ()
        self._warnings: list[str] = []

    def between(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """A listener that shows every event and passes it on."""

        def listen(event: Event) -> None:
            self.show(event)
            emit(event)

        return listen

    def show(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Previewed):
            self._preview(event)
        elif isinstance(event, Warned):
            self._warnings.append(event.message)
        elif isinstance(event, Step):
            self._step = event
            self._tell(self._training, event.step, event.num_steps)
        elif isinstance(event, Progress):
            if event.stage in TRAINED:  # its steps follow
                self._training, self._step = event.stage, None
            self._tell(event.stage, event.done, event.total)
        elif isinstance(event, Done):
            self._stage, self._training, self._step = "", TRAINED[0], None
            self._screen.status(f"{_words(event.stage)}: {event.seconds:.0f} s", 1.0)

    def finish(self, folder: Path) -> None:
        """Show what came of it, with everything that can be done with it.

        Args:
            folder: Of the finished run.
        """
        self._screen.status("", None)
        self._screen.open(open_show(folder, self._rasterizer))

    def _preview(self, event: Previewed) -> None:
        now_s = self._clock()
        if self._screen.viewers == 0 or now_s - self._picture_s < _PICTURE_EVERY_S:
            return
        self._picture_s = now_s
        try:
            avatar: Avatar = event.take()
        except NoSubjectError:  # an early field may have no surface for a moment
            return
        scene = Scene(avatar, self._rasterizer)
        if scene.layers == self._layers:
            self._screen.refresh(scene)
            return
        self._layers = scene.layers  # a surface may be followed by splats, which the panel has to offer
        notes = ("The avatar is being built. Its face and the video's motion come when it is done.",)
        repertoire = Repertoire(avatar)
        show = Show(
            title="building", scene=scene, repertoire=repertoire, first_motion=REST, notes=notes, playing=False
        )  # fmt: skip
        self._screen.open(show)

    def _tell(self, stage: str, done: int, total: int) -> None:
        now_s = self._clock()
        share = done / total if total else 0.0
        if stage != self._stage or share < self._begun_share:
            self._begun_s, self._begun_share = now_s, share
        elif now_s - self._status_s < _STATUS_EVERY_S and done < total:
            return
        self._stage, self._status_s = stage, now_s
        text = _words(stage)
        if stage == self._training and self._step is not None:
            text += f", step {self._step.step} of {self._step.num_steps}, loss {self._step.loss:.4f}"
        if self._begun_share < share < 1.0 and now_s - self._begun_s > _SURE_AFTER_S:
            left = (now_s - self._begun_s) * (1.0 - share) / (share - self._begun_share)
            text += f"\n\n{time_left(left).capitalize()}"
        for warning in self._warnings[-3:]:
            text += f"\n\n*{warning}*"
        self._screen.status(text, share if total else None)


def _words(stage: str) -> str:
    words = words_of(stage)
    return f"**{words[:1].upper()}{words[1:]}**"
