"""Whose a pixel is, pixel by pixel: the prior of a first mask and the body, and what its colour says, each as logarithms of odds."""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel


@kernel()
def prior_and_color(
    rgb, first_mask, limb, step, first_odds, usual_odds, density, around, shrink, most, prior_out, color_out
):
    """What a first mask, the body and the colours around say.

    Args:
        rgb, first_mask, limb, step: Of every pixel, as in `whose.Seen`.
        first_odds: Of each value of the first mask [256].
        usual_odds: Of each distance from each limb [limbs, steps].
        density: Logarithm of the density of colours [limbs, levels ** 3].
        around: Coefficients of the logarithm of the background's density, quadratic in colour [rows, columns, 10], of cells of
            `shrink` pixels; NaN where there is no background: colours say nothing then.
        most: No colour says more.
        prior_out, color_out: [height, width].
    """
    height, width = first_mask.shape
    levels = round(density.shape[1] ** (1.0 / 3.0))
    wide = 256 // levels
    for y in range(height):
        row = min(y // shrink, around.shape[0] - 1)
        for x in range(width):
            of = limb[y, x]
            low = int(step[y, x])
            share = step[y, x] - low
            usual = usual_odds[of, low] * (np.float32(1.0) - share) + usual_odds[of, low + 1] * share
            prior_out[y, x] = first_odds[first_mask[y, x]] + usual
            red, green, blue = rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2]
            person = density[of, ((red // wide) * levels + green // wide) * levels + blue // wide]
            r, g, b = red / np.float32(255.0), green / np.float32(255.0), blue / np.float32(255.0)
            c = around[row, min(x // shrink, around.shape[1] - 1)]
            background = (
                r * (c[0] * r + c[1] * g + c[2] * b + c[6]) + g * (c[3] * g + c[4] * b + c[7])
                + b * (c[5] * b + c[8]) + c[9]
            )  # fmt: skip
            color_out[y, x] = 0.0 if np.isnan(background) else min(max(person - background, -most), most)


@kernel()
def color_before_scene(rgb, limb, away_m, density, low, high, known, noise, shadow, lit, most, color_out):
    """What a colour says where the scene behind is known.

    Args:
        rgb, limb, density, most: As for `prior_and_color`.
        away_m: From the bare body.
        low, high: Between what the scene's colours are [height, width, 3], exposure included.
        known: Where they are known.
        noise: Of the scene's colours.
        shadow: Darkest and brightest tone of a shadow, by how much its hue may differ, and the logarithm of its density.
        lit: The same for light and reflections farther off, and where that begins and fully holds, metres from the bare body.
        color_out: [height, width]; 0 where the scene is not known.
    """
    height, width = limb.shape
    levels = round(density.shape[1] ** (1.0 / 3.0))
    wide = 256 // levels
    at_most = np.float32(-3.0 * np.log(noise * np.sqrt(2.0 * np.pi)))
    for y in range(height):
        for x in range(width):
            color_out[y, x] = 0.0
            if not known[y, x]:
                continue
            index = 0
            apart, tone = np.float32(0.0), np.float32(0.0)
            least, largest = np.float32(1e9), np.float32(-1e9)
            for k in range(3):
                index = index * levels + rgb[y, x, k] // wide
                color = rgb[y, x, k] / np.float32(255.0)
                apart = max(apart, max(color - high[y, x, k], low[y, x, k] - color))
                tint = color / max(np.float32(0.5) * (low[y, x, k] + high[y, x, k]), np.float32(0.03))
                tone += tint / np.float32(3.0)
                least, largest = min(least, tint), max(largest, tint)
            off = min(apart / noise, np.float32(6.0))
            scene = at_most - np.float32(0.5) * off * off
            beyond = min(max((away_m[y, x] - lit[3]) / (lit[4] - lit[3]), np.float32(0.0)), np.float32(1.0))
            shaded = shadow[0] < tone < shadow[1] and largest - least < shadow[2]
            if shaded or (lit[0] < tone < lit[1] and largest - least < lit[2] * beyond):
                top = max(scene, shadow[3])
                scene = top + np.log(np.exp(scene - top) + np.exp(shadow[3] - top))
            color_out[y, x] = min(max(density[limb[y, x], index] - scene, -most), most)
