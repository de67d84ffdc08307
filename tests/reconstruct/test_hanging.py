"""Clothes that hang still are not taken for the world."""

from __future__ import annotations

import numpy as np

from bodydouble.reconstruct.surface.evidence import gather_evidence
from bodydouble.reconstruct.surface.hanging import hangs_still

COUNT, HEIGHT, WIDTH = 20, 80, 100
BLUE, GREY = np.array([60, 90, 140]), np.array([150, 155, 140])
SKIRT, BODY = slice(30, 70), slice(40, 60)


def _pictures(shift_px: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Somebody in a skirt that is wider than she is, before a grey wall; how far she is from each pixel, in metres."""
    rng = np.random.default_rng(3)
    frames = np.empty((COUNT, HEIGHT, WIDTH, 3), np.uint8)
    bare = np.zeros((COUNT, HEIGHT, WIDTH), bool)
    folds = 1.0 + 0.2 * np.sin(0.7 * np.arange(WIDTH))[:, None]
    for place in range(COUNT):
        picture = np.tile(GREY, (HEIGHT, WIDTH, 1)) * np.linspace(0.85, 1.1, WIDTH)[:, None]
        at = shift_px * (place % 2)
        picture[20:70, SKIRT.start + at : SKIRT.stop + at] = (BLUE * folds)[SKIRT.start + at : SKIRT.stop + at]
        frames[place] = (picture + rng.normal(0.0, 1.0, picture.shape)).clip(0, 255).astype(np.uint8)
        bare[place, 10:78, BODY.start + at : BODY.stop + at] = True
    columns = np.arange(WIDTH)
    away = np.stack([np.abs(columns - np.flatnonzero(b[40]).mean()) - 10.0 for b in bare]).clip(0.0)[:, None] * 0.011
    return frames, bare, np.broadcast_to(away, bare.shape).astype(np.float32)


def test_what_hangs_beside_the_body_may_be_its_clothes() -> None:
    frames, bare, away = _pictures()
    world = np.median(frames, axis=0).astype(np.float32) / 255.0
    found = hangs_still(frames, bare, away < 0.3, world, np.ones((COUNT, 3), np.float32))
    beside = np.zeros((HEIGHT, WIDTH), bool)
    beside[22:68, SKIRT] = True
    beside[:, BODY] = False
    wall = np.ones((HEIGHT, WIDTH), bool)
    wall[18:72, SKIRT.start - 2 : SKIRT.stop + 2] = False
    wall[:, BODY] = False
    assert found[beside].mean() > 0.95
    assert not found[wall].any()


def test_evidence_leaves_it_to_the_colours() -> None:
    frames, bare, away = _pictures()
    evidence = gather_evidence(frames, bare, away)
    skirt = np.zeros((HEIGHT, WIDTH), bool)
    skirt[22:68, SKIRT.start + 2 : SKIRT.stop - 2] = True
    assert (evidence.person[:, skirt] > 0.5).mean() > 0.95
    assert (evidence.person[:, 22:68, :25] < 0.5).all()
    assert evidence.seen[30:60, 32:38].max() < 0.5, "nobody knows the wall behind it"


def test_who_walks_shows_the_world() -> None:
    frames, bare, away = _pictures(shift_px=39)
    world = np.median(frames, axis=0).astype(np.float32) / 255.0
    assert not hangs_still(frames, bare, away < 0.1, world, np.ones((COUNT, 3), np.float32)).any()


def test_nothing_is_asked_where_nobody_is() -> None:
    frames, bare, _ = _pictures()
    nobody = np.zeros_like(bare)
    world = frames[0].astype(np.float32) / 255.0
    assert not hangs_still(frames, nobody, nobody, world, np.ones((COUNT, 3), np.float32)).any()
    # No part of the picture is surely the world's: the nearest clothes alone decide.
    found = hangs_still(frames, bare, np.ones_like(bare), world, np.ones((COUNT, 3), np.float32))
    assert found[30:60, 32:38].mean() > 0.9
