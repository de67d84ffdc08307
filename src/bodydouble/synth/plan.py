"""The floor plan of a scene: what it has to leave room for."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from numpy import ndarray


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """A rectangle of the floor, metres of the world."""

    x0: float
    x1: float
    z0: float
    z1: float

    def grown(self, left: float, right: float, back: float, front: float) -> Rectangle:
        """Larger by so much on each side; back is towards -Z."""
        return Rectangle(x0=self.x0 - left, x1=self.x1 + right, z0=self.z0 - back, z1=self.z1 + front)

    def around(self, other: Rectangle) -> Rectangle:
        """The smallest rectangle that holds both."""
        return Rectangle(
            x0=min(self.x0, other.x0), x1=max(self.x1, other.x1), z0=min(self.z0, other.z0), z1=max(self.z1, other.z1)
        )

    @property
    def middle(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.z0 + self.z1) / 2

    @staticmethod
    def of(points: Float[ndarray, "n 3"]) -> Rectangle:
        """What points cover, seen from above."""
        low, high = points.min(0), points.max(0)
        return Rectangle(x0=float(low[0]), x1=float(high[0]), z0=float(low[2]), z1=float(high[2]))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a scene has to leave room for."""

    floor_m: float
    """Height of the floor in the world."""
    performer: Rectangle
    """Where the performer's middle goes."""
    camera: Rectangle
