"""WildAvatar's layout as an export: read by our own reader, and by a loader written from the published description."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from corpus_captures import HEIGHT, WIDTH, make_capture
from foreign_sets import OFFSETS, PARENTS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bodydouble.body.anny import AnnyBody, load_anny
from bodydouble.capture.folder import Capture
from bodydouble.capture.foreign.rectify import Rectifier
from bodydouble.capture.foreign.wildavatar import read_wildavatar
from bodydouble.core.errors import InputError
from bodydouble.corpus.smpl_terms import place_by_projection
from bodydouble.corpus.wildavatar_layout import (
    Subject,
    WildAvatarExport,
    clip_start,
    export_wildavatar,
    short_id,
    split_of,
)
from bodydouble.pipeline.foreign_check import check_body

ITEM = "2f1c8f6e-9a0b-5f6e-8a9d-7c416d0c5a53"


@pytest.fixture(scope="module")
def anny() -> AnnyBody:
    return load_anny()


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory, anny: AnnyBody) -> Capture:
    return make_capture(tmp_path_factory.mktemp("item"), anny, 24)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, anny: AnnyBody, capture: Capture) -> WildAvatarExport:
    out = tmp_path_factory.mktemp("export") / "WildAvatar"
    return export_wildavatar([Subject(id=ITEM, person="somebody", capture=capture)], anny, out, pictures=True)


# --- a loader by the published description ---


def load_like_the_toolbox(root: Path, split: str) -> dict[str, list[dict]]:
    """Ids from the list; entries but the last key (`start`), in order; picture and mask opened by imgname's parts."""
    subjects = {}
    for name in (root / f"{split}.txt").read_text().split():
        table = json.loads((root / name / "metadata.json").read_text())
        assert list(table)[-1] == "start" and isinstance(table["start"], int)
        frames = []
        for key in list(table)[:-1]:
            entry = table[key]
            assert entry["imgname"].split("/")[2] == name
            K = np.array(entry["cam_intrinsics"])
            mask = cv2.imread(str(root / name / "masks" / f"{key}.png"), cv2.IMREAD_UNCHANGED)
            image = cv2.imread(str(root / name / "images" / f"{key}.png"))
            assert mask.shape[:2] == image.shape[:2] == (round(2 * K[1, 2]), round(2 * K[0, 2]))
            frames.append({"key": key, "K": K, "E": np.array(entry["cam_extrinsics"]), "mask": mask, "image": image,
                           "poses": np.array(entry["poses"]), "betas": np.array(entry["betas"])})  # fmt: skip
        subjects[name] = frames
    return subjects


def smpl_joints(poses: np.ndarray) -> np.ndarray:
    R = Rotation.from_rotvec(poses.reshape(24, 3)).as_matrix()
    turns, places = [R[0]], [OFFSETS[0]]
    for joint in range(1, 24):
        parent = PARENTS[joint]
        turns.append(turns[parent] @ R[joint])
        places.append(places[parent] + turns[parent] @ OFFSETS[joint])
    return np.array(places)


def test_a_loader_by_the_description_finds_the_person_where_it_was(
    written: WildAvatarExport, capture: Capture, anny: AnnyBody
) -> None:
    """Joints of a mean SMPL body, projected by the layout's numbers, against the joints of the body that was filmed."""
    name = written.subjects[ITEM]
    loaded = {s: load_like_the_toolbox(written.folder, s) for s in ("train", "val", "test")}
    assert sum(len(found) for found in loaded.values()) == 1
    frames = loaded[split_of("somebody")][name]
    assert len(frames) == 20
    track = capture.track()
    posed = anny.with_shape(track.shape).with_pose(track.pose())
    human = {"left_shoulder": (16, "leftUpperArm"), "left_wrist": (20, "leftHand"), "right_wrist": (21, "rightHand"),
             "left_ankle": (7, "leftFoot"), "right_ankle": (8, "rightFoot"), "neck": (12, "neck")}  # fmt: skip
    for frame in frames:
        row = int(frame["key"])  # the clip starts with the video, at second 0
        joints = (frame["E"][:3, :3] @ smpl_joints(frame["poses"]).T).T + frame["E"][:3, 3]
        pixels = (frame["K"] @ joints.T).T
        pixels = pixels[:, :2] / pixels[:, 2:]
        for place, bone in human.values():
            truth = posed.joints_world[row, anny.bone_names.index(anny.humanoid[bone])].double().numpy()
            expected = 210.0 * truth[:2] * [1, -1] / -truth[2] + [WIDTH / 2, HEIGHT / 2]
            assert np.linalg.norm(pixels[place] - expected) < 0.05 * HEIGHT
        assert set(np.unique(frame["mask"])) <= {0, 255}
        assert (frame["image"][frame["mask"] == 0] == 0).all()
        assert frame["betas"].shape == (1, 10) and frame["poses"].shape == (72,)


