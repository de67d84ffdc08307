"""Planning: what becomes a source, what is said about it, what is refused; ids that depend on nothing but content."""

from __future__ import annotations

import csv
import dataclasses
import functools
import http.server
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from corpus_clips import quiet, write_clip
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.core.errors import ConfigError, InputError, MissingDependencyError
from bodydouble.corpus.catalogue import Catalogue
from bodydouble.corpus.fetch import download, download_command, local_video
from bodydouble.corpus.plan import PlanOptions, PlanSummary, plan
from bodydouble.corpus.values import Source, source_id


def files(folder: Path, names: dict[str, bytes]) -> Path:
    """Not videos; planning does not look inside."""
    for name, content in names.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def planned(sources: list[Path | str], root: Path, **options: Any) -> PlanSummary:
    return plan([str(s) for s in sources], root, PlanOptions(**options), quiet)


def table(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_folder_is_planned_once_and_copies_are_one_source(tmp_path: Path) -> None:
    videos = files(tmp_path / "v", {"a.mp4": b"one", "sub/B.MOV": b"two", "sub/copy.mkv": b"one", "notes.txt": b"no"})
    first = planned([videos], tmp_path / "c", licence="CC-BY-4.0")
    assert (first.added, first.copies, first.unlicensed) == (2, 1, 0)
    again = planned([videos], tmp_path / "c", licence="CC-BY-4.0")
    assert (again.added, again.changed, again.known, again.copies) == (0, 0, 2, 1)
    catalogue = Catalogue.open(tmp_path / "c")
    assert len(list(catalogue.sources())) == 2
    assert catalogue.rows("select count(*) from places")[1] == [(3,)]


def test_a_moved_folder_keeps_its_ids_and_gets_its_new_place(tmp_path: Path) -> None:
    videos = files(tmp_path / "v", {"a.mp4": b"one", "b.mp4": b"two"})
    planned([videos], tmp_path / "c")
    before = {s.id for s in Catalogue.open(tmp_path / "c").sources()}
    shutil.move(videos, tmp_path / "moved")
    assert planned([tmp_path / "moved"], tmp_path / "c").changed == 2
    after = list(Catalogue.open(tmp_path / "c").sources())
    assert {s.id for s in after} == before
    assert all(Path(s.uri).is_file() for s in after)


def test_what_is_said_later_replaces_and_what_is_not_said_stays(tmp_path: Path) -> None:
    videos = files(tmp_path / "v", {"a.mp4": b"one"})
    planned([videos], tmp_path / "c", licence="CC-BY-4.0", takedown_key="anna", consent="given")
    planned([videos], tmp_path / "c", licence="CC0-1.0")
    (source,) = Catalogue.open(tmp_path / "c").sources()
    assert (source.licence, source.takedown_key, source.consent) == ("CC0-1.0", "anna", "given")


@settings(max_examples=6, deadline=None)
@given(st.permutations(["a", "b", "c", "d"]), st.sampled_from(["x", "y/z"]))
def test_ids_do_not_depend_on_order_or_folder(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], place: str
) -> None:
    folder = tmp_path_factory.mktemp("order")
    files(folder / place, {f"{n}.mp4": n.encode() for n in order})
    planned([folder / place / f"{n}.mp4" for n in order], folder / "c")
    import hashlib

    wanted = {source_id(sha256=hashlib.sha256(n.encode()).hexdigest()) for n in "abcd"}
    assert {s.id for s in Catalogue.open(folder / "c").sources()} == wanted


def test_a_list_says_everything_about_a_video(tmp_path: Path) -> None:
    files(tmp_path, {"videos/a.mp4": b"one"})
    rows: list[dict[str, object]] = [
        {"path": "videos/a.mp4", "license": "CC-BY-4.0", "fps": "29.97", "width": 160, "height": 240, "sha256": "",
         "start_s": "1.5", "end_s": 3, "consent": "Given", "takedown_key": "k", "provenance": "my camera", "mood": "calm"},
        {"path": "https://example.org/watch?v=1", "license": "", "fps": "", "width": "", "height": "", "sha256": "",
         "start_s": "", "end_s": "", "consent": "", "takedown_key": "", "provenance": "", "mood": ""},
    ]  # fmt: skip
    done = planned([table(tmp_path / "list.csv", rows)], tmp_path / "c", licence="own")
    assert done.added == 2
    assert done.notes == ("list.csv: columns that are not used: mood.",)
    a, page = sorted(Catalogue.open(tmp_path / "c").sources(), key=lambda s: s.uri)
    assert (a.licence, a.fps_hz, a.width_px, a.height_px, a.start_s, a.end_s) == (
        "CC-BY-4.0",
        29.97,
        160,
        240,
        1.5,
        3.0,
    )
    assert (a.consent, a.takedown_key, a.provenance, a.bytes) == ("given", "k", "my camera", 3)
    assert page.id == source_id(uri="https://example.org/watch?v=1")
    assert (page.licence, page.takedown_key) == ("own", page.id)


