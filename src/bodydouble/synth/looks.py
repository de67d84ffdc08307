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
    """What a face is made of: rows of the palette. Pieces of a wardrobe add rows of their own behind these."""

    SKIN = 0
    EYE = 1
    MOUTH = 2
    SHIRT = 3
    TROUSERS = 4
    SHOE = 5
    SOLE = 6
    HAIR = 7
    LOOSE = 8


class Pattern(IntEnum):
    """How cloth is printed or woven in colours."""

    PLAIN = 0
    STRIPES = 1
    CHECKS = 2
    PINSTRIPES = 3
    DOTS = 4
    FLOWERS = 5
    ZIGZAG = 6
    PRINT = 7
    """A badge with letters in front, a number behind."""


class Weave(IntEnum):
    """What cloth is made of."""

    JERSEY = 0
    DENIM = 1
    KNIT = 2
    LEATHER = 3
    TWEED = 4
    FELT = 5


class HairStyle(IntEnum):
    """How the hair is worn when no wardrobe brings any."""

    CROP = 0
    BUN = 1
    BOB = 2
    SHAVED = 3
    CURLS = 4


class Silhouette(IntEnum):
    """What is worn below the waist when no wardrobe brings clothes. The last three hang loose and swing."""

    TROUSERS = 0
    SHORTS = 1
    SKIRT = 2
    DRESS = 3
    COAT = 4


@dataclass(frozen=True, kw_only=True)
class Fabric:
    """A cloth."""

    base: Rgb
    second: Rgb
    third: Rgb
    pattern: Pattern
    size_m: float
    """Period of the pattern."""
    weave: Weave
    phase: float
    """Shifts patterns and chooses among prints, in [0, 1)."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One performer's appearance."""

    seed: int
    female: bool
    shape: tuple[float, ...]
    """Phenotypes, in the order of `AnnyBody.shape_names`."""
    skin: Rgb
    lips: Rgb
    iris: Rgb
    hair: Rgb
    hair_volume_m: float
    hair_style: HairStyle
    hairline_m: tuple[float, ...]
    """Height of the hairline above the eyes at azimuths of 0 (front) to 180 degrees."""
    stubble: float
    silhouette: Silhouette
    shirt: Fabric
    long_sleeves: bool
    loose: Fabric
    """Of a skirt, a dress or a coat."""
    loose_length: float
    """Where its hem is: 0 at the crotch, 1 at the ankles."""
    trousers: Rgb
    denim: bool
    looseness: float
    shoe: Rgb
    sole: Rgb
    sole_m: float


_SKINS: tuple[Rgb, ...] = (
    (0.95, 0.81, 0.73), (0.91, 0.74, 0.64), (0.85, 0.66, 0.53), (0.74, 0.54, 0.41), (0.60, 0.42, 0.31),
    (0.46, 0.31, 0.23), (0.34, 0.23, 0.17),
)  # fmt: skip
_DARK_HAIRS: tuple[Rgb, ...] = ((0.09, 0.07, 0.06), (0.13, 0.10, 0.10), (0.20, 0.12, 0.08))
_LIGHT_HAIRS: tuple[Rgb, ...] = (
    (0.24, 0.14, 0.09), (0.40, 0.26, 0.14), (0.66, 0.50, 0.30), (0.48, 0.20, 0.09), (0.78, 0.64, 0.42),
)  # fmt: skip
_DARK_IRISES: tuple[Rgb, ...] = ((0.22, 0.12, 0.06), (0.30, 0.18, 0.08))
_LIGHT_IRISES: tuple[Rgb, ...] = ((0.22, 0.36, 0.46), (0.28, 0.34, 0.18), (0.34, 0.40, 0.44), (0.36, 0.24, 0.10))
_CHINOS: tuple[Rgb, ...] = (
    (0.35, 0.30, 0.22), (0.22, 0.24, 0.22), (0.42, 0.38, 0.34), (0.14, 0.15, 0.18), (0.60, 0.54, 0.42), (0.34, 0.16, 0.16),
)  # fmt: skip
_DENIMS: tuple[Rgb, ...] = ((0.20, 0.28, 0.42), (0.13, 0.17, 0.26), (0.40, 0.50, 0.62), (0.13, 0.13, 0.14))
_PATTERN_SIZES_M: dict[Pattern, tuple[float, float]] = {
    Pattern.PLAIN: (0.05, 0.06), Pattern.STRIPES: (0.045, 0.085), Pattern.CHECKS: (0.055, 0.10),
    Pattern.PINSTRIPES: (0.022, 0.04), Pattern.DOTS: (0.03, 0.055), Pattern.FLOWERS: (0.05, 0.08),
    Pattern.ZIGZAG: (0.05, 0.08), Pattern.PRINT: (0.10, 0.12),
}  # fmt: skip


