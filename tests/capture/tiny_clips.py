"""Tiny clips of every awkward kind, made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

RED, GREEN, BLUE, WHITE = (220, 30, 40), (40, 190, 60), (30, 60, 210), (230, 230, 230)


def quadrants(width_px: int, height_px: int) -> np.ndarray:
    """Red | green over blue | white."""
    image = np.zeros((height_px, width_px, 3), np.uint8)
    y, x = height_px // 2, width_px // 2
    image[:y, :x], image[:y, x:], image[y:, :x], image[y:, x:] = RED, GREEN, BLUE, WHITE
    return image


def numbered(index: int, width_px: int = 64, height_px: int = 48) -> np.ndarray:
    """A frame whose number can be read back with `number_of`: one bright or dark 8 px column per bit."""
    image = np.full((height_px, width_px, 3), 90, np.uint8)
    for bit in range(width_px // 8):
        image[:, bit * 8 : bit * 8 + 8] = 220 if index >> bit & 1 else 30
    return image


def number_of(rgb: np.ndarray) -> int:
    """The number in a frame made by `numbered`."""
    means = rgb.reshape(rgb.shape[0], -1, 8, 3).mean((0, 2, 3))
    return sum(1 << bit for bit, value in enumerate(means) if value > 125)


def write_clip(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    times_ms: Sequence[int] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: int = 30,
    rotation: int | None = None,
    hflip: bool = False,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    aspect: Fraction | None = None,
    colorspace: int | None = None,
    color_range: int | None = None,
    bgra: bool = False,
) -> Path:
    """Encode frames (RGB, or RGBA where `bgra`) into a container chosen by the name."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        for key, value in (metadata or {}).items():
            container.metadata[key] = value
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if colorspace is not None:
            stream.codec_context.colorspace = colorspace
        if color_range is not None:
            stream.codec_context.color_range = color_range
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=hflip)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgba" if bgra else "rgb24")
            if colorspace is not None or color_range is not None:
                frame = frame.reformat(
                    format=pix_fmt,
                    dst_colorspace=colorspace,
                    src_color_range=2,
                    dst_color_range=color_range or 1,
                )
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            else:
                frame.pts, frame.time_base = number, Fraction(1, rate)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def write_audio_only(path: Path) -> Path:
    """A second of silence."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=8000)
        for number in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, number * 1024
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path
