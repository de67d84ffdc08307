"""A small synthetic video: files, truth and picture agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import Pose
from bodydouble.core.cameras import video_camera
from bodydouble.core.errors import ConfigError, InputError
from bodydouble.core.events import Progress
from bodydouble.render.mesh import rasterize_mesh
from bodydouble.synth.synthesise import MASKS_NAME, TRUTH_NAME, VIDEO_NAME, read_masks, read_truth, stage, synthesise

_SIZE = (180, 240)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    events = []
    truth = synthesise(folder, seed=5, seconds=1.0, fps=6.0, size=_SIZE, emit=events.append)
    return folder, truth, events


def _frames(folder) -> np.ndarray:
    import av

    with av.open(str(folder / VIDEO_NAME)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_what_is_written(clip):
    folder, truth, events = clip
    assert sorted(p.name for p in folder.iterdir()) == sorted([VIDEO_NAME, TRUTH_NAME, MASKS_NAME])
    assert [(e.done, e.total) for e in events if isinstance(e, Progress)] == [(i + 1, 6) for i in range(6)]
    frames, masks = _frames(folder), read_masks(folder / MASKS_NAME)
    assert frames.shape == (6, 240, 180, 3) and masks.shape == (6, 240, 180)
    assert len(truth.rotvecs) == len(truth.times_s) == 6


def test_truth_round_trip(clip):
    folder, truth, _ = clip
    read = read_truth(folder / TRUTH_NAME)
    for name, value in vars(truth).items():
        other = getattr(read, name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name


def test_the_true_body_lies_inside_the_mask(clip):
    """Posed by the truth and seen by the true camera, the bare body fills most of the mask and leaves it nowhere."""
    folder, truth, _ = clip
    body = load_anny()
    shaped = body.with_shape(truth.shape).with_expression(truth.expression)
    posed = shaped.with_pose(Pose(rotvecs=truth.rotvecs, translation_world_m=truth.translation_world_m)).vertices()
    camera = video_camera(truth.width_px, truth.height_px, truth.focal_px)
    for vertices, mask in zip(posed, read_masks(folder / MASKS_NAME), strict=True):
        bare = rasterize_mesh(vertices, body.faces, camera).mask.numpy()
        assert (mask[bare] > 0.3).mean() > 0.985
        assert 0.6 < bare.sum() / (mask > 0.5).sum() < 1.0


def test_person_stands_on_the_floor_inside_the_picture(clip):
    folder, _, _ = clip
    for mask in read_masks(folder / MASKS_NAME):
        rows = np.flatnonzero((mask > 0.5).any(1))
        assert rows[0] > 5 and rows[-1] < 235
        assert 0.5 < (rows[-1] - rows[0]) / 240 < 0.97
        assert 0 < mask.mean() < 0.35


def test_video_shows_person_before_room(clip):
    """The room stays, the person moves, and the picture is neither dark nor blown out."""
    folder, _, _ = clip
    frames, masks = _frames(folder).astype(float), read_masks(folder / MASKS_NAME)
    always_room = (masks == 0).all(0)
    always_room[:, 20:160] = False  # where shadows never fall
    changed = np.abs(frames[1:] - frames[:-1]).mean(-1)
    assert changed[:, always_room].mean() < 4.0
    somebody = masks[1:] + masks[:-1] > 1.0
    assert changed[somebody].mean() > 2 * changed[:, always_room].mean()
    assert 60 < frames.mean() < 200 and (frames >= 254).mean() < 0.05 and (frames <= 3).mean() < 0.05
    person = frames[masks > 0.9]
    assert person.std(0).min() > 20  # textured, not one colour


def test_frames_do_not_depend_on_order_or_threads():
    shots = [list(stage(2, 3, 6.0, 96, 128)[0].shots()) for _ in range(2)]
    for first, second in zip(*shots, strict=True):
        np.testing.assert_array_equal(first.rgb, second.rgb)
        np.testing.assert_array_equal(first.mask, second.mask)


def test_landscape_holds_the_spread_arms():
    film, truth = stage(1, 40, 6.0, 320, 180)
    camera = video_camera(truth.width_px, truth.height_px, truth.focal_px)
    for frame in range(0, 40, 4):
        pixels, _ = camera.project(film.vertices_world(frame))
        assert pixels.min() > 0 and pixels[:, 0].max() < 320 and pixels[:, 1].max() < 180


def test_refused_requests(tmp_path):
    with pytest.raises(ConfigError, match=r"0\.1 s at 5\.0 frames/s are 0 frames; at least 2"):
        synthesise(tmp_path, seconds=0.1, fps=5.0)
    with pytest.raises(ConfigError, match="at least 64 x 64 pixels, got 720 x 32"):
        synthesise(tmp_path, seconds=1.0, fps=5.0, size=(720, 32))
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="not a readable"):
        read_truth(tmp_path / "missing.safetensors")
