"""The run-time shape checker is on: a wrong shape raises. Without this test a broken setting would go unnoticed."""

import jaxtyping
import pytest
import torch

from bodydouble.core.cameras import Camera
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.render.protocol import SplatCloud


def test_a_wrong_shape_raises():
    with pytest.raises(jaxtyping.TypeCheckError):
        rotvec_to_matrix(torch.zeros(5, 4))


def test_a_wrong_dtype_raises():
    with pytest.raises(jaxtyping.TypeCheckError):
        rotvec_to_matrix(torch.zeros(5, 3, dtype=torch.int64))


def test_fields_of_one_struct_must_agree():
    with pytest.raises(jaxtyping.TypeCheckError):
        SplatCloud(
            means_world=torch.zeros(4, 3),
            quats_wxyz=torch.zeros(5, 4),
            scales_m=torch.zeros(4, 3),
            opacities=torch.zeros(4),
            sh=torch.zeros(4, 1, 3),
        )


def test_our_checks_alone_switches_it_off(our_checks_alone):
    camera = Camera(
        width_px=4,
        height_px=4,
        focal_px=torch.ones(3),  # wrong, and nobody minds
        center_px=torch.ones(2),
        T_camera_world=torch.eye(4),
    )
    assert camera.focal_px.shape == (3,)
