"""`motion convert` and `motion info`, from words to files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from avatar_fakes import humanoid_rig, make_avatar

from bodydouble.avatar.builtin import builtin_motion
from bodydouble.avatar.clips.read import read_motion
from bodydouble.avatar.clips.rigs import as_source
from bodydouble.avatar.clips.write import write_motion
from bodydouble.avatar.expressions import expression_tensor
from bodydouble.avatar.glb import save_avatar
from bodydouble.cli.main import main
from bodydouble.core.errors import ConfigError, InputError
from bodydouble.pipeline.motion_files import convert_motion, load_motion
from bodydouble.pipeline.motions import find_motion

RIG = humanoid_rig()


@pytest.fixture
def squat(tmp_path: Path) -> Path:
    path = tmp_path / "squat.bvh"
    write_motion(path, as_source(builtin_motion("squat", RIG, floor_rest_m=0.0), RIG))
    return path


def test_convert_and_info_from_the_command_line(
    squat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "squat.npz"
    assert main(["motion", "convert", str(squat), str(out), "--fps", "60"]) == 0
    assert "frames at 60 Hz written to" in capsys.readouterr().out
    assert main(["motion", "info", str(out), "--json", "--plot", str(tmp_path / "a.png")]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["fps_hz"] == 60.0 and facts["fingers"] == 30 and facts["contact_left"] > 0.95
    assert (tmp_path / "a.png").stat().st_size > 1000
    assert main(["motion", "info", str(squat)]) == 0
    text = capsys.readouterr().out
    assert "lengths in centimetres" in text and "left foot stands 100%" in text
    assert main(["motion", "info", str(tmp_path / "none.bvh")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_a_motion_goes_onto_an_avatars_rig(squat: Path, tmp_path: Path) -> None:
    avatar = make_avatar()
    save_avatar(avatar, tmp_path / "avatar.glb")
    done = convert_motion(squat, tmp_path / "out.glb", avatar=tmp_path / "avatar.glb")
    source = read_motion(tmp_path / "out.glb")
    assert source.joint_names == avatar.rig.bone_names and done.joints == len(avatar.rig.bone_names)
    # What convert writes, render plays.
    motion = find_motion(str(tmp_path / "out.glb"), avatar, 30.0)
    assert motion.num_frames == done.frames
    with pytest.raises(ConfigError, match=r"leave --avatar out"):
        convert_motion(squat, tmp_path / "out.npz", avatar=tmp_path / "avatar.glb")


def test_faces_go_to_csv_and_bodies_do_not(squat: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="moves no face"):
        convert_motion(squat, tmp_path / "a.csv")
    motion = builtin_motion("squat", RIG)
    talk = motion.replace(expression=expression_tensor({"jawOpen": 0.5}).expand(motion.num_frames, -1).clone())
    save_avatar(make_avatar(), tmp_path / "talk.glb", clips=[talk])
    convert_motion(tmp_path / "talk.glb", tmp_path / "a.csv")
    from bodydouble.avatar.arkit_csv import read_arkit_csv
    from bodydouble.body.protocol import ARKIT_ACTIONS

    face = read_arkit_csv(tmp_path / "a.csv")
    assert float(face.expression[:, ARKIT_ACTIONS.index("jawOpen")].mean()) == pytest.approx(0.5, abs=1e-4)


def test_wrong_wishes_are_answered(squat: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must end in one of \.bvh, \.glb, \.npz, \.csv"):
        convert_motion(squat, tmp_path / "a.fbx")
    with pytest.raises(ConfigError, match="--fps is 0"):
        convert_motion(squat, tmp_path / "a.bvh", fps_hz=0.0)
    with pytest.raises(InputError):
        load_motion(tmp_path)  # a folder that is no run