def draw_look(seed: int) -> Look:
    """The appearance that belongs to a seed."""
    rng = numpy_rng(seed, "synth/look")
    female = bool(rng.random() < 0.5)
    age = float(rng.uniform(0.62, 0.97))
    tone = float(rng.random())
    skin = _along(_SKINS, tone) * rng.uniform(0.97, 1.03)
    trousers_pool = _DENIMS if (denim := bool(rng.random() < 0.5)) else _CHINOS
    silhouette = _draw_silhouette(rng, female)
    coat = silhouette == Silhouette.COAT
    loose = draw_fabric(rng, weaves=(Weave.TWEED, Weave.FELT) if coat else (Weave.JERSEY, Weave.TWEED, Weave.DENIM))
    shirt = draw_fabric(rng, weaves=(Weave.JERSEY, Weave.JERSEY, Weave.KNIT))
    return Look(
        seed=seed,
        female=female,
        shape=_draw_shape(rng, female, age),
        skin=_rgb(skin),
        lips=_rgb(skin * ([0.86, 0.58, 0.58] if female else [0.88, 0.70, 0.68])),
        iris=_pick(rng, _LIGHT_IRISES if tone < 0.45 and rng.random() < 0.7 else _DARK_IRISES),
        hair=_draw_hair(rng, tone, age),
        hair_volume_m=float(rng.uniform(0.012, 0.024)),
        hair_style=_draw_hair_style(numpy_rng(seed, "synth/look/hair"), female),
        hairline_m=_draw_hairline(rng, female, age),
        stubble=0.0 if female else float(rng.choice([0.0, 0.25, 0.6])),
        silhouette=silhouette,
        shirt=loose if silhouette in (Silhouette.DRESS, Silhouette.COAT) else shirt,
        long_sleeves=coat or bool(rng.random() < 0.4),
        loose=loose,
        loose_length=float(rng.uniform(0.40, 0.62) if coat else rng.uniform(0.42, 0.80)),
        trousers=_pick(rng, trousers_pool),
        denim=denim,
        looseness=float(rng.uniform(0.8, 1.25)),
        shoe=_rgb(np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 0.7), rng.uniform(0.12, 0.7)))),
        sole=(0.90, 0.89, 0.86) if rng.random() < 0.7 else (0.16, 0.14, 0.13),
        sole_m=float(rng.uniform(0.018, 0.026)),
    )


def draw_fabric(rng: np.random.Generator, *, weaves: tuple[Weave, ...], patterns: tuple[Pattern, ...] = ()) -> Fabric:
    """A cloth of one of the weaves, in colours that go together.

    Args:
        patterns: To choose from; all that suit the weave when empty.
    """
    weave = weaves[rng.integers(len(weaves))]
    suited = {
        Weave.DENIM: (Pattern.PLAIN,),
        Weave.LEATHER: (Pattern.PLAIN,),
        Weave.FELT: (Pattern.PLAIN, Pattern.CHECKS),
        Weave.TWEED: (Pattern.CHECKS, Pattern.PINSTRIPES, Pattern.ZIGZAG),
        Weave.KNIT: (Pattern.STRIPES, Pattern.ZIGZAG, Pattern.PRINT),
        Weave.JERSEY: tuple(Pattern)[1:],
    }[weave]
    pool = patterns or suited
    pattern = pool[rng.integers(len(pool))]
    hue = rng.random()
    if weave == Weave.DENIM:
        base = np.array(_pick(rng, _DENIMS))
    elif weave == Weave.LEATHER:
        base = np.array(colorsys.hsv_to_rgb(rng.uniform(0.02, 0.09), rng.uniform(0.2, 0.6), rng.uniform(0.10, 0.40)))
    elif weave in (Weave.TWEED, Weave.FELT):
        base = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.08, 0.45), rng.uniform(0.18, 0.55)))
    else:
        base = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.25, 0.80), rng.uniform(0.25, 0.85)))
    # The second colour contrasts in lightness, the third in hue.
    light = base @ [0.30, 0.59, 0.11] > 0.42
    value = rng.uniform(0.15, 0.35) if light else rng.uniform(0.75, 0.95)
    second = colorsys.hsv_to_rgb((hue + rng.uniform(-0.08, 0.08)) % 1, rng.uniform(0.1, 0.5), value)
    third = colorsys.hsv_to_rgb((hue + rng.uniform(0.3, 0.7)) % 1, rng.uniform(0.4, 0.8), rng.uniform(0.4, 0.9))
    return Fabric(
        base=_rgb(base),
        second=_rgb(np.array(second)),
        third=_rgb(np.array(third)),
        pattern=pattern,
        size_m=float(rng.uniform(*_PATTERN_SIZES_M[pattern])),
        weave=weave,
        phase=float(rng.random()),
    )


