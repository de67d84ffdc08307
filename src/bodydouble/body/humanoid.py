"""Words of which VRM 1.0 builds the names of humanoid bones: side, finger, segment (`leftIndexProximal`)."""

from __future__ import annotations

SIDES = ("left", "right")
FINGERS = ("Thumb", "Index", "Middle", "Ring", "Little")


def finger_segments(finger: str) -> tuple[str, str, str]:
    """The three segments of a finger, from the palm outwards."""
    return ("Metacarpal", "Proximal", "Distal") if finger == "Thumb" else ("Proximal", "Intermediate", "Distal")