def test_parquet_lists_are_read_alike(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    files(tmp_path, {"a.mp4": b"one"})
    pq.write_table(pa.table({"uri": ["a.mp4"], "licence": ["CC0-1.0"], "fps": [25.0]}), tmp_path / "l.parquet")
    planned([tmp_path / "l.parquet"], tmp_path / "c")
    (source,) = Catalogue.open(tmp_path / "c").sources()
    assert (source.fps_hz, source.licence) == (25.0, "CC0-1.0")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"uri": "none.mp4"}, r"row 2: .*none.mp4 does not exist. Paths are relative to the list"),
        ({"uri": ""}, "row 2: no `uri`"),
        ({"name": "x"}, "has no column `uri`"),
        ({"uri": "a.mp4", "consent": "perhaps"}, "consent is 'perhaps'; expected one of: given"),
        ({"uri": "a.mp4", "fps": "fast"}, "fps must be a number, found 'fast'"),
        ({"uri": "a.mp4", "width": "-3"}, "width must be a number from 0 to 1e"),
        ({"uri": "a.mp4", "width": "1e300"}, "width must be a number from 0 to 1e"),
        ({"uri": "a.mp4", "start_s": "nan"}, "start_s must be a number from 0 to 1e"),
        ({"uri": "x" * 5000}, "is no name of a file"),
        ({"uri": "a.mp4", "sha256": "12"}, "sha256 must be 64 hexadecimal digits"),
        ({"uri": "a.mp4", "start_s": "3", "end_s": "2"}, r"end_s \(2\) must be after start_s \(3\)"),
    ],
)
def test_a_wrong_row_is_told_with_its_place(tmp_path: Path, row: dict[str, object], words: str) -> None:
    files(tmp_path, {"a.mp4": b"one"})
    with pytest.raises(InputError, match=words):
        planned([table(tmp_path / "l.csv", [row])], tmp_path / "c")


def test_nothing_to_plan_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder, a video, a list"):
        planned([tmp_path / "none"], tmp_path / "c")
    with pytest.raises(ConfigError, match="Nothing to plan"):
        planned([], tmp_path / "c")
    assert not (tmp_path / "c").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no video"):
        planned([tmp_path / "empty"], tmp_path / "c")


def test_wildavatars_release_is_read_with_its_size_and_start(tmp_path: Path) -> None:
    release, videos = tmp_path / "WildAvatar", tmp_path / "downloads"
    frame = {"cam_intrinsics": [[900, 0, 320], [0, 900, 180], [0, 0, 1]]}
    for n, id in enumerate(("-0hiFB2pZws", "2WVreEPoLlg")):
        (release / id).mkdir(parents=True)
        (release / id / "metadata.json").write_text(json.dumps({"start": 7 + n, "000012": frame}))
    (release / "train.txt").write_text("-0hiFB2pZws\n2WVreEPoLlg\nnotReleased\n")
    files(videos, {"2WVreEPoLlg.mp4": b"film"})
    done = planned([release], tmp_path / "c", videos=videos)
    assert (done.added, done.unlicensed) == (2, 2)
    assert done.notes == (
        "WildAvatar: 1 of 3 subjects have no metadata.",
        "WildAvatar: 1 of 2 videos are not on this machine; they will be fetched by yt-dlp.",
    )
    page, local = sorted(Catalogue.open(tmp_path / "c").sources(), key=lambda s: s.takedown_key)
    assert page.uri == "https://www.youtube.com/watch?v=-0hiFB2pZws"
    assert (page.width_px, page.height_px, page.start_s, page.end_s) == (640, 360, 7.0, 27.0)
    assert local.uri == str(videos / "2WVreEPoLlg.mp4")
    assert (local.start_s, local.licence, local.takedown_key) == (8.0, "CC-BY-NC-SA-4.0", "2WVreEPoLlg")
    assert Path(local.annotations) == release / "2WVreEPoLlg"


