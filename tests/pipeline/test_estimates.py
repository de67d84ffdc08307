"""Trackers' results, in the layouts their tools write, placed on a video: poses, people, frames, cameras, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import estimate_sets as sets
import numpy as np
import pytest
import torch
from e2e_clips import landscape, write_clip
from estimate_sets import Performance

from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import Pose
from bodydouble.capture.estimates.kinds import KINDS, read_estimate
from bodydouble.capture.estimates.sam3d import point_names
from bodydouble.capture.values import BodyTrack, Observations
from bodydouble.cli.main import main
from bodydouble.cli.options import Create
from bodydouble.core.errors import ConfigError, InputError
from bodydouble.fit.controls import build_controls
from bodydouble.fit.kinematics import exp_so3
from bodydouble.fit.landmarks import rest_geometry
from bodydouble.fit.marks import Carried, landmark_marks
from bodydouble.fit.terms import pose_nodes
from bodydouble.fit.track import FitConfig
from bodydouble.pipeline.estimate_frames import LANDMARKS, PLAIN
from bodydouble.pipeline.estimate_track import Placed, place_estimate

KNOWN = FitConfig(height_cm=100 * sets.DOLL_HEIGHT_M, focal_px=sets.FOCAL)
HUMAN = {
    "shoulder": "UpperArm",
    "elbow": "LowerArm",
    "wrist": "Hand",
    "hip": "UpperLeg",
    "knee": "LowerLeg",
    "ankle": "Foot",
}
JOINTS = {f"{side}_{name}": side + bone for side in ("left", "right") for name, bone in HUMAN.items()}


def observed(show: Performance, *, first: int = 0, noise_px: float = 1.0) -> Observations:
    """What the video shows of a performer, from a frame on."""
    rng = np.random.default_rng(0)
    names = [name.removeprefix("body/") for name in LANDMARKS]
    xy = np.stack([show.pixels(name) for name in names], 1) + rng.normal(size=(show.frames, 12, 2)) * noise_px
    xyz = np.stack([show.joints[name] for name in names], 1)
    xyz = xyz - (show.joints["left_hip"] + show.joints["right_hip"])[:, None] / 2
    every = np.stack([show.pixels(name) for name in show.joints], 1)
    box = np.concatenate([every.min(1) - 15, every.max(1) + 15], axis=1)
    return Observations(
        frame_indices=torch.arange(first, first + show.frames),
        times_s=torch.arange(first, first + show.frames) / 30.0,
        width_px=sets.WIDTH,
        height_px=sets.HEIGHT,
        landmark_names=LANDMARKS,
        xy_px=torch.from_numpy(xy).float(),
        xyz_camera_m=torch.from_numpy(xyz).float(),
        confidence=torch.ones(show.frames, 12),
        present=torch.ones(show.frames, dtype=torch.bool),
        box_px=torch.from_numpy(box).float(),
    )


def joints_of(track: BodyTrack) -> dict[str, np.ndarray]:
    """Joints of a track by SMPL's names, in camera axes."""
    body = load_anny()
    pose = track.pose()
    places = body.with_shape(track.shape).with_pose(pose).joints_world.double().numpy() * [1, -1, -1]
    return {name: places[:, body.bone_names.index(body.humanoid[human])] for name, human in JOINTS.items()}


def figures(track: BodyTrack, show: Performance) -> tuple[float, float, float]:
    """Mean distance of joints in mm, of limbs' directions in degrees, of joints in the image in pixels."""
    ours, focal = joints_of(track), float(track.focal_px)
    mm = np.mean([np.linalg.norm(ours[n] - show.joints[n], axis=1) for n in JOINTS]) * 1000
    turns, pixels = [], []
    for a, b in sets.LIMBS:
        u, v = ours[b] - ours[a], show.joints[b] - show.joints[a]
        cosine = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
        turns.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())
    for name in JOINTS:
        seen = focal * ours[name][:, :2] / ours[name][:, 2:] + [sets.WIDTH / 2, sets.HEIGHT / 2]
        pixels.append(np.linalg.norm(seen - show.pixels(name), axis=1).mean())
    return float(mm), float(np.mean(turns)), float(np.mean(pixels))


