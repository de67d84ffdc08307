"""Cameras: OpenCV axes, pixel centres at +0.5, crops that see the same rays."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.core.cameras import look_at_camera, video_camera


def test_the_video_camera_looks_along_minus_z_with_y_up():
    camera = video_camera(640, 480, 500.0)
    ahead, depth = camera.project(torch.tensor([[0.0, 0.0, -2.0], [0.0, 1.0, -2.0], [1.0, 0.0, -2.0]]))
    torch.testing.assert_close(depth, torch.full((3,), 2.0))
    torch.testing.assert_close(ahead[0], torch.tensor([320.0, 240.0]))  # the middle, between four pixel centres
    torch.testing.assert_close(ahead[1], torch.tensor([320.0, 240.0 - 250.0]))  # up in the world is up in the image
    torch.testing.assert_close(ahead[2], torch.tensor([320.0 + 250.0, 240.0]))  # the world's +X is to the right


def test_points_behind_have_negative_depth_and_no_nan():
    pixels, depth = video_camera(64, 48, 50.0).project(torch.tensor([[0.1, 0.2, 3.0], [0.0, 0.0, 0.0]]))
    assert depth[0] < 0
    assert torch.isfinite(pixels).all()


@settings(deadline=None, max_examples=40)
@given(
    st.floats(-200, 200),
    st.floats(-200, 200),
    st.floats(20, 400),
    st.floats(20, 400),
    st.integers(8, 600),
    st.integers(8, 600),
)
def test_a_crop_sees_the_same_rays(x0: float, y0: float, width: float, height: float, out_w: int, out_h: int):
    camera = video_camera(640, 480, 500.0)
    crop = camera.cropped(x0, y0, (width, height), (out_w, out_h))
    points = torch.tensor([[0.2, 0.1, -2.0], [-0.4, 0.5, -3.0]])
    pixels, depth = camera.project(points)
    in_crop, depth_in_crop = crop.project(points)
    expected = (pixels - torch.tensor([x0, y0])) * torch.tensor([out_w / width, out_h / height])
    torch.testing.assert_close(in_crop, expected, rtol=1e-4, atol=2e-2)
    torch.testing.assert_close(depth, depth_in_crop)
    assert (crop.width_px, crop.height_px) == (out_w, out_h)


@pytest.mark.parametrize("eye", [(0.0, 1.0, 3.0), (2.0, 0.5, -1.0), (-3.0, 2.0, 0.1)])
def test_look_at_puts_the_target_in_the_middle(eye: tuple[float, float, float]):
    target = torch.tensor([0.1, 0.9, -0.2])
    camera = look_at_camera(torch.tensor(eye), target, width_px=200, height_px=100, focal_px=150.0)
    pixel, depth = camera.project(target)
    torch.testing.assert_close(pixel, torch.tensor([100.0, 50.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(depth, (torch.tensor(eye) - target).norm())
    above, _ = camera.project(target + torch.tensor([0.0, 0.3, 0.0]))
    assert above[1] < pixel[1]
    R = camera.T_camera_world[:3, :3]
    torch.testing.assert_close(R @ R.T, torch.eye(3), atol=1e-5, rtol=0)
    assert torch.linalg.det(R) > 0
