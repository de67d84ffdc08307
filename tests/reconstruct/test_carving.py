"""Carving: what many frames see the world through is raised out of the person, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bodydouble.reconstruct.surface.carving import carvable, carved, world_shares
from bodydouble.reconstruct.surface.evidence import Evidence
from bodydouble.render.volume import SkinNodes, blend_bones

FRAMES, HEIGHT, WIDTH, FOCAL_PX = 4, 20, 30, 25.0


def evidence_of(person: np.ndarray, confidence: np.ndarray) -> Evidence:
    none = np.zeros((HEIGHT, WIDTH), np.float32)
    return Evidence(
        person=person.astype(np.float32),
        confidence=confidence.astype(np.float32),
        world=np.zeros((HEIGHT, WIDTH, 3), np.float32),
        seen=none,
        gains=np.ones((len(person), 3), np.float32),
    )


def still_room() -> SkinNodes:
    """Space that one bone carries, around a body 2 m in front of the camera."""
    shape = (9, 9, 9)
    count = 9**3
    return SkinNodes(
        index=torch.arange(count, dtype=torch.int32).reshape(shape),
        origin_m=torch.tensor([-0.8, -0.8, -2.8]),
        voxel_m=0.2,
        joints=torch.zeros(count, 1, dtype=torch.int32),
        weights=torch.ones(count, 1),
    )


def moved_by(x_m: float) -> torch.Tensor:
    bone = torch.eye(4)[:3]
    bone[0, 3] = x_m
    return bone.reshape(1, 12)


def shares_of(points: torch.Tensor, evidence: Evidence) -> torch.Tensor:
    skin = still_room()
    return world_shares(points, skin, lambda place: blend_bones(skin, moved_by(0.1 * place)), evidence, FOCAL_PX)


def test_a_share_counts_frames_that_are_sure_of_the_world_where_the_pose_puts_the_place() -> None:
    point = torch.tensor([[0.0, 0.24, -2.0]])
    row = int(10 - FOCAL_PX * 0.24 / 2.0)
    columns = [int(15 + FOCAL_PX * 0.1 * f / 2.0) for f in range(FRAMES)]
    person, confidence = np.ones((FRAMES, HEIGHT, WIDTH)), np.ones((FRAMES, HEIGHT, WIDTH))
    assert float(shares_of(point, evidence_of(person, confidence))) == 0.0
    for f, column in enumerate(columns[:3]):
        person[f, row, column] = 0.0
    assert float(shares_of(point, evidence_of(person, confidence))) == pytest.approx(0.75)
    confidence[0, row, columns[0]] = 0.3  # not sure any more
    assert float(shares_of(point, evidence_of(person, confidence))) == pytest.approx(0.5)


def test_places_that_no_frame_shows_are_not_the_worlds() -> None:
    world = evidence_of(np.zeros((FRAMES, HEIGHT, WIDTH)), np.ones((FRAMES, HEIGHT, WIDTH)))
    beyond = torch.tensor([[0.0, 0.0, -9.0], [0.7, 0.79, -1.3], [0.0, 0.0, -2.0]])
    shares = shares_of(beyond, world)
    assert shares.tolist() == [0.0, 0.0, 1.0]  # off the lattice, beside the picture, in it


@given(sdf=st.floats(-0.0625, 0.0625, width=32), low=st.floats(0.0, 1.0, width=32), more=st.floats(0.0, 1.0, width=32))
def test_carving_only_raises_and_the_more_the_more_frames_say_so(sdf: float, low: float, more: float) -> None:
    shares = torch.tensor([low, min(1.0, low + more)])
    first, second = carved(torch.tensor([sdf, sdf]), shares, (0.3, 0.5), 0.01).tolist()
    before = float(torch.tensor(sdf))
    assert before <= first <= second
    if low <= 0.3:
        assert first == before
    if low >= 0.5:
        assert first >= 0.01 - 1e-7
    assert carved(torch.tensor([sdf]), shares[1:], (1.0, 2.0), 0.01).tolist() == [before]


def test_the_bare_body_and_empty_space_are_left_alone() -> None:
    sdf = torch.tensor([-0.02, -0.02, 0.03, 0.004]).reshape(4, 1, 1)
    body = torch.tensor([0.02, -0.01, 0.05, 0.02]).reshape(4, 1, 1)
    assert carvable(sdf, body, 0.01).flatten().tolist() == [True, False, False, True]
