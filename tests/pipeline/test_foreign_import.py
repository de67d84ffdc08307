"""Foreign bodies are laid over their masks: right conventions pass, each usual mistake is refused by name; and imports."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import cv2
import foreign_sets as sets
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from bodydouble.avatar.bvh import SourceMotion
from bodydouble.avatar.retarget import retarget_in_place
from bodydouble.avatar.values import Rig
from bodydouble.body.anny import load_anny
from bodydouble.capture.folder import Capture, load_struct
from bodydouble.capture.foreign.layouts import LAYOUTS, read_foreign
from bodydouble.capture.foreign.rectify import Rectifier
from bodydouble.capture.foreign.values import ForeignBody, ForeignCameras, ForeignCapture
from bodydouble.cli.main import main
from bodydouble.cli.options import Import
from bodydouble.core.cameras import video_camera
from bodydouble.core.errors import InputError, OutputError
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.core.skinning import bone_transforms
from bodydouble.pipeline import foreign_check
from bodydouble.pipeline.foreign_check import check_body
from bodydouble.pipeline.foreign_outline import check_outlines, check_polarity, outline_support
from bodydouble.pipeline.import_ import ImportChoices, import_capture
from bodydouble.render.mesh import rasterize_mesh

SEQUENCES = {"zju": "Camera_B2"}


def checked(folder: Path, layout: str) -> dict[str, float]:
    capture = read_foreign(folder, layout, sequence=SEQUENCES.get(layout, ""))
    return check_body(capture, load_anny(), Rectifier(capture)).figures


@pytest.fixture(autouse=True)
def fewer_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of the six frames are enough here."""
    monkeypatch.setattr(foreign_check, "SAMPLED_FRAMES", 3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("foreign")
    for layout, writer in sets.WRITERS.items():
        (root / layout).mkdir()
        writer(root / layout)
    return {layout: root / layout for layout in sets.WRITERS}


@pytest.mark.parametrize("layout", [name for name in sets.WRITERS if name != "plain"])
def test_bodies_lie_on_their_masks(layout: str, folders: dict[str, Path]) -> None:
    figures = checked(folders[layout], layout)
    assert figures["body_inside"] > 0.8
    assert figures["mask_covered"] > (0.6 if layout == "synwild" else 0.8)
    assert 1.7 <= figures["height_m"] <= (2.05 if layout == "synwild" else 1.9)  # the doll has 1.82 m; wide masks add


# --- each usual mistake --------------------------------------------------------------------------------------------------


def _npz(path: Path, change: Callable[[str, np.ndarray], np.ndarray]) -> None:
    with np.load(path) as file:
        values = {key: change(key, file[key]) for key in file.files}
    np.savez(path, **values)


def camera_to_world_in_xhumans(folder: Path) -> None:
    path = folder / "train/Take3/render/cameras.npz"
    _npz(path, lambda key, value: np.linalg.inv(value) if key == "extrinsic" else value)


def transposed_in_wildavatar(folder: Path) -> None:
    def change(table: dict[str, Any]) -> None:
        for entry in table.values():
            if isinstance(entry, dict):
                E = np.array(entry["cam_extrinsics"])
                E[:3, :3] = E[:3, :3].T
                entry["cam_extrinsics"] = E.tolist()

    table = json.loads((folder / "metadata.json").read_text())
    change(table)
    (folder / "metadata.json").write_text(json.dumps(table))


def opengl_axes_in_synwild(folder: Path) -> None:
    K = np.eye(4)
    K[:3, :3] = sets.opencv_pixels(sets.film().K)
    flip = np.diag([1.0, -1.0, -1.0, 1.0])

    def change(key: str, value: np.ndarray) -> np.ndarray:
        return K @ flip @ np.linalg.inv(K) @ value if key.startswith("world") else value

    _npz(folder / "cameras_normalize.npz", change)


def metres_in_zju(folder: Path) -> None:
    table = np.load(folder / "annots.npy", allow_pickle=True).item()
    table["cams"]["T"] = [t / 1000.0 for t in table["cams"]["T"]]
    np.save(folder / "annots.npy", np.array(table, dtype=object), allow_pickle=True)


def half_focal_in_peoplesnapshot(folder: Path) -> None:
    half = np.array([[0.5, 1, 1], [1, 0.5, 1], [1, 1, 1]])
    _npz(folder / "cameras.npz", lambda key, value: value * half if key == "intrinsic" else value)


def inverted_poses_in_neuman(folder: Path) -> None:
    path = folder / "4d_humans/smpl_optimized_aligned_scale.npz"
    _npz(path, lambda key, value: -value if key in ("global_orient", "body_pose") else value)


def pelvis_for_origin_in_zju(folder: Path) -> None:
    for path in (folder / "new_params").iterdir():
        record = np.load(path, allow_pickle=True).item()
        turn = Rotation.from_rotvec(record["Rh"][0])
        record["Th"] = record["Th"] + turn.apply(sets.OFFSETS[0]) - sets.OFFSETS[0]
        np.save(path, np.array(record, dtype=object), allow_pickle=True)


def millimetres_in_peoplesnapshot(folder: Path) -> None:
    _npz(folder / "poses.npz", lambda key, value: value * 1000 if key == "transl" else value)


def mirrored_in_neuman(folder: Path) -> None:
    for path in [*(folder / "images").iterdir(), *(folder / "4d_humans/sam_segmentations").iterdir()]:
        assert cv2.imwrite(str(path), np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:, ::-1]))


