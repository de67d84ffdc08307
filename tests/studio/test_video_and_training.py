"""What the studio shows of a video and of a training: overlay, wipe, and the avatar while it is being made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from avatar_fakes import make_avatar
from tiny_person import FRAMES, HEIGHT, WIDTH, film_person

from bodydouble.avatar.glb import save_avatar
from bodydouble.avatar.values import Avatar
from bodydouble.body.anny import load_anny
from bodydouble.capture.folder import Capture
from bodydouble.core.cameras import look_at_camera
from bodydouble.core.errors import InputError, NoSubjectError
from bodydouble.core.events import Done, Event, Previewed, Progress, Step, Warned
from bodydouble.reconstruct.splats.config import DensityConfig, SplatsConfig
from bodydouble.reconstruct.splats.correctives import CorrectiveConfig
from bodydouble.reconstruct.splats.trainer import reconstruct
from bodydouble.render.cpu import CpuRasterizer
from bodydouble.studio.live import LiveShow
from bodydouble.studio.motions import FROM_VIDEO
from bodydouble.studio.scene import Scene
from bodydouble.studio.show import Show, open_show
from bodydouble.studio.viewer import Viewer

CONFIG = SplatsConfig(
    num_steps=6, num_seeds=1200, max_splats=1300, max_frames=4, size_px=96, register_at=(),
    density=DensityConfig(start=2.0, stop=2.0), correctives=CorrectiveConfig(start=1.0),
)  # fmt: skip
WINDOW = look_at_camera(
    torch.tensor([0.0, 1.0, 3.0]), torch.tensor([0.0, 0.9, 0.0]), width_px=256, height_px=128, focal_px=160.0
)


class Screen:
    """Writes down what is shown."""

    def __init__(self, viewers: int = 1) -> None:
        self.viewers = viewers
        self.opened: list[Show] = []
        self.refreshed: list[Scene] = []
        self.told: list[tuple[str, float | None]] = []

    def open(self, show: Show) -> None:
        self.opened.append(show)

    def refresh(self, scene: Scene) -> None:
        self.refreshed.append(scene)

    def status(self, text: str, share: float | None) -> None:
        self.told.append((text, share))


class Clock:
    """A second later at every look."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event], Screen]:
    """A run folder of a tiny person, the events of its training, and what a screen showed of them."""
    folder = tmp_path_factory.mktemp("run")
    capture = film_person(folder)
    screen, events = Screen(), []
    live = LiveShow(screen, CpuRasterizer(), clock=Clock())
    listen = live.between(events.append)
    checkpoints = folder / "checkpoints" / "splats"
    checkpoints.mkdir(parents=True)
    for event in reconstruct(capture, load_anny(), CONFIG, checkpoints, "cpu"):
        listen(event)
    (folder / "avatar.glb").write_bytes((checkpoints / "avatar.glb").read_bytes())
    return folder, events, screen


def test_a_training_is_shown_step_by_step(run: tuple[Path, list[Event], Screen]) -> None:
    _, events, screen = run
    previews = [event for event in events if isinstance(event, Previewed)]
    assert len(previews) == CONFIG.num_steps
    assert len(screen.opened) == 1
    assert not screen.opened[0].playing
    assert len(screen.refreshed) == len(previews) - 1
    first, last = screen.refreshed[0].avatar.splats, screen.refreshed[-1].avatar.splats
    assert first is not None
    assert last is not None
    assert (first.sh[:100] - last.sh[:100]).abs().max() > 0.01, "a snapshot must not change with the training"
    assert any("step 6 of 6" in text and share == 1.0 for text, share in screen.told)
    viewer = Viewer(screen.refreshed[-1], screen.opened[0].repertoire, screen.opened[0].first_motion, playing=False)
    assert viewer.picture(WINDOW).std() > 3.0


def test_nobody_who_looks_costs_nothing() -> None:
    def never() -> Avatar:
        raise AssertionError("a snapshot was taken although nobody looks")

    screen = Screen(viewers=0)
    LiveShow(screen, CpuRasterizer()).show(Previewed(step=1, num_steps=2, take=never))
    assert screen.opened == []


def test_status_is_told_at_most_twice_a_second_and_warnings_stay() -> None:
    screen, clock = Screen(), Clock()
    live = LiveShow(screen, CpuRasterizer(), clock=lambda: clock.now)
    live.show(Warned(code="dark", message="The video is dark."))
    for step in range(1, 11):
        live.show(Step(step=step, num_steps=20, loss=0.5))
    assert len(screen.told) == 1
    assert screen.told[0][0] == "**Building the avatar**, step 1 of 20, loss 0.5000\n\n*The video is dark.*"
    clock.now = 5.0
    live.show(Step(step=11, num_steps=20, loss=0.25))
    assert screen.told[-1][1] == pytest.approx(0.55)
    # Ten of twenty steps in five seconds: the nine that are left will take as long as nine tenths of that.
    assert screen.told[-1][0].splitlines()[2] == "About 4 s left"
    live.show(Done(stage="reconstruct", seconds=61.0))
    assert screen.told[-1] == ("**Building the avatar**: 61 s", 1.0)


