"""Facial motion in the Live Link Face app's table: round trips, what the app does, and hostile files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.avatar.arkit_csv import COLUMNS, read_arkit_csv, write_arkit_csv
from bodydouble.avatar.face_motion import FaceMotion, turn_angles, turn_matrices, with_face
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Rig
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import InputError


def _clip(frames: int, fps_hz: float, seed: int = 0) -> FaceMotion:
    generator = torch.Generator().manual_seed(seed)
    return FaceMotion(
        name="clip",
        fps_hz=fps_hz,
        expression=torch.rand(frames, 52, generator=generator),
        head_rad=torch.rand(frames, 3, generator=generator) - 0.5,
        eyes_rad=torch.rand(frames, 2, 3, generator=generator) - 0.5,
    )


@settings(deadline=None, max_examples=12)
@given(frames=st.integers(1, 150), rate=st.sampled_from([24.0, 25.0, 30.0, 60.0, 29.97, 120.0]), seed=st.integers(0, 9))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, frames: int, rate: float, seed: int) -> None:
    path = tmp_path_factory.mktemp("csv") / "face.csv"
    clip = _clip(frames, rate, seed)
    write_arkit_csv(path, clip)
    read = read_arkit_csv(path, rate_hz=float(round(rate)))
    assert read.num_frames == frames
    if frames > 1:
        assert read.fps_hz == pytest.approx(rate, rel=2e-2)
    for own, other in (
        (clip.expression, read.expression),
        (clip.head_rad, read.head_rad),
        (clip.eyes_rad, read.eyes_rad),
    ):
        assert (own - other).abs().max() < 0.04  # timecodes hold thousandths of frames
    assert (clip.expression[0] - read.expression[0]).abs().max() < 1e-6


def test_the_table_is_the_apps(tmp_path: Path) -> None:
    path = tmp_path / "face.csv"
    write_arkit_csv(path, _clip(90, 60.0))
    lines = path.read_text().splitlines()
    assert lines[0].split(",") == list(COLUMNS)
    assert lines[0].startswith("Timecode,BlendShapeCount,EyeBlinkLeft,EyeLookDownLeft,EyeLookInLeft")
    assert lines[0].endswith(
        "HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,LeftEyePitch,LeftEyeRoll,RightEyeYaw,RightEyePitch,RightEyeRoll"
    )
    assert len(COLUMNS) == 63
    assert {n.lower() for n in ARKIT_ACTIONS} <= {n.lower() for n in COLUMNS}
    assert [line.split(",")[0] for line in lines[1:]][59:62] == [
        "00:00:00:59.000",
        "00:00:01:00.000",
        "00:00:01:01.000",
    ]
    assert all(line.split(",")[1] == "61" for line in lines[1:])


def test_the_rate_is_found_from_the_timecode(tmp_path: Path) -> None:
    path = tmp_path / "face.csv"
    write_arkit_csv(path, _clip(70, 30.0))
    assert read_arkit_csv(path).fps_hz == pytest.approx(30.0)
    write_arkit_csv(path, _clip(130, 60.0))
    assert read_arkit_csv(path).fps_hz == pytest.approx(60.0)


def _written(tmp_path: Path, rows: list[str], header: str = "") -> Path:
    path = tmp_path / "made.csv"
    path.write_text("\n".join([header or ",".join(COLUMNS), *rows]) + "\n")
    return path


def _row(code: str, value: float = 0.25, turn: float = 0.0) -> str:
    return ",".join([code, "61", *[str(value)] * 52, *[str(turn)] * 9])


def test_lost_rows_and_dropped_frames_are_bridged(tmp_path: Path) -> None:
    lost = ",".join(["10:59:59:59.000", "0", *[""] * 61])
    path = _written(
        tmp_path, [_row("10:59:59:58.000", 0.2), lost, _row("11:00:00:00.000", 0.4), _row("11:00:00:02.000", 0.8)]
    )
    clip = read_arkit_csv(path)
    assert clip.fps_hz == pytest.approx(60.0)
    assert clip.expression[:, 0].tolist() == pytest.approx([0.2, 0.2, 0.4, 0.6, 0.8], abs=1e-5)


def test_midnight_degrees_order_and_case_do_not_matter(tmp_path: Path) -> None:
    path = _written(tmp_path, [_row("23:59:59:59.000", 2.0, 20.0), _row("00:00:00:00.000", -1.0, 20.0)])
    clip = read_arkit_csv(path)
    assert clip.num_frames == 2
    assert clip.expression[0].max() == 1.0 and clip.expression[1].max() == 0.0
    assert float(clip.head_rad[0, 0]) == pytest.approx(math.radians(20.0), abs=1e-5)
    order = list(reversed(COLUMNS))
    values = {name: str(k / 100) for k, name in enumerate(COLUMNS)} | {"Timecode": "00:00:00:01.000"}
    path = _written(tmp_path, [",".join(values[n] for n in order)], ",".join(n.upper() for n in order))
    read = read_arkit_csv(path)
    assert float(read.expression[0, ARKIT_ACTIONS.index("jawOpen")]) == pytest.approx(COLUMNS.index("JawOpen") / 100)


@pytest.mark.parametrize(
    ("rows", "header", "words"),
    [
        ([], "", "holds no rows"),
        ([_row("00:00:00:01.000")[:-40]], "", "line 2: 63 values were expected"),
        ([_row("yesterday")], "", "line 2: a timecode HH:MM:SS:FF.fff was expected, found 'yesterday'"),
        ([_row("00:00:00:01.000").replace("0.25", "nan", 1)], "", "line 2: finite numbers were expected, found 'nan'"),
        ([_row("00:00:00:01.000").replace("0.25", "a", 1)], "", "line 2: finite numbers were expected, found 'a'"),
        ([_row("00:00:00:02.000"), _row("00:00:00:01.000")], "", "line 3: the timecode does not grow"),
        ([_row("00:00:00:01.000"), _row("00:00:00:02.000"), _row("9e9:00:00:03.000")], "", "at most 1000000 frames"),
        (["1,2"], "frame,value", "no recording of facial actions: it has no column Timecode, EyeBlinkLeft"),
        ([",".join(["00:00:00:01.000", "0", *[""] * 61])], "", "holds no row with a face"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, rows: list[str], header: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_arkit_csv(_written(tmp_path, rows, header))


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_arkit_csv(tmp_path / "none.csv")
    (tmp_path / "noise.csv").write_bytes(bytes(range(256)) * 20)
    with pytest.raises(InputError):
        read_arkit_csv(tmp_path / "noise.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_arkit_csv(tmp_path)


@settings(deadline=None, max_examples=30)
@given(st.tuples(st.floats(-3, 3), st.floats(-1.5, 1.5), st.floats(-3, 3)))
def test_angles_and_matrices_are_inverse(angles: tuple[float, float, float]) -> None:
    R = turn_matrices(torch.tensor(angles, dtype=torch.float64))
    assert torch.allclose(turn_matrices(turn_angles(R)), R, atol=1e-9)


def test_yaw_is_to_the_own_left_and_pitch_downwards() -> None:
    forward = torch.tensor([0.0, 0.0, 1.0])
    assert float((turn_matrices(torch.tensor([0.3, 0.0, 0.0])) @ forward)[0]) > 0.2  # +X is the left
    assert float((turn_matrices(torch.tensor([0.0, 0.3, 0.0])) @ forward)[1]) < -0.2


def _rig() -> Rig:
    return Rig(
        bone_names=("root", "neck01", "head"),
        bone_parents=(-1, 0, 1),
        joints_rest_m=torch.tensor([[0.0, 1.0, 0], [0, 1.5, 0], [0, 1.6, 0]]),
        humanoid={"hips": "root", "neck": "neck01", "head": "head"},
    )


def test_a_face_goes_on_a_motion() -> None:
    body = Motion(name="b", fps_hz=30.0, rotvecs=torch.rand(10, 3, 3), translation_world_m=torch.rand(10, 3),
                  expression=torch.ones(10, 52))  # fmt: skip
    face = _clip(60, 60.0)
    mixed = with_face(body, face, _rig())
    assert mixed.num_frames == 30
    assert torch.equal(mixed.rotvecs[10:20], body.rotvecs)
    assert torch.allclose(mixed.expression[3], face.expression[6])
    turned = with_face(
        body, face.replace(head_rad=torch.tensor([[0.5, 0.0, 0.0]]).expand(60, 3)), _rig(), turn_head=True
    )
    assert torch.allclose(turned.rotvecs[0, 1] + turned.rotvecs[0, 2], torch.tensor([0.0, 0.5, 0.0]), atol=1e-6)
    assert torch.equal(turned.rotvecs[0, 0], body.rotvecs[0, 0])
