"""The held-out evaluation on a tiny performer whose poses are known."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import TinyCapture, film

from bodydouble.avatar.values import Mesh
from bodydouble.capture.values import BodyTrack
from bodydouble.core.errors import InputError
from bodydouble.core.events import Event, Progress
from bodydouble.evaluate import heldout as heldout_module
from bodydouble.evaluate.heldout import DEFAULT_REGISTER, evaluate_heldout
from bodydouble.evaluate.pictures import difference_heat
from bodydouble.evaluate.protocol import HELDOUT_V1
from bodydouble.evaluate.results import HeldoutResult
from bodydouble.fit.outline import DEFAULT_OUTLINE
from bodydouble.render.protocol import RenderedSplats, SplatCloud
from bodydouble.render.reference import rasterize_reference
from bodydouble.render.select import make_rasterizer

FRAMES = 32
SMALL = dataclasses.replace(HELDOUT_V1, crop_px=96)
SHIFT_M = torch.tensor([0.06, 0.0, 0.0])


def reference(splats: SplatCloud, camera, background=None) -> RenderedSplats:
    return rasterize_reference(splats, camera, torch.zeros(3) if background is None else background)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyCapture:
    return film(tmp_path_factory.mktemp("tiny"), FRAMES, absent=(31,))


def score(
    tiny: TinyCapture, fit: BodyTrack, refined: BodyTrack, emit: Callable[[Event], None] = lambda _: None, **options
) -> HeldoutResult:
    options = {"outline": None} | options
    return evaluate_heldout(tiny.capture, tiny.avatar, fit, refined, reference, emit, protocol=SMALL, **options)


def shifted(track: BodyTrack) -> BodyTrack:
    return track.replace(translation_world_m=track.translation_world_m + SHIFT_M)


def refined_but_not_heldout(tiny: TinyCapture) -> BodyTrack:
    """The truth on training frames and nonsense on held-out ones, which must not be read."""
    translation = tiny.truth.translation_world_m.clone()
    translation[7::8] += 3.0
    return tiny.truth.replace(translation_world_m=translation)


@pytest.fixture(scope="module")
def perfect(tiny: TinyCapture) -> HeldoutResult:
    return score(tiny, tiny.truth, tiny.truth, register=None)


def test_the_truth_scores_up_to_soft_edges_and_video_compression(perfect: HeldoutResult) -> None:
    assert [row.frame_index for row in perfect.rows] == [7, 15, 23]
    for row in perfect.rows:
        assert row.figures.psnr_box > 26.0
        assert row.figures.psnr_box_native > 26.0
        assert row.figures.psnr_full > row.figures.psnr_box_native  # black around it is easy
        assert row.figures.ssim_box > 0.92
        assert row.figures.mask_iou > 0.97
        assert row.native_crop_px > 80


def test_frames_without_a_mask_are_named_not_scored(perfect: HeldoutResult) -> None:
    assert perfect.skipped == (31,)


def test_hands_are_scored_only_where_they_were_seen(perfect: HeldoutResult) -> None:
    assert perfect.rows[0].figures.psnr_hands > 24.0
    assert np.isnan(perfect.rows[2].figures.psnr_hands)
    assert all(np.isnan(row.figures.psnr_face) for row in perfect.rows)
    assert (perfect.mean().frames_with_hands, perfect.mean().frames_with_face) == (2, 0)


def test_still_and_moving_frames_are_told_apart(perfect: HeldoutResult) -> None:
    assert [row.moving for row in perfect.rows] == [False, True, True]
    assert perfect.rows[0].speed_heights_per_s < 0.01


def test_without_registration_its_figures_are_unknown(perfect: HeldoutResult) -> None:
    assert np.isnan(perfect.mean().figures.psnr_box_registered)
    assert np.isnan(perfect.mean().figures.mask_iou_registered)


def test_each_column_uses_its_own_pose(
    tiny: TinyCapture, monkeypatch: pytest.MonkeyPatch, perfect: HeldoutResult
) -> None:
    asked: list[tuple[list[int], torch.Tensor]] = []

    def register(capture, avatar, track, frame_indices, rasterizer, config, emit) -> BodyTrack:
        asked.append((list(frame_indices), track.translation_world_m[7].clone()))
        assert config is DEFAULT_REGISTER
        return tiny.truth

    monkeypatch.setattr(heldout_module, "register_frames", register)
    result = score(tiny, shifted(tiny.truth), refined_but_not_heldout(tiny))
    for row, best in zip(result.rows, perfect.rows, strict=True):
        assert row.figures.psnr_box < best.figures.psnr_box - 6.0
        assert row.figures.mask_iou < 0.9
        assert row.figures.psnr_box_interpolated == pytest.approx(best.figures.psnr_box, abs=0.05)
        assert row.figures.psnr_box_registered == pytest.approx(best.figures.psnr_box, abs=1e-6)
        assert row.figures.mask_iou_registered == pytest.approx(best.figures.mask_iou, abs=1e-6)
    ((indices, start),) = asked
    assert set(indices) <= {7, 15, 23, 31}
    torch.testing.assert_close(
        start, tiny.truth.translation_world_m[7]
    )  # registration starts from the interpolated pose


def test_the_outline_alone_brings_a_shifted_pose_back(tiny: TinyCapture, perfect: HeldoutResult) -> None:
    """The reference would take minutes for its renders, so that the fast rasteriser makes them."""
    off, emit = shifted(tiny.truth), lambda _: None
    result = evaluate_heldout(
        tiny.capture, tiny.avatar, off, off, make_rasterizer("auto"), emit,
        protocol=SMALL, register=None, train_indices=[0],
    )  # fmt: skip
    for row, best in zip(result.rows, perfect.rows, strict=True):
        assert row.figures.mask_iou < 0.9
        assert row.figures.mask_iou_outlined > 0.93
        assert row.figures.psnr_box + 3.0 < row.figures.psnr_box_outlined < best.figures.psnr_box + 0.5


def test_without_an_outline_its_figures_are_unknown(perfect: HeldoutResult) -> None:
    assert np.isnan(perfect.mean().figures.psnr_box_outlined)


def test_a_prediction_outside_the_mask_costs(tiny: TinyCapture, perfect: HeldoutResult) -> None:
    """The prediction is not masked by the truth: a blob beside the person must show."""
    splats = tiny.avatar.splats
    assert splats is not None
    means = splats.means_rest_m.clone()
    means[:10] = torch.tensor([0.33, 0.3, 0.0])
    worse = dataclasses.replace(
        tiny, avatar=dataclasses.replace(tiny.avatar, splats=splats.replace(means_rest_m=means))
    )
    result = score(worse, tiny.truth, tiny.truth, register=None)
    assert result.mean().figures.psnr_box < perfect.mean().figures.psnr_box - 3.0
    assert result.mean().figures.psnr_full < perfect.mean().figures.psnr_full - 3.0


def test_absent_frames_of_the_track_are_left_out(tiny: TinyCapture) -> None:
    valid = tiny.truth.valid.clone()
    valid[15] = False
    result = score(tiny, tiny.truth.replace(valid=valid), tiny.truth, register=None)
    assert [row.frame_index for row in result.rows] == [7, 23]
    assert result.skipped == (15, 31)


def test_examples_are_pictures_of_distinct_frames(perfect: HeldoutResult) -> None:
    assert [e.label for e in perfect.examples] == ["best", "median", "worst"]
    assert len({e.frame_index for e in perfect.examples}) == 3
    ranked = sorted(perfect.rows, key=lambda r: r.figures.psnr_box)
    assert perfect.examples[0].frame_index == ranked[-1].frame_index
    assert perfect.examples[2].frame_index == ranked[0].frame_index
    frame = np.asarray(Image.open(io.BytesIO(perfect.examples[0].frame_jpeg))).astype(float) / 255
    fit = np.asarray(Image.open(io.BytesIO(perfect.examples[0].fit_jpeg))).astype(float) / 255
    assert frame.shape == fit.shape == (96, 96, 3)
    np.testing.assert_allclose(frame[-3, 2], [0.1, 0.5, 0.2], atol=0.06)  # the wall, as filmed
    assert fit[-3, 2].max() < 0.06  # black


def test_progress_is_told(tiny: TinyCapture) -> None:
    events: list[Event] = []
    score(tiny, tiny.truth, tiny.truth, emit=events.append, register=None)
    done = [e for e in events if isinstance(e, Progress) and e.stage == "evaluate"]
    assert done[-1].done == done[-1].total == 4


def test_nothing_held_out_gives_an_empty_result(tmp_path: Path) -> None:
    short = film(tmp_path, 5)
    result = score(short, short.truth, short.truth)
    assert result.rows == () and result.examples == () and result.to_json()["frames"] == 0


def test_an_avatar_with_nothing_to_draw_is_refused(tiny: TinyCapture) -> None:
    bare = dataclasses.replace(tiny, avatar=dataclasses.replace(tiny.avatar, splats=None, mesh=None))
    with pytest.raises(InputError, match="neither splats nor a mesh"):
        score(bare, tiny.truth, tiny.truth)


def _slab() -> Mesh:
    """The torso as a flat red card on the hips."""
    corners = torch.tensor([[-0.14, 0.1, 0.0], [0.14, 0.1, 0.0], [0.14, 0.9, 0.0], [-0.14, 0.9, 0.0]])
    weights = torch.zeros(4, 4)
    weights[:, 0] = 1.0
    return Mesh(
        vertices_rest_m=corners,
        faces=torch.tensor([[0, 1, 2], [0, 2, 3], [0, 2, 1], [0, 3, 2]]),
        colors=torch.tensor([[0.9, 0.2, 0.2]]).repeat(4, 1),
        joints=torch.zeros(4, 4, dtype=torch.int64),
        weights=weights,
    )


def test_a_mesh_that_registration_leads_astray_keeps_the_pose_it_began_with(
    tiny: TinyCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = dataclasses.replace(tiny, avatar=dataclasses.replace(tiny.avatar, splats=None, mesh=_slab()))
    monkeypatch.setattr(heldout_module, "register_frames", lambda *args, **kwargs: shifted(shifted(tiny.truth)))
    for row in score(card, shifted(tiny.truth), refined_but_not_heldout(tiny)).rows:
        assert row.figures.psnr_box < row.figures.psnr_box_interpolated
        assert row.figures.psnr_box_registered == row.figures.psnr_box_interpolated
    better = score(card, shifted(tiny.truth), shifted(refined_but_not_heldout(tiny)), register=None)
    monkeypatch.setattr(heldout_module, "register_frames", lambda *args, **kwargs: tiny.truth)
    for row, before in zip(
        score(card, shifted(tiny.truth), shifted(refined_but_not_heldout(tiny))).rows, better.rows, strict=True
    ):
        assert row.figures.psnr_box_registered > before.figures.psnr_box_interpolated


def test_a_mesh_alone_has_no_outlined_figure(tiny: TinyCapture) -> None:
    card = dataclasses.replace(tiny, avatar=dataclasses.replace(tiny.avatar, splats=None, mesh=_slab()))
    result = score(card, tiny.truth, tiny.truth, register=None, outline=DEFAULT_OUTLINE)
    assert np.isnan(result.mean().figures.psnr_box_outlined) and result.mean().figures.psnr_box > 0.0


def test_heat_goes_from_black_to_pale() -> None:
    truth = np.zeros((1, 3, 3), dtype=np.float32)
    image = truth.copy()
    image[0, 1], image[0, 2] = 0.2, 0.9
    heat = difference_heat(image, truth)[0].astype(int).sum(axis=-1)
    assert heat[0] < 10 and heat[0] < heat[1] < heat[2] and heat[2] > 600
