"""Facial expressions by name, and from strengths of named ARKit actions."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import ConfigError


def _both(**strengths: float) -> dict[str, float]:
    """The same strength on the left and on the right."""
    return {f"{action}{side}": value for action, value in strengths.items() for side in ("Left", "Right")}


EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": _both(mouthSmile=0.75, cheekSquint=0.45, eyeSquint=0.25, mouthDimple=0.2),
    "laugh": {**_both(mouthSmile=0.9, cheekSquint=0.7, eyeSquint=0.5, mouthUpperUp=0.3), "jawOpen": 0.4},
    "surprise": {**_both(eyeWide=0.8, browOuterUp=0.8), "browInnerUp": 0.8, "jawOpen": 0.45, "mouthFunnel": 0.15},
    "sad": {**_both(mouthFrown=0.7, browDown=0.1), "browInnerUp": 0.7, "mouthShrugLower": 0.35},
    "angry": {**_both(browDown=0.9, noseSneer=0.4, mouthPress=0.5, eyeSquint=0.3), "jawForward": 0.2},
    "disgust": {**_both(noseSneer=0.8, mouthUpperUp=0.5, browDown=0.4, eyeSquint=0.3)},
    "fear": {**_both(eyeWide=0.7, mouthStretch=0.6), "browInnerUp": 0.9, "jawOpen": 0.2},
    "blink": _both(eyeBlink=1.0),
    "wink": {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.4, "cheekSquintLeft": 0.5},
    "jaw_open": {"jawOpen": 0.7},
    "kiss": {"mouthPucker": 0.9},
    "ooh": {"mouthFunnel": 0.7, "jawOpen": 0.25},
    "puff": {"cheekPuff": 0.9, **_both(mouthPress=0.3)},
    "tongue_out": {"tongueOut": 0.9, "jawOpen": 0.35},
    "look_left": {"eyeLookOutLeft": 0.8, "eyeLookInRight": 0.8},
    "look_right": {"eyeLookInLeft": 0.8, "eyeLookOutRight": 0.8},
    "look_up": _both(eyeLookUp=0.8),
    "look_down": _both(eyeLookDown=0.8),
}
"""Preset name -> strengths of ARKit actions. Left and right are the avatar's own."""


def expression_tensor(strengths: Mapping[str, float]) -> Float[Tensor, " actions"]:
    """The 52 strengths in the order of `ARKIT_ACTIONS` from a few named ones.

    Raises:
        ConfigError: For an unknown action or a strength outside [0, 1].
    """
    values = torch.zeros(len(ARKIT_ACTIONS))
    for action, strength in strengths.items():
        if action not in ARKIT_ACTIONS:
            raise ConfigError(f"{action!r} is not a facial action{_closest(action, ARKIT_ACTIONS)}")
        if not 0.0 <= strength <= 1.0:
            raise ConfigError(f"The strength of {action!r} must lie in [0, 1], found {strength}.")
        values[ARKIT_ACTIONS.index(action)] = strength
    return values


def named_expression(name: str, strength: float = 1.0) -> Float[Tensor, " actions"]:
    """A preset expression, or a single ARKit action, at a strength in [0, 1].

    Raises:
        ConfigError: For an unknown name; the message offers the closest one.
    """
    if not 0.0 <= strength <= 1.0:
        raise ConfigError(f"The strength of {name!r} must lie in [0, 1], found {strength}.")
    if name in EXPRESSIONS:
        return expression_tensor(EXPRESSIONS[name]) * strength
    if name in ARKIT_ACTIONS:
        return expression_tensor({name: strength})
    raise ConfigError(f"{name!r} is not an expression{_closest(name, (*EXPRESSIONS, *ARKIT_ACTIONS))}")


def _closest(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"{hint} Known expressions: {', '.join(EXPRESSIONS)}, and the 52 ARKit actions such as jawOpen."
