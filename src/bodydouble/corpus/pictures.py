"""Small pictures of items for people to look at: a frame from the middle, with the person's outline and the body's joints."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bodydouble.capture.folder import Capture
from bodydouble.core.errors import BodydoubleError
from bodydouble.corpus.collection import Collection, Entry

_HEIGHT_PX = 240
_OUTLINE_RGB = (74, 222, 205)
_BOX_RGB = (240, 160, 80)
_QUALITY = 80


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A JPEG of an item."""

    item: str
    data: bytes
    width_px: int
    height_px: int

    @property
    def uri(self) -> str:
        """To be put into a page."""
        return "data:image/jpeg;base64," + base64.b64encode(self.data).decode()


def item_picture(collection: Collection, entry: Entry) -> Picture | None:
    """A picture of an item; None when its video cannot be read any more.

    The mask's outline is drawn where there is one, else a box where the person was found.
    """
    try:
        rgb = _with_capture(collection.capture_folder(entry.item.id))
        if rgb is None:
            rgb = _from_source(entry)
    except (BodydoubleError, OSError, StopIteration):
        return None
    return None if rgb is None else _packed(entry.item.id, rgb)


def _with_capture(folder: Path) -> np.ndarray | None:
    """The middle frame of a capture with the person's outline."""
    import cv2

    if not (folder / "capture.json").is_file():
        return None
    capture = Capture.open(folder)
    if not capture.has_observations():
        return None
    observations = capture.observations()
    present = np.flatnonzero(observations.present.numpy())
    row = int(present[len(present) // 2]) if len(present) else len(observations.present) // 2
    index = int(observations.frame_indices[row])
    rgb = next(capture.frames([index], threads=1)).rgb.copy()
    mask = capture.mask(index)
    if mask is not None:
        outlines, _ = cv2.findContours((mask > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(rgb, outlines, -1, _OUTLINE_RGB, max(1, round(rgb.shape[0] / 200)))
    return rgb


def _from_source(entry: Entry) -> np.ndarray | None:
    """The middle frame of the span, with a box where the person was found."""
    import cv2

    from bodydouble.capture.video import probe, read_frames

    path = Path(entry.source.uri)
    if not path.is_file():
        return None
    wanted = (entry.item.first_frame + entry.item.stop_frame) // 2
    boxes = sorted(entry.item.anchors, key=lambda a: abs(a[0] - wanted))
    index = int(boxes[0][0]) if boxes else wanted
    rgb = next(read_frames(path, [index], probe(path, with_sha256=False), threads=1)).rgb.copy()
    if boxes:
        x0, y0, x1, y1 = (round(v) for v in boxes[0][1:5])
        cv2.rectangle(rgb, (x0, y0), (x1, y1), _BOX_RGB, max(1, round(rgb.shape[0] / 200)))
    return rgb


def _packed(item: str, rgb: np.ndarray) -> Picture:
    import cv2

    width = max(1, round(rgb.shape[1] * _HEIGHT_PX / rgb.shape[0]))
    small = cv2.resize(rgb, (width, _HEIGHT_PX), interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(small[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done  # only wrong types make it fail
    return Picture(item=item, data=data.tobytes(), width_px=width, height_px=_HEIGHT_PX)
