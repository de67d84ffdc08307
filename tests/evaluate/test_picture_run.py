"""Scoring an avatar directly, and the same avatar through pictures that were written to a folder."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_heldout import reference, refined_but_not_heldout, shifted
from tiny import HEIGHT, WIDTH, TinyCapture, film

from bodydouble.capture.values import BodyTrack
from bodydouble.core.errors import ConfigError, InputError
from bodydouble.evaluate import picture_run
from bodydouble.evaluate.picture_results import PictureScores, format_picture_scores
from bodydouble.evaluate.picture_run import avatar_pictures, frames_rule, frames_to_score, score_pictures, with_poses
from bodydouble.evaluate.predictions import AvatarPictures, FolderPictures
from bodydouble.evaluate.protocols import (
    BODYDOUBLE_V1,
    EVA,
    NEUMAN,
    PEOPLESNAPSHOT_INSTANTAVATAR,
    PICTURE_PROTOCOLS,
    WILDAVATAR,
)
from bodydouble.fit.outline import outline_frames
from bodydouble.render.select import make_rasterizer

SMALL = dataclasses.replace(BODYDOUBLE_V1, base=dataclasses.replace(BODYDOUBLE_V1.base, crop_px=192))
HELD = [7, 15, 23]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyCapture:
    made = film(tmp_path_factory.mktemp("tiny"), 32, absent=(31,))
    made.capture.save_track(shifted(made.truth))  # the fit is off, the truth is what training found
    return made


def fast_outline(capture, rig, splats, track, frame_indices, _rasterizer, config, emit) -> BodyTrack:
    """The reference would take minutes for its renders."""
    return outline_frames(capture, rig, splats, track, frame_indices, make_rasterizer("auto"), config, emit)


@pytest.fixture(scope="module")
def source(tiny: TinyCapture) -> AvatarPictures:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture_run, "register_frames", lambda *args: tiny.truth)
        patch.setattr(picture_run, "outline_frames", fast_outline)
        return avatar_pictures(
            tiny.capture,
            tiny.avatar,
            refined_but_not_heldout(tiny),
            reference,
            HELD,
            SMALL,
            lambda _: None,
        )


def score(tiny: TinyCapture, source, protocol=SMALL) -> PictureScores:
    frames = frames_to_score(tiny.capture, protocol, "heldout")
    return score_pictures(tiny.capture, source, frames, protocol, None, lambda _: None, rule="held out")


@pytest.fixture(scope="module")
def direct(tiny: TinyCapture, source: AvatarPictures) -> PictureScores:
    return score(tiny, source)


def write(folder: Path, source: AvatarPictures, column: str, frames: list[int]) -> Path:
    folder.mkdir()
    for frame in frames:
        Image.fromarray(source.rgba(column, frame)).save(folder / f"frame_{frame:06d}.png")
    return folder


def folder_source(folder: Path, required: tuple[int, ...] = tuple(HELD)) -> FolderPictures:
    allowed = {31, *(frame - 1 for frame in required)}
    return FolderPictures(folder, width_px=WIDTH, height_px=HEIGHT, required=required, allowed=allowed)


def test_columns_are_poses_and_better_poses_score_better(direct: PictureScores) -> None:
    assert [column.name for column in direct.columns] == ["fit", "outlined", "interpolated", "registered"]
    assert [row.frame_index for row in direct.columns[0].rows] == HELD
    assert direct.skipped == (31,)
    for metric in ("psnr_box", "ssim_box", "ms_ssim_crop", "psnr_full", "mask_iou", "boundary_f"):
        assert direct.mean("registered", metric) > direct.mean("fit", metric), metric
        assert direct.mean("outlined", metric) > direct.mean("fit", metric), metric
        assert direct.mean("interpolated", metric) == pytest.approx(direct.mean("registered", metric), abs=0.05)
    assert direct.mean("registered", "flip_box") < direct.mean("fit", "flip_box")
    assert direct.mean("registered", "mask_recall") > 0.97 and direct.mean("registered", "mask_precision") > 0.97


@pytest.mark.parametrize("column", ["fit", "registered"])
def test_own_pictures_from_a_folder_score_exactly_as_the_avatar(
    tiny: TinyCapture, source: AvatarPictures, direct: PictureScores, tmp_path: Path, column: str
) -> None:
    folder = write(tmp_path / "p", source, column, [6, 7, 14, 15, 22, 23])
    through = score(tiny, folder_source(folder))
    expected = next(c for c in direct.columns if c.name == column)
    assert through.columns[0].rows == pytest.approx(expected.rows) or all(
        a.values == pytest.approx(b.values, abs=1e-12, nan_ok=True)
        for a, b in zip(through.columns[0].rows, expected.rows, strict=True)
    )
    assert not math.isnan(through.mean("predictions", "flicker_box"))


@pytest.mark.parametrize("protocol", [p for p in PICTURE_PROTOCOLS if p is not BODYDOUBLE_V1], ids=lambda p: p.name)
def test_foreign_protocols_score_both_alike(
    tiny: TinyCapture, source: AvatarPictures, tmp_path: Path, protocol
) -> None:
    columns = ("fit",) if protocol.poses == ("fit",) else ("registered", "fit")
    chosen = dataclasses.replace(
        source, columns=columns, tracks=tuple(source.tracks[source.columns.index(c)] for c in columns)
    )
    found = score(tiny, chosen, protocol)
    through = score(tiny, folder_source(write(tmp_path / "p", source, columns[0], HELD)), protocol)
    for metric in ("psnr_full", "ssim_full"):
        assert through.mean("predictions", metric) == pytest.approx(found.mean(columns[0], metric), abs=1e-12)
    assert dict(found.absent).keys() == {"lpips_full"} and math.isnan(found.mean(columns[0], "lpips_full"))


def test_without_the_frames_before_there_is_no_flicker(
    tiny: TinyCapture, source: AvatarPictures, direct: PictureScores, tmp_path: Path
) -> None:
    through = score(tiny, folder_source(write(tmp_path / "p", source, "fit", HELD)))
    assert math.isnan(through.mean("predictions", "flicker_box"))
    assert through.mean("predictions", "psnr_box") == pytest.approx(direct.mean("fit", "psnr_box"), abs=1e-12)


def test_frames_are_the_held_out_ones_or_the_protocols(tiny: TinyCapture) -> None:
    assert frames_to_score(tiny.capture, EVA, "heldout") == [7, 15, 23, 31]
    assert frames_to_score(tiny.capture, WILDAVATAR, "protocol") == list(range(1, 32, 2))


def test_an_imported_data_set_names_its_test_frames_and_its_subject(tiny: TinyCapture) -> None:
    split = ["test" if frame in (4, 5, 31) else "train" for frame in range(32)]
    try:
        tiny.capture.record_stage("import", {"sequence": "seattle", "split": split})
        assert frames_to_score(tiny.capture, NEUMAN, "protocol") == [4, 5, 31]
        assert frames_rule(tiny.capture, NEUMAN, "protocol") == "the test frames that the imported data set names"
        tiny.capture.record_stage("import", {"sequence": "female-3-casual", "split": [""] * 32})
        with pytest.raises(ConfigError, match="female-3-casual is tested on frames 446 to 647, this capture has 32"):
            frames_to_score(tiny.capture, PEOPLESNAPSHOT_INSTANTAVATAR, "protocol")
    finally:
        tiny.capture.record_stage("import", {})
    assert "places 1, 3, 5" in frames_rule(tiny.capture, WILDAVATAR, "protocol")
    assert "index % 8 == 7" in frames_rule(tiny.capture, WILDAVATAR, "heldout")


def test_frames_open_to_training_are_refused_for_our_own_avatar(tiny: TinyCapture) -> None:
    with pytest.raises(InputError, match=r"Frame 3 was open to the training .* \(1 of 2 test frames of neuman were\)"):
        avatar_pictures(tiny.capture, tiny.avatar, tiny.truth, reference, [3, 7], NEUMAN, lambda _: None)


def test_json_has_the_first_column_plainly_and_no_nan(direct: PictureScores) -> None:
    document = direct.to_json()
    json.dumps(document, allow_nan=False)
    assert document["protocol"] == "bodydouble-v1" and document["frames"] == 3
    assert document["psnr_box"] == pytest.approx(direct.mean("fit", "psnr_box"))
    assert document["psnr_box_registered"] == pytest.approx(direct.mean("registered", "psnr_box"))
    assert document["lpips_box"] is None and "weights" in document["absent"]["lpips_box"]
    assert document["columns"]["fit"]["frames_with"]["psnr_hands"] == 2
    assert len(document["columns"]["registered"]["rows"]) == 3
    still, moving = document["columns"]["fit"]["still"], document["columns"]["fit"]["moving"]
    assert still["psnr_box"] is not None and moving["psnr_box"] is not None


def test_the_table_prints_figures_protocol_and_what_is_absent(direct: PictureScores) -> None:
    text = format_picture_scores(direct)
    for metric in SMALL.metrics:
        assert f"\n{metric} " in text
    assert f"{direct.mean('registered', 'psnr_box'):.2f}" in text
    assert "lpips_box: absent, the weights of LPIPS (alex) are not on this machine" in text
    assert "Not scored (empty mask): frames 31." in text
    assert all(sentence in text for sentence in SMALL.describe())


def test_poses_are_taken_over_by_source_index(tiny: TinyCapture) -> None:
    other = shifted(tiny.truth)
    mixed = with_poses(tiny.truth, other, [3, 9, 99])
    same = (mixed.translation_world_m == tiny.truth.translation_world_m).all(dim=1)
    assert (~same).nonzero()[:, 0].tolist() == [3, 9]
    torch.testing.assert_close(mixed.translation_world_m[9], other.translation_world_m[9])


# --- folders from elsewhere ---


@pytest.fixture
def folder(source: AvatarPictures, tmp_path: Path) -> Path:
    return write(tmp_path / "theirs", source, "fit", HELD)


def test_a_missing_folder_or_picture_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        folder_source(folder / "nowhere")
    (folder / "frame_000015.png").unlink()
    with pytest.raises(
        InputError, match=r"lacks 1 of 3 pictures, the first is frame_000015.png\. Expected .* 7, 15, 23"
    ):
        folder_source(folder)


def test_pictures_of_other_frames_and_foreign_files_are_named(folder: Path, source: AvatarPictures) -> None:
    (folder / ".DS_Store").write_bytes(b"hidden files are let be")
    folder_source(folder)
    (folder / "frame_000012.png").write_bytes((folder / "frame_000007.png").read_bytes())
    with pytest.raises(
        InputError, match=r"holds 1 pictures of frames that are not scored, the first is frame_000012.png"
    ):
        folder_source(folder)
    (folder / "render_7.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"nothing but pictures named frame_%06d.png .*, found render_7.png\. Move"):
        folder_source(folder)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("RGBA", (WIDTH + 1, HEIGHT)), rf"frame_000007.png is {WIDTH + 1}x{HEIGHT}; the video is {WIDTH}x"),
        (Image.new("RGB", (WIDTH, HEIGHT)), "must be RGBA with 8 bits and straight alpha, found mode RGB"),
        (Image.new("I;16", (WIDTH, HEIGHT)), "found mode I"),
    ],
)
def test_odd_pictures_are_named(folder: Path, image: Image.Image, message: str) -> None:
    image.save(folder / "frame_000007.png")
    with pytest.raises(InputError, match=message):
        folder_source(folder)


def test_damaged_pictures_are_named(folder: Path) -> None:
    path = folder / "frame_000007.png"
    whole = path.read_bytes()
    path.write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"frame_000007.png is not a PNG picture"):
        folder_source(folder)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"frame_000007.png cannot be decoded"):
        folder_source(folder).rgba("predictions", 7)


def test_nothing_to_score_is_said(tmp_path: Path) -> None:
    short = film(tmp_path, 5)
    with pytest.raises(InputError, match="has no heldout test frames with the person in view"):
        frames_to_score(short.capture, EVA, "heldout")
    with pytest.raises(ConfigError, match="needs at least 10 frames"):
        frames_to_score(short.capture, NEUMAN, "protocol")


def test_rgba_is_of_the_videos_size(source: AvatarPictures) -> None:
    rgba = source.rgba("fit", 7)
    assert rgba.shape == (HEIGHT, WIDTH, 4) and rgba.dtype == np.uint8 and rgba[..., 3].max() == 255
