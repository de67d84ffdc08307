"""The surface suite's own sums, and the published recipe at work on a tiny film."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_person import film_person

from bodydouble.bench import surface
from bodydouble.bench.page import page
from bodydouble.bench.surface_race import RaceResult
from bodydouble.bench.vid2avatar.trainer import RecipeConfig, RecipeTrainer, train_for
from bodydouble.body.anny import load_anny
from bodydouble.capture.camera_motion import still_camera
from bodydouble.reconstruct.surface.config import SurfaceConfig


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory):
    return film_person(tmp_path_factory.mktemp("recipe"))


def test_the_recipe_trains_on_a_tiny_film(tiny):
    config = RecipeConfig(num_rays=12, size_px=64, max_frames=3, begin_steps=2, hidden=48)
    trainer = RecipeTrainer(tiny, tiny.track(), load_anny(), config)
    assert len(trainer.frames) == 3 and all(f.row != 7 for f in trainer.frames)  # the eighth frame is held out
    before = trainer.rotvecs.detach().clone()
    looks = list(train_for(trainer, 1e-6))
    assert looks == [(looks[0][0], 0)] and trainer.steps == 0  # the start alone uses the time up
    terms = [trainer.step() for _ in range(2)]
    assert all(math.isfinite(v) for t in terms for v in t.values()) and trainer.steps == 2
    assert set(terms[0]) == {"rgb", "eikonal", "entropy", "sparse", "inside"}
    assert not torch.equal(trainer.rotvecs.detach(), before)  # poses are free from the beginning
    alpha = trainer.alpha(trainer.frames[0].row, torch.tensor([[48.0, 60.0], [4.0, 4.0]]))
    assert ((alpha >= 0) & (alpha <= 1)).all()


def test_looks_grow_rarer(monkeypatch: pytest.MonkeyPatch):
    class Steady(RecipeTrainer):
        """Ten seconds a step."""

        def __init__(self) -> None:
            self.steps, self.now_s = 0, 0.0

        def begin(self):
            return iter(())

        def step(self):
            self.steps, self.now_s = self.steps + 1, self.now_s + 10.0
            return {}

    steady = Steady()
    monkeypatch.setattr("bodydouble.bench.vid2avatar.trainer.time.perf_counter", lambda: steady.now_s)
    looks = list(train_for(steady, 300.0, first_s=40.0))
    assert looks == [(0.0, 0), (40.0, 4), (60.0, 6), (90.0, 9), (140.0, 14), (210.0, 21), (300.0, 30)]


def test_canonical_space_and_back(tiny):
    trainer = RecipeTrainer(
        tiny, tiny.track(), load_anny(), RecipeConfig(num_rays=4, size_px=64, max_frames=2, begin_steps=0, hidden=48)
    )
    row = trainer.frames[0].row
    skinned = trainer.canonical.skinned(trainer.rotvecs[row], trainer.translation[row], trainer.shape)
    points = skinned.vertices_world[::97]
    at = torch.arange(len(skinned.vertices_world))[::97]
    assert torch.allclose(skinned.canonical(points, at), trainer.canonical.vertices[at], atol=1e-4)
    posed = load_anny().with_shape(tiny.track().shape)
    track = tiny.track()
    vertices = posed.with_pose(track.pose(row))
    # Through two blended poses a vertex of one bone arrives exactly, others nearly: the recipe's own approximation.
    off = (vertices.vertices().detach() - skinned.vertices_world).norm(dim=1)
    assert float(off.median()) < 1e-4 and float(off.quantile(0.95)) < 0.02
    inside = trainer.canonical.signed_distance(trainer.canonical.vertices.mean(0, keepdim=True))
    outside = trainer.canonical.signed_distance(trainer.canonical.vertices.max(0).values[None] + 0.1)
    assert float(inside) < 0 < float(outside)


def test_each_ablation_changes_one_thing():
    config = SurfaceConfig(masks="none")
    changed = [variant.change(config) for variant in surface.ABLATIONS]
    assert all(new != config for new in changed) and len(set(changed)) == len(changed)
    assert changed[0].loss.entropy == 0.0 and changed[0].loss.sparse == config.loss.sparse
    assert surface.without_levels(config).levels[0].voxel_m == config.levels[-1].voxel_m
    assert len({surface._slug(v.name) for v in surface.ABLATIONS}) == len(surface.ABLATIONS)


def test_camera_errors_are_angles_and_shares_of_the_way():
    motion = still_camera(torch.arange(2), 64, 48, torch.tensor(70.0), method="static", motion_px=0.0)
    true = motion.T_camera_world.numpy().copy()
    turn = np.eye(4)
    turn[:2, :2] = [[math.cos(0.2), -math.sin(0.2)], [math.sin(0.2), math.cos(0.2)]]
    true[1] = turn @ true[1]
    true[1, :3, 3] = -true[1, :3, :3] @ [0.5, 0.0, 0.0]
    found = surface.camera_errors(motion, true)
    assert found["camera_deg"] == pytest.approx(math.degrees(0.2) / 2)
    assert found["camera_share"] == pytest.approx(0.5)
    assert surface.camera_errors(motion, motion.T_camera_world.numpy())["camera_share"] is None


def test_rows_tell_means_and_performers_and_what_was_not_reached():
    scores = {
        ("estimated poses", "a"): {"mask_iou": 0.9, "seconds": 10.0, "camera_share": None},
        ("estimated poses", "b"): {"mask_iou": 0.8, "seconds": 20.0, "camera_share": 0.02},
        ("without entropy", "a"): {"mask_iou": 0.7, "seconds": 11.0, "camera_share": None},
    }
    races = {
        "ours": RaceResult(seconds_to_goal=30.0, start_iou=0.8, iou=0.95, seconds=60.0, steps=100),
        "published recipe": RaceResult(
            seconds_to_goal=float("nan"), start_iou=0.7, iou=0.75, seconds=600.0, steps=9, equal_iou=0.72
        ),
    }
    rows = [*surface._rows(scores), *surface._race_rows(races, "a")]
    value = {row.name: row.value for row in rows}
    assert value["estimated poses: mask_iou, mean"] == pytest.approx(0.85)
    assert value["estimated poses: camera_share, mean"] == pytest.approx(0.02)
    assert (
        value["without entropy: mask_iou, mean"] == pytest.approx(0.7) and "without entropy: mask_iou, a" not in value
    )
    assert math.isnan(value["race, published recipe: seconds to IoU .90, a"])
    about = {"version": "0", "processor": "p", "threads": "2", "torch": "t"}
    text = page(rows, ["said"], about, "bodydouble bench surface")
    assert "| race, ours |" in text and "at equal time" in text and "| 30.00 |" in text


def test_what_is_known_is_not_made_again(tmp_path: Path):
    from bodydouble.core.files import write_json

    path = tmp_path / "a.json"
    assert surface._known(path, "k") is None
    write_json(path, {"key": "k", "figures": {"mask_iou": 0.5}})
    assert surface._known(path, "k") == {"mask_iou": 0.5} and surface._known(path, "other") is None
