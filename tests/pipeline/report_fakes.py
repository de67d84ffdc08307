"""A made-up report: every section filled, some figures unknown."""

from __future__ import annotations

import dataclasses
import io
import math

import numpy as np
from PIL import Image

from bodydouble.capture.values import VideoInfo
from bodydouble.core.events import Warned
from bodydouble.evaluate.protocol import HELDOUT_V1
from bodydouble.evaluate.results import Figures, FrameScore, HeldoutExample, HeldoutResult
from bodydouble.pipeline.coverage import REGION_NAMES
from bodydouble.pipeline.report_data import (
    FrameQuality,
    LimbQuality,
    Picture,
    RegionCoverage,
    ReportData,
    StageSeconds,
)

NAN = float("nan")
LIMBS = ("torso", "head", "left arm", "right arm", "left hand", "right hand", "left leg", "right leg")


def picture_bytes(width: int, height: int, hue: float, kind: str = "JPEG") -> bytes:
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    rgb = np.stack([0.5 + 0.5 * np.sin(6 * (x * k + y) + hue + k) for k in range(3)], axis=-1)
    buffer = io.BytesIO()
    Image.fromarray((rgb * 255).astype(np.uint8)).save(buffer, format=kind)
    return buffer.getvalue()


def fake_picture(caption: str, width: int = 60, height: int = 100) -> Picture:
    return Picture(
        data=picture_bytes(width, height, 0.3),
        media_type="image/jpeg",
        caption=caption,
        width_px=width,
        height_px=height,
    )


def fake_heldout(frames: int = 24) -> HeldoutResult:
    rows: list[FrameScore] = []
    for k in range(frames):
        moving = None if k == 0 else (k // 5) % 2 == 1
        fit = 19.0 + 2.0 * math.sin(k) - (2.0 if moving else 0.0)
        rows.append(
            FrameScore(
                frame_index=8 * k + 7,
                time_s=(8 * k + 7) / 30,
                speed_heights_per_s=NAN if moving is None else (0.4 if moving else 0.02),
                moving=moving,
                native_crop_px=600 + k,
                figures=Figures(
                    psnr_box=fit,
                    psnr_box_outlined=fit + 0.6,
                    psnr_box_interpolated=fit + 0.8,
                    psnr_box_registered=fit + 2.3,
                    psnr_box_native=fit - 0.2,
                    psnr_box_native_registered=fit + 2.1,
                    ssim_box=0.76,
                    ssim_box_registered=0.83,
                    psnr_full=fit + 7,
                    psnr_full_registered=fit + 9,
                    mask_iou=0.912,
                    mask_iou_registered=0.943,
                    psnr_hands=NAN if k % 2 else 15.5,
                    psnr_hands_registered=NAN if k % 2 else 16.9,
                ),
            )
        )
    examples = tuple(
        HeldoutExample(
            frame_index=row.frame_index,
            time_s=row.time_s,
            label=label,
            frame_jpeg=picture_bytes(64, 64, 0.1),
            fit_jpeg=picture_bytes(64, 64, 1.1),
            registered_jpeg=picture_bytes(64, 64, 2.1),
            difference_jpeg=picture_bytes(64, 64, 3.1),
        )
        for label, row in zip(("best", "median", "worst", ""), rows[:: max(1, frames // 4)], strict=False)
    )
    return HeldoutResult(protocol=HELDOUT_V1, rows=tuple(rows), skipped=(199,), examples=examples, seconds=4.2)


def fake_video_info(path: str = "/somewhere/clip <of> a & b.mp4") -> VideoInfo:
    return VideoInfo(
        path=path,
        width_px=720,
        height_px=1280,
        num_frames=200,
        fps_hz=30.0,
        times_s=tuple(k / 30 for k in range(200)),
        rotation_deg=90,
        codec="h264",
        sha256="ab" * 32,
    )


def fake_report(**changes: object) -> ReportData:
    report = ReportData(
        version="0.1.0",
        video=fake_video_info(),
        frames_observed=200,
        frames_with_subject=198,
        focal_px=1408.0,
        focal_source="estimated",
        height_m=1.7,
        height_source="prior",
        method="splats",
        preset="standard",
        seconds=StageSeconds(perceive=14.2, fit=24.8, reconstruct=98.3, evaluate=6.1, report=4.4, total=149.0),
        peak_rss_mb=2210.4,
        splats=20480,
        avatar_mb=7.81,
        heldout=fake_heldout(),
        warnings=(
            Warned(
                code="never_seen",
                message="Never seen in the video: both lower legs and both feet. What the double shows there is invented.",
                advice="Film the whole person and let them turn around once, slowly.",
            ),
            Warned(code="odd", message="A name with <script>alert(1)</script> in it.", advice=""),
        ),
        limbs=tuple(
            LimbQuality(
                name=name,
                seen_share=0.0 if "leg" in name else 0.9,
                median_px=NAN if "leg" in name else 4.2,
                worst_tenth_px=NAN if "leg" in name else 9.1,
                median_share=NAN if "leg" in name else 0.007,
            )
            for name in LIMBS
        ),
        frame_quality=tuple(
            FrameQuality(frame_index=k, time_s=k / 30, quality=0.8 + 0.15 * math.sin(k / 9)) for k in range(200)
        ),
        regions=tuple(
            RegionCoverage(name=n, seen_share=0.0 if "lower leg" in n or "foot" in n else (k * 37 % 60 + 40) / 100)
            for k, n in enumerate(REGION_NAMES)
        ),
        total_seen=0.72,
        overlays=tuple(fake_picture(f"frame {k}, {k / 30:.2f} s") for k in range(0, 200, 25)),
        masks=tuple(fake_picture(f"frame {k}, {k / 30:.2f} s") for k in range(0, 200, 25)),
        faces=tuple(fake_picture(f"frame {k}, {k / 30:.2f} s", 50, 100) for k in range(0, 200, 25)),
        coverage=(fake_picture("front"), fake_picture("back")),
        provenance={"source SHA-256": "ab" * 32, "body": "anny 0.6.2", "seed": "0"},
    )
    return dataclasses.replace(report, **changes)
