"""Every layout on a tiny capture written by independent code, and what is refused of each."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import foreign_sets as sets
import numpy as np
import pytest
from foreign_sets import FRAMES, HEIGHT, OFFSETS, WIDTH, Truth

from bodydouble.capture.foreign.layouts import LAYOUTS, find_layout, read_foreign
from bodydouble.capture.foreign.rectify import Rectifier
from bodydouble.capture.foreign.values import ForeignCapture, smpl_joint_names, smpl_joint_parents
from bodydouble.core.errors import ConfigError, InputError

KINDS: dict[str, tuple[Callable[[Path], Truth], str]] = {
    "peoplesnapshot": (sets.write_peoplesnapshot, ""),
    "neuman": (sets.write_neuman, ""),
    "neuman_original": (partial(sets.write_neuman, original=True), ""),
    "xhumans": (sets.write_xhumans, ""),
    "zju": (sets.write_zju, "Camera_B2"),
    "zju_yaml": (partial(sets.write_zju, with_annots=False), "Camera_B2"),
    "wildavatar": (sets.write_wildavatar, ""),
    "synwild": (sets.write_synwild, ""),
    "plain": (sets.write_plain, ""),
}


def made(kind: str, folder: Path) -> tuple[Truth, ForeignCapture]:
    writer, sequence = KINDS[kind]
    folder.mkdir(exist_ok=True)
    truth = writer(folder)
    return truth, read_foreign(folder, sequence=sequence)


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Truth, ForeignCapture]]:
    root = tmp_path_factory.mktemp("foreign")
    return {kind: made(kind, root / kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_and_masks_are_those_of_the_source(
    kind: str, captures: dict[str, tuple[Truth, ForeignCapture]]
) -> None:
    truth, capture = captures[kind]
    assert capture.layout == kind.split("_")[0]
    assert (capture.num_frames, capture.width_px, capture.height_px) == (FRAMES, WIDTH, HEIGHT)
    numbers = [frame.number for frame in capture.frames]
    assert numbers == sorted(numbers)
    for i in range(FRAMES):
        lossy = capture.frames[i].image.suffix == ".jpg"
        assert np.abs(capture.rgb(i).astype(int) - truth.images[i]).mean() <= (4.0 if lossy else 0.0)
        wanted = cv2.dilate(truth.masks[i], np.ones((5, 5), np.uint8)) if kind == "synwild" else truth.masks[i]
        np.testing.assert_array_equal(capture.mask(i), wanted)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plain"])
def test_bodies_stand_where_the_cameras_saw_them(kind: str, captures: dict[str, tuple[Truth, ForeignCapture]]) -> None:
    """The source's own parameters, posed by independent kinematics, taken through our cameras: joints to a micrometre."""
    truth, capture = captures[kind]
    cameras, body = capture.cameras, capture.body
    assert cameras is not None and body is not None and bool(body.valid.all())
    own_pelvis = np.array([0.003, -0.351, 0.012]) if body.model == "smplx" else OFFSETS[0]
    joints = len(sets.JOINTS) if body.model == "smpl" else 22
    for i in range(FRAMES):
        pose = np.zeros((24, 3))
        pose[:joints] = body.rotvecs[i, :joints].numpy()
        turn = cv2.Rodrigues(pose[0])[0]
        pelvis = own_pelvis if body.pivot == "pelvis" else turn @ own_pelvis
        posed = sets.posed_points(pose, pelvis)
        p_source = float(body.scale[i]) * np.array([posed[name] for name in sets.JOINTS]) + body.translation[i].numpy()
        T = cameras.T_camera_world[i].numpy() @ cameras.T_world_source[i].numpy()
        in_camera = p_source @ T[:3, :3].T + T[:3, 3]
        # Hands are no part of the shared joints of SMPL-X; float32 and JSON cost digits.
        np.testing.assert_allclose(in_camera[:22], truth.joints_camera[i][:22], atol=3e-5)
    K = np.array([cameras.focal_px[0].tolist(), cameras.center_px[0].tolist()])
    np.testing.assert_allclose(K, [[truth.K[0, 0], truth.K[1, 1]], [truth.K[0, 2], truth.K[1, 2]]], atol=2e-4)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plain"])
