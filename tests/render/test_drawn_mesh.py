"""Meshes drawn with soft edges: only the part of the picture that they may cover is worked on."""

from __future__ import annotations

import pytest
import torch

from bodydouble.core.cameras import Camera, video_camera
from bodydouble.render import texture
from bodydouble.render.texture import DrawnMesh, draw_mesh, mesh_alpha

CAMERA = video_camera(60, 44, 55.0)
GENERATOR = torch.Generator().manual_seed(5)
CORNERS = 0.25 * torch.randn(30, 3, generator=GENERATOR)
FACES = torch.randint(0, 30, (40, 3), generator=GENERATOR)
COLORS = torch.rand(30, 3, generator=GENERATOR)
UV = torch.rand(30, 2, generator=GENERATOR)
IMAGE = torch.randint(0, 256, (16, 24, 3), generator=GENERATOR, dtype=torch.uint8)


def drawn(shift_m: tuple[float, float, float], *, textured: bool) -> DrawnMesh:
    return draw_mesh(
        CORNERS + torch.tensor(shift_m),
        FACES,
        CAMERA,
        colors=COLORS,
        uv=UV if textured else None,
        texture=IMAGE if textured else None,
        background=torch.tensor([0.2, 0.4, 0.6]),
    )


@pytest.mark.parametrize("textured", [False, True])
@pytest.mark.parametrize(
    ("shift_m", "part"),
    [((0.0, 0.0, -3.0), True), ((1.2, -0.9, -3.0), True), ((0.0, 0.0, -0.3), False), ((0.0, 50.0, -3.0), True)],
    ids=["inside", "over the corner", "through the camera", "out of the picture"],
)
def test_a_window_gives_what_the_whole_gives(
    shift_m: tuple[float, float, float], part: bool, textured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int, int, int]] = []
    real = texture._window

    def watched(vertices: torch.Tensor, camera: Camera) -> tuple[int, int, int, int]:
        asked.append(real(vertices, camera))
        return asked[-1]

    monkeypatch.setattr(texture, "_window", watched)
    found = drawn(shift_m, textured=textured)
    monkeypatch.setattr(texture, "_window", lambda vertices, camera: (0, 0, camera.width_px, camera.height_px))
    expected = drawn(shift_m, textured=textured)
    for name in ("rgb", "alpha", "depth"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-5, rtol=1e-5)
    ((_, _, width, height),) = asked
    assert (width * height < 0.8 * CAMERA.width_px * CAMERA.height_px) == part
    assert bool(expected.alpha.any()) == (shift_m[1] < 10.0)


@pytest.mark.parametrize("shift_m", [(0.0, 0.0, -3.0), (1.2, -0.9, -3.0), (0.0, 0.0, -0.3), (0.0, 50.0, -3.0)])
def test_alpha_alone_is_the_same(shift_m: tuple[float, float, float]) -> None:
    alone = mesh_alpha(CORNERS + torch.tensor(shift_m), FACES, CAMERA)
    torch.testing.assert_close(alone, drawn(shift_m, textured=False).alpha, atol=1e-6, rtol=0.0)