@pytest.fixture(scope="module")
def show() -> Performance:
    return sets.perform(16)


@pytest.fixture(scope="module")
def other() -> Performance:
    """Somebody else in the same video."""
    return sets.perform(16, aside=1.3, phase=0.3)


def write(kind: str, folder: Path, show: Performance, other: Performance) -> Path:
    path = folder / kind
    if kind == "smplx":
        sets.write_amass(folder / "motion.npz", show)
        return folder / "motion.npz"
    if kind == "sam3d":
        sets.write_sam3d_video(folder / "video.json", mhr_points(show)[0])
        return folder / "video.json"
    people: dict[str, Callable[[], Any]] = {
        "exavatar": lambda: sets.write_exavatar(path, show),
        "smplerx": lambda: sets.write_smplerx(path, [show, other]),
        "gvhmr": lambda: sets.write_gvhmr(path, show),
        "wham": lambda: sets.write_wham(path, {0: other, 7: show}),
        "tram": lambda: sets.write_tram(path, {0: other, 1: show}),
        "wildavatar": lambda: sets.write_wildavatar(path, show),
    }
    people[kind]()
    return path


def mhr_points(show: Performance) -> tuple[np.ndarray, np.ndarray]:
    """70 keypoints of our own body in camera axes, in a motion of its own before the doll's place; and its vertices."""
    body = load_anny()
    controls = build_controls(body)
    names = point_names()
    marks, known = landmark_marks(body, names)
    t = np.linspace(0, 1, show.frames)[:, None]
    theta = controls.array("mean") + 0.4 * controls.array("sigma") * np.sin(7 * t + np.arange(len(controls.dofs)))
    theta = np.clip(theta, controls.array("lower"), controls.array("upper"))
    shape = body.shape_default.double().numpy()
    rest = rest_geometry(body, marks.model, controls, shape)
    R = exp_so3(np.concatenate([0 * t, 0.5 * np.sin(5 * t), 0 * t], 1))
    place = show.pelvis * [1, -1, -1] - rest.joints[0]
    posed = pose_nodes(controls, rest.joints, R, place, theta)
    points = np.zeros((show.frames, 70, 3))
    points[:] = posed.joints[:, :1]
    points[:, known] = Carried.of(marks, controls).place(posed, rest)[1]
    rotvecs = np.zeros((show.frames, len(body.bone_names), 3))
    rotvecs[:, controls.node_bones] = np.einsum("nik,fk->fni", controls.axes, theta)
    rotvecs[:, controls.node_bones[0], 1] = 0.5 * np.sin(5 * t[:, 0])
    pose = Pose(rotvecs=torch.from_numpy(rotvecs).float(), translation_world_m=torch.from_numpy(place).float())
    vertices = body.with_shape(body.shape_default).with_pose(pose).vertices().double().numpy()
    return points * [1, -1, -1], vertices


def seen_as(points: np.ndarray) -> Observations:
    """The keypoints themselves as what the video shows."""
    names = point_names()
    wrists = {f"body/{side}_wrist": f"{side}_hand/wrist" for side in ("left", "right")}
    columns = [names.index(wrists.get(name, name)) for name in LANDMARKS]
    xyz = points[:, columns]
    xy = sets.FOCAL * xyz[..., :2] / xyz[..., 2:] + [sets.WIDTH / 2, sets.HEIGHT / 2]
    every = sets.FOCAL * points[..., :2] / points[..., 2:] + [sets.WIDTH / 2, sets.HEIGHT / 2]
    base = observed(sets.perform(len(points)))
    return base.replace(
        xy_px=torch.from_numpy(xy).float(),
        xyz_camera_m=torch.from_numpy(xyz - xyz.mean(1, keepdims=True)).float(),
        box_px=torch.from_numpy(np.concatenate([every.min(1) - 10, every.max(1) + 10], axis=1)).float(),
    )


