"""Edits that give a film a defect: pure functions from frames to frames, and the writing of damaged files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from bodydouble.core.files import write_bytes

_NOISE = 2.0
_TINY_PX = 100.0
"""Just below what the program's own filters want (110)."""
_GROW_PX = 31
_OTHER_GAMMA = (1.0, 1.25, 1.6)
"""Of red, green and blue."""


@dataclass(frozen=True, kw_only=True)
class FilmFrames:
    """The decoded frames of a film and the performer's true masks."""

    frames: list[np.ndarray]
    """Height x width x 3, 8-bit sRGB."""
    masks: list[np.ndarray]
    """Height x width, 255 = surely the performer."""


def read_film(folder: Path) -> FilmFrames:
    """Frames and masks of what `synth` wrote."""
    from bodydouble.capture.video import read_frames
    from bodydouble.synth.truth import read_truth

    truth = read_truth(folder)
    frames = [frame.rgb for frame in read_frames(truth.video, threads=1)]
    return FilmFrames(frames=frames, masks=[truth.mask(i) for i in range(len(frames))])


def other_look(a: FilmFrames) -> FilmFrames:
    """The film mirrored and in the colours of a warmer, darker light: another clip of another place to whoever compares."""
    lookup = np.arange(256)[:, None] / 255.0
    lookup = np.rint(255.0 * lookup ** np.array(_OTHER_GAMMA)).astype(np.uint8)
    channels = np.arange(3)
    return FilmFrames(
        frames=[lookup[frame[:, ::-1], channels] for frame in a.frames],
        masks=[np.ascontiguousarray(mask[:, ::-1]) for mask in a.masks],
    )


def write(path: Path, frames: list[np.ndarray], fps_hz: float) -> None:
    """Encode frames, cut to even sizes."""
    from bodydouble.capture.video_write import VideoWriter

    height, width = (n - n % 2 for n in frames[0].shape[:2])
    with VideoWriter(path, fps_hz, width, height, crf=20) as video:
        for frame in frames:
            video.write(np.ascontiguousarray(frame[:height, :width]))


def side_by_side(a: FilmFrames, b: FilmFrames) -> list[UInt8[np.ndarray, "height width 3"]]:
    """Both performers at once: the pictures beside each other, brought to one height."""
    height = min(a.frames[0].shape[0], b.frames[0].shape[0])
    return [np.hstack([_to_height(x, height), _to_height(y, height)]) for x, y in zip(a.frames, b.frames, strict=False)]


def joined(a: FilmFrames, b: FilmFrames) -> tuple[list[UInt8[np.ndarray, "height width 3"]], int]:
    """One film, then the other at its size; and the first frame of the second shot."""
    height, width = a.frames[0].shape[:2]
    return a.frames + [_filled(frame, height, width) for frame in b.frames], len(a.frames)