def test_worlds_are_ours(kind: str, captures: dict[str, tuple[Truth, ForeignCapture]]) -> None:
    """Rigid cameras, the first one at the origin, looking along -Z; +Y is up where the source knows it."""
    truth, capture = captures[kind]
    assert capture.cameras is not None
    T = capture.cameras.T_camera_world.numpy()
    np.testing.assert_allclose(
        T[:, :3, :3] @ T[:, :3, :3].transpose(0, 2, 1), np.tile(np.eye(3), (FRAMES, 1, 1)), atol=1e-5
    )
    np.testing.assert_allclose(T[0, :3, 3], 0.0, atol=1e-5)
    assert abs(T[0, 2, 0]) < 1e-5 and T[0, 2, 2] < -0.9
    if kind in ("xhumans", "zju", "zju_yaml"):  # what is up in the camera, in both worlds
        np.testing.assert_allclose(T[:, :3, 1], truth.T_camera_world[:, :3, 1], atol=1e-5)
    if kind in ("wildavatar", "synwild"):
        assert not capture.cameras.shared_world
        np.testing.assert_allclose(T, np.tile(np.diag([1.0, -1.0, -1.0, 1.0]), (FRAMES, 1, 1)), atol=1e-6)
    elif kind.startswith(("neuman", "xhumans")):  # the way the camera walked, in metres
        steps = np.linalg.norm(np.diff(-(T[:, :3, :3].transpose(0, 2, 1) @ T[:, :3, 3:])[..., 0], axis=0), axis=1)
        np.testing.assert_allclose(steps, 0.25, atol=1e-4)


def test_facts_of_single_layouts(captures: dict[str, tuple[Truth, ForeignCapture]]) -> None:
    assert [f.split for f in captures["neuman"][1].frames] == ["train", "test"] * 3
    wild = captures["wildavatar"][1]
    assert [f.number for f in wild.frames] == [3, 40, 77, 114, 151, 188]
    assert [f.split for f in wild.frames] == ["train", "test"] * 3
    assert wild.frames[1].time_s == pytest.approx(40 / 30)
    people = captures["xhumans"][1]
    assert people.sequence == "train/Take3" and people.fps_known and people.mask_meaning == "nearer"
    assert people.body is not None and people.body.gender == "female" and people.body.hands == "mean"
    assert people.body.expression.shape == (FRAMES, 10)
    assert captures["zju"][1].sequence == "Camera_B2"
    assert captures["zju"][1].body is not None and captures["zju"][1].body.pivot == "origin"
    assert captures["plain"][1].cameras is None and captures["plain"][1].body is None
    assert captures["synwild"][1].coarse_masks
    assert captures["neuman_original"][1].mask_meaning == "dark"


def test_a_rate_that_is_known_sets_the_times(tmp_path: Path) -> None:
    sets.write_plain(tmp_path)
    capture = read_foreign(tmp_path, fps_hz=12.5)
    assert capture.fps_known and capture.frames[1].time_s - capture.frames[0].time_s == pytest.approx(0.08)
    with pytest.raises(ConfigError, match="must be positive, found 0"):
        read_foreign(tmp_path, fps_hz=0.0)


def test_smpl_trees() -> None:
    for model, count in (("smpl", 24), ("smplx", 55)):
        names, parents = smpl_joint_names(model), smpl_joint_parents(model)
        assert len(names) == len(parents) == count == len(set(names))
        assert all(p < i for i, p in enumerate(parents)) and parents[0] == -1
    names, parents = smpl_joint_names("smplx"), smpl_joint_parents("smplx")
    assert (
        names[22:25] == ("jaw", "left_eye", "right_eye") and names[25] == "left_index1" and names[54] == "right_thumb3"
    )
    assert names[parents[names.index("left_index1")]] == "left_wrist"
    assert names[parents[names.index("right_thumb3")]] == "right_thumb2"
    assert tuple(smpl_joint_parents("smpl")) == sets.PARENTS


# --- what is refused -----------------------------------------------------------------------------------------------------


def _edit_json(path: Path, change: Callable[[dict], None]) -> None:
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


def _edit_npz(path: Path, **changes: object) -> None:
    with np.load(path) as file:
        values = {key: file[key] for key in file.files}
    np.savez(path, **{**values, **changes})


