"""The repertoire of motions: names, timeline, and files that are dropped in."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from avatar_fakes import bvh_text, make_avatar

from bodydouble.core.errors import InputError
from bodydouble.studio import motions
from bodydouble.studio.motions import FROM_VIDEO, REST, Repertoire, frame_at, rest_motion

AVATAR = make_avatar()


def some_bvh(frames: int = 12) -> bytes:
    turns = torch.zeros(frames, len(AVATAR.rig.bone_names), 3, dtype=torch.float64)
    turns[:, AVATAR.rig.bone_names.index("head"), 1] = torch.linspace(0.0, 0.5, frames)
    root = AVATAR.rig.joints_rest_m[:1].double().expand(frames, 3)
    return bvh_text(AVATAR.rig, turns, root).encode()


def test_names_motions_and_what_is_made_only_once() -> None:
    made = []

    def from_video():
        made.append(1)
        return rest_motion(AVATAR)

    repertoire = Repertoire(AVATAR, from_video)
    assert repertoire.names == (FROM_VIDEO, "idle", "wave", "turn", "squat", "dance", REST)
    assert repertoire.motion(FROM_VIDEO) is repertoire.motion(FROM_VIDEO)
    assert made == [1]
    with pytest.raises(InputError, match="no motion 'jig' here; known are"):
        repertoire.motion("jig")


def test_the_rest_pose_stands_on_the_floor() -> None:
    rest = rest_motion(AVATAR)
    lowest = float(AVATAR.mesh.vertices_rest_m[:, 1].min())
    assert float(rest.translation_world_m[0, 1]) == pytest.approx(-lowest)


def test_a_dropped_file_plays_under_its_name_and_others_do_not_see_it() -> None:
    repertoire = Repertoire(AVATAR)
    mine, yours = repertoire.fork(), repertoire.fork()
    name = mine.add_file("C:\\moves\\nod.bvh", some_bvh())
    again = mine.add_file("nod.bvh", some_bvh(20))
    assert (name, again) == ("nod.bvh", "nod.bvh (2)")
    assert mine.names[:2] == ("nod.bvh (2)", "nod.bvh")
    head = AVATAR.rig.bone_names.index("head")
    motion = mine.motion(name)
    assert motion.num_frames == 12
    assert float(motion.rotvecs[-1, head].norm()) == pytest.approx(0.5, abs=0.05)
    assert "nod.bvh" not in (*yours.names, *repertoire.names)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("notes.txt", b"hello", r"notes.txt is no motion that can be read; expected one of .bvh"),
        ("broken.bvh", b"HIERARCHY\nROOT", "broken.bvh"),
        ("empty.npz", b"", "empty.npz"),
        ("noise.glb", bytes(range(256)) * 8, "noise.glb"),
        ("noise.vmd", bytes(range(256)) * 8, "noise.vmd"),
        ("face.csv", b"a,b\n1,2\n", "face.csv"),
    ],
)
def test_what_cannot_be_read_is_a_message_about_the_viewers_own_file(name: str, content: bytes, words: str) -> None:
    repertoire = Repertoire(AVATAR)
    with pytest.raises(InputError, match=words) as caught:
        repertoire.add_file(name, content)
    assert "bodydouble-studio-" not in str(caught.value)
    assert repertoire.names == Repertoire(AVATAR).names


def test_arrays_that_are_no_motion_are_refused() -> None:
    file = io.BytesIO()
    np.savez(file, poses=np.full((3, 156), np.nan), trans=np.zeros((3, 3)), mocap_framerate=30.0)
    with pytest.raises(InputError, match=r"walk\.npz"):
        Repertoire(AVATAR).add_file("walk.npz", file.getvalue())


def test_large_and_long_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motions, "MAX_UPLOAD_MB", 0.001)
    with pytest.raises(InputError, match="at most 0 MB are read"):
        Repertoire(AVATAR).add_file("nod.bvh", some_bvh())
    monkeypatch.undo()
    monkeypatch.setattr(motions, "MAX_FRAMES", 5)
    with pytest.raises(InputError, match="at most 0 are played"):
        Repertoire(AVATAR).add_file("nod.bvh", some_bvh())


def test_frames_by_time() -> None:
    motion = Repertoire(AVATAR).motion("wave")
    assert frame_at(motion, 0.0) == 0
    assert frame_at(motion, 1.0) == 30
    assert frame_at(motion, 1.0 / 3.0) == 10
    assert frame_at(motion, 1e9) == motion.num_frames - 1
    assert frame_at(motion, -1.0) == 0