def without_person(a: FilmFrames, rng: np.random.Generator) -> list[UInt8[np.ndarray, "height width 3"]]:
    """The scene with the performer painted over, panned a little so that it is not a still."""
    import cv2

    grown = cv2.dilate((a.masks[0] > 8).astype(np.uint8), np.ones((_GROW_PX, _GROW_PX), np.uint8))
    # From afar to near: a pyramid of inpainting leaves no outline that could pass for a person.
    small = cv2.resize(a.frames[0], None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    hole = cv2.resize(grown, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_NEAREST)
    rough = cv2.inpaint(small, cv2.dilate(hole, np.ones((3, 3), np.uint8)), 5, cv2.INPAINT_TELEA)
    rough = cv2.GaussianBlur(rough, (0, 0), 5.0)
    rough = cv2.resize(rough, (a.frames[0].shape[1], a.frames[0].shape[0]), interpolation=cv2.INTER_LINEAR)
    soft = cv2.GaussianBlur(grown.astype(np.float32), (0, 0), 9.0)[..., None]
    scene = a.frames[0] * (1.0 - soft) + rough * soft
    return [_noisy(np.roll(scene, k // 4, axis=1), rng) for k in range(len(a.frames))]


def shrunk(a: FilmFrames, rng: np.random.Generator) -> list[UInt8[np.ndarray, "height width 3"]]:
    """The film so small that the performer is 100 pixels tall, somewhere in its own blurred surroundings."""
    import cv2

    height, width = a.frames[0].shape[:2]
    tall = float(np.median([np.count_nonzero((mask > 127).any(1)) for mask in a.masks]))
    factor = min(0.7, _TINY_PX / max(tall, 1.0))
    size = (max(2, round(width * factor)), max(2, round(height * factor)))
    x = int(rng.integers(0, width - size[0] + 1))
    y = int(rng.integers(0, height - size[1] + 1))
    around = cv2.GaussianBlur(without_person(a, rng)[0], (0, 0), 6.0)
    frames = []
    for frame in a.frames:
        picture = around.copy()
        picture[y : y + size[1], x : x + size[0]] = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        frames.append(_noisy(picture.astype(np.float32), rng))
    return frames


def frozen(a: FilmFrames, rng: np.random.Generator) -> list[UInt8[np.ndarray, "height width 3"]]:
    """The middle frame throughout, with fresh noise."""
    still = a.frames[len(a.frames) // 2].astype(np.float32)
    return [_noisy(still, rng) for _ in a.frames]


def covered(a: FilmFrames, rng: np.random.Generator) -> list[UInt8[np.ndarray, "height width 3"]]:
    """A flat panel that follows the performer and hides the body from the shoulders' height down."""
    color = rng.integers(60, 200, 3)
    frames = []
    for frame, mask in zip(a.frames, a.masks, strict=True):
        picture = frame.copy()
        rows, columns = np.flatnonzero((mask > 127).any(1)), np.flatnonzero((mask > 127).any(0))
        if rows.size:
            height = rows[-1] - rows[0] + 1
            top = rows[0] + round(0.28 * height)
            picture[top:, max(0, columns[0] - 12) : columns[-1] + 13] = color
        frames.append(_noisy(picture.astype(np.float32), rng))
    return frames


def spoil(source: Path, path: Path, rng: np.random.Generator) -> str:
    """A file that cannot be used: cut short, empty, or overwritten. Returns what was done."""
    data = source.read_bytes()
    way = ("cut short", "empty", "not a video", "header overwritten")[int(rng.integers(4))]
    if way == "cut short":  # the index of an MP4 is at its end
        data = data[: len(data) * 2 // 5]
    elif way == "empty":
        data = b""
    elif way == "not a video":
        data = b"<html><body>Sorry, this video is not available.</body></html>\n"
    else:
        data = rng.bytes(4096) + data[4096:]
    write_bytes(path, data)
    return way


def copy_again(source: Path, a: FilmFrames, path: Path, fps_hz: float, rng: np.random.Generator) -> str:
    """The same film once more: byte for byte, or at another size and brightness. Returns what was done."""
    import cv2

    if rng.random() < 0.5:
        shutil.copyfile(source, path)
        return "byte for byte"
    height, width = a.frames[0].shape[:2]
    size = (round(width * 0.8), round(height * 0.8))
    frames = [cv2.resize(f, size, interpolation=cv2.INTER_AREA).astype(np.float32) * 0.94 + 6.0 for f in a.frames]
    write(path, [_noisy(frame, rng) for frame in frames], fps_hz)
    return "smaller, another brightness, encoded again"


def _noisy(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.normal(0.0, _NOISE, picture.shape[:2])[..., None]
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def _to_height(frame: np.ndarray, height: int) -> np.ndarray:
    import cv2

    width = round(frame.shape[1] * height / frame.shape[0])
    return cv2.resize(frame, (width - width % 2, height), interpolation=cv2.INTER_AREA)


def _filled(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scaled until it fills the size, and cut in the middle."""
    import cv2

    factor = max(height / frame.shape[0], width / frame.shape[1])
    size = (max(width, round(frame.shape[1] * factor)), max(height, round(frame.shape[0] * factor)))
    big = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return big[top : top + height, left : left + width]
