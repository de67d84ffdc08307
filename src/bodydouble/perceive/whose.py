"""How likely a pixel is the person's: what a first mask, the fitted body, colours and the scene behind say of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8

from bodydouble.body.humanoid import FINGERS
from bodydouble.body.protocol import BodyModel
from bodydouble.perceive.behind import Behind
from bodydouble.perceive.masks import COLOR_PAIRS, log_gaussian
from bodydouble.perceive.whose_kernels import color_before_scene, prior_and_color

_LEAST_M, _STEP_M, _STEPS = -0.10, 0.01, 40
"""Distances from the bare body, negative inside, are told apart in such steps."""
_LEVELS = 16
"""Of each channel, in tables of colours."""
_INSIDE, _CLOTH_M = 230, 0.02
"""Whose colours are a limb's: where the first mask is so sure, nearer to the bare body than this."""
_FEW = 50
_SPREAD, _FLOOR = 0.7, 1e-5
_ELSEWHERE = 1.5
"""A colour of another limb is so much less likely (natural logarithm)."""
_OUTSIDE, _BESIDE_M = 51, 0.02
"""What is background for the colours around: the first mask says so, and the bare body is so far away."""
_AROUND_M, _WIDER, _WIDER_SHARE, _LEAST_SHARE = 0.085, 4, 0.002, 1e-5
"""Half the side of "around"; what is so much farther counts a little, too; with less than that, nothing is known."""
_CELL_M = 0.017
"""Statistics of the background vary slowly: they are taken on cells of this size."""
_MOST, _MOST_BEFORE = 4.0, 6.0
"""No colour says more than this, as a logarithm of odds; before a known scene, this: no more
than first mask and body say against it, so a ball at the foot is not the person's, however much it differs from the scene."""
_COLOR_BLUR_PX = 0.7
_COLOR_BEFORE = 1.3
"""Weight of colours where the scene behind is known. Elsewhere all weigh the same."""
_NOISE, _NOISE_MOVING, _MISFIT, _MISFIT_AT = 0.035, 0.06, 1.5, 0.9
"""Of the scene's colours: the least, of cameras that stand and that move, and by which multiple and quantile of what frames
differ by where nobody is."""
_FAR_M, _NOBODY, _LEAST_FAR = 0.25, 25, 100
_FAIR = (0.08, 0.92)
"""Between these, brightness can be compared."""
_SHADOW = (0.35, 1.05, 0.12, 1.6)
"""Darkest and brightest tone, how far its hue may differ, logarithm of its density over the colours."""
_LIT = (0.35, 1.5, 0.35, 0.02, 0.08)
"""The same of shadows and reflections on a shiny floor: they keep the scene's hue only roughly. Between so many metres from the
bare body that begins and fully holds: nearer there are clothes."""
_SLACK_PX = 1
"""How far the scene of a camera that moves may be off."""

_LIMBS = (
    "head", "trunk", "leftUpperArm", "rightUpperArm", "leftLowerArm", "rightLowerArm", "leftHand", "rightHand",
    "leftUpperLeg", "rightUpperLeg", "leftLowerLeg", "rightLowerLeg", "leftFoot", "rightFoot",
)  # fmt: skip
_HEAD = ("head", "neck", "jaw", "Eye")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is known of a frame's pixels."""

    rgb: UInt8[np.ndarray, "height width 3"]
    first_mask: UInt8[np.ndarray, "height width"]
    """The network's, or a double's outline with soft edges."""
    limb: UInt8[np.ndarray, "height width"]
    """Of the nearest limb of the bare body."""
    away_m: Float[np.ndarray, "height width"]
    """From the bare body's outline at its depth, negative inside."""
    metre_px: float
    """Pixels of a metre at the body's depth."""

    def part(self, window: tuple[slice, slice]) -> Seen:
        """Of a part of the frame."""
        return Seen(
            rgb=self.rgb[window],
            first_mask=self.first_mask[window],
            limb=self.limb[window],
            away_m=self.away_m[window],
            metre_px=self.metre_px,
        )

    def with_mask(self, first_mask: UInt8[np.ndarray, "height width"]) -> Seen:
        """The same with another first mask."""
        return replace(self, first_mask=first_mask)

    @property
    def step(self) -> Float[np.ndarray, "height width"]:
        """Distance in steps of the table, within it."""
        return ((self.away_m - _LEAST_M) / _STEP_M).clip(0.0, _STEPS - 1.001).astype(np.float32)