def test_our_own_reader_takes_it_for_a_sound_subject(written: WildAvatarExport, anny: AnnyBody) -> None:
    found = read_wildavatar(written.folder / written.subjects[ITEM], sequence="", fps_hz=12.0)
    assert found.num_frames == 20 and (found.width_px, found.height_px) == (WIDTH, HEIGHT) and not found.notes
    assert [f.split for f in found.frames] == ["train", "test"] * 10
    figures = check_body(found, anny, Rectifier(found)).figures  # refuses what does not lie on its masks
    assert figures["body_inside"] > 0.9 and figures["iou"] > 0.75


def test_tables_agree_with_the_metadata(written: WildAvatarExport) -> None:
    name = written.subjects[ITEM]
    table = json.loads((written.folder / name / "metadata.json").read_text())
    with (written.folder / "frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame_id"] for row in rows] == [k for k in table if k != "start"]
    for row in rows:
        assert json.loads(row["poses"]) == table[row["frame_id"]]["poses"]
        assert (written.folder / row["mask_filename"]).is_file()
        x0, y0, x1, y1 = json.loads(row["bbox"])
        assert 0 <= x0 < x1 <= WIDTH and 0 <= y0 < y1 <= HEIGHT
    with (written.folder / "subjects.csv").open() as file:
        assert list(csv.DictReader(file)) == [
            {"subject_id": name, "start_time": "0", "meta_filename": f"{name}/metadata.json"}
        ]


def test_links_only_has_no_pictures(tmp_path: Path, anny: AnnyBody, capture: Capture) -> None:
    subjects = [Subject(id=ITEM, person="somebody", capture=capture)]
    found = export_wildavatar(subjects, anny, tmp_path / "links")
    assert not list((tmp_path / "links").rglob("images")) and len(list((tmp_path / "links").rglob("masks/*.png"))) == 20
    assert found.left_out == {}


def test_short_clips_are_left_out_with_the_reason(tmp_path: Path, anny: AnnyBody) -> None:
    short = make_capture(tmp_path / "short", anny, 6)
    with pytest.raises(InputError, match="wants 20 frames"):
        export_wildavatar([Subject(id="a", person="a", capture=short)], anny, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@given(st.uuids())
def test_ids_look_like_those_of_videos(item) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{11}", short_id(str(item)))


def test_splits_have_about_their_shares_and_never_part_a_person() -> None:
    names = [split_of(f"person {i}") for i in range(4000)]
    assert abs(names.count("train") / 4000 - 0.8) < 0.03 and abs(names.count("test") / 4000 - 0.1) < 0.02
    assert split_of("person 7") == names[7]


@settings(deadline=None)
@given(st.floats(0, 5000), st.sampled_from([24.0, 25.0, 30.0, 59.94]), st.integers(0, 400))
def test_a_frames_number_says_its_time(first_s: float, fps_hz: float, later: int) -> None:
    times = [first_s, first_s + later / fps_hz]
    start, numbers = clip_start(times, fps_hz)
    assert -1e-5 < first_s - start < 1.00001
    for time, number in zip(times, numbers, strict=True):
        assert start + number / fps_hz == pytest.approx(time, abs=0.5 / fps_hz + 1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 2.0))
def test_a_body_of_any_size_is_placed_where_it_projects_alike(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    model = torch.from_numpy(rng.normal(0, 0.4, (2, 9, 3)))
    t = torch.tensor([0.3, -0.2, 4.0], dtype=torch.float64)
    found = place_by_projection(model, size * (model + t))  # a taller person farther away looks the same
    torch.testing.assert_close(found, t.expand(2, 3), atol=1e-6, rtol=0)
