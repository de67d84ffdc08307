"""Captures in WildAvatar's layout, so that its users' loaders read ours (docs/corpus-datasets.md).

    train.txt val.txt test.txt     one id per line; a person is in one of them only
    subjects.csv                   subject_id, start_time, meta_filename
    frames.csv                     frame_id, subject_id, poses, shapes, bbox, mask_filename
    ID/metadata.json               an entry for each of 20 frames, by its number in the clip; then `start`, seconds
    ID/masks/000012.png            0 or 255
    ID/images/000012.png           only with pictures: the person on black

Ids have eleven characters as those of the published set. A frame's number and `start` say its time in the source:
start + number / frame rate.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.errors import InputError
from bodydouble.core.files import atomic_path
from bodydouble.corpus.smpl_terms import SmplTerms, smpl_terms

FRAMES = 20
SPLITS: tuple[tuple[str, float], ...] = (("train", 0.8), ("val", 0.1), ("test", 0.1))
_LEVEL = 128


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One item to be written."""

    id: str
    """Of the item."""
    person: str
    """Equal for items of one person: they share a split."""
    capture: Capture


@dataclass(frozen=True, kw_only=True)
class WildAvatarExport:
    """What was written."""

    folder: Path
    subjects: dict[str, str]
    """Id in the layout of each item."""
    left_out: dict[str, str]
    """Why the others are missing, by item."""


def short_id(item: str) -> str:
    """Eleven characters for an item: 64 bits of a digest in the alphabet of video ids."""
    try:
        seed = uuid.UUID(item).bytes
    except ValueError:
        seed = item.encode()
    return base64.urlsafe_b64encode(hashlib.sha256(seed).digest()[:8]).decode().rstrip("=")


def split_of(person: str) -> str:
    """The list a person belongs to, by a digest: it stays there when the corpus grows."""
    place = int.from_bytes(hashlib.sha256(f"split/{person}".encode()).digest()[:8], "big") / 2**64
    for name, share in SPLITS:
        if place < share:
            return name
        place -= share
    return SPLITS[-1][0]


def export_wildavatar(
    subjects: Sequence[Subject], body: BodyModel, out: Path, *, pictures: bool = False
) -> WildAvatarExport:
    """Write captures in the layout above. The folder appears only when it is whole.

    Args:
        subjects: Items with a fitted body.
        body: The model of all of them.
        out: A new folder.
        pictures: Whether frames are written, too; the published set has none.
    Raises:
        InputError: When no subject has enough frames.
    """
    written: dict[str, str] = {}
    left_out: dict[str, str] = {}
    rows: list[tuple[str, ...]] = []
    frames: list[tuple[str, ...]] = []
    lists: dict[str, list[str]] = {name: [] for name, _ in SPLITS}
    with atomic_path(out) as folder:
        folder.mkdir(parents=True)
        for subject in subjects:
            name = short_id(subject.id)
            track = subject.capture.track()
            chosen = annotated_frames(subject.capture, track)
            sources = [int(track.frame_indices[row]) for row in chosen]
            start, numbers = clip_start([subject.capture.info.times_s[i] for i in sources], subject.capture.info.fps_hz)
            if len(set(numbers)) < FRAMES:
                left_out[subject.id] = (
                    f"only {len(set(numbers))} of the {FRAMES} frames that the layout wants show the person"
                )
                continue
            picked = list(zip(chosen, sources, numbers, strict=True))
            table = _write_subject(folder / name, subject.capture, track, body, picked, pictures)
            (folder / name / "metadata.json").write_text(
                # `start` last: the published loaders rely on it
                json.dumps({**{row.key: row.entry for row in table}, "start": start}),
                encoding="utf-8",
            )
            written[subject.id] = name
            lists[split_of(subject.person)].append(name)
            rows.append((name, str(start), f"{name}/metadata.json"))
            frames += [row.columns for row in table]
        if not written:
            raise InputError(
                f"None of the {len(subjects)} items can be written in WildAvatar's layout, which wants {FRAMES} frames with the person "
                "in each. Use longer clips."
            )
        for split, names in lists.items():
            (folder / f"{split}.txt").write_text("".join(f"{n}\n" for n in sorted(names)), encoding="utf-8")
        _write_csv(folder / "subjects.csv", ("subject_id", "start_time", "meta_filename"), rows)
        _write_csv(
            folder / "frames.csv", ("frame_id", "subject_id", "poses", "shapes", "bbox", "mask_filename"), frames
        )
    return WildAvatarExport(folder=out, subjects=written, left_out=left_out)


