"""The report's words about a training."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from report_fakes import fake_report

from bodydouble.core.events import Densified, PartDensity
from bodydouble.pipeline.report import report_html, report_json
from bodydouble.pipeline.report_data import TrainingStory
from bodydouble.pipeline.report_training import density_json, density_rows, training_story
from bodydouble.reconstruct.splats.log import ConfidenceMap, TrainingLog, write_log

PARTS = (
    PartDensity(part="body", gradient=5e-4, threshold=4e-4, cloned=3, split=2, pruned=1, total=104),
    PartDensity(part="hands", gradient=math.nan, threshold=2e-4, cloned=0, split=0, pruned=0, total=7),
)
EVENT = Densified(step=50, cloned=3, split=2, pruned=1, total=111, parts=PARTS)


def test_a_training_that_left_nothing_is_not_told(tmp_path: Path) -> None:
    assert training_story(tmp_path) is None
    assert density_rows(None) == ()
    assert density_json(None) == []


def test_the_table_says_what_happened_to_each_part() -> None:
    (row,) = density_rows(TrainingStory(parts=("body", "hands"), events=(EVENT,)))
    assert (row.cells[0].gradient, row.cells[0].threshold) == ("5.0", "4.0")
    assert (row.cells[0].added, row.cells[0].pruned, row.cells[0].total) == (5, 1, 104)
    assert row.cells[1].gradient == "\u2013"
    json.dumps(density_json(TrainingStory(events=(EVENT,))), allow_nan=False)


def test_doubts_are_bright_where_the_noise_is_and_dark_where_nobody_is(tmp_path: Path) -> None:
    noise = torch.zeros(4, 4)
    noise[:2], noise[2:, :2] = 0.02, 0.2
    found = ConfidenceMap(frame_index=12, rendered=torch.zeros(32, 32, 3, dtype=torch.uint8), noise=noise)
    write_log(tmp_path, TrainingLog([EVENT]), (found,))
    story = training_story(tmp_path)
    assert story is not None and story.parts == ("body", "hands")
    (picture,) = story.doubts
    assert "frame 12" in picture.caption
    assert "0.200" in picture.caption
    shown = np.asarray(Image.open(io.BytesIO(picture.data)), dtype=float)[:, shown_from(picture.width_px) :]
    half = shown.shape[0] // 2
    doubtful, sure, nobody = shown[half + 40 :, : half - 40], shown[: half - 40], shown[half + 40 :, half + 40 :]
    assert doubtful.mean() > 2 * sure.mean() > 1.2 * nobody.mean()


def shown_from(width_px: int) -> int:
    """The map is the right half of the picture."""
    return width_px // 2


def test_page_and_json_hold_the_story() -> None:
    data = dataclasses.replace(fake_report(), training=TrainingStory(parts=("body", "hands"), events=(EVENT,)))
    page = report_html(data)
    assert "How it was trained" in page
    assert "by part of the body" in page
    (event,) = report_json(data)["density"]
    assert event["parts"][1]["gradient"] is None
    assert "How it was trained" not in report_html(fake_report())