def limb_of_face(body: BodyModel) -> UInt8[np.ndarray, " faces"]:
    """Which limb each face belongs to, by the bone that leads most of its corners."""
    names = {bone: name for name, bone in body.humanoid.items()}
    limb = np.full(len(body.bone_names), _LIMBS.index("trunk"), np.uint8)
    for bone, parent in enumerate(body.bone_parents):
        name = names.get(body.bone_names[bone])
        limb[bone] = limb[parent] if name is None and parent >= 0 else _limb_of(name or "")
    leading = body.skin_joints.gather(1, body.skin_weights.argmax(1, keepdim=True))[:, 0].numpy()
    return np.median(limb[leading][body.faces.numpy()], axis=1).astype(np.uint8)


def _limb_of(name: str) -> int:
    """Of a bone by its humanoid name."""
    side = "left" if name.startswith("left") else "right"
    if name in _LIMBS[2:]:
        return _LIMBS.index(name)
    if any(finger in name for finger in FINGERS):
        return _LIMBS.index(f"{side}Hand")
    if "Toes" in name:
        return _LIMBS.index(f"{side}Foot")
    return _LIMBS.index("head" if any(part in name for part in _HEAD) else "trunk")


@dataclass(frozen=True)
class LimbKnowledge:
    """What frames tell of each limb."""

    usual_odds: Float[np.ndarray, "limbs steps"]
    """How often the first mask has the person so far from the bare limb, as logarithms of odds."""
    log_density: Float[np.ndarray, "limbs colors"]
    """Logarithm of the density of its colours over the unit cube."""


class LimbCounts:
    """Gathers what frames tell of limbs."""

    def __init__(self) -> None:
        self._pixels, self._person = np.full((len(_LIMBS), _STEPS), 1.0), np.full((len(_LIMBS), _STEPS), 0.5)
        self._colors = np.zeros((len(_LIMBS), _LEVELS**3))

    def add(self, seen: Seen) -> None:
        """Count one frame."""
        at = seen.limb.astype(np.int64) * _STEPS + seen.step.astype(np.int64)
        size = self._pixels.size
        self._pixels += np.bincount(at.ravel(), minlength=size).reshape(self._pixels.shape)
        self._person += np.bincount(at.ravel(), seen.first_mask.ravel() / 255.0, size).reshape(self._person.shape)
        here = (seen.first_mask > _INSIDE) & (seen.away_m < _CLOTH_M)
        of = seen.limb[here].astype(np.int64) * _LEVELS**3 + _color_index(seen.rgb[here])
        self._colors += np.bincount(of, minlength=self._colors.size).reshape(self._colors.shape)

    def knowledge(self) -> LimbKnowledge:
        """What was counted, as shares and densities."""
        whole = self._colors.sum(0)
        anywhere = _log_density(whole) - _ELSEWHERE
        own = [_log_density(counts if counts.sum() > _FEW else whole) for counts in self._colors]
        return LimbKnowledge(
            usual_odds=_log_odds(self._person / self._pixels),
            log_density=np.maximum(np.stack(own), anywhere).astype(np.float32),
        )


def odds(seen: Seen, knowledge: LimbKnowledge, behind: Behind | None) -> Float[np.ndarray, "height width"]:
    """Logarithm of the odds that a pixel is the person's.

    Args:
        seen: The frame.
        knowledge: Of all frames.
        behind: The scene without the person; None where it is nowhere known.
    """
    import cv2

    shape = seen.limb.shape
    rgb, limb, first_mask = (np.ascontiguousarray(part) for part in (seen.rgb, seen.limb, seen.first_mask))
    prior, color = np.empty(shape, np.float32), np.empty(shape, np.float32)
    prior_and_color(
        rgb, first_mask, limb, seen.step, _FIRST_ODDS, knowledge.usual_odds, knowledge.log_density, *_around(seen), np.float32(_MOST),
        prior, color,
    )  # fmt: skip
    total = prior + cv2.GaussianBlur(color, (0, 0), _COLOR_BLUR_PX)
    if behind is None:
        return total
    low, high, noise = _scene_colors(seen, behind)
    color_before_scene(
        rgb, limb, np.ascontiguousarray(seen.away_m), knowledge.log_density, low, high, behind.known, noise,
        np.asarray(_SHADOW, np.float32), np.asarray(_LIT, np.float32), np.float32(_MOST_BEFORE), color,
    )  # fmt: skip
    return np.where(behind.known, prior + _COLOR_BEFORE * cv2.GaussianBlur(color, (0, 0), _COLOR_BLUR_PX), total)


