"""What a performer looks like: body shape, skin, hair and clothes, drawn from a seed."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from bodydouble.core.seeds import numpy_rng

Rgb = tuple[float, float, float]
"""sRGB in [0, 1]."""


class Material(IntEnum):
    """What a face is made of."""

    SKIN = 0
    EYE = 1
    MOUTH = 2
    SHIRT = 3
    TROUSERS = 4
    SHOE = 5
    SOLE = 6
    HAIR = 7


class Pattern(IntEnum):
    """How a shirt is printed."""

    EMBLEM = 0
    STRIPES = 1
    CHECKS = 2


@dataclass(frozen=True, kw_only=True)
class Look:
    """One performer's appearance."""

    shape: tuple[float, ...]
    """Phenotypes, in the order of `AnnyBody.shape_names`."""
    skin: Rgb
    lips: Rgb
    iris: Rgb
    hair: Rgb
    hair_volume_m: float
    hair_bun: bool
    hairline_m: tuple[float, ...]
    """Height of the hairline above the eyes at azimuths of 0 (front) to 180 degrees."""
    pattern: Pattern
    shirt: Rgb
    shirt_second: Rgb
    long_sleeves: bool
    trousers: Rgb
    denim: bool
    looseness: float
    shoe: Rgb
    sole: Rgb
    sole_m: float


_SKINS: tuple[Rgb, ...] = ((0.91, 0.74, 0.64), (0.85, 0.66, 0.53), (0.74, 0.54, 0.41), (0.58, 0.40, 0.29))
_HAIRS: tuple[Rgb, ...] = ((0.10, 0.07, 0.06), (0.22, 0.13, 0.08), (0.38, 0.24, 0.13), (0.14, 0.12, 0.13))
_IRISES: tuple[Rgb, ...] = ((0.30, 0.18, 0.08), (0.22, 0.36, 0.46), (0.28, 0.34, 0.18))
_CHINOS: tuple[Rgb, ...] = ((0.35, 0.30, 0.22), (0.22, 0.24, 0.22), (0.42, 0.38, 0.34))


def draw_look(seed: int) -> Look:
    """The appearance that belongs to a seed."""
    rng = numpy_rng(seed, "synth/look")
    female = bool(rng.random() < 0.5)
    gender = rng.uniform(0.82, 1.0) if female else rng.uniform(0.0, 0.18)
    height = rng.uniform(0.30, 0.40) if female else rng.uniform(0.36, 0.46)
    shape = (
        gender,
        rng.uniform(0.62, 0.80),
        rng.uniform(0.40, 0.65),
        rng.uniform(0.38, 0.58),
        height,
        rng.uniform(0.3, 0.7),
    )
    skin = np.array(_SKINS[rng.integers(len(_SKINS))]) * rng.uniform(0.96, 1.04)
    hue = rng.random()
    shirt = colorsys.hsv_to_rgb(hue, rng.uniform(0.45, 0.80), rng.uniform(0.45, 0.80))
    second = colorsys.hsv_to_rgb((hue + rng.uniform(0.25, 0.6)) % 1, rng.uniform(0.1, 0.5), rng.uniform(0.80, 0.95))
    denim = bool(rng.random() < 0.6)
    trousers = (0.20, 0.28, 0.42) if denim else _CHINOS[rng.integers(len(_CHINOS))]
    sides = 0.012 if female else 0.022
    nape = -0.075 if female else -0.055
    return Look(
        shape=tuple(float(value) for value in shape),
        skin=_rgb(skin),
        lips=_rgb(skin * ([0.86, 0.58, 0.58] if female else [0.88, 0.68, 0.66])),
        iris=_IRISES[rng.integers(len(_IRISES))],
        hair=_HAIRS[rng.integers(len(_HAIRS))],
        hair_volume_m=float(rng.uniform(0.014, 0.020) if female else rng.uniform(0.014, 0.024)),
        hair_bun=female,
        hairline_m=(0.066, 0.063, 0.050, sides, -0.004, -0.020, -0.045, nape),
        pattern=Pattern(int(rng.integers(len(Pattern)))),
        shirt=_rgb(np.array(shirt)),
        shirt_second=_rgb(np.array(second)),
        long_sleeves=bool(rng.random() < 0.4),
        trousers=trousers,
        denim=denim,
        looseness=float(rng.uniform(0.8, 1.2)),
        shoe=_rgb(np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.2, 0.7), rng.uniform(0.25, 0.6)))),
        sole=(0.90, 0.89, 0.86),
        sole_m=float(rng.uniform(0.018, 0.026)),
    )


def _rgb(values: np.ndarray) -> Rgb:
    red, green, blue = (float(v) for v in np.clip(values, 0.0, 1.0))
    return red, green, blue
