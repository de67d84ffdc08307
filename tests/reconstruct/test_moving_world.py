"""The world of a moving camera: gaps, seeds and training on a scene whose pictures are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bodydouble.capture.camera_motion import CameraMotion, still_camera
from bodydouble.reconstruct.surface.values import World
from bodydouble.reconstruct.surface.world_config import WorldConfig
from bodydouble.reconstruct.surface.world_pictures import WorldPictures, pixel_centres
from bodydouble.reconstruct.surface.world_seed import seed_world
from bodydouble.reconstruct.surface.world_splats import (
    MovingWorld,
    bilinear,
    filled,
    load_world,
    save_world,
)
from bodydouble.reconstruct.surface.world_train import _Trainer, _View
from bodydouble.render.select import make_rasterizer

WIDTH, HEIGHT, FOCAL, WALL_M = 64, 48, 60.0, 3.0


def sideways(frames: int = 5) -> CameraMotion:
    """A camera that goes to the right before a wall, and knows points of it."""
    still = still_camera(torch.arange(frames), WIDTH, HEIGHT, torch.tensor(FOCAL), method="structure", motion_px=9.0)
    T = still.T_camera_world.clone()
    T[:, 0, 3] = -0.1 * torch.arange(frames).double()
    x, y = torch.meshgrid(torch.linspace(-2, 2.4, 9), torch.linspace(-1.4, 1.4, 7), indexing="xy")
    points = torch.stack([x, y, torch.full_like(x, -WALL_M)], dim=-1).reshape(-1, 3)
    return still.replace(T_camera_world=T, moves=True, points_world=points, points_rgb=torch.zeros_like(points))


def wall(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Colours of the wall."""
    return 0.5 + 0.35 * np.stack([np.sin(3.0 * x), np.cos(2.5 * y), np.sin(2.0 * (x + y))], axis=-1)


def picture(motion: CameraMotion, row: int) -> np.ndarray:
    x, y = np.meshgrid((np.arange(WIDTH) + 0.5 - WIDTH / 2) / FOCAL, (np.arange(HEIGHT) + 0.5 - HEIGHT / 2) / FOCAL)
    eye = motion.eyes_world()[row].numpy()
    return wall(eye[0] + WALL_M * x, eye[1] - WALL_M * y).astype(np.float32)


def seeded(motion: CameraMotion, open_: np.ndarray):
    pictures = {row: (picture(motion, row) * 255).round().astype(np.uint8) for row in (0, 4)}
    return seed_world(
        pictures, dict.fromkeys(pictures, open_), motion, make_rasterizer("cpu"), step_px=3.0, most_splats=2000
    )


def test_seeds_lie_where_the_points_say():
    motion = sideways()
    splats = seeded(motion, np.ones((HEIGHT, WIDTH), bool))
    assert torch.allclose(splats.means_world[:, 2], torch.full((len(splats.means_world),), -WALL_M), atol=1e-3)
    place = splats.means_world.double().numpy()
    assert np.abs(splats.colors.numpy() - wall(place[:, 0], place[:, 1])).max() < 0.08
    first = (HEIGHT // 3) * 22
    assert first <= len(splats.means_world) < 1.5 * first  # the second picture adds its own edge alone


def test_a_wall_is_learnt_behind_somebody_who_hides_it_now_and_then(tmp_path: Path):
    motion = sideways()
    hidden = np.zeros((HEIGHT, WIDTH), bool)
    hidden[10:40, 25:32] = True  # in every picture at the same place, so others show what is behind
    views = []
    for row in range(5):
        target = picture(motion, row)
        target[hidden] = [1.0, 0.0, 1.0]
        gain = 1.1 if row == 3 else 1.0
        views.append(_View(row, torch.from_numpy(target * gain), torch.from_numpy((~hidden).astype(np.float32))))
    config = WorldConfig(num_steps=150, split_at=(0.3,), most_splats=900)
    trainer = _Trainer(seeded(motion, ~hidden), views, motion, make_rasterizer("cpu"), config)
    before = trainer.psnr()
    trainer.run(lambda event: None)
    assert trainer.psnr() > max(before + 3.0, 30.0)
    world = MovingWorld(trainer.splats, motion, make_rasterizer("cpu"))
    assert isinstance(world, World)
    assert float(world.log_gains[3].mean() - world.log_gains[1].mean()) == pytest.approx(np.log(1.1), abs=0.04)
    behind = world.image(2).numpy()
    middle = float(np.exp(world.log_gains[2].mean()))
    assert np.abs(behind[hidden][:, :3] - picture(motion, 2)[hidden] * middle).mean() < 0.06
    inner = torch.tensor([[20.0, 20.0], [50.3, 30.7]])
    assert (world.seen(2, inner) > 0.85).all()
    assert torch.allclose(
        world.colors_at(2, inner), bilinear((world.image(2) * 255).round().byte(), inner)[:, :3], atol=0.02
    )
    drawn, certain = WorldPictures(world, (WIDTH, HEIGHT))(2)
    asked = world.colors_at(2, pixel_centres(WIDTH, HEIGHT)).reshape(HEIGHT, WIDTH, 3)
    assert certain.mean() > 0.5
    away = (drawn - asked).abs()[torch.from_numpy(certain)]
    assert away.max() < 0.02 and away.mean() < 0.003  # 8 bits between them
    window = slice(8, 40), slice(10, 60)
    part, certain_part = WorldPictures(world, (WIDTH, HEIGHT))(2, window)
    both = torch.from_numpy(certain_part & certain[window])
    assert both.float().mean() > 0.5
    assert (part - drawn[window]).abs()[both].max() < 0.004  # gaps alone are filled from what is in view
    half, _ = WorldPictures(world, (WIDTH, HEIGHT), (WIDTH // 2, HEIGHT // 2))(2)
    assert half.shape == (HEIGHT // 2, WIDTH // 2, 3)
    assert (half - torch.nn.functional.avg_pool2d(drawn.permute(2, 0, 1), 2).permute(1, 2, 0)).abs().mean() < 0.03
    save_world(tmp_path / "world.safetensors", world)
    again = load_world(tmp_path / "world.safetensors", motion, make_rasterizer("cpu"))
    assert torch.allclose(again.image(3), world.image(3), atol=1e-5)
    brighter = again.colors_at(2, inner).mean()
    again.learn(2, inner, -torch.ones(2, 3), 1.0)
    assert again.colors_at(2, inner).mean() > brighter


def test_gaps_are_filled_from_around_and_what_is_covered_stays():
    alpha = torch.ones(32, 40)
    alpha[8:24, 10:30] = 0.0
    rgb = torch.tensor([0.2, 0.5, 0.8]) * alpha[..., None]
    out = filled(rgb, alpha)
    assert torch.allclose(out, torch.tensor([0.2, 0.5, 0.8]).expand(32, 40, 3), atol=1e-3)
    nothing = filled(torch.zeros(5, 7, 3), torch.zeros(5, 7))
    assert torch.equal(nothing, torch.zeros(5, 7, 3))


def test_pixels_are_read_between_their_centres():
    image = torch.tensor([[[0], [255]], [[0], [255]]], dtype=torch.uint8)
    at = torch.tensor([[0.5, 0.5], [1.0, 1.0], [1.5, 1.5], [9.0, -4.0]])
    assert torch.allclose(bilinear(image, at)[:, 0], torch.tensor([0.0, 0.5, 1.0, 1.0]))
