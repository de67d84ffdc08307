"""A small synthetic video: files, truth and picture agree."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import Pose
from bodydouble.core.cameras import video_camera
from bodydouble.core.errors import ConfigError, InputError, OutputError
from bodydouble.core.events import Progress
from bodydouble.synth.cameras import Framing, camera_path
from bodydouble.synth.film import Sensor
from bodydouble.synth.points import body_points
from bodydouble.synth.stage import Stage, SynthConfig, set_stage
from bodydouble.synth.synthesise import synthesise
from bodydouble.synth.truth import Truth, read_truth

CONFIG = SynthConfig(
    seed=5,
    seconds=1.0,
    fps=6.0,
    size=(320, 240),
    scene="room",
    truth_every=2,
    extra_views=2,
    sensor=Sensor(shutter=0.0),
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> tuple[Truth, list]:
    events = []
    folder = synthesise(tmp_path_factory.mktemp("clip") / "performer", CONFIG, events.append)
    return read_truth(folder), events


@pytest.fixture(scope="module")
def stage() -> Stage:
    return set_stage(CONFIG)


def _frames(truth: Truth) -> np.ndarray:
    import av

    with av.open(str(truth.video)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def _masks(truth: Truth) -> np.ndarray:
    return np.stack([truth.mask(frame) for frame in range(truth.index.num_frames)]) / 255.0


def _hits(points: np.ndarray, faces: np.ndarray, origin: np.ndarray, direction: np.ndarray) -> tuple[float, int]:
    """Nearest triangle along a ray, by Moeller and Trumbore (1997)."""
    a, b, c = points[faces[:, 0]], points[faces[:, 1]], points[faces[:, 2]]
    e1, e2 = b - a, c - a
    p = np.cross(direction, e2)
    det = (e1 * p).sum(-1)
    inverse = 1 / np.where(np.abs(det) < 1e-14, np.inf, det)
    s = origin - a
    u = (s * p).sum(-1) * inverse
    q = np.cross(s, e1)
    v, t = (q @ direction) * inverse, (e2 * q).sum(-1) * inverse
    t = np.where((u >= -1e-7) & (v >= -1e-7) & (u + v <= 1 + 1e-7) & (t > 0) & (det != 0), t, np.inf)
    return float(t.min()), int(t.argmin())


def test_what_is_written(clip):
    truth, events = clip
    assert sorted(p.name for p in truth.folder.iterdir()) == [
        "depth", "masks", "mesh.safetensors", "normals", "parts", "truth.json", "truth.safetensors", "video.mp4", "views",
        "views.safetensors",
    ]  # fmt: skip
    filmed = [(e.done, e.total) for e in events if isinstance(e, Progress) and e.stage == "synthesise"]
    assert filmed == [(i + 1, 6) for i in range(6)]
    assert _frames(truth).shape == (6, 240, 320, 3) and _masks(truth).shape == (6, 240, 320)
    assert truth.index.frames == (1, 3, 5) and len(truth.views()) == 6
    assert len(list((truth.folder / "depth").iterdir())) == 3 and len(truth.times_s) == 6
    assert len(truth.index.landmark_names) == truth.values.landmarks_px.shape[1] > 110
    assert truth.index.bitrate_bps == round(0.25 * 320 * 240 * 6)


def test_truth_round_trip_and_determinism(clip, stage):
    """A second staging of the same choice gives the same numbers and the same pictures, bit by bit."""
    truth, _ = clip
    film, values = stage.film, truth.values
    assert torch.equal(values.rotvecs, stage.choreography.performance.rotvecs)
    assert torch.equal(values.expression, stage.choreography.performance.expression)
    assert torch.equal(values.translation_world_m, film.actor.translations_world_m)
    assert torch.equal(values.shape, film.performer.body_shape)
    assert torch.equal(values.T_camera_world, film.path.T_camera_world)
    mesh = truth.mesh()
    assert torch.equal(mesh.faces.long(), film.performer.faces.long())
    for frame in truth.index.frames:
        error = truth.vertices_world_m(frame, mesh) - film.vertices_world(frame)
        assert float(error.abs().max()) < 0.51e-4
    again = [shot for shot, _ in film.shots()]
    for frame, shot in enumerate(again):
        np.testing.assert_array_equal(shot.mask, truth.mask(frame))
    for (first, _), second in zip(set_stage(CONFIG).film.shots(), again, strict=True):
        np.testing.assert_array_equal(first.rgb, second.rgb)


def test_the_same_files_twice(tmp_path):
    config = SynthConfig(
        seed=2, seconds=0.5, fps=4.0, size=(96, 128), camera="handheld", scene="outdoors", truth_every=1, extra_views=1
    )
    folders = [synthesise(tmp_path / name, config) for name in "ab"]
    names = [sorted(p.relative_to(f) for p in f.rglob("*") if p.is_file()) for f in folders]
    assert names[0] == names[1] and len(names[0]) > 10
    for name in names[0]:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_landmarks_are_the_projected_body(clip):
    """Joints and vertices of the bare body model, posed by the parameters and projected by hand."""
    truth, _ = clip
    body, values, index = load_anny(), truth.values, truth.index
    shaped = body.with_shape(values.shape)
    pose = Pose(rotvecs=values.rotvecs, translation_world_m=values.translation_world_m)
    posed = shaped.with_expression(values.expression).with_pose(pose)
    joints = [body.bone_names.index(b) for b in body.humanoid.values()]
    world = torch.cat([posed.joints_world[:, joints], posed.vertices()[:, list(index.landmark_vertices)]], 1)
    torch.testing.assert_close(values.landmarks_world_m, world, atol=2e-5, rtol=0)
    p = world @ values.T_camera_world[:, :3, :3].transpose(1, 2) + values.T_camera_world[:, None, :3, 3]
    pixels = p[..., :2] / p[..., 2:] * values.focal_px[:, None] + values.center_px[:, None]
    torch.testing.assert_close(values.landmarks_px, pixels, atol=2e-3, rtol=0)
    names = list(index.landmark_names)
    left, right = names.index("joint/leftHand"), names.index("joint/rightHand")
    assert values.landmarks_px[0, left, 0] > values.landmarks_px[0, right, 0]  # facing the camera
    seen = values.landmarks_visible
    assert seen[0, names.index("face/1")] and seen[0, left] and 0.5 < float(seen.float().mean()) < 1.0


@pytest.mark.parametrize("camera", ["static", "orbit"])
def test_pose_in_the_camera_projects_to_the_same_landmarks(clip, camera):
    """A body posed by `pose_in_camera` before a camera at the origin is seen where the truth says."""
    truth, _ = clip
    body, values = load_anny(), truth.values
    if camera == "orbit":
        hips = values.joints_world_m[:, 0]
        framing = Framing(width_px=320, height_px=240, focal_px=float(values.focal_px[0, 0]), distance_m=3.2)
        path = camera_path("orbit", framing, hips, seed=0, fps_hz=6.0, orbit_rad=2.0)
        pixels = torch.stack([path.camera(f).project(values.landmarks_world_m[f])[0] for f in range(6)])
        assert not torch.equal(values.T_camera_world, path.T_camera_world)
        truth = Truth(
            truth.folder, truth.index, values.replace(T_camera_world=path.T_camera_world, landmarks_px=pixels)
        )
    rotvecs, translations = truth.pose_in_camera()
    posed = body.with_shape(values.shape).with_pose(Pose(rotvecs=rotvecs, translation_world_m=translations))
    joints = posed.joints_world[:, [body.bone_names.index(b) for b in body.humanoid.values()]]
    seen, depth = video_camera(320, 240, values.focal_px[0, 0]).project(joints)
    assert bool((depth > 1.0).all())
    torch.testing.assert_close(seen, truth.values.landmarks_px[:, : joints.shape[1]], atol=0.02, rtol=0)


def test_finger_tips_are_beyond_the_last_joint():
    body = load_anny()
    shaped = body.with_shape(body.shape_default)
    points = body_points(body, shaped.vertices_rest, shaped.joints_rest)
    tips = dict(zip(points.names[len(points.bones) :], points.vertices.tolist(), strict=True))
    for side in ("left", "right"):
        for finger in ("Thumb", "Index", "Middle", "Ring", "Little"):
            last = shaped.joints_rest[body.bone_names.index(body.humanoid[f"{side}{finger}Distal"])]
            assert 0.012 < float((shaped.vertices_rest[tips[f"tip/{side}{finger}"]] - last).norm()) < 0.045


def test_depth_and_normals_lie_on_the_mesh(clip):
    truth, _ = clip
    mesh, frame = truth.mesh(), truth.index.frames[1]
    camera = truth.camera(frame)
    vertices, faces = truth.vertices_world_m(frame, mesh).double().numpy(), mesh.faces.long().numpy()
    depth, normals, parts = truth.depth_m(frame), truth.normals_world(frame), truth.parts(frame)
    np.testing.assert_array_equal(np.isfinite(depth), parts > 0)
    T = camera.T_camera_world.double().numpy()
    eye = -T[:3, :3].T @ T[:3, 3]
    rows, columns = np.nonzero(parts)
    chosen = np.random.default_rng(0).choice(len(rows), 25, replace=False)
    aligned = []
    for y, x in zip(rows[chosen], columns[chosen], strict=True):
        ray = np.array([(x + 0.5 - 160) / camera.focal_px[0].item(), (y + 0.5 - 120) / camera.focal_px[1].item(), 1.0])
        t, face = _hits(vertices, faces, eye, T[:3, :3].T @ ray)
        assert abs(t - depth[y, x]) < 2e-3  # vertices are stored in steps of 0.1 mm, on oblique surfaces that is more
        a, b, c = vertices[faces[face]]
        flat = np.cross(b - a, c - a)
        assert abs(np.linalg.norm(normals[y, x]) - 1) < 1e-3
        aligned.append(float(normals[y, x] @ flat / np.linalg.norm(flat)))
    assert np.mean(np.array(aligned) > 0.85) > 0.8


def test_parts_and_mask_agree(clip):
    truth, _ = clip
    names = truth.index.part_names
    for frame in truth.index.frames:
        parts, mask = truth.parts(frame), truth.mask(frame)
        assert ((parts > 0)[mask == 255]).mean() > 0.999 and (mask[parts > 0] > 0).mean() > 0.995
        assert {"body", "left_hand", "right_foot"} <= {names[k - 1] for k in np.unique(parts[parts > 0])}
    values, place = truth.values, list(truth.index.landmark_names).index
    for frame in truth.index.frames:
        for side in ("left", "right"):
            if values.landmarks_visible[frame, place(f"tip/{side}Middle")]:
                x, y = values.landmarks_px[frame, place(f"tip/{side}Middle")].int().tolist()
                near = truth.parts(frame)[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
                assert names.index(f"{side}_hand") + 1 in near


def test_mask_is_the_coverage_of_the_render(stage):
    """Filmed and rendered alone from the same camera, the performer covers the same share of every pixel."""
    film = stage.film
    shot = next(iter(film.shots()))[0]
    alone = film.portrait(0, film.path.camera(0))
    np.testing.assert_array_equal(shot.mask, np.rint(alone[..., 3] * 255))
    inside = shot.mask == 255
    assert np.abs(shot.rgb[inside] / 255.0 - alone[inside][:, :3]).mean() < 0.012  # the sensor's noise alone


def test_the_true_body_lies_inside_the_mask(clip):
    from bodydouble.render.mesh import rasterize_mesh

    truth, _ = clip
    body, values = load_anny(), truth.values
    shaped = body.with_shape(values.shape).with_expression(values.expression)
    posed = shaped.with_pose(Pose(rotvecs=values.rotvecs, translation_world_m=values.translation_world_m)).vertices()
    for frame, vertices in enumerate(posed):
        bare = rasterize_mesh(vertices, body.faces, truth.camera(frame)).mask.numpy()
        mask = truth.mask(frame) / 255.0
        assert (mask[bare] > 0.3).mean() > 0.985
        assert 0.5 < bare.sum() / (mask > 0.5).sum() < 1.0


def test_extra_views_see_the_same_performer(clip):
    """What the depth map places in the world is covered in each view, and fills most of its outline."""
    truth, _ = clip
    for view in truth.views():
        rgba = view.rgba()
        vertices = truth.vertices_world_m(view.frame)
        pixels, depth = view.camera.project(vertices)
        assert bool((depth > 0.5).all())
        x, y = pixels[:, 0].int().clamp(0, 319), pixels[:, 1].int().clamp(0, 239)
        drawn = torch.zeros(len(vertices), dtype=torch.bool)
        drawn[truth.mesh().faces.long().unique()] = True
        inside = drawn & (pixels > 1).all(1) & (pixels[:, 0] < 319) & (pixels[:, 1] < 239)
        covered = torch.from_numpy(rgba[..., 3])[y.long(), x.long()] > 0
        assert float(covered[inside].float().mean()) > 0.97
        assert 0.02 < (rgba[..., 3] > 127).mean() < 0.4
        assert rgba[rgba[..., 3] == 0].max(initial=0) == 0


def test_person_stands_on_the_floor_inside_the_picture(clip):
    truth, _ = clip
    for mask in _masks(truth):
        rows = np.flatnonzero((mask > 0.5).any(1))
        assert rows[0] > 5 and rows[-1] < 235
        assert 0.5 < (rows[-1] - rows[0]) / 240 < 0.97
        assert 0 < mask.mean() < 0.35
    mesh = truth.mesh()
    lowest = [float(truth.vertices_world_m(f, mesh)[mesh.faces.long().unique(), 1].min()) for f in truth.index.frames]
    assert max(abs(y - truth.index.floor_m) for y in lowest) < 0.004


def test_video_shows_person_before_scene(clip):
    """The room stays, the person moves, and the picture is neither dark nor blown out."""
    truth, _ = clip
    frames, masks = _frames(truth).astype(float), _masks(truth)
    always_room = (masks == 0).all(0)
    always_room[:, 60:260] = False  # where shadows never fall
    changed = np.abs(frames[1:] - frames[:-1]).mean(-1)
    assert changed[:, always_room].mean() < 4.0
    somebody = masks[1:] + masks[:-1] > 1.0
    assert changed[somebody].mean() > 2 * changed[:, always_room].mean()
    assert 60 < frames.mean() < 200 and (frames >= 254).mean() < 0.05 and (frames <= 3).mean() < 0.06
    assert frames[masks > 0.9].std(0).min() > 20  # textured, not one colour


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"seconds": 0.1, "fps": 5.0}, r"0\.1 s at 5\.0 frames/s are 0 frames; at least 2"),
        ({"fps": 1000.0}, "a rate from 1 to 240"),
        ({"size": (720, 32)}, "at least 64 x 64 .* got 720 x 32"),
        ({"size": (321, 240)}, "size must be even.* got 321 x 240"),
        ({"orbit_deg": 0.0}, "an orbit goes around by 1 to 720 degrees"),
        ({"truth_every": 0}, "truth-every must be at least 1"),
        ({"bitrate_mbps": 0.0}, "bitrate must be 0.05 to 500"),
    ],
)
def test_refused_requests(tmp_path, changes, text):
    with pytest.raises(ConfigError, match=text):
        synthesise(tmp_path / "out", dataclasses.replace(SynthConfig(), **changes))
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(OutputError, match="not an empty folder"):
        synthesise(tmp_path, CONFIG)
    with pytest.raises(InputError, match=r"neither a file nor the name of a motion; expected a \.bvh or \.npz"):
        synthesise(tmp_path / "new", dataclasses.replace(CONFIG, motion="fly"))
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_damaged_truth_is_refused(clip, tmp_path):
    import shutil

    truth, _ = clip
    with pytest.raises(InputError, match="is missing; expected a JSON"):
        read_truth(tmp_path)
    with pytest.raises(InputError, match="no depth map of frame 0; there are: 1, 3, 5"):
        truth.depth_m(0)
    with pytest.raises(InputError, match="no mask of frame 6; there are: 0 to 5"):
        truth.mask(6)
    copy = tmp_path / "copy"
    shutil.copytree(truth.folder, copy)
    document = json.loads((copy / "truth.json").read_text())
    (copy / "masks" / "frame_000002.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"frame_000002.png must be a PNG of uint8 \(240, 320\), found no picture"):
        read_truth(copy).mask(2)
    (copy / "truth.json").write_text(json.dumps({**document, "version": 99}))
    with pytest.raises(InputError, match="version 1, found 'bodydouble-synth' version 99"):
        read_truth(copy)
    (copy / "truth.json").write_text(json.dumps({**document, "num_frames": 7}))
    with pytest.raises(InputError, match=r"holds 6 frames of 104 bones; truth\.json announces 7"):
        read_truth(copy)
    (copy / "truth.json").write_text(json.dumps({**document, "frames": [1, 900]}))
    with pytest.raises(InputError, match="frames beyond the end"):
        read_truth(copy)
    (copy / "truth.json").write_text(json.dumps({k: v for k, v in document.items() if k != "frames"}))
    with pytest.raises(InputError, match="lacks frames"):
        read_truth(copy)
