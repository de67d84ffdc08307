"""The benchmark over a corpus and the page about it."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus_captures import make_capture
from finished_corpus import Small, make_corpus

from bodydouble.body.anny import AnnyBody, load_anny
from bodydouble.capture.folder import Capture
from bodydouble.cli.main import main
from bodydouble.core.errors import ConfigError, InputError
from bodydouble.corpus.bench import BenchConfig, bench_payloads, bench_subject, bench_table, format_table
from bodydouble.corpus.bench_run import bench_corpus
from bodydouble.corpus.collection import read_collection
from bodydouble.corpus.even_odd import even_odd_capture, even_odd_numbers
from bodydouble.corpus.filters import default_filters, with_changes
from bodydouble.corpus.forget import PUBLISHED
from bodydouble.corpus.report import write_report
from bodydouble.corpus.wildavatar_layout import annotated_frames
from bodydouble.pipeline import presets


@pytest.fixture(scope="module")
def anny() -> AnnyBody:
    return load_anny()


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory, anny: AnnyBody) -> Capture:
    return make_capture(tmp_path_factory.mktemp("item"), anny, 24)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, anny: AnnyBody) -> Small:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "root", anny)


# --- the split ---


def test_even_places_are_trained_on_and_odd_ones_held_out(capture: Capture, tmp_path: Path) -> None:
    """The pictures under the new numbers are the source's, and nothing in between is observed."""
    track = capture.track()
    rows = annotated_frames(capture, track)
    assert len(rows) == 20 and rows[0] == 0 and rows[-1] == 23
    split = even_odd_capture(capture, rows, tmp_path / "split")
    assert split.train_indices() == [8 * k for k in range(10)] and split.heldout_indices() == [
        8 * k + 7 for k in range(10)
    ]
    source = {f.index: f.rgb for f in capture.frames(rows)}
    for row, frame in zip(rows, split.frames(even_odd_numbers(20)), strict=True):
        np.testing.assert_array_equal(frame.rgb, source[row])
        np.testing.assert_array_equal(split.mask(frame.index), capture.mask(row))
    torch.testing.assert_close(split.track().rotvecs, track.rotvecs[rows])
    torch.testing.assert_close(split.observations().times_s, capture.observations().times_s[rows])


def test_a_split_needs_an_even_number_of_frames(capture: Capture, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="even number"):
        even_odd_capture(capture, [0, 1, 2], tmp_path / "odd")


# --- the table ---


def row(subject: str, method: str, psnr: float | None, failure: str = "") -> dict:
    figures = (
        {}
        if psnr is None
        else {"bodydouble-v1": {"psnr_box": psnr, "ssim_box": 0.9}, "wildavatar": {"psnr_full": psnr + 5}}
    )
    return {"subject": subject, "method": method, "seconds": 2.0, "figures": figures, "failure": failure}


def test_means_are_over_subjects_that_every_method_finished_and_failures_are_shown() -> None:
    config = BenchConfig(methods=("splats", "eva-recipe"))
    table = bench_table(config, [
        row("a", "splats", 20.0), row("a", "eva-recipe", 18.0), row("b", "splats", 24.0), row("b", "eva-recipe", 22.0),
        row("c", "splats", 40.0), row("c", "eva-recipe", None, "it broke"),
    ])  # fmt: skip
    assert table.common() == ["a", "b"]
    assert table.spread("splats", "bodydouble-v1", "psnr_box") == (22.0, pytest.approx(2.0 * math.sqrt(2)))
    assert math.isnan(table.spread("splats", "bodydouble-v1", "mask_iou")[0])
    text = format_table(table)
    assert "| splats | 22.00 ± 2.83 |" in text and "| 1 of 3 |" in text and "eva-recipe failed on c: it broke" in text
    assert "odd places are tested on" in text and "Protocol wildavatar" in text
    json.dumps(table.to_json(), allow_nan=False)
    hopeless = bench_table(config, [row("a", "splats", 20.0), row("a", "eva-recipe", None, "not here")])
    assert hopeless.spread("splats", "bodydouble-v1", "psnr_box") == (20.0, 0.0) and "| 1 of 1 |" in format_table(
        hopeless
    )