def placed(path: Path, seen: Observations, fit: FitConfig = KNOWN, **options: Any) -> Placed:
    options = {"num_frames": int(seen.frame_indices[-1]) + 1, **options}
    return place_estimate(read_estimate(path), seen, load_anny(), fit, **options)


@pytest.mark.parametrize("kind", [k.name for k in KINDS if k.name not in ("sam3d", "smplx")])
def test_each_layout_is_recognised_read_and_placed(
    kind: str, tmp_path: Path, show: Performance, other: Performance
) -> None:
    path = write(kind, tmp_path, show, other)
    estimate = read_estimate(path)
    assert estimate.kind == kind
    found = placed(path, observed(show))
    mm, degrees, pixels = figures(found.track, show)
    # The doll's shoulders and hips are elsewhere than ours: its joints cannot be met to better than that.
    assert mm < 90
    assert degrees < 4.5
    assert pixels < 10
    assert found.frames == show.frames
    assert found.track.frame_quality.median() > 0.8
    assert found.track.valid.all()
    assert float(load_anny().height_m(found.track.shape)) == pytest.approx(sets.DOLL_HEIGHT_M, abs=0.005)
    assert found.timing.shift == (-1.0 if kind == "smplerx" else 0.0)  # SMPLer-X's files count from 1


def test_a_world_without_its_camera_is_turned_by_landmarks(
    tmp_path: Path, show: Performance, other: Performance
) -> None:
    found = placed(write("smplx", tmp_path, show, other), observed(show))
    mm, degrees, pixels = figures(found.track, show)
    assert mm < 90
    assert degrees < 6.5
    assert pixels < 10
    sets.write_smplx_arguments(tmp_path / "arguments.npz", show)
    mm, degrees, _ = figures(placed(tmp_path / "arguments.npz", observed(show)).track, show)
    assert mm < 90
    assert degrees < 4.5


@pytest.mark.parametrize("form", ["video", "frames"])
def test_keypoints_of_sam_3d_body_give_our_body_back(form: str, tmp_path: Path, show: Performance) -> None:
    points, vertices = mhr_points(show)
    path = tmp_path / ("video.json" if form == "video" else "frames")
    (sets.write_sam3d_video if form == "video" else sets.write_sam3d_frames)(path, points)
    body = load_anny()
    fit = FitConfig(height_cm=100 * float(body.height_m(body.shape_default)), focal_px=sets.FOCAL)
    track = placed(path, seen_as(points), fit).track
    pose = track.pose()
    ours = body.with_shape(track.shape).with_pose(pose).vertices().double().numpy()
    assert 1000 * np.linalg.norm(ours - vertices, axis=-1).mean() < 40  # distance from the camera included
    centred = (ours - ours.mean(1, keepdims=True)) - (vertices - vertices.mean(1, keepdims=True))
    assert 1000 * np.linalg.norm(centred, axis=-1).mean() < 15


def test_another_focal_length_keeps_what_is_seen(tmp_path: Path, show: Performance, other: Performance) -> None:
    """WHAM takes the diagonal, 800 px, where the camera has 700: at its own focal length the person is farther away."""
    path = write("wham", tmp_path, show, other)
    theirs = placed(path, observed(show), FitConfig(height_cm=182.0)).track
    assert float(theirs.focal_px) == pytest.approx(800)
    assert figures(theirs, show)[2] < 10
    wide = placed(path, observed(show), FitConfig(height_cm=182.0, focal_px=500.0)).track
    assert figures(wide, show)[2] < 16
    assert float((wide.translation_world_m[:, 2] / theirs.translation_world_m[:, 2]).mean()) == pytest.approx(
        0.625, abs=0.03
    )


