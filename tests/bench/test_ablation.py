"""The ablation's variants and its table."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path

import pytest

from bodydouble.bench.ablation import (
    VARIANTS,
    ablation_rows,
    run,
    with_everything,
    without_alignment,
    without_confidence,
    without_context,
)
from bodydouble.bench.page import page
from bodydouble.core.errors import InputError
from bodydouble.pipeline.presets import DRAFT


def test_each_variant_leaves_out_one_thing() -> None:
    everything = with_everything(DRAFT.splats)
    assert everything.density.rule == "context"
    assert everything.confidence.use
    assert everything.rates.rotvecs_rad > 0.0
    unaligned = without_alignment(DRAFT.splats)
    assert unaligned.register_at == ()
    assert unaligned.rates.rotvecs_rad == unaligned.rates.translation_m == 0.0
    assert (unaligned.density, unaligned.confidence) == (everything.density, everything.confidence)
    plain = without_context(DRAFT.splats)
    assert plain.density.rule == "share"
    assert (plain.rates, plain.confidence) == (everything.rates, everything.confidence)
    certain = without_confidence(DRAFT.splats)
    assert not certain.confidence.use
    assert (certain.rates, certain.density) == (everything.rates, everything.density)
    assert [variant.name for variant in VARIANTS if variant.recipe == "eva"] == ["recipe eva"]


def test_the_spread_is_over_seeds_of_the_mean_over_captures() -> None:
    values = {("a", 0): 20.0, ("b", 0): 30.0, ("a", 1): 22.0, ("b", 1): 30.0, ("a", 2): 21.0, ("b", 2): 33.0}
    scores = {
        (variant, subject, seed): {
            "psnr_box": value + (variant == "all"),
            "psnr_hands": None if subject == "a" else 15.0,
        }
        for variant in ("all", "none")
        for (subject, seed), value in values.items()
    }
    rows = {row.name: row.value for row in ablation_rows(scores, ["a", "b"], 3)}
    by_seed = [25.0, 26.0, 27.0]
    assert rows["none: psnr_box, mean"] == pytest.approx(26.0)
    assert rows["all: psnr_box, mean"] == pytest.approx(27.0)
    assert rows["none: psnr_box, spread"] == pytest.approx(statistics.stdev(by_seed))
    assert rows["none: psnr_box, a"] == pytest.approx(21.0)
    # A capture on which no hands were seen does not take part.
    assert rows["all: psnr_hands, mean"] == pytest.approx(15.0)
    assert rows["all: psnr_hands, spread"] == 0.0


def test_the_page_shows_means_with_their_spread() -> None:
    scores = {
        (variant, subject, seed): {"psnr_box": 20.0 + seed}
        for variant, subject, seed in itertools.product(("all", "recipe eva"), ("a", "b"), range(3))
    }
    about = {"version": "1", "processor": "p", "threads": "2", "torch": "t"}
    text = page(ablation_rows(scores, ["a", "b"], 3), [], about, "bodydouble bench ablation")
    assert "## ablation" in text
    assert "| recipe eva | 21.00 ± 1.00 |" in text
    assert "| a | psnr_box |" in text


def test_a_folder_without_a_capture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no capture.*Name the folder of a run"):
        run(tmp_path / "out", lambda event: None, quick=True, preset=DRAFT, captures=[tmp_path], seeds=1)
