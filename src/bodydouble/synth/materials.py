"""Palettes: the colours and settings of everything a performer shows, one row for each material."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from bodydouble.synth.looks import Fabric, HairStyle, Look, Material, Rgb, Silhouette

BASE, SECOND, THIRD, FLAGS, KIND, WEAVE, PHASE, BUTTONS = 0, 3, 6, 9, 12, 13, 14, 15
"""Columns of a palette row: three colours (linear light), three numbers that the kind defines, the `Material` whose
kernel shades it, and for cloth its weave, its phase and the distance of buttons down the front (0: none)."""
NUM_COLUMNS = 16


def linear(rgb: Rgb) -> list[float]:
    """sRGB values as linear light."""
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]


def draw_palette(look: Look, *, eye_height_m: float, side_seam_m: float) -> Float[ndarray, "materials columns"]:
    """One row for each `Material`, as `person_shading` reads them.

    Args:
        eye_height_m: Height of the eyes at rest; prints on the chest hang below it.
        side_seam_m: Where along Z the seams of trousers run.
    """
    palette = np.zeros((len(Material), NUM_COLUMNS))
    palette[:, KIND] = np.arange(len(Material))
    hair = linear(look.hair)
    palette[Material.SKIN, :9] = [*linear(look.skin), *linear(look.lips), *hair]
    palette[Material.SKIN, FLAGS : FLAGS + 2] = look.stubble, float(look.hair_style == HairStyle.SHAVED)
    palette[Material.EYE, :3] = linear(look.iris)
    palette[Material.MOUTH, :3] = linear((0.42, 0.14, 0.14))
    print_height = eye_height_m - 0.40
    palette[Material.SHIRT] = fabric_row(look.shirt, print_height)
    palette[Material.LOOSE] = fabric_row(look.loose, print_height)
    if look.silhouette == Silhouette.COAT:
        palette[Material.SHIRT, BUTTONS] = 0.095
    palette[Material.TROUSERS, :9] = [*linear(look.trousers), *linear((0.62, 0.70, 0.80)), *linear((0.72, 0.52, 0.25))]
    palette[Material.TROUSERS, FLAGS] = float(look.denim)
    palette[Material.TROUSERS, FLAGS + 1] = side_seam_m
    palette[Material.SHOE, :6] = [*linear(look.shoe), *linear(look.sole)]
    palette[Material.SOLE, :3] = linear(look.sole)
    palette[Material.HAIR, FLAGS] = float(look.hair_style == HairStyle.CURLS)
    palette[Material.HAIR, :6] = [*hair, *(min(2.2 * c + 0.02, 1.0) for c in hair)]
    return palette


def fabric_row(fabric: Fabric, print_height_m: float) -> Float[ndarray, " columns"]:
    """The palette row of a cloth.

    Args:
        print_height_m: Height of a print's centre in the rest pose.
    """
    row = np.zeros(NUM_COLUMNS)
    row[:9] = [*linear(fabric.base), *linear(fabric.second), *linear(fabric.third)]
    row[FLAGS : FLAGS + 3] = int(fabric.pattern), fabric.size_m, print_height_m
    row[KIND], row[WEAVE], row[PHASE] = Material.SHIRT, int(fabric.weave), fabric.phase
    return row
