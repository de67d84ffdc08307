"""Publishing: shards as webdataset reads them, tables, metadata, datasheet; and the funnel from stored scores."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from finished_corpus import Small, make_corpus

from bodydouble.body.anny import AnnyBody, load_anny
from bodydouble.body.protocol import Pose
from bodydouble.core.cameras import video_camera
from bodydouble.core.errors import ConfigError, InputError, OutputError
from bodydouble.corpus.charts import Bar, bars, histogram, rose, steps_chart
from bodydouble.corpus.collection import read_collection
from bodydouble.corpus.consistency import silhouette
from bodydouble.corpus.filters import default_filters, with_changes
from bodydouble.corpus.publish import PublishConfig, PublishResult, publish
from bodydouble.corpus.shards import crop_camera
from bodydouble.corpus.tune import funnel_json, funnel_table, reasons_table, tune


@pytest.fixture(scope="module")
def anny() -> AnnyBody:
    return load_anny()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, anny: AnnyBody) -> Small:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "root", anny)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, small: Small) -> PublishResult:
    return publish(small.root, tmp_path_factory.mktemp("sets") / "set", default_filters(), PublishConfig(name="tiny"))


# --- the funnel of a corpus ---


def test_the_funnel_of_stored_scores(small: Small) -> None:
    collection, found = tune(small.root, default_filters())
    assert [(row.step, row.left) for row in found.rows] == [
        ("candidates", 6), ("usable", 5), ("P-I", 4), ("P-II", 4), ("P-III", 3), ("P-IV", 3),
    ]  # fmt: skip
    assert found.verdicts[small.nobody].reasons == ("tracks: nobody was found",)
    assert found.verdicts[small.still].step == "P-I" and found.verdicts[small.badly_fitted].step == "P-III"
    coarse, refined = collection.refinement(found)
    assert refined.pck == pytest.approx(coarse.pck + 0.03) and refined.soiou == pytest.approx(coarse.soiou / 2)
    assert len(collection.refused_sources) == 1  # the broken file


def test_thresholds_move_the_funnel_without_computing_anything(small: Small) -> None:
    _, strict = tune(small.root, with_changes(default_filters(), ["pck_02=0.9"]))
    _, lax = tune(small.root, with_changes(default_filters(), ["pck_02=0.4", "soiou<=1", "motion=off"]))
    assert strict.rows[-1].left == 2 and lax.rows[-1].left == 5
    table = funnel_table(strict)
    assert "| P-I | 4 | 80.0 % |" in table and "| 9.4 % | 0.762 | 0.214 |" in table
    assert "pck_02 < 0.9 | 2 |" in reasons_table(strict)
    document = json.loads(json.dumps(funnel_json(strict), allow_nan=False))
    assert document["verdicts"][small.still]["step"] == "P-I"


# --- the published set ---


def test_only_kept_items_with_consent_leave(small: Small, published: PublishResult) -> None:
    assert (published.candidates, published.kept, published.frames, published.withheld) == (6, 2, 40, 1)
    everything = b"".join(shard.path.read_bytes() for shard in published.shards)
    assert all(id.encode() in everything for id in small.kept)
    assert small.refused_consent.encode() not in everything and small.still.encode() not in everything


def test_webdataset_reads_the_shards(small: Small, published: PublishResult, anny: AnnyBody) -> None:
    """Pose, camera and mask of a sample belong together: the body, projected by its numbers, lies on the mask."""
    wds = pytest.importorskip("webdataset")
    urls = [str(shard.path) for shard in published.shards]
    samples = list(wds.WebDataset(urls, shardshuffle=False).decode())
    assert len(samples) == 40 and {s["__key__"].rsplit("-", 1)[0] for s in samples} == set(small.kept)
    for sample in samples[::13]:
        facts = sample["json"]
        picture = (
            cv2.imdecode(np.frombuffer(sample["jpg"], np.uint8), cv2.IMREAD_COLOR)
            if isinstance(sample["jpg"], bytes)
            else None
        )
        mask = (
            sample["mask.png"]
            if not isinstance(sample["mask.png"], bytes)
            else cv2.imdecode(np.frombuffer(sample["mask.png"], np.uint8), 0)
        )
        size = (facts["width_px"], facts["height_px"])
        assert mask.shape == size[::-1] and (picture is None or picture.shape[:2] == size[::-1])
        camera = video_camera(*size, 1.0).replace(
            focal_px=torch.tensor(facts["focal_px"]), center_px=torch.tensor(facts["center_px"])
        )
        rotvecs = torch.from_numpy(np.array(sample["rotvecs.npy"])).float()
        pose = Pose(rotvecs=rotvecs, translation_world_m=torch.tensor(facts["translation_world_m"]))
        body = silhouette(anny.with_shape(torch.tensor(facts["shape"])).with_pose(pose).vertices(), anny, camera)
        assert (body & (mask > 127)).sum() / (body | (mask > 127)).sum() > 0.95
        assert facts["licence"] == "CC-BY-4.0" and facts["takedown_key"].startswith("person")


def test_the_same_corpus_gives_the_same_bytes(small: Small, published: PublishResult, tmp_path: Path) -> None:
    again = publish(small.root, tmp_path / "again", default_filters(), PublishConfig(name="tiny"))
    files = {p.relative_to(published.folder): p for p in published.folder.rglob("*") if p.is_file()}
    assert len(files) > 10
    for name, path in files.items():
        assert path.read_bytes() == (again.folder / name).read_bytes(), name


def test_links_only_has_no_pictures_and_small_shards_part_the_samples(small: Small, tmp_path: Path) -> None:
    found = publish(small.root, tmp_path / "links", default_filters(), PublishConfig(pictures=False))
    import tarfile

    names = []
    for shard in found.shards:
        with tarfile.open(shard.path) as tar:
            names += tar.getnames()
    assert len(names) == 3 * 40 and not any(name.endswith(".jpg") for name in names)
    assert "links-only set" in (found.folder / "DATASHEET.md").read_text()


def test_tables_list_every_candidate_and_every_frame(small: Small, published: PublishResult) -> None:
    duckdb = pytest.importorskip("duckdb")

    def ask(sql: str) -> list[tuple]:
        return duckdb.sql(sql.replace("$", str(published.folder))).fetchall()

    rows = dict(ask("select id, step from '$/items.parquet'"))
    assert len(rows) == 6 and rows[small.badly_fitted] == "P-III" and rows[small.nobody] == "usable"
    assert ask("select count(*) from '$/items.parquet' where kept") == [(2,)]
    assert ask("select list(reasons) from '$/items.parquet' where step = 'P-III'") == [([["pck_02 0.5 < 0.8"]],)]
    assert ask("select count(*), count(distinct shard), count(distinct key) from '$/frames.parquet'") == [(40, 1, 40)]
    # The final body's figures are listed, not the first one's by which the filters go.
    assert ask("select max(pck_02) from '$/items.parquet' where kept")[0][0] == pytest.approx(0.98)


def test_croissant_describes_files_and_columns_that_exist(published: PublishResult) -> None:
    duckdb = pytest.importorskip("duckdb")
    document = json.loads((published.folder / "croissant.json").read_text())
    assert document["conformsTo"] == "http://mlcommons.org/croissant/1.0" and document["@type"] == "sc:Dataset"
    assert document["license"] == ["CC-BY-4.0"]
    files = {f["@id"]: f for f in document["distribution"] if f["@type"] == "cr:FileObject"}
    for name, entry in files.items():
        assert hashlib.sha256((published.folder / name).read_bytes()).hexdigest() == entry["sha256"]
        # The only name of the format with which mlcroissant reads tables.
        assert (entry["encodingFormat"] == "application/x-parquet") == name.endswith(".parquet")
    listed = [f["@id"] for f in document["distribution"] if f["@type"] == "cr:FileSet"]
    assert listed == ["samples"]
    for record in document["recordSet"]:
        table = published.folder / f"{record['@id']}.parquet"
        columns = {name: kind for name, kind, *_ in duckdb.sql(f"describe select * from '{table}'").fetchall()}
        fields = {f["source"]["extract"]["column"]: f for f in record["field"]}
        assert list(fields) == list(columns)
        kinds = {"sc:Text": "VARCHAR", "sc:Integer": "BIGINT", "sc:Float": "DOUBLE", "sc:Boolean": "BOOLEAN"}
        for name, field in fields.items():
            assert kinds[field["dataType"]] + ("[]" if field.get("repeated") else "") == columns[name]
            assert field["source"]["fileObject"]["@id"] in files and field["description"]


def test_the_datasheet_says_what_was_published_and_shows_plots_that_exist(published: PublishResult) -> None:
    text = (published.folder / "DATASHEET.md").read_text()
    assert "2 items" in text and "Licences: 2 CC-BY-4.0." in text and "Consent: 1 given, 1 synthetic." in text
    assert "1 items that the filters kept are withheld" in text
    plots = re.findall(r"!\[\w+\]\((plots/\w+\.svg)\)", text)
    assert {"plots/funnel.svg", "plots/views.svg", "plots/skin.svg", "plots/pck.svg", "plots/licences.svg"} <= set(
        plots
    )
    for plot in plots:
        svg = (published.folder / plot).read_text()
        assert svg.startswith("<svg xmlns=") and "NaN" not in svg and "nan" not in svg


def test_refusals(small: Small, published: PublishResult, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="never overwritten"):
        publish(small.root, published.folder, default_filters(), PublishConfig())
    with pytest.raises(InputError, match="Nothing is left to publish"):
        publish(small.root, tmp_path / "none", with_changes(default_filters(), ["pck_02=0.999"]), PublishConfig())
    assert not (tmp_path / "none").exists()
    with pytest.raises(ConfigError, match="32 to 8192"):
        PublishConfig(crop_px=1)


# --- parts ---


def test_a_crops_camera_sees_points_where_the_crop_shows_them() -> None:
    whole = video_camera(640, 480, 700.0)
    corner, side, camera = crop_camera([200.0, 100.0, 400.0, 460.0], whole, 128)
    assert max(camera.width_px, camera.height_px) == 128
    points = torch.tensor([[0.1, 0.2, -3.0], [-0.4, -0.1, -2.5]])
    expected = (whole.project(points)[0] - torch.tensor([float(v) for v in corner])) * camera.width_px / side[0]
    torch.testing.assert_close(camera.project(points)[0], expected, rtol=0.02, atol=0.5)
    assert crop_camera([0.0, 0.0, 640.0, 480.0], whole, 4096)[2].width_px == 640  # never enlarged


def test_charts_count_and_leave_out_what_is_not_finite() -> None:
    plot = str(histogram("t", [0.1, 0.1, 0.9, math.nan], bins=2, span=(0.0, 1.0), others=[0.6]))
    assert "0 to 0.5: 2 and 0" in plot and "0.5 to 1: 1 and 1" in plot
    assert str(histogram("t", [math.nan])) == ""
    assert "&lt;b&gt;" in str(bars("t", [Bar(label="<b>", value=1.0)]))
    assert "4 of 4 frames" in str(rose("t", [0.0, 2 * math.pi, 0.01, -0.01]))
    assert str(steps_chart("t", ["a", "b"], [math.nan, 0.5], [0.1, 0.2], y_label="y")).count("<circle") == 3


def test_what_the_first_body_scored_is_what_filters_see(small: Small) -> None:
    entry = read_collection(small.root).entries[small.kept[1]]
    assert entry.scores["pck_02"] == 0.85 and entry.final["pck_02"] == pytest.approx(0.88)


def test_a_corpus_in_an_object_store_is_tuned_there_but_not_published(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    from bodydouble.corpus.catalogue import Catalogue
    from bodydouble.corpus.values import Item, Record, Source

    root = f"memory://{tmp_path.name}-tuned"
    catalogue = Catalogue.create(root)
    catalogue.add_sources([Source(id="s", uri="v.mp4", licence="own")])
    catalogue.add_items([
        Item(id="i", source_id="s", first_frame=0, stop_frame=9, start_s=0.0, end_s=1.0, track=0, person=0, width_px=8, height_px=8)
    ])  # fmt: skip
    catalogue.add_records([Record(unit_id="i", source_id="s", stage="ready", key="k", state="done", attempt=1)])
    nothing = with_changes(default_filters(), [f"{r.score}=off" for s in default_filters().steps for r in s.rules])
    collection, found = tune(root, nothing)
    assert found.kept == ("i",)
    with pytest.raises(InputError, match="object store"):
        collection.capture_folder("i")
