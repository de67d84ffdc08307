"""The protocol's text and split, the boxes it measures in, and how it tells still from moving."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodydouble.capture.crops import crop_square
from bodydouble.capture.folder import is_heldout
from bodydouble.evaluate.protocol import HELDOUT_V1
from bodydouble.evaluate.regions import Box, box_in_crop, grown_box, landmark_box, landmark_speeds, mask_box


def test_the_protocol_holds_out_what_the_capture_keeps_from_training() -> None:
    for index in range(64):
        assert HELDOUT_V1.holds_out(index) == is_heldout(index)
    assert [i for i in range(24) if HELDOUT_V1.holds_out(i)] == [7, 15, 23]


def test_the_text_names_every_figure_and_every_number() -> None:
    text = " ".join(HELDOUT_V1.describe())
    for name in (
        "psnr_box:", "psnr_box_outlined:", "psnr_box_interpolated:", "psnr_box_registered:", "psnr_full", "ssim_box", "mask_iou",
        "psnr_hands", "psnr_face", "psnr_box_native",
    ):  # fmt: skip
        assert name in text
    for number in ("heldout-v1", "Every 8th", "index % 8 == 7", "10%", "512 x 512", "0.1 person heights"):
        assert number in text


@given(
    x0=st.floats(-50, 50),
    y0=st.floats(-50, 50),
    width=st.floats(1, 200),
    height=st.floats(1, 200),
    growth=st.floats(0, 1),
)
def test_a_grown_box_holds_the_grown_rectangle_tightly(
    x0: float, y0: float, width: float, height: float, growth: float
) -> None:
    box = grown_box(x0, y0, x0 + width, y0 + height, growth)
    for low, high, start, size in ((box.x0, box.x1, x0, width), (box.y0, box.y1, y0, height)):
        left, right = start - size * growth / 2, start + size * (1 + growth / 2)
        assert low <= left + 1e-5 and high >= right - 1e-5
        assert left - low < 1.001 and high - right < 1.001


def test_growth_is_not_spoilt_by_rounding() -> None:
    assert grown_box(100.0, 100.0, 200.0, 200.0, 0.1) == Box(x0=95, y0=95, x1=205, y1=205)


@given(
    x0=st.integers(0, 60), y0=st.integers(0, 60), width=st.integers(1, 40), height=st.integers(1, 40),
    crop_px=st.sampled_from([64, 512]),
)  # fmt: skip
def test_the_box_of_a_mask_lies_in_its_square_crop(x0: int, y0: int, width: int, height: int, crop_px: int) -> None:
    mask = np.zeros((100, 100), dtype=np.uint8)
    mask[y0 : y0 + height, x0 : x0 + width] = 255
    box = mask_box(mask / np.float32(255))
    square = crop_square(mask, HELDOUT_V1.box_growth)
    assert box is not None and square is not None
    left, top, side = square
    assert box.x0 >= left - 1 and box.y0 >= top - 1 and box.x1 <= left + side + 1 and box.y1 <= top + side + 1
    inside = box_in_crop(box, x0_px=left, y0_px=top, side_px=side, crop_px=crop_px)
    assert 0 <= inside.x0 < inside.x1 <= crop_px and 0 <= inside.y0 < inside.y1 <= crop_px
    scale = crop_px / side
    assert abs((inside.x1 - inside.x0) - (box.x1 - box.x0) * scale) <= 2 * scale + 1


def test_an_empty_mask_has_no_box() -> None:
    assert mask_box(np.full((8, 8), 0.5, dtype=np.float32)) is None


def test_landmark_boxes_need_enough_sure_landmarks() -> None:
    xy = np.stack([np.linspace(10, 30, 21), np.linspace(40, 50, 21)], axis=1).astype(np.float32)
    confidence = np.full(21, 0.9, dtype=np.float32)
    assert landmark_box(xy, confidence) == Box(x0=8, y0=39, x1=32, y1=51)
    confidence[5:] = 0.4
    assert landmark_box(xy, confidence) is None


def speeds_of(xy: np.ndarray, times: np.ndarray, height_px: float = 200.0) -> np.ndarray:
    frames = len(times)
    return landmark_speeds(
        times,
        xy.astype(np.float32),
        np.ones(xy.shape[:2], dtype=np.float32),
        np.full(frames, height_px, dtype=np.float32),
        np.arange(frames),
    )


@pytest.mark.parametrize("fps", [5.0, 10.0, 30.0, 60.0])
def test_speed_does_not_depend_on_the_frame_rate(fps: float) -> None:
    times = np.arange(int(2 * fps)) / fps
    xy = np.zeros((len(times), 20, 2))
    xy[..., 0] = 60.0 * times[:, None]
    np.testing.assert_allclose(speeds_of(xy, times), 0.3, atol=1e-4)


def test_landmark_jitter_of_a_still_person_stays_below_the_threshold() -> None:
    times = np.arange(60) / 30.0
    xy = np.random.default_rng(0).normal(scale=1.0, size=(60, 33, 2)) + 300.0
    assert np.max(speeds_of(xy, times, height_px=600.0)) < HELDOUT_V1.still_speed_heights_per_s


def test_unknown_speeds_are_nan() -> None:
    assert np.isnan(speeds_of(np.zeros((1, 20, 2)), np.zeros(1))).all()
    assert np.isnan(speeds_of(np.zeros((3, 4, 2)), np.arange(3) / 30.0)).all()