def another_persons_poses(folder: Path) -> None:
    rng = np.random.default_rng(5)
    _npz(folder / "poses.npz", lambda key, value: rng.normal(0, 1.2, value.shape) if key == "thetas" else value)


MISTAKES = [
    ("xhumans", camera_to_world_in_xhumans, "would fit .* if the camera matrices were read as camera to world"),
    ("wildavatar", transposed_in_wildavatar, "would fit .* if the cameras' rotations were transposed"),
    ("synwild", opengl_axes_in_synwild, r"would fit .* if the cameras looked along -Z with \+Y up"),
    ("zju", metres_in_zju, "would fit .* if the cameras' translations were in metres where millimetres are read"),
    ("peoplesnapshot", half_focal_in_peoplesnapshot, "would fit .* if the focal length were twice as long"),
    ("neuman", inverted_poses_in_neuman, r"would fit .* if the body's rotations were inverted"),
    ("zju", pelvis_for_origin_in_zju, "would fit .* if the body turned about its pelvis"),
    ("peoplesnapshot", millimetres_in_peoplesnapshot, "would fit .* if the body's translations were in millimetres"),
    ("neuman", mirrored_in_neuman, "would fit .* if left and right of the pictures were exchanged"),
    ("peoplesnapshot", another_persons_poses, "No other usual reading fits either"),
]


@pytest.mark.parametrize(("layout", "mistake", "text"), MISTAKES, ids=[f.__name__ for _, f, _ in MISTAKES])
def test_wrong_conventions_are_refused_and_named(
    layout: str,
    mistake: Callable[[Path], None],
    text: str,
    folders: dict[str, Path],
    tmp_path: Path,
) -> None:
    folder = tmp_path / layout
    shutil.copytree(folders[layout], folder)
    mistake(folder)
    with pytest.raises(InputError, match=text):
        checked(folder, layout)


# --- masks and pictures --------------------------------------------------------------------------------------------------


