"""What a video showed of the body, the report that is collected from it, and the turntable."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tracks import made_up_track, nothing_seen

from bodydouble.avatar.values import Avatar, Mesh, Provenance, Rig
from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture, write_mask
from bodydouble.capture.values import BodyTrack
from bodydouble.capture.video import probe, read_frames
from bodydouble.capture.video_write import VideoWriter
from bodydouble.core.cameras import Camera, video_camera
from bodydouble.core.errors import InputError
from bodydouble.core.events import Event, Progress, Warned
from bodydouble.pipeline.coverage import (
    REGION_NAMES,
    Coverage,
    body_coverage,
    coverage_picture,
    coverage_warnings,
    merged_sides,
    surface_regions,
)
from bodydouble.pipeline.report import report_html, write_report
from bodydouble.pipeline.report_collect import collect_report, merged_warnings, outlined
from bodydouble.pipeline.report_data import StageSeconds, limb_qualities
from bodydouble.pipeline.turntable import HEIGHT_PX, WIDTH_PX, write_turntable
from bodydouble.render.mesh import rasterize_mesh
from bodydouble.render.protocol import RenderedSplats, SplatCloud

WIDTH, HEIGHT, FOCAL, FRAMES = 120, 160, 190.0, 6
NAN = float("nan")


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_anny()


def track_of(body: BodyModel, yaw_rad: list[float], drop_m: float = 0.0) -> BodyTrack:
    """Standing, turned about the vertical by `yaw_rad`, `drop_m` lower than the middle of the picture."""
    frames = len(yaw_rad)
    rotvecs = torch.zeros(frames, len(body.bone_names), 3)
    rotvecs[:, 0, 1] = torch.tensor(yaw_rad)
    hips = body.with_shape(body.shape_default).joints_rest[0]
    limbs = torch.full((frames, 2), 3.0)
    limbs[:, 1] = NAN
    return made_up_track(
        rotvecs,
        torch.tensor([0.0, -drop_m, -2.4]) - hips,
        body.shape_default,
        body=body.name,
        expression=torch.zeros(frames, len(body.action_names)),
        focal_px=torch.tensor(FOCAL),
        width_px=WIDTH,
        height_px=HEIGHT,
        limb_names=("torso", "left_hand"),
        limb_error_px=limbs,
        frame_quality=torch.full((frames,), 0.8),
        height_source="prior",
    )


def film(folder: Path, body: BodyModel, track: BodyTrack) -> Capture:
    """A grey film with masks drawn from the body itself."""
    frames = len(track.frame_indices)
    camera = video_camera(WIDTH, HEIGHT, FOCAL)
    with VideoWriter(folder / "film.mp4", 30.0, WIDTH, HEIGHT) as out:
        for _ in range(frames):
            out.write(np.full((HEIGHT, WIDTH, 3), 128, np.uint8))
    capture = Capture.create(folder / "capture", probe(folder / "film.mp4"))
    shaped = body.with_shape(track.shape)
    for f in range(frames):
        pose = track.pose(f)
        mask = rasterize_mesh(shaped.with_pose(pose).vertices(), body.faces, camera).mask
        capture.save_mask(f, (mask.numpy() * 255).astype(np.uint8))
    capture.save_observations(nothing_seen(track, torch.tensor([20.0, 10.0, 100.0, 150.0])))
    return capture


def seen(coverage: Coverage, region: str) -> float:
    return float(coverage.region_seen[coverage.region_names.index(region)])


def test_every_region_of_the_body_has_a_surface(body: BodyModel) -> None:
    rest = body.with_shape(body.shape_default).vertices_rest
    region = surface_regions(body, rest)
    assert set(range(len(REGION_NAMES))) <= set(region.tolist())
    for k, name in enumerate(REGION_NAMES):
        mean = rest[region == k].mean(0)
        if name.startswith("left"):
            assert mean[0] > 0.05
        if name.startswith("right"):
            assert mean[0] < -0.05
    heights = {n: float(rest[region == k, 1].mean()) for k, n in enumerate(REGION_NAMES)}
    assert heights["left foot"] < heights["left lower leg"] < heights["left thigh"] < heights["torso, front"]
    assert heights["torso, front"] < heights["face"]
    depth = {n: float(rest[region == k, 2].mean()) for k, n in enumerate(REGION_NAMES)}
    assert depth["torso, back"] < depth["torso, front"] < depth["face"]


def test_a_frontal_film_shows_the_front_and_not_the_back(body: BodyModel, tmp_path: Path) -> None:
    track = track_of(body, [0.0] * FRAMES)
    coverage = body_coverage(film(tmp_path, body, track), body, track)
    assert coverage.frames == FRAMES
    assert seen(coverage, "torso, front") > 0.6 and seen(coverage, "face") > 0.6
    assert seen(coverage, "torso, back") < 0.06
    assert 0.25 < coverage.total_seen < 0.6


def test_a_turn_shows_all_of_it(body: BodyModel, tmp_path: Path) -> None:
    turn = [k / 12 * 2 * np.pi for k in range(12) for _ in range(2)]
    track = track_of(body, turn)
    coverage = body_coverage(film(tmp_path, body, track), body, track)
    assert coverage.unseen() == () and coverage.little_seen() == ()
    assert coverage.total_seen > 0.8


def test_legs_below_the_picture_are_never_seen(body: BodyModel, tmp_path: Path) -> None:
    track = track_of(body, [0.0] * FRAMES, drop_m=0.75)
    coverage = body_coverage(film(tmp_path, body, track), body, track)
    assert {"left lower leg", "right lower leg", "left foot", "right foot"} <= set(coverage.unseen())
    assert seen(coverage, "face") > 0.6
    by_code = {w.code: w for w in coverage_warnings(coverage, track)}
    assert "both lower legs" in by_code["never_seen"].message and "both feet" in by_code["never_seen"].message
    assert by_code["never_tracked"].message.startswith("No landmarks were ever found on: left hand.")
    assert by_code["never_seen"].advice


def test_what_the_mask_leaves_out_is_not_seen(body: BodyModel, tmp_path: Path) -> None:
    track = track_of(body, [0.0] * FRAMES)
    capture = film(tmp_path, body, track)
    for f in range(FRAMES):
        mask = capture.mask(f)
        assert mask is not None
        mask = mask.copy()
        mask[: HEIGHT // 3] = 0
        capture.save_mask(f, mask)
    coverage = body_coverage(capture, body, track)
    assert seen(coverage, "face") == 0.0 and seen(coverage, "left lower leg") > 0.2


def test_sides_are_named_together() -> None:
    assert merged_sides(("left hand", "right hand", "left foot", "right foot", "left thigh")) == (
        "both hands",
        "both feet",
        "left thigh",
    )
    assert merged_sides(("torso, front", "torso, back", "face")) == ("torso", "face")
    assert merged_sides(("torso, back",)) == ("torso, back",)


def test_the_picture_shows_unseen_surface_in_orange(body: BodyModel) -> None:
    rest = body.with_shape(body.shape_default).vertices_rest
    ever = rest[:, 0] < 0  # its right half was seen
    coverage = Coverage(
        seen_share=ever.float(),
        ever_seen=ever,
        frames=4,
        region_names=(),
        region_seen=torch.zeros(0),
        total_seen=0.5,
    )
    for back in (False, True):
        image = coverage_picture(coverage, body, rest, back=back, height_px=200).astype(int)
        assert image.shape[0] == 200 and image[0, 0, 3] == 0
        left, right = np.array_split(image, 2, axis=1)
        orange = [(h[..., 0] > h[..., 2] + 60) & (h[..., 3] == 255) for h in (left, right)]
        unseen_half, seen_half = (orange[0], orange[1]) if back else (orange[1], orange[0])
        assert unseen_half.mean() > 0.1 and seen_half.mean() < 0.02


def test_limb_figures_leave_out_frames_without_landmarks() -> None:
    errors = torch.tensor([[1.0, NAN], [3.0, NAN], [NAN, NAN], [8.0, NAN], [99.0, 99.0]])
    track = made_up_track(
        torch.zeros(5, 1, 3),
        torch.zeros(3),
        torch.zeros(1),
        limb_names=("left_arm", "left_leg"),
        limb_error_px=errors,
        valid=torch.tensor([True, True, True, True, False]),
    )
    arm, leg = limb_qualities(track, 100.0)
    assert (arm.name, arm.median_px, arm.worst_tenth_px) == ("left arm", 3.0, 8.0)
    assert arm.seen_share == pytest.approx(0.75) and arm.median_share == pytest.approx(0.03)
    assert leg.seen_share == 0.0 and np.isnan(leg.median_px)


def test_an_outline_surrounds_the_region() -> None:
    image = np.full((40, 40, 3), 100, np.uint8)
    inside = np.zeros((40, 40), dtype=bool)
    inside[10:30, 10:30] = True
    drawn = outlined(image, inside).astype(int)
    assert (drawn[0, 0] == 100).all()
    assert drawn[10, 20, 1] > 200 > drawn[20, 20, 1] > 100


def test_warnings_are_said_once() -> None:
    a, b = Warned(code="a", message="one"), Warned(code="b", message="two")
    assert merged_warnings([a, b, Warned(code="a", message="one", advice="again"), b]) == (a, b)


def mesh_avatar(body: BodyModel) -> Avatar:
    shaped = body.with_shape(body.shape_default)
    weights, order = body.skin_weights.topk(4, dim=1)
    return Avatar(
        rig=Rig(
            bone_names=body.bone_names,
            bone_parents=body.bone_parents,
            joints_rest_m=shaped.joints_rest,
            humanoid=dict(body.humanoid),
        ),
        mesh=Mesh(
            vertices_rest_m=shaped.vertices_rest,
            faces=body.faces,
            colors=torch.full_like(shaped.vertices_rest, 0.9),
            joints=body.skin_joints.gather(1, order),
            weights=weights / weights.sum(1, keepdim=True),
        ),
        splats=None,
        provenance=Provenance(generator="test"),
    )


def test_a_report_is_collected_from_a_run(body: BodyModel, tmp_path: Path) -> None:
    track = track_of(body, [0.0] * FRAMES)
    capture = film(tmp_path, body, track)
    capture.add_warning("low_fps", "The video has few frames a second.", "Film at 30.")
    (tmp_path / "avatar.glb").write_bytes(b"x" * 2_500_000)
    data = collect_report(
        capture=capture, body=body, track=track, avatar=mesh_avatar(body), avatar_path=tmp_path / "avatar.glb",
        heldout=None, seconds=StageSeconds(perceive=1.0, total=3.0), peak_rss_mb=512.0, preset="draft",
        warnings=(Warned(code="low_fps", message="The video has few frames a second."),),
    )  # fmt: skip
    assert data.avatar_mb == pytest.approx(2.5) and data.method == "surface"
    assert data.height_m == pytest.approx(1.7, abs=0.15)
    assert len(data.overlays) == len(data.masks) == FRAMES
    assert [w.code for w in data.warnings].count("low_fps") == 1
    assert "never_seen" in [w.code for w in data.warnings]  # the back
    overlay = np.asarray(Image.open(io.BytesIO(data.overlays[0].data))).astype(int)
    assert ((overlay[..., 1] - overlay[..., 0]) > 60).sum() > 100  # an outline on grey
    mask = np.asarray(Image.open(io.BytesIO(data.masks[0].data))).astype(int)
    assert mask[2, 2].max() < 40 and mask[HEIGHT // 2, WIDTH // 2].min() > 100
    (tmp_path / "own").mkdir()
    write_mask(tmp_path / "own", 0, np.zeros((HEIGHT, WIDTH), np.uint8))
    own = collect_report(
        capture=capture, body=body, track=track, avatar=mesh_avatar(body), avatar_path=tmp_path / "avatar.glb",
        heldout=None, seconds=StageSeconds(), peak_rss_mb=512.0, preset="draft", masks_folder=tmp_path / "own",
    )  # fmt: skip
    assert len(own.masks) == 1 and np.asarray(Image.open(io.BytesIO(own.masks[0].data))).max() < 40, "nobody, it says"
    write_report(tmp_path, data)
    assert json.loads((tmp_path / "report.json").read_text())["input"]["frames_with_subject"] == FRAMES
    assert "What the video showed of the body" in report_html(data)


def no_splats(splats: SplatCloud, camera: Camera, background: torch.Tensor | None = None) -> RenderedSplats:
    raise AssertionError("a mesh needs no splat rasteriser")


def test_the_turntable_goes_round_once_and_loops(body: BodyModel, tmp_path: Path) -> None:
    events: list[Event] = []
    write_turntable(mesh_avatar(body), tmp_path / "t.mp4", rasterizer=no_splats, seconds=0.5, emit=events.append)
    frames = [f.rgb.astype(int) for f in read_frames(tmp_path / "t.mp4")]
    assert len(frames) == 12 and frames[0].shape == (HEIGHT_PX, WIDTH_PX, 3)
    body_pixels = frames[0].min(axis=-1) > 180
    rows, columns = np.flatnonzero(body_pixels.any(1)), np.flatnonzero(body_pixels.any(0))
    assert 0.7 * HEIGHT_PX < rows[-1] - rows[0] < 0.95 * HEIGHT_PX  # the whole body, filling the picture
    assert abs((columns[0] + columns[-1]) / 2 - WIDTH_PX / 2) < 0.05 * WIDTH_PX
    side = frames[3].min(axis=-1) > 180
    assert np.ptp(np.flatnonzero(side.any(0))) < 0.8 * np.ptp(columns)  # seen from the side it is narrow
    change = [np.abs(f - frames[0]).mean() for f in frames]
    assert max(change[1], change[-1]) < min(change[3], change[-3])  # it comes back to where it began
    last = events[-1]
    assert isinstance(last, Progress) and last.done == last.total == 12


def test_an_empty_avatar_has_no_turntable(body: BodyModel, tmp_path: Path) -> None:
    full = mesh_avatar(body)
    empty = Avatar(rig=full.rig, mesh=None, splats=None, provenance=full.provenance)
    with pytest.raises(InputError, match="neither splats nor a mesh"):
        write_turntable(empty, tmp_path / "t.mp4", rasterizer=no_splats, seconds=0.5, emit=lambda _: None)
    assert not (tmp_path / "t.mp4").exists()
