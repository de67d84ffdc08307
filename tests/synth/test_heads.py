"""Heads with known expressions, and what expressions are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.synth.grimaces import draw_expression
from bodydouble.synth.heads import Head, View


def test_expressions_are_possible_ones() -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_expression(rng) for _ in range(600)])
    values = dict(zip(ARKIT_ACTIONS, drawn.T, strict=True))
    assert drawn.min() == 0 and drawn.max() <= 1
    assert ((drawn > 0).sum(0) > 5).all()  # every action occurs
    assert (values["mouthClose"] <= values["jawOpen"] + 1e-9).all()
    assert (values["jawOpen"][values["tongueOut"] > 0] >= 0.2).all()
    for one, other in (("jawLeft", "jawRight"), ("eyeWideLeft", "eyeBlinkLeft"), ("mouthSmileLeft", "mouthFrownLeft")):
        assert (values[one] * values[other] == 0).all()
    assert np.allclose(values["eyeLookOutLeft"], values["eyeLookInRight"])
    assert (values["jawOpen"] > 0).mean() > 2 * (values["cheekPuff"] > 0).mean()


@pytest.fixture(scope="module")
def head() -> Head:
    return Head(load_anny(), 5)


def _picture(head: Head, actions: torch.Tensor, **view: Any) -> np.ndarray:
    return head.picture(actions, View(**view), size_px=64, seed=1).astype(float)


def test_pictures_repeat_and_show_what_is_done(head: Head) -> None:
    calm, open_ = torch.zeros(52), torch.zeros(52)
    open_[ARKIT_ACTIONS.index("jawOpen")] = 1.0
    one, again, other = _picture(head, calm), _picture(head, calm), _picture(head, open_)
    assert one.shape == (64, 64, 3)
    assert np.array_equal(one, again)
    change = np.abs(one - other).mean(2)
    assert change[38:].mean() > 4 * change[:28].mean()  # mouth and chin, not the brow


def test_a_head_that_turns_to_its_left_turns_to_the_pictures_right(head: Head) -> None:
    tip = int(head.vertices_rest_m(torch.zeros(52))[:, 2].argmax())
    nose = head.vertices_rest_m(torch.zeros(52))[tip]
    x = [float(head._camera(View(yaw_rad=yaw), 64).project(nose)[0][0]) for yaw in (-0.5, 0.0, 0.5)]
    y = [float(head._camera(View(pitch_rad=pitch), 64).project(nose)[0][1]) for pitch in (-0.3, 0.0, 0.3)]
    assert x[0] < x[1] < x[2]
    assert y[0] < y[1] < y[2]


def test_faces_differ_beyond_their_phenotypes() -> None:
    body = load_anny()
    plain, bent = Head(body, 5, bent=False), Head(body, 5)
    apart = (plain.vertices_rest_m(torch.zeros(52)) - bent.vertices_rest_m(torch.zeros(52))).norm(dim=1)
    assert 0.001 < float(apart.max()) < 0.03
