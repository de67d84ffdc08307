"""Motions for performers: built in and from files, on the floor, with fingers and a face."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bodydouble.avatar.smpl_motion import read_smpl_motion
from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import Pose
from bodydouble.core.errors import InputError
from bodydouble.core.events import Warned
from bodydouble.synth.choreography import choreograph
from bodydouble.synth.looks import draw_look
from bodydouble.synth.performer import make_performer


@pytest.fixture(scope="module")
def performer():
    return make_performer(load_anny(), draw_look(1))


def _choreograph(performer, wanted: str, frames: int = 30, events: list | None = None):
    emit = (lambda event: None) if events is None else events.append
    return choreograph(wanted, load_anny(), performer, seed=1, num_frames=frames, fps_hz=12.0, emit=emit)


def _joints(performer, choreography) -> torch.Tensor:
    pose = Pose(rotvecs=choreography.performance.rotvecs, translation_world_m=choreography.translations_m)
    return performer.shaped.with_pose(pose).joints_world


def _save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("name", ["performance", "dance", "wave"])
def test_motions_by_name(performer, name):
    events: list = []
    found = _choreograph(performer, name, events=events)
    body = load_anny()
    joints = _joints(performer, found)
    feet = [body.bone_names.index(body.humanoid[f"{s}Foot"]) for s in ("left", "right")]
    assert 0.03 < float(joints[:, feet, 1].amin()) < 0.14 and float(joints[:, feet, 1].amin(1).max()) < 0.2
    assert float(joints[:, 0, [0, 2]].abs().max()) < 0.4 and not events
    assert found.performance.expression.max() > 0.3  # a face that does something
    fingers = [i for i, n in enumerate(body.bone_names) if n.startswith("finger2")]
    assert float(found.performance.rotvecs[:, fingers].std(0).max()) > 0.05


def _wide_walk(frames: int = 40) -> dict[str, np.ndarray]:
    """A figure of SMPL, upright along z as AMASS has it, that glides 6 m and lifts its left arm."""
    poses = np.zeros((frames, 72))
    poses[:, 0] = np.pi / 2
    poses[:, 48 + 2] = np.linspace(0, -1.2, frames)  # left shoulder, about the zero pose's z
    trans = np.stack([np.linspace(0, 6, frames), np.zeros(frames), np.full(frames, 0.9)], 1)
    return {"poses": poses, "trans": trans, "mocap_framerate": np.array(12.0)}


def test_smpl_motion_is_brought_upright_and_kept_near(performer, tmp_path):
    path = _save(tmp_path / "walk.npz", **_wide_walk())
    source = read_smpl_motion(path)
    assert source.fps_hz == 12.0 and source.R_parent_joint.shape == (40, 22, 3, 3)
    events: list = []
    found = _choreograph(performer, str(path), frames=60, events=events)
    assert [e.code for e in events if isinstance(e, Warned)] == ["path-shortened"]
    body, joints = load_anny(), _joints(performer, found)
    place = {k: body.bone_names.index(v) for k, v in body.humanoid.items()}
    assert bool((joints[:, place["head"], 1] > joints[:, place["hips"], 1] + 0.4).all())
    assert 3.0 < float(joints[:, 0, [0, 2]].max() - joints[:, 0, [0, 2]].min()) < 3.7
    hand, other = joints[:, place["leftHand"]], joints[:, place["rightHand"]]
    assert float(hand[39, 1]) < float(hand[0, 1]) - 0.3 and abs(float(other[39, 1] - other[0, 1])) < 0.05
    # Back and forth after its end.
    torch.testing.assert_close(found.performance.rotvecs[45, 0], found.performance.rotvecs[33, 0])


@pytest.mark.parametrize("turn", [(0, 0, 0), (np.pi / 2, 0, 0), (np.pi, 0, 0), (0, 0, np.pi / 2), (0, 0, -np.pi / 2)])
def test_any_axis_may_point_up(tmp_path, turn):
    poses = np.zeros((2, 72))
    poses[:, :3] = turn
    source = read_smpl_motion(_save(tmp_path / "m.npz", poses=poses, trans=np.ones((2, 3))))
    torch.testing.assert_close(source.R_parent_joint[:, 0], torch.eye(3).expand(2, 3, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(source.root_position.norm(dim=1), torch.full((2,), 3**0.5))


@pytest.mark.parametrize(("columns", "joints"), [(66, 22), (156, 52), (165, 52)])
def test_layouts_of_the_smpl_family(tmp_path, columns, joints):
    poses = np.zeros((3, columns))
    first = {156: 22, 165: 25}.get(columns)
    if first is not None:
        poses[:, 3 * first + 2] = 0.7  # the left index finger's first joint
    source = read_smpl_motion(_save(tmp_path / "m.npz", poses=poses))
    assert len(source.joint_names) == joints and source.fps_hz == 30.0
    bent = (source.R_parent_joint[0] - torch.eye(3)).abs().amax((1, 2)) > 0.1
    assert [n for n, b in zip(source.joint_names, bent, strict=True) if b] == (["left_index1"] if first else [])


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"positions": np.zeros((4, 72))}, "no array called `poses`"),
        ({"poses": np.array(["dance"] * 4)}, "`poses` holds <U5, no numbers"),
        ({"poses": np.full((4, 72), 1e30)}, "beyond all bounds"),
        ({"poses": np.zeros((4, 72)), "trans": np.full((4, 3), 1e30)}, "beyond all bounds"),
        ({"poses": np.zeros((4, 70))}, r"must be \(frames, 66, 72, 156 or 165\), found \(4, 70\)"),
        ({"poses": np.full((4, 72), np.nan)}, "values that are not finite"),
        ({"poses": np.zeros((4, 72)), "trans": np.zeros((3, 3))}, r"`trans` must be \(4, 3\)"),
        ({"poses": np.zeros((4, 72)), "mocap_framerate": np.array(0.0)}, "between 1 and 1000"),
        ({"poses": np.array([{"a": 1}], dtype=object)}, "holds Python objects"),
        ({"poses": np.zeros((0, 72))}, "0 frames"),
    ],
)
def test_broken_smpl_files_are_refused(tmp_path, arrays, text):
    with pytest.raises(InputError, match=text):
        read_smpl_motion(_save(tmp_path / "m.npz", **arrays))


def test_other_files_are_refused(performer, tmp_path):
    (tmp_path / "m.npz").write_bytes(b"PK but no archive")
    with pytest.raises(InputError, match="not a readable"):
        read_smpl_motion(tmp_path / "m.npz")
    (tmp_path / "m.txt").write_text("dance!")
    with pytest.raises(InputError, match=r"m.txt is no motion that can be read; expected a \.bvh or \.npz"):
        _choreograph(performer, str(tmp_path / "m.txt"))
    with pytest.raises(InputError, match="does not exist"):
        _choreograph(performer, str(tmp_path / "gone.npz"))


@pytest.mark.parametrize("name", ["wave_hello.bvh", "smpl_aist_demo.npz"])
def test_real_motions_keep_their_feet_on_the_floor(performer, data_folder, name):
    found = _choreograph(performer, str(data_folder / "motions" / name), frames=36)
    body, joints = load_anny(), _joints(performer, found)
    head, hips = (joints[:, body.bone_names.index(body.humanoid[k])] for k in ("head", "hips"))
    assert float((head[:, 1] - hips[:, 1]).min()) > 0.3
    feet = [body.bone_names.index(body.humanoid[f"{s}Foot"]) for s in ("left", "right")]
    assert float(joints[:, feet, 1].min()) > 0.0 and float(joints[:, feet, 1].amin(1).quantile(0.1)) < 0.16
