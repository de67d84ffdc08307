"""The 52 facial actions in the groups that people look for them in."""

from __future__ import annotations

import re

from bodydouble.body.protocol import ARKIT_ACTIONS

_PREFIXES: dict[str, tuple[str, ...]] = {
    "Eyelids": ("eyeBlink", "eyeSquint", "eyeWide"),
    "Gaze": ("eyeLook",),
    "Brows": ("brow",),
    "Cheeks and nose": ("cheek", "nose"),
    "Jaw": ("jaw",),
    "Lips": ("mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight", "mouthRoll", "mouthShrug", "mouthPress"),
    "Mouth corners": ("mouthSmile", "mouthFrown", "mouthDimple", "mouthStretch", "mouthUpperUp", "mouthLowerDown"),
    "Tongue": ("tongue",),
}  # fmt: skip
FACE_GROUPS: dict[str, tuple[str, ...]] = {
    group: tuple(action for action in ARKIT_ACTIONS if action.startswith(prefixes))
    for group, prefixes in _PREFIXES.items()
}
"""Group -> its actions; every action is in one group."""


def action_label(action: str) -> str:
    """An action's name in words: `eyeBlinkLeft` is `blink, left` within its group."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+", action)]
    side = words.pop() if words[-1] in ("left", "right") and len(words) > 2 else ""
    text = " ".join(words[1:] if len(words) > 1 and words[0] != "tongue" else words)
    return f"{text}, {side}" if side else text
