"""Means, JSON, folders and tables of held-out results."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from bodydouble.core.errors import InputError
from bodydouble.evaluate.protocol import HELDOUT_V1
from bodydouble.evaluate.results import (
    FIGURE_NAMES,
    Figures,
    FrameScore,
    HeldoutExample,
    HeldoutResult,
    format_table,
    load_heldout,
    save_heldout,
)

NAN = float("nan")


def score(index: int, moving: bool | None, **figures: float) -> FrameScore:
    return FrameScore(
        frame_index=index,
        time_s=index / 30,
        speed_heights_per_s=NAN if moving is None else 0.4 * moving,
        moving=moving,
        native_crop_px=300 + index,
        figures=Figures(**figures),
    )


def example_result() -> HeldoutResult:
    return HeldoutResult(
        protocol=HELDOUT_V1,
        rows=(
            score(7, False, psnr_box=22.0, psnr_box_registered=24.0, psnr_hands=14.0),
            score(15, True, psnr_box=18.0, psnr_box_registered=21.0),
            score(23, None, psnr_box=20.0, psnr_box_registered=22.5),
        ),
        skipped=(31,),
        examples=(
            HeldoutExample(
                frame_index=7,
                time_s=7 / 30,
                label="best",
                frame_jpeg=b"a",
                fit_jpeg=b"bb",
                registered_jpeg=b"ccc",
                difference_jpeg=b"",
            ),
        ),
        seconds=1.5,
    )


def test_means_leave_out_what_does_not_exist() -> None:
    result = example_result()
    assert result.mean().frames == 3
    assert result.mean().figures.psnr_box == pytest.approx(20.0)
    assert result.mean().figures.psnr_hands == pytest.approx(14.0)
    assert (result.mean().frames_with_hands, result.mean().frames_with_face) == (1, 0)
    assert math.isnan(result.mean().figures.psnr_face)
    assert (result.still().frames, result.moving().frames) == (1, 1)
    assert result.moving().figures.psnr_box == pytest.approx(18.0)


def test_json_has_the_figures_under_their_names_and_no_nan() -> None:
    document = example_result().to_json()
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text) == document
    for name in FIGURE_NAMES:
        assert name in document
    assert document["frames"] == 3 and document["protocol"] == "heldout-v1"
    assert document["psnr_face"] is None and document["psnr_hands"] == pytest.approx(14.0)
    assert document["rows"][2]["moving"] is None and document["rows"][2]["speed_heights_per_s"] is None
    assert document["still"]["frames"] == 1 and document["native_crop_px_median"] == 315
    assert any("Protocol heldout-v1" in sentence for sentence in document["protocol_text"])


def test_a_result_survives_the_disk(tmp_path: Path) -> None:
    result = example_result()
    save_heldout(result, tmp_path / "heldout")
    save_heldout(result, tmp_path / "heldout")  # again: replaces
    back = load_heldout(tmp_path / "heldout")
    assert back.to_json() == result.to_json()
    assert back.examples == result.examples
    assert back.protocol is HELDOUT_V1


def test_an_empty_result_is_json_too(tmp_path: Path) -> None:
    empty = HeldoutResult(protocol=HELDOUT_V1, rows=(), skipped=())
    assert empty.to_json()["psnr_box"] is None and empty.to_json()["frames"] == 0
    save_heldout(empty, tmp_path / "e")
    assert load_heldout(tmp_path / "e").rows == ()


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is missing"):
        load_heldout(tmp_path)
    save_heldout(example_result(), tmp_path / "h")
    (tmp_path / "h" / "fit_000007.jpg").unlink()
    with pytest.raises(InputError, match="does not hold a held-out evaluation that this version can read"):
        load_heldout(tmp_path / "h")


def test_the_table_prints_every_figure_and_the_protocol() -> None:
    text = format_table(example_result())
    for name in FIGURE_NAMES:
        assert f"\n{name} " in text
    line = next(x for x in text.splitlines() if x.startswith("psnr_box_registered"))
    assert line.split()[1:] == ["22.50", "24.00", "21.00"]
    assert "hands were seen in 1 and a face in 0 of 3 frames" in text
    assert all(sentence in text for sentence in HELDOUT_V1.describe())


def test_results_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        example_result().seconds = 3.0  # type: ignore[misc]
