"""Small clips for end-to-end tests, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodydouble.capture.video_write import VideoWriter


def write_clip(path: Path, frames: list[np.ndarray], fps_hz: float = 24.0) -> Path:
    """An H.264 clip of some pictures of one size."""
    height, width = frames[0].shape[:2]
    with VideoWriter(path, fps_hz, width, height) as video:
        for frame in frames:
            video.write(frame)
    return path


def landscape(width_px: int = 160, height_px: int = 120, count: int = 10) -> list[np.ndarray]:
    """Hills under a sky with a drifting cloud: nobody in view."""
    column, row = np.meshgrid(np.arange(width_px), np.arange(height_px))
    frames = []
    for i in range(count):
        sky = np.stack([120 + row * 0.5, 170 + row * 0.3, 230 + 0.0 * row], axis=-1)
        cloud = np.exp(-(((column - 40 - 2 * i) / 30.0) ** 2) - ((row - 30) / 10.0) ** 2)[..., None]
        hills = row > 80 + 12 * np.sin(column / 17.0)
        picture = np.where(hills[..., None], np.array([60, 110, 50]), sky + 40 * cloud)
        frames.append(picture.clip(0, 255).astype(np.uint8))
    return frames


def moov_at_the_end(path: Path, frames: list[np.ndarray], fps_hz: int = 24) -> Path:
    """An MP4 as most cameras write it: the index comes last, so a cut file has none."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps_hz)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