def test_unknown_methods_and_splits_are_refused() -> None:
    with pytest.raises(ConfigError, match="choose from splats, eva-recipe, surface, both"):
        BenchConfig(methods=("nerf",))
    with pytest.raises(ConfigError, match="wildavatar or heldout"):
        BenchConfig(split="odd")


def test_a_subject_is_trained_scored_and_not_trained_again(
    capture: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splats = dataclasses.replace(presets.DRAFT.splats, num_seeds=1200, max_splats=1500, size_px=96)
    monkeypatch.setattr(presets, "preset", lambda name: dataclasses.replace(presets.DRAFT, splats=splats))
    (payload,) = bench_payloads({"one": capture.folder}, BenchConfig(steps=30), tmp_path)
    found = bench_subject(payload)
    assert found["failure"] == ""
    assert found["figures"]["bodydouble-v1"]["psnr_box"] > 12.0 and found["figures"]["bodydouble-v1"]["mask_iou"] > 0.6
    assert found["figures"]["wildavatar"]["psnr_full"] > found["figures"]["bodydouble-v1"]["psnr_box"]
    assert bench_subject(payload) == found  # times and all: it was read


def test_a_corpus_on_which_a_method_fails_still_gives_a_table(small: Small, tmp_path: Path) -> None:
    """Too few frames for the split: every run fails, says why, and the corpus remembers the folder."""
    for folder in small.root.rglob("capture"):
        for mask in sorted((folder / "masks").glob("*.png"))[10:]:
            mask.rename(mask.with_suffix(".away"))
    try:
        table = bench_corpus(
            small.root, tmp_path / "bench", default_filters(), BenchConfig(), lambda e: None, workers=0
        )
    finally:
        for mask in small.root.rglob("*.away"):
            mask.rename(mask.with_suffix(".png"))
    assert len(table.failures("splats")) == 2 and "the split needs 20" in table.rows[0].failure
    assert (tmp_path / "bench" / "bench.md").read_text().count("failed on") == 2
    assert str(tmp_path / "bench") in read_collection(small.root).catalogue.section(PUBLISHED)
    with pytest.raises(InputError, match="no finished item"):
        nothing = with_changes(default_filters(), ["pck_02=1"])
        bench_corpus(small.root, tmp_path / "none", nothing, BenchConfig(), lambda e: None, workers=0)


# --- the page ---


class Page(HTMLParser):
    """Collects what a page refers to, and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.links += [v for k, v in attrs if k in ("src", "href") and v]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.links += [v for k, v in attrs if k in ("src", "href") and v]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_shows_every_step_with_pictures_and_loads_nothing(small: Small, tmp_path: Path) -> None:
    text = write_report(small.root, tmp_path / "report.html", default_filters()).read_text()
    page = Page()
    page.feed(text)
    assert not page.open and all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    assert len(page.links) == 6  # each candidate once: three kept (one of them withheld on publishing), three rejected
    for step in ("usable", "P-I", "P-II", "P-III", "P-IV"):
        assert f'<span class="step">{step}</span>' in text
    assert "motion 0.01 &lt; 0.02" in text and "tracks: nobody was found" in text and "the file cannot be read" in text
    assert re.search(r"<td>P-III</td>.*?<td>75.0 %</td>", text) and "nan" not in re.sub(r"base64,\S+", "", text).lower()


def test_commands(small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(small.root)
    assert main(["corpus", "filters", "--set", "pck_02=0.9", "--set", "motion=0.02"]) == 0
    (tmp_path / "mine.json").write_text(capsys.readouterr().out)
    assert main(["corpus", "tune", root, "--filters", str(tmp_path / "mine.json"), "--json"]) == 0
    assert [r["left"] for r in json.loads(capsys.readouterr().out)["rows"]] == [6, 5, 4, 4, 2, 2]
    assert main(["corpus", "tune", root, "--set", "nothing=1"]) == 1
    assert "no rule is about 'nothing'" in capsys.readouterr().err
    assert main(["corpus", "publish", root, "-o", str(tmp_path / "wa"), "--layout", "wildavatar", "--links-only"]) == 0
    assert "2 subjects" in capsys.readouterr().out and (tmp_path / "wa" / "train.txt").is_file()