def test_masks_of_other_frames_are_refused(tmp_path: Path) -> None:
    """What a wrong frame rate does: the body lies on the masks, but the images show another moment."""
    rng = np.random.default_rng(3)
    for i in range(6):
        scene = cv2.resize(rng.integers(0, 256, (16, 12, 3)).astype(np.uint8), (96, 128), interpolation=cv2.INTER_CUBIC)
        mask = np.zeros((128, 96), np.uint8)
        mask[30 + i : 110, 20 + 6 * i : 45 + 6 * i] = 255
        shown = np.zeros((128, 96), bool)
        shown[30 + i : 110, 20 + 6 * i : 45 + 6 * i] = True
        sets.save_image(tmp_path / f"right/images/{i}.png", np.where(shown[..., None], 255 - scene // 3, scene // 2))
        sets.save_image(tmp_path / f"right/masks/{i}.png", mask)
        sets.save_image(tmp_path / f"wrong/images/{i}.png", scene)
        sets.save_image(tmp_path / f"wrong/masks/{i}.png", mask)
    assert check_outlines(read_foreign(tmp_path / "right")) > 1.5
    wrong = read_foreign(tmp_path / "wrong")
    supports = [outline_support(wrong.rgb(i), wrong.mask(i)) for i in range(6)]  # type: ignore[arg-type]
    assert 0.6 < np.median(supports) < 1.3  # chance
    blank = dataclasses.replace(
        wrong, frames=tuple(dataclasses.replace(f, image=wrong.frames[0].image) for f in wrong.frames)
    )
    for i in range(6):  # a picture that is quiet just where the mask's outline is
        sets.save_image(
            tmp_path / f"wrong/images/{i}.png",
            np.where(
                cv2.dilate(cv2.morphologyEx(read_mask(wrong, i), cv2.MORPH_GRADIENT, np.ones((3, 3))), np.ones((5, 5)))[
                    ..., None
                ]
                > 0,
                128,
                wrong.rgb(i),
            ),
        )
    with pytest.raises(InputError, match="the masks do not belong to the images"):
        check_outlines(wrong)
    assert check_outlines(dataclasses.replace(blank, coarse_masks=True)) == 0.0


def read_mask(capture: ForeignCapture, index: int) -> np.ndarray:
    mask = capture.mask(index)
    assert mask is not None
    return mask


def test_inverted_masks_are_refused(tmp_path: Path) -> None:
    truth = sets.write_plain(tmp_path)
    check_polarity(read_foreign(tmp_path))
    for i, mask in enumerate(truth.masks):
        sets.save_image(tmp_path / f"masks/{i + 1}.png", 255 - mask)
    with pytest.raises(InputError, match="the masks look inverted"):
        import_capture(tmp_path, tmp_path / "out", ImportChoices(), lambda event: None)
    assert not (tmp_path / "out").exists()


# --- importing -----------------------------------------------------------------------------------------------------------


def test_an_import_is_a_capture(folders: dict[str, Path], tmp_path: Path) -> None:
    """ZJU's camera is off the middle: pictures are resampled, and the body in the capture lies on the masks there."""
    events: list[Any] = []
    out = tmp_path / "out"
    choices = ImportChoices(sequence="Camera_B2", fps_hz=25.0)
    result = import_capture(folders["zju"], out, choices, events.append)
    assert result.layout == "zju" and result.coverage is not None and result.outline_support > 1.5
    assert [w.code for w in result.warnings] == ["body_is_a_stand_in"]
    capture = Capture.open(out / "capture")
    assert capture.info.focal_px == pytest.approx(185.0) and capture.info.fps_hz == pytest.approx(25.0)
    assert capture.observations().present.all() and len(capture.train_indices()) == 6
    track, body = capture.track(), load_anny()
    assert (track.width_px, track.height_px) == (capture.info.width_px, capture.info.height_px)
    assert bool(track.valid.all()) and float(track.frame_quality.min()) > 0.5
    shaped = body.with_shape(track.shape)
    for frame in capture.frames():
        mask = capture.mask(frame.index)
        assert mask is not None and frame.rgb.shape[:2] == mask.shape
        pose = track.pose(frame.index)
        camera = video_camera(track.width_px, track.height_px, track.focal_px)
        seen = rasterize_mesh(shaped.with_pose(pose).vertices(), body.faces, camera).mask.numpy()
        assert (seen & (mask > 127)).sum() / (seen | (mask > 127)).sum() > 0.65
    kept = load_struct(ForeignBody, out / "capture/foreign_body.safetensors")
    assert kept.pivot == "origin" and kept.rotvecs.shape == (6, 24, 3)
    assert load_struct(ForeignCameras, out / "capture/foreign_cameras.safetensors").shared_world
    record = capture.stage("import")
    assert record is not None and record["frame_names"][0] == "000000" and record["resampled"]
    again = import_capture(folders["zju"], out, choices, events.append, resume=True)
    assert again.coverage == result.coverage and again.warnings == result.warnings
    with pytest.raises(OutputError, match="already holds a run"):
        import_capture(folders["zju"], out, choices, events.append)


def test_times_and_pixels_survive(folders: dict[str, Path], tmp_path: Path) -> None:
    """WildAvatar's frames are far apart in their clip; PNG or JPEG, the video holds the very pixels."""
    result = import_capture(folders["wildavatar"], tmp_path / "out", ImportChoices(with_body=False), lambda event: None)
    assert result.coverage is None and "body_missing" in [w.code for w in result.warnings]
    source, capture = read_foreign(folders["wildavatar"]), Capture.open(tmp_path / "out/capture")
    np.testing.assert_allclose(capture.info.times_s, 37 / 30 * np.arange(6), atol=1e-4)
    assert not capture.has_track() and (tmp_path / "out/capture/foreign_body.safetensors").exists()
    for frame in capture.frames():
        np.testing.assert_array_equal(frame.rgb, source.rgb(frame.index))
        np.testing.assert_array_equal(capture.mask(frame.index), source.mask(frame.index))
    record = capture.stage("import")
    assert record is not None and record["split"] == ["train", "test"] * 3 and record["frame_numbers"][1] == 40


def test_the_command(folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(folders["plain"]), "-o", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["layout"] == "plain" and told["frames"] == 6 and told["coverage"] is None
    assert {"frame_rate_guessed", "body_missing"} == {w["code"] for w in told["warnings"]}
    assert main(["import", str(tmp_path), "-o", str(tmp_path / "other")]) == 1
    assert "has no known layout" in capsys.readouterr().err and not (tmp_path / "other").exists()
    named = next(f.type for f in dataclasses.fields(Import) if f.name == "layout")
    choices = get_args(named) or tuple(
        word.strip(" \"'") for word in str(named).partition("[")[2].rstrip("]").split(",")
    )
    assert set(choices) == {"auto", *(layout.name for layout in LAYOUTS)}


def test_retargeting_in_place_keeps_directions_in_a_tilted_world() -> None:
    """A rig posed like itself in any world: the lines of its limbs are the source's."""
    body = load_anny()
    rig = Rig(
        bone_names=body.bone_names,
        bone_parents=body.bone_parents,
        joints_rest_m=body.with_shape(body.shape_default).joints_rest,
        humanoid=body.humanoid,
    )
    rng = np.random.default_rng(2)
    rotvecs = torch.zeros(3, len(rig.bone_names), 3, dtype=torch.float64)
    place = {human: rig.bone_names.index(bone) for human, bone in rig.humanoid.items()}
    for bone in ("leftUpperArm", "rightUpperArm", "leftUpperLeg", "rightLowerLeg", "leftLowerArm"):
        rotvecs[:, place[bone]] = torch.from_numpy(rng.normal(0, 0.4, (3, 3)))
    rotvecs[:, place["hips"]] = torch.from_numpy(Rotation.random(3, random_state=4).as_rotvec())
    joints = rig.joints_rest_m.double()
    parents = rig.bone_parents
    offsets = torch.stack([joints[b] - joints[p] if p >= 0 else joints[b] * 0 for b, p in enumerate(parents)])
    source = SourceMotion(
        name="itself",
        fps_hz=30.0,
        joint_names=rig.bone_names,
        joint_parents=parents,
        offsets=offsets,
        tips=torch.zeros_like(offsets),
        R_parent_joint=rotvec_to_matrix(rotvecs),
        root_position=torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64).repeat(3, 1),
    )
    found, positions = retarget_in_place(source, rig)
    R, t = bone_transforms(found, joints, torch.zeros(3, 3, dtype=torch.float64), parents)
    posed = (R @ joints[:, :, None])[..., 0] + t
    for side in ("left", "right"):
        for upper, lower in (
            ("UpperArm", "LowerArm"),
            ("LowerArm", "Hand"),
            ("UpperLeg", "LowerLeg"),
            ("LowerLeg", "Foot"),
        ):
            a, b = place[side + upper], place[side + lower]
            ours = torch.nn.functional.normalize(posed[:, b] - posed[:, a], dim=-1)
            theirs = torch.nn.functional.normalize(positions[:, b] - positions[:, a], dim=-1)
            assert float((ours * theirs).sum(-1).min()) > 0.999
