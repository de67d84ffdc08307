"""A tiny synthetic clip by the surface method, and then by both: what runs leave, that stages are kept, that pictures agree."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from e2e_micro import MICRO, SIZE, film_clip

from bodydouble.avatar.glb import load_avatar
from bodydouble.capture.folder import Capture, decode_png
from bodydouble.capture.video import probe
from bodydouble.core.errors import ConfigError
from bodydouble.pipeline.create import SURFACE_STAGES, RunResult, create
from bodydouble.pipeline.evaluate import evaluate_run
from bodydouble.pipeline.presets import DRAFT, with_choices
from bodydouble.reconstruct.surface.bake_config import BakeConfig
from bodydouble.reconstruct.surface.config import Level, SurfaceConfig
from bodydouble.synth.truth import read_truth

TINY = replace(
    MICRO,
    method="surface",
    surface=SurfaceConfig(
        num_steps=24, num_rays=512, max_frames=6, size_px=200, levels=(Level(voxel_m=0.04, until=1.0, half=True),)
    ),
    bake=BakeConfig(faces=3000, texture_px=256, texture_frames=6),
)


@pytest.fixture(scope="module")
def performer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_clip(tmp_path_factory.mktemp("performer")).parent


@pytest.fixture(scope="module")
def finished(performer: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return create(performer / "video.mp4", tmp_path_factory.mktemp("run") / "double", TINY, lambda event: None)


def test_what_a_surface_run_leaves(finished: RunResult, performer: Path) -> None:
    folder = finished.folder
    assert [record.name for record in finished.records] == list(SURFACE_STAGES)
    avatar = load_avatar(folder / "avatar.glb")
    assert avatar.splats is None and avatar.mesh is not None and avatar.mesh.texture is not None
    assert avatar.provenance.method == "surface" and avatar.provenance.source_sha256
    assert len(avatar.mesh.morphs) == 52 and (folder / "avatar.glb").stat().st_size < 12e6
    places, faces = np.unique(avatar.mesh.vertices_rest_m.numpy(), axis=0, return_inverse=True)
    corners = faces.reshape(-1)[avatar.mesh.faces.numpy()]
    edges = np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]), axis=1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    assert len(places) > 300 and (uses == 2).all()  # closed, once copies along seams are joined
    video = probe(performer / "video.mp4")
    assert probe(folder / "surface" / "person-removed.mp4").num_frames == video.num_frames
    track = Capture.open(folder / "capture").track()
    masks = sorted((folder / "surface" / "masks").glob("*.png"))
    assert [int(path.stem) for path in masks] == track.frame_indices.tolist()
    truth = read_truth(performer)
    shares = []
    for path in masks:
        found, true = decode_png(path.read_bytes()), truth.mask(int(path.stem))
        assert found is not None
        both = (found > 127) & (true > 127)
        shares.append(both.sum() / ((found > 127) | (true > 127)).sum())
    assert float(np.mean(shares)) > 0.6
    background = decode_png((folder / "surface" / "background.png").read_bytes())
    assert background is not None and background.shape == (SIZE[1], SIZE[0])


def test_the_report_takes_frames_apart_and_scores_the_mesh(finished: RunResult) -> None:
    report = json.loads((finished.folder / "report.json").read_text())
    assert report["method"] == "surface" and report["splats"] == 0
    surface = report["surface"]
    assert surface["watertight"] and surface["triangles"] > 500 and 20 < surface["volume_l"] < 200
    assert surface["seen_share"] + surface["mirrored_share"] + surface["invented_share"] == pytest.approx(1.0)
    assert surface["seen_share"] < 0.9  # a second from the front shows no back
    assert report["heldout"]["psnr_box"] > 10.0 and report["heldout"]["mask_iou"] > 0.5
    assert np.isfinite(report["heldout"]["psnr_box_registered"])
    html = (finished.folder / "report.html").read_text(encoding="utf-8")
    assert "taken apart" in html and html.count("frame, person, world, normals, mesh") == 4


def test_evaluate_scores_it_again(finished: RunResult) -> None:
    again = evaluate_run(finished.folder, "heldout-v1", "cpu", lambda event: None)
    report = json.loads((finished.folder / "report.json").read_text())
    assert again.to_json()["psnr_box"] == pytest.approx(report["heldout"]["psnr_box"], abs=0.05)


def test_both_keeps_the_surface_and_lays_splats_on_it(finished: RunResult, performer: Path, tmp_path: Path) -> None:
    surface = next(r for r in finished.records if r.name == "surface")
    mesh = load_avatar(finished.folder / "avatar.glb").mesh
    result = create(
        performer / "video.mp4", finished.folder, replace(TINY, method="both"), lambda event: None, resume=True
    )
    assert next(r for r in result.records if r.name == "surface") == surface
    avatar = load_avatar(finished.folder / "avatar.glb")
    assert avatar.splats is not None and avatar.mesh is not None and mesh is not None
    assert avatar.mesh.texture is not None and torch.equal(avatar.mesh.vertices_rest_m, mesh.vertices_rest_m)
    away = torch.cdist(avatar.splats.means_rest_m[::7], avatar.mesh.vertices_rest_m).amin(1)
    assert float(away.median()) < 0.03
    assert avatar.provenance.method == "both"


def test_recipes_are_for_splats() -> None:
    with pytest.raises(ConfigError, match="--method surface trains none"):
        with_choices(DRAFT, method="surface", recipe="eva")