def test_images_of_another_size(tmp_path: Path, show: Performance, other: Performance) -> None:
    path = write("gvhmr", tmp_path, show, other)
    seen = observed(show)
    double = seen.replace(width_px=1280, height_px=960, xy_px=seen.xy_px * 2, box_px=seen.box_px * 2)
    found = placed(path, double, FitConfig(height_cm=182.0))
    assert float(found.track.focal_px) == pytest.approx(2 * sets.FOCAL)
    assert found.error_share < 0.03
    with pytest.raises(InputError, match=r"images of 640x480, this video has 480x640: it was turned"):
        placed(path, seen.replace(width_px=480, height_px=640))
    with pytest.raises(InputError, match="other proportions, so it was cropped"):
        placed(path, seen.replace(width_px=640, height_px=360))


def test_missing_frames_are_interpolated_and_not_trusted(tmp_path: Path, show: Performance) -> None:
    kept = [i for i in range(16) if i not in (0, 6, 7, 15)]
    sets.write_exavatar(tmp_path / "a", show)
    for i in (0, 6, 7, 15):
        (tmp_path / f"a/smplx_optimized/smplx_params/{i}.json").unlink()
    found = placed(tmp_path / "a", observed(show))
    assert found.frames == 12
    assert found.track.valid.tolist() == [i in kept for i in range(16)]
    assert (found.track.frame_quality[~found.track.valid] == 0).all()
    assert figures(found.track, show)[1] < 6.0
    assert torch.isfinite(found.track.rotvecs).all()


def test_frame_numbers_are_understood(tmp_path: Path, show: Performance) -> None:
    """Of a clip that begins 40 frames into the video; and of every second frame."""
    sets.write_gvhmr(tmp_path / "cut", show)
    found = placed(tmp_path / "cut", observed(show, first=40), num_frames=90, first_frame=40)
    assert found.timing.shift == 40.0
    assert found.frames == 16
    long = sets.perform(32)
    sets.write_gvhmr(tmp_path / "half", long.cut(slice(0, None, 2)))
    found = placed(tmp_path / "half", observed(long), num_frames=32)
    assert found.timing.rate == pytest.approx(2.0, abs=0.1)
    assert figures(found.track, long)[1] < 6.0
    sets.write_gvhmr(tmp_path / "plain", show)
    assert placed(tmp_path / "plain", observed(show)).timing == PLAIN


def test_people_are_told_apart(tmp_path: Path, show: Performance, other: Performance) -> None:
    path = write("wham", tmp_path, show, other)
    assert figures(placed(path, observed(show)).track, show)[1] < 4.5
    assert figures(placed(path, observed(other)).track, other)[1] < 4.5
    with pytest.raises(InputError, match="does not lie on the video's subject"):
        placed(path, observed(show), person=0)
    with pytest.raises(InputError, match=r"has no person 3; it has .*7.* Change --estimate-person"):
        placed(path, observed(show), person=3)
    far = sets.perform(16, aside=-2.2)
    sets.write_gvhmr(tmp_path / "far", far)
    with pytest.raises(InputError, match="none of its 1 people is where the video's subject is"):
        placed(tmp_path / "far", observed(other))


def test_a_result_of_another_convention_is_refused(tmp_path: Path, show: Performance) -> None:
    turned = Performance(poses=show.poses, pelvis=show.pelvis * [1, 1, -1], joints=show.joints)
    sets.write_gvhmr(tmp_path / "behind", turned)
    with pytest.raises(InputError, match="behind the camera"):
        placed(tmp_path / "behind", observed(show))
    upright = show.poses.copy()
    upright[:, :3] = 0.0
    sets.write_gvhmr(tmp_path / "upside", Performance(poses=upright, pelvis=show.pelvis, joints=show.joints))
    with pytest.raises(InputError, match="does not lie on the video's subject"):
        placed(tmp_path / "upside", observed(show))


