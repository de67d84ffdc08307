"""The few names that programs and notebooks use: what they do, refuse and show."""

from __future__ import annotations

import ast
import importlib
import io
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from avatar_fakes import make_avatar
from PIL import Image

import bodydouble as bd
from bodydouble.api.views import View, camera_for
from bodydouble.avatar.glb import load_avatar, save_avatar
from bodydouble.core.errors import ConfigError, InputError, NoSubjectError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("avatar") / "avatar.glb"
    save_avatar(make_avatar(), path)
    return path


@pytest.fixture(scope="module")
def avatar(file: Path) -> bd.Avatar:
    return bd.load(file.parent)


def test_names_come_when_they_are_asked_for():
    code = (
        "import bodydouble as bd, sys, json\nbefore = [m for m in sys.modules if m.startswith('bodydouble')]\n"
        "bd.load\nprint(json.dumps([before, 'torch' in sys.modules, sorted(dir(bd))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    before, torch_after, names = json.loads(done.stdout)
    assert before == ["bodydouble"] and torch_after
    assert set(bd.__all__) <= set(names)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        bd.frobnicate  # type: ignore[attr-defined]  # noqa: B018


def test_type_checkers_are_told_the_same_names():
    """The stub and the lazy table list the same names from the same modules."""
    tree = ast.parse((ROOT / "src" / "bodydouble" / "__init__.pyi").read_text(encoding="utf-8"))
    told = {
        alias.asname or alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(told) | {"__version__"} == set(bd.__all__) == {"__version__", *bd._HOMES}  # type: ignore[attr-defined]
    assert told == {name: f"bodydouble.api.{home}" for name, home in bd._HOMES.items()}  # type: ignore[attr-defined]
    for name, home in told.items():
        assert getattr(importlib.import_module(str(home)), name) is getattr(bd, name)


def test_load_takes_a_file_or_the_folder_of_a_run(file: Path):
    assert bd.load(str(file)).path == bd.load(file.parent).path == file
    with pytest.raises(InputError, match="absent"):
        bd.load(file.parent / "absent.glb")


def test_a_pose_turns_what_it_names(avatar: bd.Avatar):
    rest, raised = avatar.pose(), avatar.pose({"leftUpperArm": (0.0, 0.0, math.pi / 2)})
    names = avatar.value.rig.bone_names
    shoulder, hand = names.index("leftUpperArm"), names.index("leftHand")
    arm_rest = rest.state.joints_world_m[hand] - rest.state.joints_world_m[shoulder]
    arm_raised = raised.state.joints_world_m[hand] - raised.state.joints_world_m[shoulder]
    quarter_turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert torch.allclose(arm_raised, quarter_turn @ arm_rest, atol=1e-5)
    right = names.index("rightHand")
    assert torch.equal(rest.state.joints_world_m[right], raised.state.joints_world_m[right])


def test_an_expression_by_name_and_by_strengths(avatar: bd.Avatar):
    named, spelt = avatar.pose(expression="jawOpen", strength=0.5), avatar.pose(expression={"jawOpen": 0.5})
    assert named.state.vertices_world_m is not None and spelt.state.vertices_world_m is not None
    assert torch.allclose(named.state.vertices_world_m, spelt.state.vertices_world_m)
    assert not torch.equal(named.state.vertices_world_m, avatar.pose().state.vertices_world_m)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("turns", "expression", "text"),
    [
        ({"leftUperArm": (0.0, 0.0, 1.0)}, None, "no bone 'leftUperArm'; did you mean 'leftUpperArm'"),
        ({"head": (0.0, 1.0)}, None, r"turn of 'head' is \[0.0, 1.0\]; expected a rotation vector of three numbers"),
        ({"head": (0.0, 1.0, math.nan)}, None, "expected a rotation vector of three numbers"),
        ({}, "smirk", "is not an expression"),
        ({}, {"jawOpen": 2.0}, r"must lie in \[0, 1\]"),
    ],
)
def test_what_a_pose_refuses(avatar: bd.Avatar, turns: dict, expression: object, text: str):
    with pytest.raises(ConfigError, match=text):
        avatar.pose(turns, expression=expression)  # type: ignore[arg-type]


def test_a_picture_holds_all_of_the_body_and_little_else(avatar: bd.Avatar):
    posed = avatar.pose()
    for azimuth in (0.0, 1.0, math.pi):
        view = View(width_px=120, height_px=160, azimuth_rad=azimuth)
        camera = camera_for(avatar.value, posed.state, view)
        assert posed.state.vertices_world_m is not None
        places, depth = camera.project(posed.state.vertices_world_m)
        assert float(depth.min()) > 0
        share = (places - torch.tensor([60.0, 80.0])).abs() / torch.tensor([60.0, 80.0])
        assert 0.85 < float(share.max()) <= 0.921  # it reaches the margin and not the edge
    # From its left, an avatar that faces +Z looks to the left of the picture.
    nose = posed.state.joints_world_m[0] + torch.tensor([0.0, 0.0, 0.3])
    side = camera_for(avatar.value, posed.state, View(azimuth_rad=math.pi / 2))
    assert float(side.project(nose)[0][0]) < float(side.project(posed.state.joints_world_m[0])[0][0])


def test_pictures_with_and_without_a_background(avatar: bd.Avatar):
    white = np.asarray(avatar.pose().render(48, 64))
    clear = np.asarray(avatar.pose().render(48, 64, background="transparent")).astype(np.float64)
    assert white.shape == (64, 48, 3) and clear.shape == (64, 48, 4)
    assert (white[0, 0] == 255).all() and clear[0, 0, 3] == 0
    alpha = clear[..., 3:] / 255
    assert np.abs(alpha * clear[..., :3] + (1 - alpha) * 255 - white).max() < 3  # laid over white it is the same
    with pytest.raises(ConfigError, match="background is 'plaid'; expected a colour"):
        avatar.pose().render(48, 64, background="plaid")
    with pytest.raises(ConfigError, match="width_px is 4; expected 16"):
        avatar.pose().render(4, 64)


def test_playing(avatar: bd.Avatar, tmp_path: Path):
    dance = avatar.play("dance", fps_hz=12.0)
    assert dance.seconds == pytest.approx(4.0, abs=0.1)
    again = dance.at(dance.seconds + 0.25).state.joints_world_m
    assert torch.equal(again, dance.at(0.25).state.joints_world_m)
    assert dance.strip(3, 32, 48).size == (96, 48)
    assert dance.save(tmp_path / "d.mp4", width_px=32, height_px=48, seconds=0.5) == 6
    with pytest.raises(ConfigError, match="time_s is -1"):
        dance.at(-1.0)
    with pytest.raises(InputError, match="no motion 'moonwalk'"):
        avatar.play("moonwalk")


def test_exporting(avatar: bd.Avatar, tmp_path: Path):
    done = avatar.export(tmp_path / "x.ply")
    assert done.format == "ply" and done.path.stat().st_size == done.bytes
    avatar.save(tmp_path / "y.glb", clips=[avatar.play("wave").motion])
    assert load_avatar(tmp_path / "y.glb").splats is not None
    with pytest.raises(ConfigError, match="no format 'fbx'; expected one of glb"):
        avatar.export(tmp_path / "x.fbx")


def test_what_a_notebook_shows(avatar: bd.Avatar):
    with Image.open(io.BytesIO(avatar._repr_png_())) as picture:
        assert picture.size == (360, 480)
        assert (np.asarray(picture) != 255).any()
    page = avatar._repr_html_()
    assert "data:image/png;base64," in page and "52 actions" in page
    assert "<th style='text-align:left'>splats</th>" in page
    assert avatar.play("idle")._repr_png_().startswith(b"\x89PNG")


def test_runs_say_what_they_miss(tmp_path: Path):
    with pytest.raises(InputError, match=r"not the folder of a run \(run.json is missing\)"):
        bd.open_run(tmp_path)
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="not finished"):
        bd.open_run(tmp_path)


def test_creating_refuses_as_the_command_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(InputError, match=r"absent.mp4"):
        bd.create(tmp_path / "absent.mp4", tmp_path / "out", progress=False)
    with pytest.raises(ConfigError, match="no preset named 'best'"):
        bd.create(tmp_path / "absent.mp4", preset="best")
    assert not (tmp_path / "out").exists() and issubclass(NoSubjectError, InputError)
    assert capsys.readouterr().err == ""
