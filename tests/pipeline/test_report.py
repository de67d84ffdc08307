"""The report: keys, unknown figures, well-formed self-contained HTML, words, and a look in a real browser."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from report_fakes import NAN, fake_heldout, fake_report

from bodydouble.evaluate.protocol import HELDOUT_V1
from bodydouble.evaluate.results import Figures, HeldoutResult
from bodydouble.pipeline.report import (
    EMBED_VIDEO_BELOW_BYTES,
    format_duration,
    format_number,
    format_percent,
    report_html,
    report_json,
    verdict_of,
    write_report,
)
from bodydouble.pipeline.report_data import ReportData, StageSeconds

VOID = {"meta", "img", "br", "link", "input", "hr", "source"}


class PageParser(HTMLParser):
    """Checks that tags nest, and collects what the page refers to, its ids and its text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.references: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.missing_alt = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        for name in ("src", "href", "srcset", "poster", "data", "action"):
            if values.get(name) is not None:
                self.references.append((tag, str(values[name])))
        if "id" in values:
            self.ids.append(str(values["id"]))
        self.missing_alt += tag == "img" and not values.get("alt")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data.strip())


def parsed(html: str) -> PageParser:
    parser = PageParser()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


def bare_report() -> ReportData:
    """What a run leaves that was never scored and whose figures are all unknown."""
    return fake_report(
        heldout=None,
        warnings=(),
        limbs=(),
        frame_quality=(),
        regions=(),
        overlays=(),
        faces=(),
        masks=(),
        coverage=(),
        provenance={},
        total_seen=NAN,
        peak_rss_mb=NAN,
        avatar_mb=NAN,
        seconds=StageSeconds(),
    )


@pytest.mark.parametrize("data", [fake_report(), bare_report(), fake_report(heldout=fake_heldout(1))])
def test_the_json_has_the_promised_keys(data: ReportData) -> None:
    document = report_json(data)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert {"perceive", "fit", "reconstruct", "total"} <= document["seconds"].keys()
    assert {"peak_rss_mb", "splats", "avatar_mb", "warnings"} <= document.keys()
    assert {
        "frames", "protocol", "psnr_box", "psnr_box_registered", "ssim_box", "psnr_full", "mask_iou", "psnr_hands",
        "psnr_face", "still", "moving",
    } <= document["heldout"].keys()  # fmt: skip


def test_json_figures_are_those_of_the_result() -> None:
    data = fake_report()
    assert data.heldout is not None
    document = report_json(data)
    assert document["heldout"]["psnr_box"] == pytest.approx(data.heldout.mean().figures.psnr_box)
    assert document["heldout"]["psnr_face"] is None
    assert document["heldout"]["frames"] == 24
    assert document["warnings"][0]["code"] == "never_seen"
    assert document["coverage"]["never_seen"] == ["left lower leg", "right lower leg", "left foot", "right foot"]
    assert document["limbs"][6] == {
        "name": "left leg", "seen_share": 0.0, "median_px": None, "worst_tenth_px": None, "median_share": None,
    }  # fmt: skip
    assert document["seconds"]["total"] == 149.0


def test_unknown_figures_are_null() -> None:
    document = report_json(bare_report())
    assert document["seconds"]["perceive"] is None and document["peak_rss_mb"] is None
    assert document["heldout"]["psnr_box"] is None and document["heldout"]["protocol"] == "heldout-v1"
    assert document["verdict"]["grade"] == "not scored"


@pytest.mark.parametrize("data", [fake_report(), bare_report(), fake_report(heldout=fake_heldout(1))])
def test_the_page_is_well_formed_and_refers_to_nothing_outside(data: ReportData) -> None:
    html = report_html(data)
    page = parsed(html)
    for tag, reference in page.references:
        if reference.startswith("#"):
            assert reference[1:] in page.ids
        else:
            assert reference.startswith("data:"), f"{tag} refers to {reference[:60]}"
    assert not re.search(r"https?://", html)
    assert "@import" not in html and "url(" not in html and "<script" not in html
    assert page.missing_alt == 0
    assert len(page.ids) == len(set(page.ids))
    assert "nan" not in re.sub(r'"data:[^"]*"', "", html).lower().replace("provenance", "")
    assert html.startswith("<!doctype html>") and 'lang="en"' in html


def test_the_page_has_every_section() -> None:
    headings = parsed(report_html(fake_report(truth={"joint error, cm": 2.5}))).headings
    assert headings == [
        "A recognisable double", "What to know", "Beside frames it never learnt from", "Held-out figures",
        "Frame by frame", "The fit over time", "Face", "How the body was followed", "What the video showed of the body",
        "Against the known truth", "Limb by limb", "Time", "The video", "Provenance",
    ]  # fmt: skip


