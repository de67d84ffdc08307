"""Masks told from a double's outline and the world that was learnt with it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from filmed import FRAMES, HEIGHT, WIDTH, Film

from bodydouble.capture.folder import read_mask
from bodydouble.core.cameras import Camera
from bodydouble.core.events import Event, Progress
from bodydouble.evaluate.masks import mask_iou
from bodydouble.perceive.whose import Seen
from bodydouble.reconstruct.surface.plate import PlateWorld
from bodydouble.reconstruct.surface.silhouettes import softened, write_silhouettes

OFF_PX = 2
"""How far the double's outline is beside the person."""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    return Film(tmp_path_factory.mktemp("film"))


def world_of(film: Film, seen: float = 1.0) -> PlateWorld:
    plate = torch.from_numpy(film.wall.clip(0.0, 1.0).astype(np.float32))
    return PlateWorld(plate, torch.full((HEIGHT, WIDTH), seen), list(range(FRAMES)), torch.ones(FRAMES, 3), 1.0)


def beside(film: Film, row: int, camera: Camera) -> np.ndarray:
    """An outline that is off, and bridges the gap between the legs."""
    moved = np.roll(film.truth[row], OFF_PX, axis=1)
    closed = cv2.morphologyEx(moved.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    size = camera.width_px, camera.height_px
    return cv2.resize(closed.astype(np.float32), size, interpolation=cv2.INTER_AREA)


def written(film: Film, world: PlateWorld, folder: Path, outline, frame_indices=None) -> list[Event]:
    events: list[Event] = []
    track = film.capture.track()
    write_silhouettes(track, world, film.capture, film.body, outline, folder, events.append, frame_indices)
    return events


def agreement(film: Film, folder: Path) -> float:
    masks = [read_mask(folder, f, (HEIGHT, WIDTH)) for f in range(FRAMES)]
    return float(np.mean([mask_iou(m > 127, t) for m, t in zip(masks, film.truth, strict=True) if m is not None]))


def test_an_outline_that_is_off_is_mended_by_world_and_colours(film: Film, tmp_path: Path):
    def outline(row: int, camera: Camera) -> np.ndarray:
        return beside(film, row, camera)

    drawn = np.mean([mask_iou(beside(film, f, camera_of_film()) > 0.5, film.truth[f]) for f in range(FRAMES)])
    events = written(film, world_of(film), tmp_path / "known", outline)
    told = agreement(film, tmp_path / "known")
    assert drawn < 0.8 and told > 0.91
    done = [event.done for event in events if isinstance(event, Progress)]
    assert done == sorted(done) and done[-1] == FRAMES
    written(film, world_of(film, seen=0.0), tmp_path / "unknown", outline)
    assert agreement(film, tmp_path / "unknown") > 0.91, "his red before the blue wall is enough"


def test_only_frames_that_are_asked_for_and_nobody_where_the_body_does_not_fit(film: Film, tmp_path: Path):
    track = film.capture.track()
    lost = track.replace(valid=track.valid & (track.frame_indices != 5))

    def outline(row: int, camera: Camera) -> np.ndarray:
        assert row != 5, "there is no body to draw"
        return beside(film, row, camera)

    write_silhouettes(
        lost, world_of(film), film.capture, film.body, outline, tmp_path / "few", lambda event: None, [2, 5]
    )
    assert sorted(path.name for path in (tmp_path / "few").iterdir()) == ["000002.png", "000005.png"]
    nobody = read_mask(tmp_path / "few", 5, (HEIGHT, WIDTH))
    assert nobody is not None and not nobody.any()


def test_with_other_people_in_view_the_world_says_nothing(tmp_path: Path):
    film = Film(tmp_path)
    film.capture.add_warning("several_people", "Besides the subject, another person is in view.")
    wrong = world_of(film)
    wrong.plate[:] = torch.tensor([0.85, 0.25, 0.2])  # the person's own colour everywhere
    written(film, wrong, tmp_path / "masks", lambda row, camera: beside(film, row, camera))
    assert agreement(film, tmp_path / "masks") > 0.91


def test_a_double_that_is_somewhere_else_keeps_its_outline(film: Film, tmp_path: Path):
    away = film.capture.track()
    away = away.replace(translation_world_m=away.translation_world_m + torch.tensor([0.0, 2.5, 0.0]))
    far = np.zeros((HEIGHT, WIDTH), np.float32)
    far[:40, :40] = 1.0

    def outline(row: int, camera: Camera) -> np.ndarray:
        return cv2.resize(far, (camera.width_px, camera.height_px), interpolation=cv2.INTER_AREA)

    write_silhouettes(away, world_of(film), film.capture, film.body, outline, tmp_path / "far", lambda event: None, [3])
    mask = read_mask(tmp_path / "far", 3, (HEIGHT, WIDTH))
    assert mask is not None and mask_iou(mask > 127, far > 0.5) > 0.95


def test_cloth_far_from_the_body_may_swing_and_what_is_near_may_not() -> None:
    columns = np.broadcast_to(np.arange(120, dtype=np.float32), (60, 120))
    outline = np.where((columns >= 30) & (columns < 80), 255, 0).astype(np.uint8)
    # A hundred pixels a metre: at the left the outline ends on the body, at the right 30 cm beside it.
    away = np.maximum(30.0 - columns, columns - 50.0).astype(np.float32) / 100.0
    plain = np.zeros(outline.shape, np.uint8)
    seen = Seen(rgb=np.stack([plain] * 3, -1), first_mask=outline, limb=plain, away_m=away, metre_px=100.0)
    soft = softened(outline, seen)[30].astype(int)
    open_ = (soft > 25) & (soft < 230)
    assert 1 <= open_[:40].sum() <= 6
    assert 12 <= open_[60:].sum() <= 18
    assert abs(int(soft[79]) - 128) < 20 and abs(int(soft[80]) - 128) < 20, "it still ends where it ended"


def camera_of_film() -> Camera:
    from filmed import FOCAL

    from bodydouble.core.cameras import video_camera

    return video_camera(WIDTH, HEIGHT, FOCAL)