def _draw_shape(rng: np.random.Generator, female: bool, age: float) -> tuple[float, ...]:
    gender = rng.uniform(0.80, 1.0) if female else rng.uniform(0.0, 0.20)
    height = rng.uniform(0.24, 0.46) if female else rng.uniform(0.30, 0.54)
    muscle = rng.uniform(0.30, 0.70) if female else rng.uniform(0.35, 0.85)
    weight = 0.32 + 0.48 * rng.beta(1.4, 2.0)
    return tuple(float(value) for value in (gender, age, muscle, weight, height, rng.uniform(0.2, 0.8)))


def _draw_hair(rng: np.random.Generator, tone: float, age: float) -> Rgb:
    hair = np.array(_pick(rng, _LIGHT_HAIRS if tone < 0.40 and rng.random() < 0.75 else _DARK_HAIRS))
    grey = np.clip((age - 0.80) / 0.15, 0.0, 1.0) * rng.uniform(0.2, 1.0)
    return _rgb(hair + (np.array([0.62, 0.61, 0.60]) - hair) * grey)


def _draw_hair_style(rng: np.random.Generator, female: bool) -> HairStyle:
    styles = (
        (HairStyle.BUN, HairStyle.BUN, HairStyle.BOB, HairStyle.BOB, HairStyle.CROP, HairStyle.CURLS)
        if female
        else (HairStyle.CROP, HairStyle.CROP, HairStyle.SHAVED, HairStyle.CURLS)
    )
    return styles[rng.integers(len(styles))]


def _draw_hairline(rng: np.random.Generator, female: bool, age: float) -> tuple[float, ...]:
    sides, nape = (0.012, -0.075) if female else (0.022, -0.055)
    receding = 0.0 if female else rng.uniform(0.0, 1.0) * np.clip((age - 0.72) / 0.2, 0.0, 1.0)
    front = np.array([0.066, 0.063, 0.050]) + receding * np.array([0.016, 0.022, 0.018]) + rng.uniform(-0.004, 0.004)
    return (*(float(v) for v in front), sides, -0.004, -0.020, -0.045, nape)


def _draw_silhouette(rng: np.random.Generator, female: bool) -> Silhouette:
    choices = (
        ((Silhouette.TROUSERS, 0.35), (Silhouette.SKIRT, 0.25), (Silhouette.DRESS, 0.22), (Silhouette.COAT, 0.18))
        if female
        else ((Silhouette.TROUSERS, 0.48), (Silhouette.SHORTS, 0.24), (Silhouette.COAT, 0.28))
    )
    bounds = np.cumsum([share for _, share in choices])
    return choices[int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))][0]


def _along(colors: tuple[Rgb, ...], share: float) -> np.ndarray:
    table = np.array(colors)
    return np.array([np.interp(share * (len(table) - 1), np.arange(len(table)), table[:, k]) for k in range(3)])


def _pick(rng: np.random.Generator, colors: tuple[Rgb, ...]) -> Rgb:
    return colors[rng.integers(len(colors))]


def _rgb(values: np.ndarray) -> Rgb:
    red, green, blue = (float(v) for v in np.clip(values, 0.0, 1.0))
    return red, green, blue
