"""Training shards: tar files of samples, one frame each, as the webdataset package reads them; the same bytes every time.

ITEM-000012.jpg             the person with a margin (left out in links-only sets)
ITEM-000012.mask.png        the mask of the same crop
ITEM-000012.rotvecs.npy     pose: one rotation vector for each bone
ITEM-000012.json            frame, time, camera of the crop, place and shape of the body, ids
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bodydouble.capture.folder import Capture, encode_png
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import Camera, video_camera
from bodydouble.core.files import atomic_path, file_sha256
from bodydouble.corpus.wildavatar_layout import annotated_frames

_MARGIN = 0.12
_JPEG_QUALITY = 92


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One frame of one item."""

    key: str
    """No dots: what follows the first dot is the kind of a file."""
    files: tuple[tuple[str, bytes], ...]
    """Ending and content, in order."""
    row: dict[str, Any]
    """Of the table of frames; the shard's name is added on writing."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A finished tar file."""

    path: Path
    samples: int
    bytes: int
    sha256: str


def write_shards(
    samples: Iterator[Sample], folder: Path, prefix: str, max_bytes: int
) -> tuple[list[Shard], list[dict]]:
    """Write samples into numbered tar files; an item's frames stay together as they come.

    Args:
        samples: In order.
        folder: Where to.
        prefix: PREFIX-000000.tar and so on.
        max_bytes: A new file is begun before a sample that would make it larger.
    Returns:
        The files, and the rows of all samples with the name of their shard.
    """
    shards: list[Shard] = []
    rows: list[dict] = []
    waiting: list[Sample] = []
    size = 0

    def flush() -> None:
        if waiting:
            path = folder / f"{prefix}-{len(shards):06d}.tar"
            shards.append(_write(path, waiting))
            rows.extend({**sample.row, "shard": path.name} for sample in waiting)
            waiting.clear()

    for sample in samples:
        weight = sum(1024 + len(data) for _, data in sample.files)
        if waiting and size + weight > max_bytes:
            flush()
            size = 0
        waiting.append(sample)
        size += weight
    flush()
    return shards, rows


def item_samples(
    id: str, capture: Capture, track: BodyTrack, *, pictures: bool, crop_px: int, facts: dict[str, Any]
) -> Iterator[Sample]:
    """Up to twenty frames of an item, evenly spread over those with the person.

    Args:
        id: Of the item.
        capture, track: Of the item.
        pictures: Whether frames are included.
        crop_px: Longer side of the crops, which are never enlarged.
        facts: Of the item, put into every sample's JSON.
    """
    rows = annotated_frames(capture, track)
    boxes = capture.observations().box_px
    whole = video_camera(track.width_px, track.height_px, float(track.focal_px))
    indices = [int(track.frame_indices[row]) for row in rows]
    decoded = capture.frames(indices, threads=1) if pictures else None
    for row, index in zip(rows, indices, strict=True):
        mask = capture.mask(index)
        assert mask is not None  # `annotated_frames` looked
        corner, side, camera = crop_camera(boxes[row].tolist(), whole, crop_px)
        files: list[tuple[str, bytes]] = []
        if decoded is not None:
            files.append(("jpg", _jpeg(_cut(next(decoded).rgb, corner, side, camera))))
        files.append(("mask.png", encode_png(_cut(mask, corner, side, camera))))
        files.append(("rotvecs.npy", _npy(track.rotvecs[row].numpy().astype(np.float32))))
        row_facts = {
            "item": id,
            "frame": index,
            "time_s": round(float(track.times_s[row]), 6),
            "box_px": [round(float(v), 2) for v in boxes[row]],
            "crop_px": [*corner, *side],
            "width_px": camera.width_px,
            "height_px": camera.height_px,
            "focal_px": [round(float(v), 4) for v in camera.focal_px],
            "center_px": [round(float(v), 4) for v in camera.center_px],
            "translation_world_m": [round(float(v), 6) for v in track.translation_world_m[row]],
            "quality": round(float(track.frame_quality[row]), 4),
        }
        document = {**row_facts, "body": track.body, "shape": [round(float(v), 6) for v in track.shape], **facts}
        files.append(("json", json.dumps(document, sort_keys=True).encode()))
        yield Sample(key=f"{id}-{index:06d}", files=tuple(files), row={"key": f"{id}-{index:06d}", **row_facts})


def crop_camera(box_px: list[float], whole: Camera, crop_px: int) -> tuple[tuple[int, int], tuple[int, int], Camera]:
    """The rectangle around a person's box, clipped to the picture, and the camera that sees only it.

    Returns:
        Corner and size of the rectangle in the picture, pixels; the camera of the crop.
    """
    grow = _MARGIN * max(box_px[2] - box_px[0], box_px[3] - box_px[1])
    x0, y0 = max(0, int(box_px[0] - grow)), max(0, int(box_px[1] - grow))
    x1 = max(x0 + 1, min(whole.width_px, int(np.ceil(box_px[2] + grow))))
    y1 = max(y0 + 1, min(whole.height_px, int(np.ceil(box_px[3] + grow))))
    scale = min(1.0, crop_px / max(x1 - x0, y1 - y0))
    out = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    return (x0, y0), (x1 - x0, y1 - y0), whole.cropped(x0, y0, (x1 - x0, y1 - y0), out)


def _cut(picture: np.ndarray, corner: tuple[int, int], side: tuple[int, int], camera: Camera) -> np.ndarray:
    import cv2

    cut = picture[corner[1] : corner[1] + side[1], corner[0] : corner[0] + side[0]]
    size = (camera.width_px, camera.height_px)
    return cut if cut.shape[1::-1] == size else cv2.resize(cut, size, interpolation=cv2.INTER_AREA)


def _write(path: Path, samples: list[Sample]) -> Shard:
    """A tar without times, owners or modes of this machine."""
    with atomic_path(path) as partial:
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
            for sample in samples:
                for ending, data in sample.files:
                    entry = tarfile.TarInfo(f"{sample.key}.{ending}")
                    entry.size, entry.mode, entry.mtime = len(data), 0o644, 0
                    tar.addfile(entry, io.BytesIO(data))
        digest = file_sha256(partial)
    return Shard(path=path, samples=len(samples), bytes=path.stat().st_size, sha256=digest)


def _jpeg(rgb: np.ndarray) -> bytes:
    import cv2

    done, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done  # only wrong types make it fail
    return data.tobytes()


def _npy(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    return stream.getvalue()
