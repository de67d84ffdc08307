"""A small finished corpus made without any network: captures of a known body, records and scores by hand."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from corpus_captures import make_capture

from bodydouble.body.protocol import BodyModel
from bodydouble.corpus.catalogue import Catalogue, item_folder
from bodydouble.corpus.values import Item, Record, Score, Source, State, item_id, source_id

GOOD = {
    "frames": 24.0, "seconds": 2.0, "presence": 1.0, "confidence": 0.9, "visible": 0.95, "person_px": 150.0, "stature_px": 150.0, "motion": 0.3,
    "looks_found": 1.0, "agreement": 0.008, "pck_02": 0.95, "soiou": 0.04, "silhouette_iou": 0.8, "ssiou": 1.25,
    "view_range_rad": 1.5, "pose_range_rad": 0.4, "height_m": 1.7, "skin_ita_deg": 30.0, "skin_ita_sd_deg": 9.0,
}  # fmt: skip


@dataclass(frozen=True)
class Small:
    """The corpus and the ids of its items."""

    root: Path
    kept: tuple[str, str]
    still: str
    badly_fitted: str
    refused_consent: str
    nobody: str


def make_corpus(root: Path, body: BodyModel) -> Small:
    """Two good items, one without motion, one with a bad fit, one without consent, one span with nobody, one broken file."""
    catalogue = Catalogue.create(root)
    first = make_capture(root / "videos" / "a", body, 24)
    ids = {}
    # fmt: off
    plans: tuple[tuple[str, dict, str, State, str], ...] = (
        ("good", {}, "given", "done", ""),
        ("good too", {"pck_02": 0.85, "soiou": 0.08}, "synthetic", "done", ""),
        ("still", {"motion": 0.01}, "given", "done", ""),
        ("badly fitted", {"pck_02": 0.5, "soiou": 0.4}, "given", "done", ""),
        ("refused", {}, "refused", "done", ""),
        ("nobody", {}, "given", "rejected", "nobody was found"),
        ("broken", {}, "given", "failed", "the file cannot be read"),
    )
    # fmt: on
    for number, (name, changes, consent, state, reason) in enumerate(plans):
        source = source_id(sha256=f"{number:064x}")
        catalogue.add_sources([
            Source(id=source, uri=str(first.info.path), sha256=f"{number:064x}", bytes=1, fps_hz=12.0, width_px=128, height_px=192,
                   licence="CC-BY-4.0", provenance="made for a test", consent=consent, takedown_key=f"person {number}"),
        ])  # fmt: skip
        if name == "broken":
            catalogue.add_records([_record(source, source, "probe", state, reason)])
            continue
        ids[name] = item_id(source, 0, 24, 0)
        catalogue.add_items([
            Item(id=ids[name], source_id=source, first_frame=0, stop_frame=24, start_s=0.0, end_s=23 / 12, track=0, person=0,
                 width_px=128, height_px=192),
        ])  # fmt: skip
        if name == "nobody":
            catalogue.add_records([_record(ids[name], source, "tracks", state, reason)])
            continue
        scores = {**GOOD, **changes}
        rows = [Score(item_id=ids[name], stage="consistency", name=k, value=v) for k, v in scores.items()]
        better = {"pck_02": min(1.0, scores["pck_02"] + 0.03), "soiou": scores["soiou"] / 2}
        rows += [Score(item_id=ids[name], stage="refine", name=k, value=v) for k, v in better.items()]
        catalogue.add_scores(rows)
        catalogue.add_records([_record(ids[name], source, "ready", state, reason)])
        shutil.copytree(first.folder, root / item_folder(ids[name]) / "capture")
    return Small(
        root=root,
        kept=(ids["good"], ids["good too"]),
        still=ids["still"],
        badly_fitted=ids["badly fitted"],
        refused_consent=ids["refused"],
        nobody=ids["nobody"],
    )


def _record(unit: str, source: str, stage: str, state: State, reason: str) -> Record:
    return Record(unit_id=unit, source_id=source, stage=stage, key="k", state=state, attempt=1, reason=reason)
