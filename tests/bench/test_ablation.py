"""The ablation's variants and its table."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tiny_person import film_person

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
from bodydouble.core.events import Event
from bodydouble.fit.pose_problem import RegisterConfig
from bodydouble.pipeline.presets import DRAFT
from bodydouble.reconstruct.splats.config import SplatsConfig
from bodydouble.reconstruct.splats.eva_config import EvaConfig


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


def test_variants_are_trained_on_the_same_capture_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The suite with two of its variants, on a tiny person and with hardly any steps."""
    from bodydouble.bench import ablation
    from bodydouble.reconstruct.splats import recipes

    capture = film_person(tmp_path)
    micro = SplatsConfig(
        num_steps=8, num_seeds=600, max_splats=700, max_frames=4, size_px=64, register_at=(0.5,),
        register=RegisterConfig(rounds=1, size_px=64),
    )  # fmt: skip
    preset = replace(DRAFT, splats=micro, register_sweeps=(0,))
    monkeypatch.setattr(recipes, "EvaConfig", partial(EvaConfig, num_steps=4, opacity=0.2, sh_degree_from=2))
    events: list[Event] = []
    trained: list[tuple[str, int]] = []

    def noted(recipe, found, body, config, folder, device):
        trained.append((recipe, config.seed))
        yield from recipes.reconstruct_by(recipe, found, body, config, folder, device)

    monkeypatch.setattr(ablation, "reconstruct_by", noted)
    monkeypatch.setattr(ablation, "VARIANTS", (VARIANTS[0], VARIANTS[-1]))
    rows, remarks = run(tmp_path / "out", events.append, quick=False, preset=preset, captures=[capture.folder], seeds=2)
    figures = {row.name: row.value for row in rows}
    assert sorted(trained) == sorted([("default", 0), ("default", 1), ("eva", 0), ("eva", 1)])
    for variant in (VARIANTS[0], VARIANTS[-1]):
        assert 5.0 < figures[f"{variant.name}: psnr_box, mean"] < 60.0
        assert figures[f"{variant.name}: psnr_box, spread"] >= 0.0
        assert figures[f"{variant.name}: splats, mean"] > 300
    assert "2 seeds on capture" in remarks[0]
    again, _ = run(tmp_path / "out", events.append, quick=False, preset=preset, captures=[capture.folder], seeds=2)
    assert len(trained) == 4  # nothing was trained again
    assert [row.name for row in again] == list(figures)
    assert np.array_equal([row.value for row in again], list(figures.values()), equal_nan=True)
    changed = replace(preset, splats=replace(micro, num_seeds=601))
    run(tmp_path / "out", events.append, quick=False, preset=changed, captures=[capture.folder], seeds=1)
    assert len(trained) == 6


def test_a_folder_without_a_capture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no capture.*Name the folder of a run"):
        run(tmp_path / "out", lambda event: None, quick=True, preset=DRAFT, captures=[tmp_path], seeds=1)