def _scene_colors(seen: Seen, behind: Behind) -> tuple[np.ndarray, np.ndarray, np.float32]:
    """Between which colours the scene is in this frame's exposure, and how much noise there is."""
    import cv2

    scene = behind.rgb
    thin = (slice(None, None, 3),) * 2
    far = (behind.known & (seen.away_m > _FAR_M) & (seen.first_mask <= _NOBODY))[thin]
    enough = int(far.sum()) >= _LEAST_FAR
    if enough:
        shown, wanted = scene[thin][far], seen.rgb[thin][far].astype(np.float32) / 255.0
        fair = (shown.min(1) > _FAIR[0]) & (shown.max(1) < _FAIR[1])
        if int(fair.sum()) >= _LEAST_FAR:
            scene = scene * np.median(wanted[fair] / shown[fair], axis=0)
    low = high = np.ascontiguousarray(scene, np.float32)
    if behind.moves:
        kernel = np.ones((2 * _SLACK_PX + 1,) * 2, np.uint8)
        low, high = cv2.erode(low, kernel), cv2.dilate(low, kernel)
    least = _NOISE_MOVING if behind.moves else _NOISE
    if not enough:
        return low, high, np.float32(least)
    apart = np.maximum(wanted - high[thin][far], low[thin][far] - wanted).max(1)
    return low, high, np.float32(max(least, _MISFIT * float(np.quantile(apart, _MISFIT_AT))))


def _around(seen: Seen) -> tuple[Float[np.ndarray, "rows columns 10"], int]:
    """The background's colours around each cell, as `masks.log_gaussian` has them, and the side of a cell in pixels.

    NaN where no background is near.
    """
    import cv2

    shrink = max(1, round(_CELL_M * seen.metre_px))
    height, width = (max(1, n // shrink) for n in seen.limb.shape)
    outside = ((seen.first_mask < _OUTSIDE) & (seen.away_m > _BESIDE_M)).astype(np.float32)
    # Cells past the last whole one would shift the grid: leave them out, the border cells stand for them.
    covered = slice(height * shrink), slice(width * shrink)
    area = cv2.INTER_AREA
    color = cv2.resize(seen.rgb[covered], (width, height), interpolation=area).astype(np.float32) / 255.0
    share = (cv2.resize(outside[covered], (width, height), interpolation=area) > 0.5).astype(np.float32)
    moments = np.concatenate([color, np.stack([color[..., i] * color[..., j] for i, j in COLOR_PAIRS], -1)], -1)
    both = np.concatenate([moments * share[..., None], share[..., None]], -1)
    side = 2 * max(1, round(_AROUND_M * seen.metre_px / shrink)) + 1
    sums = cv2.blur(both, (side, side)) + _WIDER_SHARE * cv2.blur(both, (_WIDER * side,) * 2)
    log_density = log_gaussian(sums[..., :9] / np.maximum(sums[..., 9:], 1e-7))
    log_density[..., 9] -= 1.5 * np.log(2.0 * np.pi)
    log_density[sums[..., 9] < _LEAST_SHARE] = np.nan
    return log_density.astype(np.float32), shrink


def _color_index(rgb: UInt8[np.ndarray, "*pixels 3"]) -> np.ndarray:
    level = (rgb // (256 // _LEVELS)).astype(np.int64)
    return (level[..., 0] * _LEVELS + level[..., 1]) * _LEVELS + level[..., 2]


def _log_density(counts: Float[np.ndarray, " colors"]) -> Float[np.ndarray, " colors"]:
    """Of colours over the unit cube."""
    from scipy.ndimage import gaussian_filter

    smooth = np.asarray(gaussian_filter(counts.reshape((_LEVELS,) * 3), _SPREAD, mode="nearest")).ravel()
    total = max(1.0, float(smooth.sum()))
    return np.log((smooth + _FLOOR * total) / (total * (1.0 + _FLOOR * smooth.size)) * smooth.size)


def _log_odds(likely: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    within = likely.clip(0.01, 0.99)
    return np.log(within / (1.0 - within)).astype(np.float32)


_FIRST_ODDS = _log_odds(np.arange(256) / 255.0)