def test_a_surface_and_the_splats_that_follow_it() -> None:
    avatar = make_avatar(splats_per_bone=5)
    states = iter((replace(avatar, splats=None), replace(avatar, splats=None), replace(avatar, mesh=None)))
    screen = Screen()
    live = LiveShow(screen, CpuRasterizer(), clock=Clock())
    live.show(Progress(stage="surface", done=0, total=10))
    live.show(Step(step=4, num_steps=10, loss=0.5))
    assert screen.told[-1] == ("**Telling person and world apart**, step 4 of 10, loss 0.5000", 0.4)
    for step in (1, 2):
        live.show(Previewed(step=step, num_steps=10, take=lambda: next(states)))
    assert (len(screen.opened), len(screen.refreshed)) == (1, 1)
    live.show(Done(stage="surface", seconds=9.0))
    live.show(Step(step=1, num_steps=10, loss=0.25))
    assert screen.told[-1][0].startswith("**Building the avatar**, step 1 of 10")
    live.show(Previewed(step=1, num_steps=10, take=lambda: next(states)))
    assert [show.scene.layers for show in screen.opened] == [("mesh", "clay"), ("splats", "seen")]


def test_a_field_without_a_surface_shows_nothing_for_the_moment() -> None:
    def nothing() -> Avatar:
        raise NoSubjectError("The field has no surface.")

    screen = Screen()
    LiveShow(screen, CpuRasterizer(), clock=Clock()).show(Previewed(step=1, num_steps=10, take=nothing))
    assert screen.opened == []


def test_a_finished_run_opens_with_its_video(run: tuple[Path, list[Event], Screen]) -> None:
    folder, _, _ = run
    show = open_show(folder, CpuRasterizer())
    try:
        assert show.first_motion == FROM_VIDEO
        assert show.notes == ()
        assert set(show.scene.layers) == {"splats", "seen", "mesh", "clay"}
        footage = show.scene.footage
        assert footage is not None
        assert footage.wait(60.0)
        assert footage.ready == 1.0
        assert footage.duration_s == pytest.approx((FRAMES - 1) / 12.0)
        motion = show.repertoire.motion(FROM_VIDEO)
        assert motion.num_frames == FRAMES
        viewer = Viewer(show.scene, show.repertoire, show.first_motion)
        viewer.look("wipe")

        def seen(**changes: object) -> np.ndarray:
            viewer.change(lambda shown: shown.replace(time_s=0.0, **changes))
            return viewer.picture(WINDOW).astype(int)

        # The window is wider than the video, which is shown as it is between dark borders.
        frame = next(iter(Capture.open(folder / "capture").frames([0]))).rgb.astype(int)
        left = (256 - WIDTH) // 2
        video = seen(wipe=1.0)
        assert np.abs(video[:, left : left + WIDTH - 1] - frame[:, : WIDTH - 1]).mean() < 3.0
        assert video[:, : left - 1].max() < 30
        half = seen(wipe=0.5)
        middle = left + WIDTH // 2
        np.testing.assert_array_equal(half[:, left : middle - 1], video[:, left : middle - 1])
        assert np.abs(half - video)[:, middle + 1 : left + WIDTH].mean() > 20.0
        viewer.look("overlay")
        np.testing.assert_allclose(
            seen(opacity=0.0)[:, left : left + WIDTH - 1], video[:, left : left + WIDTH - 1], atol=1
        )
        # The form lies where the mask says that the person is.
        mask = Capture.open(folder / "capture").mask(0)
        assert mask is not None
        form = np.abs(seen(opacity=1.0, layer="clay") - video).max(2)[:HEIGHT, left : left + WIDTH] > 8
        inside = mask > 127
        assert (form & inside).sum() / (form | inside).sum() > 0.8
    finally:
        show.close()


def test_an_avatar_alone_and_a_folder_without_one(run: tuple[Path, list[Event], Screen], tmp_path: Path) -> None:
    folder, _, _ = run
    alone = tmp_path / "alone.glb"
    alone.write_bytes((folder / "avatar.glb").read_bytes())
    show = open_show(alone, CpuRasterizer())
    assert (show.title, show.first_motion, show.scene.footage) == ("alone", "idle", None)
    with pytest.raises(InputError, match=r"holds no avatar.glb. Name an avatar, or the folder of a finished run"):
        open_show(tmp_path, CpuRasterizer())


def test_a_video_that_has_gone_leaves_a_note(run: tuple[Path, list[Event], Screen], tmp_path: Path) -> None:
    import shutil

    folder, _, screen = run
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved, ignore=shutil.ignore_patterns("*.mp4"))
    index = moved / "capture" / "capture.json"
    index.write_text(index.read_text().replace("person.mp4", "gone.mp4"))
    show = open_show(moved, CpuRasterizer())
    assert show.scene.footage is None
    assert "The video cannot be shown" in show.notes[0]
    assert show.first_motion == "idle"
    preview = screen.refreshed[-1].avatar
    assert preview.mesh is None
    save_avatar(preview, tmp_path / "preview.glb")
    assert open_show(tmp_path / "preview.glb", CpuRasterizer()).scene.layers == ("splats", "seen")