# --- files ---------------------------------------------------------------------------------------------------------------


def test_wrong_guesses_are_told_what_it_is(tmp_path: Path, show: Performance, other: Performance) -> None:
    path = write("tram", tmp_path, show, other)
    with pytest.raises(InputError, match=r"no result of GVHMR: expected hmr4d_results.pt .* found a folder with camera.npy, "
                       r"hps/\. It looks like TRAM: --estimate-kind tram"):  # fmt: skip
        read_estimate(path, "gvhmr")
    with pytest.raises(ConfigError, match="no kind of estimate 'romp'; known are auto, exavatar"):
        read_estimate(path, "romp")
    with pytest.raises(InputError, match="is not there"):
        read_estimate(tmp_path / "nothing")
    np.savez(tmp_path / "other.npz", a=np.zeros(3), b=np.zeros(2))
    with pytest.raises(
        InputError, match=r"no tracker's result that can be read: found a \.npz with a, b\. Expected exavatar: "
    ):
        read_estimate(tmp_path / "other.npz")
    offered = get_args(get_type_hints(Create)["estimate_kind"])
    assert set(offered) == {"auto", *(k.name for k in KINDS)}


def damaged_gvhmr(path: Path) -> None:
    values = torch.load(path / "hmr4d_results.pt")
    values["smpl_params_incam"]["transl"] = values["smpl_params_incam"]["transl"][:3]
    torch.save(values, path / "hmr4d_results.pt")


def damaged_wham(path: Path) -> None:
    (path / "wham_output.pkl").write_bytes((path / "wham_output.pkl").read_bytes()[:3000])


def damaged_tram(path: Path) -> None:
    track = np.load(path / "hps/hps_track_1.npy", allow_pickle=True).item()
    track["pred_rotmat"] = track["pred_rotmat"] * 1.3
    np.save(path / "hps/hps_track_1.npy", track, allow_pickle=True)


def damaged_exavatar(path: Path) -> None:
    (path / "smplx_optimized/smplx_params/3.json").write_text('{"root_pose": [0, 0, 0]}')


def damaged_smplerx(path: Path) -> None:
    (path / "meta/00002_0.json").unlink()


def damaged_wildavatar(path: Path) -> None:
    table = json.loads((path / "metadata.json").read_text())
    del table["000002"]["poses"]
    (path / "metadata.json").write_text(json.dumps(table))


@pytest.mark.parametrize(
    ("kind", "damage", "text"),
    [
        ("gvhmr", damaged_gvhmr, "16 poses but 3 translations"),
        ("wham", damaged_wham, "wham_output.pkl"),
        ("tram", damaged_tram, "matrices that are no rotations"),
        ("exavatar", damaged_exavatar, r"3\.json has no body_pose, lhand_pose"),
        ("smplerx", damaged_smplerx, r"meta/00002_0.json is missing: SMPLer-X's camera is that of a crop"),
        ("wildavatar", damaged_wildavatar, "poses of frame 000002 is missing"),
    ],
)
def test_damaged_files_are_refused(
    kind: str, damage: Callable[[Path], None], text: str, tmp_path: Path, show: Performance, other: Performance
) -> None:
    path = write(kind, tmp_path, show, other)
    damage(path)
    with pytest.raises(InputError, match=text):
        read_estimate(path, kind)


def test_the_command_line_refuses_before_it_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = write_clip(tmp_path / "clip.mp4", landscape(count=3))
    (tmp_path / "results").mkdir()
    words = ["create", str(video), "-o", str(tmp_path / "out"), "--estimate", str(tmp_path / "results")]
    assert main(words) == 1
    assert "is no tracker's result that can be read: found an empty folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["create", str(video), "--estimate-person", "1"]) == 1
    assert "which is missing" in capsys.readouterr().err
