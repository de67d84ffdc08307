"""Correctives, floaters and unseen splats in a whole, tiny training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny_person import film_person

from bodydouble.avatar.drive import pose_avatar
from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import Pose
from bodydouble.reconstruct.splats.config import SplatsConfig
from bodydouble.reconstruct.splats.correctives import CorrectiveConfig
from bodydouble.reconstruct.splats.density import concatenate, take
from bodydouble.reconstruct.splats.exposure import ExposureConfig
from bodydouble.reconstruct.splats.posing import as_splats
from bodydouble.reconstruct.splats.seed import SplatState, birth_normals
from bodydouble.reconstruct.splats.sight import Shares, seen_shares
from bodydouble.reconstruct.splats.trainer import Trainer
from bodydouble.render.select import make_rasterizer

CONFIG = SplatsConfig(
    num_steps=16, num_seeds=1200, max_splats=1300, max_frames=8, size_px=96, register_at=(),
    correctives=CorrectiveConfig(num_nodes=60, start=0.25, pose_terms=3, frame_terms=2),
    exposure=ExposureConfig(start=0.1, least_drift=-1.0),  # always
)  # fmt: skip


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    folder: Path = tmp_path_factory.mktemp("person")
    trainer = Trainer(film_person(folder), load_anny(), CONFIG, make_rasterizer("cpu"), folder)
    for _ in trainer.run():
        pass
    return trainer


def test_the_avatar_carries_what_was_learnt(trainer: Trainer) -> None:
    avatar = trainer.avatar()
    assert avatar.splats is not None and avatar.mesh is not None
    basis = avatar.splats.correctives.basis if avatar.splats.correctives else None
    assert basis is not None and 2 <= len(basis.offsets_m) <= 5 and 1e-5 < float(basis.offsets_m.abs().max()) < 0.05
    assert avatar.mesh.correctives is not None and avatar.mesh.correctives.basis is basis
    wild = Pose(rotvecs=torch.full((len(avatar.rig.bone_names), 3), 0.7), translation_world_m=torch.zeros(3))
    posed, plain = (
        pose_avatar(avatar, wild),
        pose_avatar(avatar, wild, coefficients=torch.zeros(len(basis.offsets_m))),
    )
    assert posed.splats and plain.splats
    assert float((posed.splats.means_world - plain.splats.means_world).norm(dim=1).max()) < 0.1  # nothing explodes


def test_steady_light_gives_gains_near_one(trainer: Trainer) -> None:
    gains = trainer.appearance.exposure.gains
    assert gains is not None and gains.shape == (8, 3)
    assert float((gains - 1.0).abs().max()) < 0.15
    assert "exposure.log_gains" in trainer.appearance.tensors()


def shares_of(trainer: Trainer, state: SplatState) -> Shares:
    normals = birth_normals(state, trainer.rest.vertices_rest, trainer.body.faces)
    return seen_shares(state, normals, trainer.frames, trainer._cloud_at, trainer.rasterizer)


def test_a_back_that_glimmers_through_a_chest_is_not_seen(trainer: Trainer) -> None:
    """Nobody filmed it: the person turns from 17 degrees to the one side to 34 to the other."""
    before = trainer.state
    outward = birth_normals(before, trainer.rest.vertices_rest, trainer.body.faces)[:, 2]
    trainer.state = before.replace(logit_opacities=torch.full((len(outward),), -2.0))  # glass
    try:
        shares = shares_of(trainer, trainer.state)
    finally:
        trainer.state = before
    assert float(shares.shown[outward < -0.9].median()) > 0.05
    assert float(shares.seen[outward < -0.9].max()) == 0.0
    assert float(shares.seen[outward > 0.9].median()) > 0.3


def test_a_splat_beside_the_person_is_removed(trainer: Trainer) -> None:
    before = trainer.state
    chest = (before.means - trainer.joints_rest[trainer.rig.bone_names.index(trainer.rig.humanoid["chest"])]).norm(
        dim=1
    )
    floater = take(before, chest.argmin()[None])
    floater = floater.replace(
        means=floater.means + torch.tensor([[0.35, 0.0, 0.0]]),
        log_scales=torch.full((1, 3), -3.5),
        logit_opacities=torch.tensor([3.0]),
    )
    trainer.state = concatenate(before, floater)
    trainer._bind()
    try:
        shares = shares_of(trainer, trainer.state)
        avatar = trainer.avatar()
    finally:
        trainer.state = before
        trainer._bind()
    assert float(shares.supported[-1]) < 0.1 and float(shares.shown[-1]) < 0.1
    assert float(shares.supported[:-1].median()) > 0.3
    assert avatar.splats is not None
    nearest = (avatar.splats.means_rest_m - floater.means).norm(dim=1).min()
    assert float(nearest) > 0.05
    assert len(avatar.splats.means_rest_m) > 0.9 * len(before.means)


def test_what_sticks_out_beside_the_person_is_told(trainer: Trainer) -> None:
    """Of splats laid over the trained ones, frames show beside the person what lies there, and no more of it behind."""
    splats = as_splats(trainer.state)
    chest = trainer.joints_rest[trainer.rig.bone_names.index(trainer.rig.humanoid["chest"])]
    nearest = int((splats.means_rest_m - chest).norm(dim=1).argmin())
    one = splats.map(lambda tensor: tensor[nearest : nearest + 1])
    shifts = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.0, -0.1]])  # beside the trunk, and behind it
    told = [
        float(trainer._shown_outside(one.replace(means_rest_m=one.means_rest_m + shift))[0])
        for shift in shifts[:, None]
    ]
    assert told[0] > 0.5
    assert told[1] < 0.05


def test_correctives_can_be_left_out(trainer: Trainer, tmp_path: Path) -> None:
    config = dataclasses.replace(
        CONFIG, num_steps=2, correctives=CorrectiveConfig(start=1.0), exposure=ExposureConfig(start=1.0)
    )
    bare = Trainer(trainer.capture, trainer.body, config, trainer.rasterizer, tmp_path)
    for _ in bare.run():
        pass
    avatar = bare.avatar()
    assert avatar.splats is not None and avatar.splats.correctives is None
    assert avatar.mesh is not None and avatar.mesh.correctives is None
    assert bare.appearance.tensors() == {}