def annotated_frames(capture: Capture, track: BodyTrack) -> list[int]:
    """Places in the track of up to twenty frames, evenly spread over those with a person and a mask."""
    there = [
        row
        for row in np.flatnonzero(track.valid.numpy())
        if (capture.masks_folder / f"{int(track.frame_indices[row]):06d}.png").is_file()
    ]
    if len(there) < FRAMES:
        return [int(row) for row in there]
    return [int(there[i]) for i in np.linspace(0, len(there) - 1, FRAMES).round().astype(int)]


def clip_start(times_s: Sequence[float], fps_hz: float) -> tuple[int, list[int]]:
    """Whole second at which the clip starts, and the number of each frame in it at the source's rate."""
    start = math.floor(times_s[0] + 1e-6)
    return start, [round((t - start) * fps_hz) for t in times_s]


@dataclass(frozen=True)
class _Row:
    """One annotated frame."""

    key: str
    entry: dict[str, Any]
    columns: tuple[str, ...]
    """Of frames.csv."""


def _write_subject(
    folder: Path,
    capture: Capture,
    track: BodyTrack,
    body: BodyModel,
    picked: list[tuple[int, int, int]],
    pictures: bool,
) -> list[_Row]:
    """One subject's masks and pictures; `picked` has place in the track, source frame and number in the clip."""
    (folder / "masks").mkdir(parents=True)
    terms, name, focal = smpl_terms(track, body), folder.name, float(track.focal_px)
    K = [[focal, 0.0, track.width_px / 2], [0.0, focal, track.height_px / 2], [0.0, 0.0, 1.0]]
    rows = []
    boxes = capture.observations().box_px
    decoded = capture.frames([source for _, source, _ in picked], threads=1) if pictures else None
    for row, source, number in picked:
        key = f"{number:06d}"
        mask = capture.mask(source)
        assert mask is not None  # `annotated_frames` looked
        person = np.where(mask >= _LEVEL, 255, 0).astype(np.uint8)
        _write_png(folder / "masks" / f"{key}.png", person)
        entry = _entry(f"data/WildAvatar/{name}/images/{key}.png", terms, row, K)
        box = [round(float(v), 2) for v in boxes[row]]
        columns = (
            key,
            name,
            *(json.dumps(v) for v in (entry["poses"], entry["betas"][0], box)),
            f"{name}/masks/{key}.png",
        )
        rows.append(_Row(key, entry, columns))
        if decoded is not None:
            (folder / "images").mkdir(exist_ok=True)
            _write_png(folder / "images" / f"{key}.png", next(decoded).rgb * (person[..., None] > 0))
    return rows


def _entry(image: str, terms: SmplTerms, row: int, K: list[list[float]]) -> dict[str, Any]:
    T = np.eye(4)
    T[:3, 3] = terms.t_camera_smpl_m[row].numpy()
    return {
        "imgname": image,
        "poses": [round(float(v), 6) for v in terms.poses[row].reshape(-1)],
        "betas": [[round(float(v), 6) for v in terms.betas]],
        "cam_intrinsics": K,
        "cam_extrinsics": np.round(T, 6).tolist(),
    }


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def _write_png(path: Path, picture: np.ndarray) -> None:
    from bodydouble.synth.truth import write_image

    write_image(path, picture)