@pytest.mark.parametrize(
    ("listed", "metadata", "words"),
    [
        ("../elsewhere", {}, "is no id of a video"),
        ("-0hiFB2pZws&list=x", {}, "is no id of a video"),
        ("a" * 11, {"000001": {"cam_intrinsics": [[1, 0, 1e999], [0, 1, 5]]}}, "is no metadata of WildAvatar"),
        ("a" * 11, {"000001": {"cam_intrinsics": [[1, 0, 5], [0, 1, 5]]}, "start": "nan"}, "is no metadata of WildAvatar"),
        ("a" * 11, {"start": 3}, "is no metadata of WildAvatar"),
    ],
)  # fmt: skip
def test_a_release_that_is_none_of_wildavatars_is_told(tmp_path: Path, listed: str, metadata: dict, words: str) -> None:
    release = tmp_path / "release"
    (release / ("a" * 11)).mkdir(parents=True)
    (release / ("a" * 11) / "metadata.json").write_text(json.dumps(metadata))
    (release / "train.txt").write_text(listed + "\n")
    with pytest.raises(InputError, match=words):
        planned([release], tmp_path / "c")


def test_pages_are_fetched_in_the_planned_format_or_not_at_all(tmp_path: Path) -> None:
    page = Source(id="x", uri="https://example.org/-v", width_px=406, height_px=720, fps_hz=29.97)
    command = download_command(page, tmp_path)
    assert command[0] == "yt-dlp"
    assert command[-2:] == ["--", "https://example.org/-v"]  # no page's name can pass for an option
    wanted = "[width=406][height=720][fps>=29][fps<=31]"
    formats = f"bestvideo{wanted}[ext=mp4]/bestvideo{wanted}/best{wanted}"  # many pages have nothing without sound
    assert command[command.index("--format") + 1] == formats
    with pytest.raises(MissingDependencyError, match=r"needs the tool yt-dlp, which is not installed.*plan the file"):
        download(page, tmp_path, tool="yt-dlp-that-nobody-has")


def test_a_tool_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "bin" / "yt-dlp"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'WARNING: old' >&2\necho 'ERROR: Video unavailable.' >&2\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    catalogue = Catalogue.create(tmp_path / "c")
    source = Source(id=source_id(uri="https://example.org/v"), uri="https://example.org/v")
    with pytest.raises(InputError, match="could not be fetched: ERROR: Video unavailable"):
        local_video(catalogue.store, source)
    assert catalogue.store.list("videos") == []
    tool.write_text(
        '#!/bin/sh\nfor last; do :; done\nwhile [ "$1" != --output ]; do shift; done\necho "$last" > "${2%.%*}.mp4"\n'
    )
    path = local_video(catalogue.store, source)
    assert path.read_text() == "https://example.org/v\n"
    tool.write_text("#!/bin/sh\nexit 1\n")
    assert local_video(catalogue.store, source) == path  # kept, not fetched again


@pytest.mark.skipif(shutil.which("yt-dlp") is None, reason="yt-dlp is not installed")
def test_yt_dlp_itself_brings_the_file_as_it_is_and_no_other_size(tmp_path: Path) -> None:
    write_clip(tmp_path / "site" / "clip.mp4", seeds=(1, 2))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = Source(id="x", uri=f"http://127.0.0.1:{server.server_port}/clip.mp4")
        for folder in ("any", "sized"):
            (tmp_path / folder).mkdir()
        download(page, tmp_path / "any")
        with pytest.raises(InputError, match=r"could not be fetched: .*in 111x720 at 24\.0 frames/s\?"):
            download(dataclasses.replace(page, width_px=111, height_px=720, fps_hz=24.0), tmp_path / "sized")
        server.shutdown()
    assert (tmp_path / "any" / "video.mp4").read_bytes() == (tmp_path / "site" / "clip.mp4").read_bytes()
    assert not list((tmp_path / "sized").iterdir())
