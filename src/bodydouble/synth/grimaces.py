"""Random facial expressions that a face can make: single actions and mixtures, both eyes looking the same way."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from bodydouble.body.protocol import ARKIT_ACTIONS

_SIDED = (
    "browDown", "browOuterUp", "cheekSquint", "eyeBlink", "eyeSquint", "eyeWide", "mouthDimple", "mouthFrown",
    "mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer",
)  # fmt: skip
_MIDDLE = (
    "browInnerUp", "cheekPuff", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthFunnel", "mouthLeft",
    "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "tongueOut",
)  # fmt: skip
_OFTEN = {
    "jawOpen": 8.0, "mouthSmile": 6.0, "mouthPucker": 6.0, "eyeBlink": 6.0, "browInnerUp": 5.0, "browDown": 4.0,
    "browOuterUp": 3.0, "mouthFunnel": 2.0, "mouthClose": 2.0, "eyeSquint": 2.0, "eyeWide": 2.0, "mouthFrown": 2.0,
    "cheekSquint": 1.5, "mouthPress": 1.5,
}  # fmt: skip
"""How often an action is chosen, beside 1 for those that people seldom make."""
_OPPOSITES = (
    ("jawLeft", "jawRight"), ("mouthLeft", "mouthRight"), ("eyeWide", "eyeBlink"), ("eyeWide", "eyeSquint"),
    ("mouthSmile", "mouthFrown"), ("mouthSmile", "mouthPucker"), ("mouthPucker", "mouthStretch"),
    ("browDown", "browOuterUp"), ("mouthFunnel", "mouthPress"), ("mouthFunnel", "mouthRollLower"),
    ("mouthFunnel", "mouthRollUpper"), ("mouthPucker", "mouthSmile"), ("cheekPuff", "jawOpen"), ("cheekPuff", "tongueOut"),
)  # fmt: skip
"""What one face does not do at the same time."""
_LOOKING = 0.6
"""Share of the faces that do not look straight ahead."""


def draw_expression(rng: np.random.Generator) -> Float[ndarray, " actions"]:
    """One expression: strengths of the 52 actions.

    A tenth have no action beside the eyes', two fifths one or two, the rest up to six.
    """
    values = dict.fromkeys(ARKIT_ACTIONS, 0.0)
    chosen: list[str] = []
    groups = np.array([*_SIDED, *_MIDDLE])
    often = np.array([_OFTEN.get(g, 1.0) for g in groups])
    for _ in range(rng.choice(7, p=[0.10, 0.25, 0.17, 0.16, 0.14, 0.10, 0.08])):
        group = str(rng.choice(groups, p=often / often.sum()))
        if group not in chosen and not any({group, c} in [set(o) for o in _OPPOSITES] for c in chosen):
            chosen.append(group)
    for group in chosen:
        strength = float(rng.uniform(0.1, 1.0))
        if group in _MIDDLE:
            values[group] = strength
            continue
        balance = rng.random()
        left, right = (1.0, 1.0) if balance < 0.6 else (1.0, float(rng.uniform(0.0, 0.6)))
        if balance > 0.8:
            left, right = right, left
        values[f"{group}Left"], values[f"{group}Right"] = strength * left, strength * right
    _look(rng, values)
    # Lips close over an open jaw and a tongue comes out of an open mouth.
    if values["mouthClose"]:
        values["jawOpen"] = max(values["jawOpen"], values["mouthClose"] * float(rng.uniform(1.0, 1.3)))
    if values["tongueOut"]:
        values["jawOpen"] = max(values["jawOpen"], float(rng.uniform(0.25, 0.8)))
    return np.clip([values[name] for name in ARKIT_ACTIONS], 0.0, 1.0)


def _look(rng: np.random.Generator, values: dict[str, float]) -> None:
    if rng.random() > _LOOKING:
        return
    across, up = np.clip(rng.normal(size=2) * 0.5, -1.0, 1.0)
    values["eyeLookOutLeft"], values["eyeLookInRight"] = max(across, 0.0), max(across, 0.0)
    values["eyeLookInLeft"], values["eyeLookOutRight"] = max(-across, 0.0), max(-across, 0.0)
    for side in ("Left", "Right"):
        values[f"eyeLookUp{side}"], values[f"eyeLookDown{side}"] = max(up, 0.0), max(-up, 0.0)