def _replace(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def _hostile(path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {path.parent / 'ran'}",)

    with path.open("wb") as file:
        pickle.dump({"global_orient": Bomb()}, file)


BROKEN: list[tuple[str, Callable[[Path], object], str]] = [
    ("peoplesnapshot", lambda f: _edit_npz(f / "cameras.npz", width=1080, height=1080), "camera with 1080x1080 pixels, the images have 96x128"),
    ("peoplesnapshot", lambda f: _edit_npz(f / "poses.npz", thetas=np.zeros((2, 72))), "6 images but 2 poses|2 poses but 6 translations"),
    ("peoplesnapshot", lambda f: _edit_npz(f / "poses.npz", thetas=np.full((6, 72), 90.0)), "Are these degrees"),
    ("peoplesnapshot", lambda f: _edit_npz(f / "cameras.npz", extrinsic=np.diag([2.0, 2, 2, 1])), "no rotation"),
    ("peoplesnapshot", lambda f: _edit_npz(f / "cameras.npz", extrinsic=np.diag([-1.0, 1, 1, 1])), "mirrors the world"),
    ("peoplesnapshot", lambda f: _edit_npz(f / "cameras.npz", intrinsic=np.array({"a": 1}, dtype=object)), "Python objects"),
    ("peoplesnapshot", lambda f: (f / "images/image_0003.png").write_bytes(b"\x89PNG"), "not a readable picture"),
    ("neuman", lambda f: _replace(f / "sparse/images.txt", "00002.png", "../00002.png"), "leads out of the folder|not in"),
    ("neuman", lambda f: _replace(f / "sparse/cameras.txt", "PINHOLE 96 128", "FISHEYE 96 128"), "found '1 FISHEYE"),
    ("neuman", lambda f: _replace(f / "sparse/cameras.txt", "96 128", "192 256"), "192x256 pixels, the images have 96x128"),
    ("neuman_original", lambda f: (f / "alignments.npy").unlink(), "no alignments"),
    ("neuman_original", lambda f: (f / "smpl_output_romp.npz").rename(f / "smpl_output_romp.pkl"), "joblib pickle"),
    ("xhumans", lambda f: _hostile(f / "train/Take3/SMPLX/mesh-f00002_smplx.pkl"), r"asks for (posix|nt)\.system"),
    ("xhumans", lambda f: (f / "train/Take3/SMPLX/mesh-f00004_smplx.pkl").unlink(), "no body for frame 4"),
    ("xhumans", lambda f: _edit_npz(f / "train/Take3/render/cameras.npz", extrinsic=np.tile(np.eye(4), (4, 1, 1))), "one 3x4 or 4x4 for each of 6"),
    ("zju", lambda f: np.save(f / "new_params/2.npy", np.array({"poses": np.full((1, 72), 0.5), "Rh": np.zeros((1, 3)), "Th": np.zeros((1, 3)), "shapes": np.zeros((1, 10))}, dtype=object), allow_pickle=True), "first three values of poses must be 0"),
    ("zju", lambda f: np.save(f / "annots.npy", np.array({"cams": {}, "ims": []}, dtype=object), allow_pickle=True), "must hold a dict with cams"),
    ("zju", lambda f: np.save(f / "annots.npy", np.array({"cams": {"K": [np.eye(3)]}, "ims": [{"ims": ["a.jpg"]}]}, dtype=object), allow_pickle=True), "looks like ZJU-MoCap .* damaged or of another version"),
    ("zju", lambda f: shutil.rmtree(f / "new_params"), "no body: expected one of the folders new_params"),
    ("zju_yaml", lambda f: _replace(f / "extri.yml", "T_Camera_B2", "Q_Camera_B2"), "no Rot_Camera_B2 and T_Camera_B2"),
    ("wildavatar", lambda f: shutil.rmtree(f / "images"), "ships none. Download the clip"),
    ("wildavatar", lambda f: _edit_json(f / "metadata.json", lambda t: t["000040"].pop("poses")), "poses of frame 000040 is missing"),
    ("wildavatar", lambda f: _edit_json(f / "metadata.json", lambda t: [t.pop(k) for k in list(t) if k != "start"]), "no frames"),
    ("synwild", lambda f: _edit_npz(f / "cameras_normalize.npz", scale_mat_1=np.array([[1.0, 0, 0, 2], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])), "scale_mat_1 is no plain scale"),
    ("synwild", lambda f: _edit_npz(f / "cameras_normalize.npz", world_mat_2=np.zeros((4, 4))), "singular"),
    ("synwild", lambda f: np.save(f / "poses.npy", np.full((6, 72), np.nan)), "not finite"),
    ("plain", lambda f: [p.rename(p.with_name(f"{int(p.stem) + 900}.png")) for p in list((f / "masks").iterdir())], "No mask of .* has the number"),
    ("plain", lambda f: sets.save_image(f / "masks/2.png", np.zeros((HEIGHT, HEIGHT), np.uint8)), "128x128, its image 96x128"),
    ("plain", lambda f: sets.save_image(f / "frames/2.png", np.zeros((64, 48, 3), np.uint8)), "images have different sizes"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "broken_by", "text"), BROKEN, ids=[f"{kind}-{i}" for i, (kind, _, _) in enumerate(BROKEN)]
)
def test_broken_captures_are_refused(kind: str, broken_by: Callable[[Path], object], text: str, tmp_path: Path) -> None:
    writer, sequence = KINDS[kind]
    writer(tmp_path)
    broken_by(tmp_path)
    with pytest.raises(InputError, match=text):
        read_foreign(tmp_path, kind.split("_")[0], sequence=sequence)
    assert not list(tmp_path.rglob("ran"))


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere.png"
    inside = tmp_path / "set"
    inside.mkdir()
    truth = sets.write_plain(inside)
    sets.save_image(outside, truth.images[0])
    (inside / "frames/3.png").unlink()
    (inside / "frames/3.png").symlink_to(outside)
    with pytest.raises(InputError, match="leads out of the folder"):
        read_foreign(inside)


def test_another_resolution_of_the_same_clip_scales_the_camera(tmp_path: Path) -> None:
    """WildAvatar's users often get half of the annotated size."""
    truth = sets.write_wildavatar(tmp_path, image_scale=2)
    capture = read_foreign(tmp_path)
    assert (capture.width_px, capture.height_px) == (WIDTH // 2, HEIGHT // 2)
    assert capture.cameras is not None
    np.testing.assert_allclose(capture.cameras.focal_px[0], truth.K[0, 0] / 2)
    assert "were scaled" in capture.notes[0]
    mask = capture.mask(0)
    assert mask is not None and mask.shape == (HEIGHT // 2, WIDTH // 2)
    _edit_json(
        tmp_path / "metadata.json",
        lambda t: [
            e.update(cam_intrinsics=[[190, 0, 64], [0, 190, 64], [0, 0, 1]]) for e in t.values() if isinstance(e, dict)
        ],
    )
    with pytest.raises(InputError, match="annotates images of 128x128, those in images/ have 48x64"):
        read_foreign(tmp_path)


def test_frames_without_an_image_are_left_out_and_counted(tmp_path: Path) -> None:
    sets.write_wildavatar(tmp_path)
    (tmp_path / "images/000077.jpg").unlink()
    (tmp_path / "masks/000114.png").unlink()
    capture = read_foreign(tmp_path)
    assert [f.number for f in capture.frames] == [3, 40, 114, 151, 188]
    assert [f.split for f in capture.frames] == ["train", "test", "test", "train", "test"]
    assert capture.mask(2) is None and capture.notes[0].startswith("1 of 6 annotated frames have no image")


def test_poses_of_a_video_of_which_colmap_lost_frames(tmp_path: Path) -> None:
    truth = sets.write_neuman(tmp_path)
    lines = (tmp_path / "sparse/images.txt").read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.endswith("00001.png"))
    (tmp_path / "sparse/images.txt").write_text("\n".join(lines[:place] + lines[place + 2 :]) + "\n")
    capture = read_foreign(tmp_path)
    assert [f.number for f in capture.frames] == [0, 2, 3, 4, 5] and "no camera" in capture.notes[0]
    assert capture.body is not None
    np.testing.assert_allclose(capture.body.rotvecs[1, 1:], truth.poses[2, 1:], atol=1e-9)


# --- which layout --------------------------------------------------------------------------------------------------------


def test_none_or_several_layouts_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the folder of a capture"):
        find_layout(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no known layout.*neuman lacks images, sparse/cameras.txt"):
        find_layout(tmp_path)
    with pytest.raises(ConfigError, match="no layout 'humans'; known are auto, peoplesnapshot"):
        find_layout(tmp_path, "humans")
    with pytest.raises(InputError, match=r"does not have the layout of WildAvatar: it lacks metadata\.json"):
        find_layout(tmp_path, "wildavatar")
    sets.write_peoplesnapshot(tmp_path)
    assert find_layout(tmp_path).name == "peoplesnapshot"
    (tmp_path / "metadata.json").write_text("{}")
    with pytest.raises(
        InputError, match=r"fits several layouts \(peoplesnapshot, wildavatar\). Name one with --layout"
    ):
        find_layout(tmp_path)
    assert find_layout(tmp_path, "peoplesnapshot").name == "peoplesnapshot"
    with pytest.raises(ConfigError, match="one sequence in a folder"):
        read_foreign(tmp_path, "peoplesnapshot", sequence="x")
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS) == 7


def test_sequences_are_named(tmp_path: Path) -> None:
    sets.write_zju(tmp_path / "zju")
    with pytest.raises(InputError, match="no camera 'Camera_B9'; found: Camera_B1, Camera_B2"):
        read_foreign(tmp_path / "zju", sequence="Camera_B9")
    sets.write_xhumans(tmp_path / "x")
    with pytest.raises(InputError, match="no take test/Take1; found: train/Take3"):
        read_foreign(tmp_path / "x", sequence="test/Take1")


# --- rectifying ----------------------------------------------------------------------------------------------------------


def test_good_cameras_leave_pictures_alone(captures: dict[str, tuple[Truth, ForeignCapture]]) -> None:
    truth, capture = captures["peoplesnapshot"]
    rectifier = Rectifier(capture)
    assert not rectifier.resamples and rectifier(truth.images[0], 0) is truth.images[0]
    with pytest.raises(InputError, match="tells no cameras"):
        Rectifier(captures["plain"][1])


def test_rectified_points_are_where_an_ideal_camera_sees_them(tmp_path: Path) -> None:
    """White dots, drawn where OpenCV's distorting camera sees them, are found where the ideal one does."""
    import dataclasses

    import torch

    _, capture = made("zju", tmp_path)
    cameras = capture.cameras
    assert cameras is not None
    size, distortion = 640, np.array([-0.12, 0.03, 0.002, -0.001, 0.0])
    lens = cameras.replace(
        focal_px=torch.tensor([[600.0, 606.0]], dtype=torch.float64).repeat(FRAMES, 1),
        center_px=torch.tensor([[333.0, 309.0]], dtype=torch.float64).repeat(FRAMES, 1),
        distortion=torch.from_numpy(distortion).repeat(FRAMES, 1),
    )
    rectifier = Rectifier(dataclasses.replace(capture, cameras=lens, width_px=size, height_px=size))
    assert rectifier.resamples and rectifier.width_px >= size and rectifier.focal_px == pytest.approx(603.0)
    K = np.array([[600.0, 0, 332.5], [0, 606.0, 308.5], [0, 0, 1]])  # OpenCV's pixels
    for x, y in ((0.0, 0.0), (0.3, -0.2), (-0.25, 0.35), (0.4, 0.4)):
        seen = cv2.projectPoints(np.array([[x, y, 1.0]]), np.zeros(3), np.zeros(3), K, distortion)[0].ravel()
        rows, columns = np.mgrid[:size, :size]
        dot = np.exp(-((columns - seen[0]) ** 2 + (rows - seen[1]) ** 2) / 18.0)
        result = rectifier(np.rint(dot * 255).astype(np.uint8), 0).astype(float)
        rows, columns = np.mgrid[: result.shape[0], : result.shape[1]]
        found = np.array([(columns * result).sum(), (rows * result).sum()]) / result.sum() + 0.5
        ideal = [603.0 * x + rectifier.width_px / 2, 603.0 * y + rectifier.height_px / 2]
        np.testing.assert_allclose(found, ideal, atol=0.35)
