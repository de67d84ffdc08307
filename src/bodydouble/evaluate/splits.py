"""Which frames a protocol tests on, as its source defines them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from bodydouble.core.errors import ConfigError


@runtime_checkable
class Split(Protocol):
    """A rule that picks test frames."""

    def test_frames(self, frames: Sequence[int], subject: str) -> list[int]:
        """Those of a capture's frames (source indices, ascending) that the rule tests on; `subject` names the capture."""
        ...

    def describe(self) -> str:
        """The rule in words."""
        ...


@dataclass(frozen=True, kw_only=True)
class EveryNth:
    """By the index in the source video."""

    every: int
    remainder: int

    def test_frames(self, frames: Sequence[int], subject: str) -> list[int]:
        return [frame for frame in frames if frame % self.every == self.remainder]

    def describe(self) -> str:
        return f"source frames with index % {self.every} == {self.remainder}"


@dataclass(frozen=True, kw_only=True)
class EverySecondOne:
    """By place in the list of annotated frames."""

    first: int
    """0 to test on the first, third, ... of the list; 1 on the second, fourth, ..."""

    def test_frames(self, frames: Sequence[int], subject: str) -> list[int]:
        return list(frames[self.first :: 2])

    def describe(self) -> str:
        return f"places {self.first}, {self.first + 2}, {self.first + 4}, ... of the list of annotated frames (from 0)"


@dataclass(frozen=True, kw_only=True)
class NeumanSplit:
    """NeuMan's own rule: a fifth of the frames, evenly spread, of which the earlier half is tested on."""

    share: int
    """One frame in so many is kept from training."""

    def test_frames(self, frames: Sequence[int], subject: str) -> list[int]:
        kept = len(frames) // self.share
        if kept < 2:
            raise ConfigError(
                f"The split of neuman needs at least {2 * self.share} frames, this capture has {len(frames)}. "
                "Use --frames heldout."
            )
        step = len(frames) // kept
        spread = list(frames[step // 2 :: step])
        return spread[: len(spread) // 2]

    def describe(self) -> str:
        return (
            f"one frame in {self.share}, evenly spread from half a step on; the earlier half of these is the test set, the "
            "later half was for validation"
        )


@dataclass(frozen=True, kw_only=True)
class SubjectRange:
    """Test frames of one subject: first, last (included) and step, by place in the list of frames."""

    subject: str
    first: int
    last: int
    step: int


@dataclass(frozen=True, kw_only=True)
class SubjectRanges:
    """Given apart for each subject."""

    ranges: tuple[SubjectRange, ...]

    def test_frames(self, frames: Sequence[int], subject: str) -> list[int]:
        for chosen in self.ranges:
            if chosen.subject in subject:
                found = list(frames[chosen.first : chosen.last + 1 : chosen.step])
                if not found:
                    raise ConfigError(
                        f"{chosen.subject} is tested on frames {chosen.first} to {chosen.last}, this capture has "
                        f"{len(frames)}. Import the whole sequence, or use --frames heldout."
                    )
                return found
        known = ", ".join(r.subject for r in self.ranges)
        raise ConfigError(
            f"The test frames are defined for {known}; the capture is named {subject!r}. Use --frames heldout."
        )

    def describe(self) -> str:
        return "; ".join(f"{r.subject} {r.first} to {r.last} by {r.step}" for r in self.ranges)