def test_a_bare_page_has_no_empty_sections() -> None:
    assert parsed(report_html(bare_report())).headings == ["A double, not scored", "Time", "The video"]


def test_foreign_text_is_escaped() -> None:
    html = report_html(fake_report())
    assert "<script>alert" not in html and "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "clip &lt;of&gt; a &amp; b.mp4" in html


def test_the_protocol_is_printed_with_the_figures() -> None:
    from markupsafe import escape

    html = report_html(fake_report())
    for sentence in HELDOUT_V1.describe():
        assert str(escape(sentence)) in html
    assert "frame 199" in html.replace("\n", " ")


def test_a_small_turntable_is_embedded_and_a_large_one_linked(tmp_path: Path) -> None:
    video = tmp_path / "turntable.mp4"
    video.write_bytes(b"x" * 1000)
    assert 'src="data:video/mp4;base64,eHh4' in report_html(fake_report(turntable=video))
    video.write_bytes(b"x" * EMBED_VIDEO_BELOW_BYTES)
    assert '<video src="turntable.mp4"' in report_html(fake_report(turntable=video))
    video.unlink()
    assert "<video" not in report_html(fake_report(turntable=video))


def test_files_are_written_whole(tmp_path: Path) -> None:
    write_report(tmp_path, fake_report())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json"]
    assert json.loads((tmp_path / "report.json").read_text())["schema_version"] == 1


@pytest.mark.parametrize(
    ("registered", "grade"), [(25.4, "very close"), (21.5, "close"), (19.0, "recognisable"), (15.0, "rough")]
)
def test_the_verdict_follows_the_registered_figure(registered: float, grade: str) -> None:
    base = fake_heldout(1)
    row = dataclasses.replace(base.rows[0], figures=Figures(psnr_box=14.0, psnr_box_registered=registered))
    result = HeldoutResult(protocol=HELDOUT_V1, rows=(row,), skipped=())
    verdict = verdict_of(fake_report(heldout=result))
    assert verdict.grade == grade
    assert f"{registered:.1f} dB" in verdict.sentences[0] and "14.0 dB" in verdict.sentences[0]


def test_without_registration_the_fit_decides() -> None:
    row = dataclasses.replace(fake_heldout(1).rows[0], figures=Figures(psnr_box=22.0, mask_iou=0.9))
    verdict = verdict_of(fake_report(heldout=HeldoutResult(protocol=HELDOUT_V1, rows=(row,), skipped=())))
    assert verdict.grade == "close" and "best pose" not in verdict.sentences[0]


def test_numbers_for_people() -> None:
    assert format_number(20480.0, 0) == "20\u202f480"
    assert format_number(NAN) == format_percent(NAN) == format_duration(NAN) == "\u2013"
    assert format_percent(0.943) == "94\u202f%"
    assert format_duration(8.21) == "8.2\u202fs"
    assert format_duration(59.97) == "1\u202fmin 0\u202fs"
    assert format_duration(149.0) == "2\u202fmin 29\u202fs"


@pytest.mark.parametrize("width", [1280, 520])
def test_a_browser_shows_the_page_without_sideways_scrolling(tmp_path: Path, width: int) -> None:
    browser = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    html = report_html(fake_report())
    probe = (
        "<script>addEventListener('load', () => { const d = document.documentElement;"
        "const broken = [...document.images].filter(i => !i.naturalWidth).length;"
        "document.title = `width ${d.scrollWidth} of ${d.clientWidth}, broken ${broken}`; })</script>"
    )
    page = tmp_path / "report.html"
    page.write_text(html.replace("</body>", probe + "</body>"), encoding="utf-8")
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1600", "--virtual-time-budget=3000",
    ]  # fmt: skip
    dumped = subprocess.run([*command, "--dump-dom", page.as_uri()], capture_output=True, timeout=120, check=True)
    title = re.search(r"<title>width (\d+) of (\d+), broken (\d+)</title>", dumped.stdout.decode())
    assert title is not None, dumped.stderr.decode()[-500:]
    scroll_px, client_px, broken = (int(x) for x in title.groups())
    assert scroll_px <= client_px and broken == 0

    shot = tmp_path / "shot.png"
    subprocess.run([*command, f"--screenshot={shot}", page.as_uri()], capture_output=True, timeout=120, check=True)
    with Image.open(shot) as picture:
        assert picture.size == (width, 1600)
        assert len(set(picture.convert("L").tobytes())) > 20  # something is drawn
