"""Folds and faces of single frames: known coefficients and actions are found back from the pictures they made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bodydouble.avatar.values import CorrectiveBasis, Correctives, Morph, Rig, Splats
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.capture.crops import PersonCrop
from bodydouble.core.cameras import video_camera
from bodydouble.fit.looks import FrameLooks
from bodydouble.fit.pose_problem import GRAY, PoseProblem, RegisterConfig
from bodydouble.render.select import make_rasterizer

SIZE = 128
RIG = Rig(bone_names=("root",), bone_parents=(-1,), joints_rest_m=torch.zeros(1, 3), humanoid={"hips": "root"})
JAW = ARKIT_ACTIONS.index("jawOpen")


def _splats(*, with_morphs: bool) -> Splats:
    """A square of splats; one pattern lifts its upper half and darkens the lower, one action opens its middle."""
    at = torch.stack(torch.meshgrid(torch.linspace(-0.5, 0.5, 24), torch.linspace(-0.5, 0.5, 24), indexing="ij"), -1)
    means = torch.cat([at.reshape(-1, 2), torch.zeros(24 * 24, 1)], dim=1)
    n = len(means)
    upper = (means[:, 1] > 0).long()
    offsets, shades = torch.zeros(1, 2, 3), torch.zeros(1, 2)
    offsets[0, 1] = torch.tensor([0.03, 0.0, 0.0])
    shades[0, 0] = -0.2
    basis = CorrectiveBasis(
        turn_bones=torch.zeros(0, dtype=torch.long), up_bones=torch.zeros(0, dtype=torch.long),
        feature_map=torch.zeros(1, 0), feature_mean=torch.zeros(0), lowest=torch.zeros(1), highest=torch.zeros(1),
        reach=torch.tensor(1.0), spread=torch.ones(1), nodes_rest_m=torch.zeros(2, 3), offsets_m=offsets, shades=shades,
    )  # fmt: skip
    weights = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1)
    nodes = torch.zeros(n, 4, dtype=torch.long)
    nodes[:, 0] = upper
    middle = torch.nonzero(means.norm(dim=1) < 0.3)[:, 0]
    morph = Morph(name="jawOpen", indices=middle, deltas_m=torch.tensor([0.0, -0.1, 0.0]).repeat(len(middle), 1))
    return Splats(
        means_rest_m=means,
        quats_wxyz=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1),
        scales_m=torch.full((n, 3), 0.02),
        opacities=torch.full((n,), 0.95),
        sh=torch.sin(9 * means + torch.tensor([0.0, 1.0, 2.0]))[:, None],
        joints=torch.zeros(n, 4, dtype=torch.long),
        weights=weights,
        seen=torch.ones(n),
        morphs=(morph,) if with_morphs else (),
        correctives=Correctives(basis=basis, nodes=nodes, weights=weights),
    )


def _setting(splats: Splats, extra: float, jaw: float, said: float) -> tuple[PoseProblem, FrameLooks]:
    """One frame filmed with the given coefficient and action; the landmarks said `said` of the action."""
    rotvecs, translation = torch.zeros(1, 1, 3), torch.tensor([[0.0, 0.0, -2.0]])
    camera = video_camera(SIZE, SIZE, 180.0)
    blank = np.zeros((SIZE, SIZE, 3), np.uint8)
    mask = np.full((SIZE, SIZE), 255, np.uint8)

    def problem_of(rgb: np.ndarray, looks: FrameLooks) -> PoseProblem:
        crop = PersonCrop(frame_index=0, rgb=rgb, mask=mask, camera=camera, x0_px=0, y0_px=0, side_px=SIZE)
        return PoseProblem(RIG, [crop], np.zeros(1), rotvecs, translation, RegisterConfig(), dress=looks.dress)

    expression = torch.zeros(1, len(ARKIT_ACTIONS))
    expression[0, JAW] = jaw
    filmed = FrameLooks(RIG, splats, expression)
    filmed.extra[:] = extra
    image = make_rasterizer("cpu")(problem_of(blank, filmed).posed(splats, 0)[1], camera, GRAY)
    rgb = (image.rgb.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()
    start = expression.clone()
    start[0, JAW] = said
    looks = FrameLooks(RIG, splats, start)
    return problem_of(rgb, looks), looks


def test_folds_are_found() -> None:
    splats = _splats(with_morphs=False)
    problem, looks = _setting(splats, extra=0.8, jaw=0.0, said=0.0)
    for _ in range(2):
        looks.settle_folds(problem, splats, make_rasterizer("cpu"))
    assert abs(float(looks.extra[0, 0]) - 0.8) < 0.1


def test_an_open_mouth_is_found() -> None:
    splats = _splats(with_morphs=True)
    problem, looks = _setting(splats, extra=0.0, jaw=0.6, said=0.3)
    for _ in range(2):
        looks.settle_faces(problem, splats, make_rasterizer("cpu"))
    assert abs(float(looks.expression[0, JAW]) - 0.6) < 0.1
    assert float(looks.expression.sum()) == float(looks.expression[0, JAW])


@pytest.mark.parametrize("known", [True, False])
def test_a_face_that_the_edge_cuts_off_keeps_what_landmarks_said(known: bool) -> None:
    splats = _splats(with_morphs=True)
    problem, looks = _setting(splats, extra=0.0, jaw=0.6, said=0.6)
    (crop,) = problem.crops
    rgb, mask, beyond = crop.rgb.copy(), crop.mask.copy(), np.zeros((SIZE, SIZE), bool)
    rgb[SIZE // 2 :], mask[SIZE // 2 :], beyond[SIZE // 2 :] = 0, 0, True
    problem.crops = [replace(crop, rgb=rgb, mask=mask, beyond=beyond if known else None)]
    looks.settle_faces(problem, splats, make_rasterizer("cpu"))
    assert (abs(float(looks.expression[0, JAW]) - 0.6) < 0.03) == known


def test_a_face_nobody_saw_stays_neutral() -> None:
    splats = _splats(with_morphs=True)
    problem, looks = _setting(splats, extra=0.0, jaw=0.6, said=0.0)
    looks.settle_faces(problem, splats, make_rasterizer("cpu"))
    assert float(looks.expression.abs().max()) == 0.0
