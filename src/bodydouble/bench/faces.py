"""Suite `faces`: how well facial actions are read from pictures of heads that nothing was learnt from.

Each head is a clip of its own: every action alone in four strengths (left and right together), looks to all sides, and
mixtures as people make them, while the head turns slowly. The real landmark network looks at every picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from bodydouble.bench.rows import Row
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.events import Event, Progress
from bodydouble.core.seeds import numpy_rng

KEY_ACTIONS = (
    "jawOpen", "mouthSmileLeft", "mouthSmileRight", "mouthPucker", "browInnerUp", "eyeBlinkLeft", "eyeBlinkRight",
)  # fmt: skip
SEEDS, QUICK_SEEDS = (501, 502, 503, 504, 505, 506), (501,)
_STRENGTHS = (0.35, 0.7, 1.0, 0.5)
_MIXTURES = 40
_SIZE_PX = 256
_STEP_S = 0.25
"""Time between pictures: so far apart that smoothing does not help."""


@dataclass(frozen=True, kw_only=True)
class FaceScores:
    """What was read beside what was true, over all heads."""

    found: Float[np.ndarray, "pictures actions"]
    truth: Float[np.ndarray, "pictures actions"]
    heads: Float[np.ndarray, " pictures"]

    def correlations(self) -> Float[np.ndarray, " actions"]:
        """Of each action, over the pictures of all heads."""
        from bodydouble.evaluate.actions import action_correlations

        return action_correlations(self.found, self.truth)

    def errors(self) -> Float[np.ndarray, " actions"]:
        """Mean absolute error of each action."""
        from bodydouble.evaluate.actions import action_errors

        return action_errors(self.found, self.truth)

    def cross_talk(self) -> Float[np.ndarray, " actions"]:
        """What is read of an action on average in pictures that show others of at least half strength, and not it."""
        acting = self.truth.max(1) >= 0.5
        quiet = (self.truth == 0) & acting[:, None]
        return (self.found * quiet).sum(0) / np.maximum(quiet.sum(0), 1)


def clip_expressions(seed: int) -> Float[np.ndarray, "pictures actions"]:
    """What a head does."""
    from bodydouble.synth.grimaces import draw_expression

    groups: dict[str, list[int]] = {}
    for k, name in enumerate(ARKIT_ACTIONS):
        if not name.startswith("eyeLook"):
            groups.setdefault(name.removesuffix("Left").removesuffix("Right") if _sided(name) else name, []).append(k)
    for look in (("OutLeft", "InRight"), ("InLeft", "OutRight"), ("UpLeft", "UpRight"), ("DownLeft", "DownRight")):
        groups["eyeLook" + look[0]] = [ARKIT_ACTIONS.index(f"eyeLook{end}") for end in look]
    rows = [np.zeros(len(ARKIT_ACTIONS))] * 3
    for name, columns in groups.items():
        for strength in _STRENGTHS:
            row = np.zeros(len(ARKIT_ACTIONS))
            row[columns] = strength
            if name in ("mouthClose", "tongueOut"):
                row[ARKIT_ACTIONS.index("jawOpen")] = strength
            rows.append(row)
    rng = numpy_rng(seed, "bench/faces")
    rows += [draw_expression(rng) for _ in range(_MIXTURES)]
    return np.stack(rows)


def _sided(name: str) -> bool:
    return name.endswith(("Left", "Right")) and name not in ("jawLeft", "jawRight", "mouthLeft", "mouthRight")


def read_clips(seeds: tuple[int, ...], emit: Callable[[Event], None]) -> FaceScores:
    """Draw the heads, look at them, read their faces."""
    from bodydouble.body.anny import load_anny
    from bodydouble.fit.face import track_points
    from bodydouble.fit.face_pictures import HIGH, WIDE, face_crop
    from bodydouble.perceive.mediapipe_holistic import FaceEstimator
    from bodydouble.synth.heads import Head, View

    body = load_anny()
    found, truth, heads = [], [], []
    for place, seed in enumerate(seeds):
        expressions = clip_expressions(seed)
        head = Head(body, seed)
        phase = np.linspace(0.0, 4.0 * np.pi, len(expressions)) + seed
        points, seen = np.zeros((len(expressions), 478, 3)), np.zeros(len(expressions))
        crops = np.zeros((len(expressions), HIGH, WIDE), np.float32)
        with FaceEstimator() as estimator:
            for k, row in enumerate(expressions):
                view = View(
                    yaw_rad=0.3 * float(np.sin(phase[k])),
                    pitch_rad=0.12 * float(np.cos(1.7 * phase[k])),
                    head_share=0.8,
                )
                rgb = head.picture(torch.from_numpy(row).float(), view, size_px=_SIZE_PX, seed=seed)
                face = estimator.estimate(rgb)
                if face is not None:
                    points[k], seen[k] = face, 1.0
                    crops[k] = face_crop(rgb, points[k])
                emit(
                    Progress(
                        stage="faces",
                        done=place * len(expressions) + k + 1,
                        total=len(seeds) * len(expressions),
                        unit="pictures",
                    )
                )
        times = np.arange(len(expressions)) * _STEP_S
        found.append(track_points(points, seen, times, (_SIZE_PX, _SIZE_PX), crops).actions)
        truth.append(expressions)
        heads.append(np.full(len(expressions), float(seed)))
    return FaceScores(found=np.concatenate(found), truth=np.concatenate(truth), heads=np.concatenate(heads))


def run(*, quick: bool, emit: Callable[[Event], None]) -> tuple[list[Row], list[str]]:
    """The suite: a row of correlation and error for each key action and their means over all 52; the rest as remarks."""
    scores = read_clips(QUICK_SEEDS if quick else SEEDS, emit)
    r, error, talk = scores.correlations(), scores.errors(), scores.cross_talk()

    def row(name: str, value: float, better, tolerance: float) -> Row:
        return Row(suite="faces", name=name, value=float(value), unit="", better=better, tolerance=tolerance)

    rows = []
    for name in KEY_ACTIONS:
        k = ARKIT_ACTIONS.index(name)
        rows.append(row(f"{name}: correlation with the truth", r[k], "higher", 0.05))
        rows.append(row(f"{name}: mean absolute error", error[k], "lower", 0.03))
        rows.append(row(f"{name}: read while others act", talk[k], "lower", 0.03))
    rows.append(row("all 52 actions: mean correlation", float(np.nanmean(r)), "higher", 0.03))
    rows.append(row("all 52 actions: mean absolute error", float(error.mean()), "lower", 0.01))
    remarks = [
        f"{n}: r {a:.2f}, error {b:.3f}, cross-talk {c:.3f}"
        for n, a, b, c in zip(ARKIT_ACTIONS, r, error, talk, strict=True)
    ]
    return rows, remarks
