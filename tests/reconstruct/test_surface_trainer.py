"""A dressed person from a few frames without any mask: shape, masks, world, poses, and the way to disk and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dressed_person import COAT_M, FRAMES, film_dressed_person

from bodydouble.body.anny import load_anny
from bodydouble.core.errors import InputError
from bodydouble.core.events import Previewed, Step
from bodydouble.evaluate.triangle_tree import nearest_on_surface, triangle_tree
from bodydouble.reconstruct.surface.config import Level, SurfaceConfig, SurfaceRates
from bodydouble.reconstruct.surface.render import SurfaceRenderer, render_frame
from bodydouble.reconstruct.surface.store import load_surface
from bodydouble.reconstruct.surface.trainer import train_surface

CONFIG = SurfaceConfig(
    num_steps=150,
    num_rays=512,
    levels=(Level(voxel_m=0.04, until=0.5), Level(voxel_m=0.02, until=1.0)),
    masks="none",
    margin_m=0.15,
    rates=SurfaceRates(focal=1e-4),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("surface")
    film = film_dressed_person(folder)
    events, watched = [], []
    for event in train_surface(film.capture, load_anny(), CONFIG, folder):
        events.append(event)
        if isinstance(event, Previewed) and event.step in (1, CONFIG.num_steps):
            watched.append(event.take())
    return film, events, load_surface(folder), watched


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_person_and_world_come_apart_without_masks(trained):
    film, events, result, _ = trained
    steps = [e for e in events if isinstance(e, Step)]
    assert len(steps) == CONFIG.num_steps
    assert np.mean([s.terms["rgb"] for s in steps[-20:]]) < 0.7 * np.mean([s.terms["rgb"] for s in steps[:20]])
    renderer = SurfaceRenderer(result.field, load_anny())
    scores = []
    for f in (0, 5, FRAMES - 1):
        image = render_frame(result, renderer, f)
        scores.append(_iou((image.alpha > 0.5).numpy(), film.masks[f]))
        lengths = image.normals_world.norm(dim=2)[image.alpha > 0.5]
        torch.testing.assert_close(lengths, torch.ones_like(lengths), atol=1e-4, rtol=0)
        depth = image.depth_m[image.alpha > 0.5]
        assert float(depth.min()) > 2.3 and float(depth.max()) < 3.4
    assert np.mean(scores) > 0.92, scores
    body = renderer.puppet.vertices
    from bodydouble.render.grid import sample_grid

    at_skin = sample_grid(result.field.sdf.values, result.field.sdf.origin_canonical_m, result.field.sdf.voxel_m, body)[
        0
    ]
    assert 0.4 * COAT_M < -float(at_skin.median()) < 1.8 * COAT_M  # the coat is that thick


def test_the_world_is_the_wall(trained):
    film, _, result, _ = trained
    height, width = film.wall.shape[:2]
    rows, columns = np.mgrid[4:height:8, 4:width:8]
    pixels = torch.from_numpy(np.stack([columns, rows], -1).reshape(-1, 2)).float() + 0.5
    seen = result.world.seen(0, pixels) > 0.9
    assert float(seen.float().mean()) > 0.8
    error = result.world.colors_at(0, pixels) - torch.from_numpy(film.wall[rows, columns].reshape(-1, 3))
    assert float(error[seen].abs().mean()) < 0.03


def test_true_poses_stay_near_and_held_out_frames_follow_their_neighbours(trained):
    film, _, result, _ = trained
    track = film.capture.track()
    assert float((result.track.translation_world_m - track.translation_world_m).norm(dim=1).max()) < 0.05
    assert 0.0 < abs(float(result.track.focal_px / track.focal_px) - 1.0) < 0.02
    assert 7 not in result.frame_indices.tolist()
    moved = result.track.translation_world_m - track.translation_world_m
    times = track.times_s.double()
    share = float((times[7] - times[6]) / (times[8] - times[6]))
    torch.testing.assert_close(moved[7], (1.0 - share) * moved[6] + share * moved[8], atol=1e-6, rtol=0)
    assert float(moved[7].norm()) > 0.0


def test_nothing_to_load_is_said(tmp_path: Path):
    with pytest.raises(InputError, match="no surface double yet"):
        load_surface(tmp_path)


def test_whoever_watches_sees_a_coarse_double_become_the_person(trained):
    _, events, _, (first, last) = trained
    assert [event.step for event in events if isinstance(event, Previewed)] == list(range(1, CONFIG.num_steps + 1))
    body = load_anny()
    shaped = body.with_shape(body.shape_default)
    tree = triangle_tree(shaped.vertices_rest.double().numpy(), body.faces.long().numpy())
    away = []
    for avatar in (first, last):
        assert avatar.splats is None and 2000 < len(avatar.mesh.vertices_rest_m) < 60_000
        torch.testing.assert_close(avatar.mesh.weights.sum(1), torch.ones(len(avatar.mesh.weights)))
        away.append(nearest_on_surface(tree, avatar.mesh.vertices_rest_m.double().numpy())[0])
    assert np.median(away[0]) < 0.01, "it begins as the bare body, in the rest pose"
    assert abs(np.median(away[1]) - COAT_M) < 0.015, "and puts on the coat"
    assert float((first.mesh.colors.mean(0) - last.mesh.colors.mean(0)).abs().max()) > 0.01
