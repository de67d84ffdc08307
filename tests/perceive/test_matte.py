"""Masks told anew with the fitted body's help."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tracks import save_filmed

from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import Pose
from bodydouble.capture.folder import Capture
from bodydouble.capture.video import probe
from bodydouble.capture.video_write import VideoWriter
from bodydouble.core.cameras import video_camera
from bodydouble.core.events import Done, Progress
from bodydouble.evaluate.masks import mask_iou
from bodydouble.perceive.matte import write_mattes
from bodydouble.perceive.whose import LimbCounts, Seen, limb_of_face, odds
from bodydouble.render.mesh import rasterize_mesh

FRAMES, WIDTH, HEIGHT, FOCAL, FPS = 12, 192, 256, 300.0, 12.0


class Film:
    """A person who turns and shifts before a striped wall, and what a careless network makes of it."""

    def __init__(self, folder: Path, *, spoil: bool = True) -> None:
        body = load_anny()
        shaped = body.with_shape(body.shape_default)
        rest = shaped.vertices_rest.detach()
        rotvecs = body.relaxed_rotvecs.detach().clone().expand(FRAMES, -1, 3).clone()
        rotvecs[:, 0, 1] = torch.linspace(-0.4, 0.4, FRAMES)
        middle = 0.5 * (rest.amin(0) + rest.amax(0))
        translation = (torch.tensor([0.0, 0.0, -2.6]) - middle).expand(FRAMES, 3).clone()
        translation[:, 0] += torch.linspace(-0.25, 0.25, FRAMES)
        rng = np.random.default_rng(0)
        wall = cv2.resize(rng.random((16, 12, 3)).astype(np.float32), (WIDTH, HEIGHT))
        wall[..., 0] *= 0.3
        camera, self.truth, self.folder = video_camera(WIDTH, HEIGHT, FOCAL), [], folder
        seen = []
        with VideoWriter(folder / "person.mp4", FPS, WIDTH, HEIGHT, crf=8) as out:
            for f in range(FRAMES):
                pose = Pose(rotvecs=rotvecs[f], translation_world_m=translation[f])
                image = rasterize_mesh(shaped.with_pose(pose).vertices().detach(), body.faces, camera)
                there = image.mask.numpy()
                picture = np.where(there[..., None], np.array([0.85, 0.25, 0.2], np.float32), wall)
                out.write((picture * 255).round().astype(np.uint8))
                self.truth.append(there)
                seen.append(spoilt(there, f) if spoil else there)
        self.capture = Capture.create(folder / "capture", probe(folder / "person.mp4"))
        for f, mask in enumerate(seen):
            self.capture.save_mask(f, mask.astype(np.uint8) * 255)
        save_filmed(self.capture, body, rotvecs, translation, FOCAL)
        self.capture, self.body = Capture.open(folder / "capture"), body

    def agreement(self, masks) -> float:
        """Mean overlap with the truth."""
        found = [mask_iou(masks(f) > 127, there) for f, there in enumerate(self.truth)]
        return float(np.mean(found))


def spoilt(there: np.ndarray, frame: int) -> np.ndarray:
    """Without what is lowest in two thirds of the frames, and with a block of the wall beside the chest."""
    rows, columns = np.nonzero(there)
    seen = there.copy()
    if frame % 3:
        seen[rows.max() - 14 :] = False
    top = rows.min() + (rows.max() - rows.min()) // 3
    if frame % 4 == 0:
        seen[top : top + 30, columns.max() : columns.max() + 14] = True
    return seen


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    return Film(tmp_path_factory.mktemp("matte"))


def test_mattes_mend_what_the_network_got_wrong(film: Film):
    events = []
    facts = write_mattes(film.capture, film.body, film.capture.track(), events.append)
    before, after = film.agreement(film.capture.observed_mask), film.agreement(film.capture.mask)
    assert after > 0.95 and 1.0 - after < 0.6 * (1.0 - before)
    assert facts.frames == FRAMES and facts.scene == "still" and facts.changed_share > 0.0
    assert film.capture.stage("matte") == {
        "frames": FRAMES, "scene": "still", "changed_share": pytest.approx(facts.changed_share)
    }  # fmt: skip
    progress = [e for e in events if isinstance(e, Progress)]
    assert [e.done for e in progress] == sorted(e.done for e in progress) and progress[-1].done == progress[-1].total
    assert isinstance(events[-1], Done)


def test_only_the_frames_that_are_asked_for(tmp_path: Path):
    film = Film(tmp_path)
    write_mattes(film.capture, film.body, film.capture.track(), lambda event: None, [1, 5, 700])
    assert sorted(path.name for path in film.capture.mattes_folder.iterdir()) == ["000001.png", "000005.png"]
    before = film.capture.observed_mask(2)
    assert before is not None
    np.testing.assert_array_equal(film.capture.mask(2), before)
    write_mattes(film.capture, film.body, film.capture.track(), lambda event: None, [2])
    assert [path.name for path in film.capture.mattes_folder.iterdir()] == ["000002.png"], "old ones go"


def test_with_other_people_in_view_the_scene_says_nothing(tmp_path: Path):
    film = Film(tmp_path)
    film.capture.add_warning("several_people", "Besides the subject, another person is in view.")
    assert write_mattes(film.capture, film.body, film.capture.track(), lambda event: None).scene == "unknown"


def test_right_masks_stay_right(tmp_path: Path):
    film = Film(tmp_path, spoil=False)
    write_mattes(film.capture, film.body, film.capture.track(), lambda event: None)
    assert film.agreement(film.capture.mask) > 0.96


def test_a_body_that_is_somewhere_else_changes_nothing(tmp_path: Path):
    film = Film(tmp_path, spoil=False)
    track = film.capture.track()
    away = track.replace(translation_world_m=track.translation_world_m + torch.tensor([0.9, 0.0, 0.0]))
    facts = write_mattes(film.capture, film.body, away, lambda event: None)
    assert film.agreement(film.capture.mask) > 0.9
    assert facts.frames < FRAMES


def test_every_limb_has_faces():
    limbs = limb_of_face(load_anny())
    assert sorted(set(limbs.tolist())) == list(range(14))


def test_odds_follow_the_colours():
    """Where network and body are undecided, colours decide, by the very ratio of the densities."""
    rng = np.random.default_rng(3)
    shape = (40, 60)
    rgb = np.where(np.arange(60)[None, :, None] < 30, [200, 40, 40], [40, 60, 200]).astype(np.int64)
    rgb = (rgb + rng.integers(-6, 7, (*shape, 3))).clip(0, 255).astype(np.uint8)
    network = np.where(np.arange(60) < 30, 255, 0).astype(np.uint8)[None].repeat(40, 0)
    away = np.where(np.arange(60) < 30, -0.05, 0.3).astype(np.float32)[None].repeat(40, 0)
    limb = np.ones(shape, np.uint8)
    counts = LimbCounts()
    counts.add(Seen(rgb=rgb, network=network, limb=limb, away_m=away, metre_px=100.0))
    knowledge = counts.knowledge()
    undecided = (
        np.where((np.arange(60) > 12) & (np.arange(60) < 18), 128, network[0]).astype(np.uint8)[None].repeat(40, 0)
    )
    swapped = rgb.copy()
    swapped[:, 13:15] = rgb[:, 45:47]
    told = odds(Seen(rgb=swapped, network=undecided, limb=limb, away_m=away, metre_px=100.0), knowledge, None)
    assert (told[:, 16:18] > 3.0).all(), "the person's own colour"
    assert (told[:, 13] < told[:, 17] - 3.0).all(), "the wall's colour"
