"""The panel of one viewer, built from the named sets. Takes a GUI handle and imports no GUI package."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from bodydouble.avatar.expressions import EXPRESSIONS
from bodydouble.core.cameras import Camera
from bodydouble.core.errors import BodydoubleError
from bodydouble.studio import saving
from bodydouble.studio.faces import FACE_GROUPS, action_label
from bodydouble.studio.motions import FROM_VIDEO, MAX_UPLOAD_MB, READABLE_UPLOADS
from bodydouble.studio.poses import CONTROLS_BY_NAME, POSES
from bodydouble.studio.show import Show
from bodydouble.studio.state import SPEEDS, toggled, with_action, with_control, with_face, with_pose
from bodydouble.studio.viewer import Viewer

_LAYER_LABELS = {"splats": "Splats", "mesh": "Mesh", "clay": "Form", "seen": "Coverage"}
_VIEW_LABELS = {"stage": "Hidden", "overlay": "Behind the double", "wipe": "Beside the double"}
_TIME_STEP_S = 0.01
_ROOM_FOR_ARMS = 0.75
"""Width over height of the narrowest window from which the usual distance shows a person with moving arms."""
_QUIET = "dark"
"""Colour of buttons that are not the main thing of their tab."""


@runtime_checkable
class Desk(Protocol):
    """What the panel can ask of the window it is in."""

    def note(self, title: str, text: str, *, bad: bool = False) -> None:
        """Show a note that goes by itself."""

    def save(self, keepsake: saving.Keepsake) -> None:
        """Let the viewer's browser save a file."""

    def working(self, title: str) -> Callable[[float], bool]:
        """Show that something is being made. Call the result with the share that is done; it says whether to go on.
        A share of 1 or more takes the note away."""
        ...

    def camera(self, longest_px: int) -> Camera:
        """The viewer's camera for a picture with the window's shape."""
        ...

    def stand(self, eye_m: tuple[float, float, float], target_m: tuple[float, float, float]) -> None:
        """Move the viewer's camera."""


class Controls:
    """The tabs, and what happens when something in them is moved."""

    def __init__(self, gui: Any, viewer: Viewer, show: Show, desk: Desk) -> None:
        """
        Args:
            gui: Of this viewer alone: `viser`'s GUI interface, or something like it.
            viewer: Whom it controls.
            show: What there is to see.
            desk: The window.
        """
        self._gui, self._viewer, self._show, self._desk = gui, viewer, show, desk
        self._pose_sliders: dict[str, Any] = {}
        self._face_sliders: dict[str, Any] = {}
        self._compare_sliders: dict[str, Any] = {}
        tabs = gui.add_tab_group()
        with tabs.add_tab("Play"):
            self._build_play()
        with tabs.add_tab("View"):
            self._build_view()
        if viewer.scene.poser is not None:
            with tabs.add_tab("Pose"):
                self._build_pose()
            with tabs.add_tab("Face"):
                self._build_face()
        with tabs.add_tab("Save"):
            self._build_save()

    def follow(self) -> None:
        """Bring the panel's time and play button up to what is shown; called while a motion plays."""
        shown = self._viewer.shown
        self._time.value = round(min(shown.time_s, self._time.max), 2)
        self._show_playing(shown.playing)

    # --- play -----------------------------------------------------------------------------------------------------

    def _build_play(self) -> None:
        gui, viewer = self._gui, self._viewer
        shown = viewer.shown
        self._motion = gui.add_dropdown("Motion", viewer.repertoire.names, initial_value=shown.motion)
        self._motion.on_update(self._guarded(lambda event: self._play(self._motion.value)))
        upload = gui.add_upload_button(
            "Open a motion file", icon="upload", color=_QUIET, mime_type=",".join(READABLE_UPLOADS),
            hint=f"{', '.join(READABLE_UPLOADS)}; at most {MAX_UPLOAD_MB:.0f} MB",
        )  # fmt: skip
        upload.on_upload(self._guarded(lambda event: self._dropped(upload.value.name, upload.value.content)))
        self._button = gui.add_button("Pause", icon="player-pause")
        self._show_playing(shown.playing)
        self._button.on_click(self._guarded(self._toggle))
        self._time = gui.add_slider("Time", 0.0, self._end_s(), _TIME_STEP_S, 0.0)
        self._time.on_update(self._guarded(self._scrub))
        speed = gui.add_slider("Speed", SPEEDS[0], SPEEDS[1], 0.05, 1.0)
        speed.on_update(self._guarded(lambda event: viewer.change(lambda s: s.replace(speed=float(speed.value)))))
        loop = gui.add_checkbox("Loop", True)
        loop.on_update(self._guarded(lambda event: viewer.change(lambda s: s.replace(loop=loop.value))))
        turning = gui.add_checkbox("Turntable", False)
        turning.on_update(self._guarded(lambda event: viewer.change(lambda s: s.replace(turning=turning.value))))
        back = gui.add_button("Turn to the front", icon="rotate-clockwise", color=_QUIET)
        back.on_click(self._guarded(lambda event: viewer.change(lambda s: s.replace(turn_rad=0.0))))
        for note in self._show.notes:
            gui.add_markdown(f"*{note}*")

    def _play(self, name: str) -> None:
        if name != self._viewer.shown.motion:
            self._viewer.play(name)
            self._look("stage" if name != FROM_VIDEO else self._viewer.shown.view)

    def _dropped(self, name: str, content: bytes) -> None:
        added = self._viewer.repertoire.add_file(name, content)
        motion = self._viewer.repertoire.motion(added)
        self._motion.options = self._viewer.repertoire.names
        self._play(added)
        self._desk.note(added, f"{motion.duration_s:.1f} s, {motion.num_frames} frames at {motion.fps_hz:.0f} Hz.")

    def _toggle(self, event: Any) -> None:
        duration_s = self._viewer.duration_s
        self._show_playing(self._viewer.change(lambda s: toggled(s, duration_s)).playing)

    def _scrub(self, event: Any) -> None:
        time_s = float(self._time.value)
        self._viewer.change(lambda s: s.replace(time_s=time_s, playing=False))
        self._show_playing(False)

    def _show_playing(self, playing: bool) -> None:
        label = "Pause" if playing else "Play"
        if self._button.label != label:
            self._button.label, self._button.icon = label, "player-pause" if playing else "player-play"

    def _end_s(self) -> float:
        return max(math.floor(self._viewer.duration_s / _TIME_STEP_S) * _TIME_STEP_S, _TIME_STEP_S)

    def _retime(self) -> None:
        self._time.max = self._end_s()
        self._motion.value = self._viewer.shown.motion
        self.follow()

    # --- view -----------------------------------------------------------------------------------------------------

    def _build_view(self) -> None:
        gui, viewer = self._gui, self._viewer
        labels = tuple(_LAYER_LABELS[layer] for layer in viewer.scene.layers)
        layer = gui.add_dropdown("Show", labels, initial_value=labels[0])
        key = gui.add_markdown("Green was seen in the video, orange is a guess.", visible=False)

        def choose(event: Any) -> None:
            chosen = _key(_LAYER_LABELS, layer.value)
            key.visible = chosen == "seen"
            viewer.change(lambda s: s.replace(layer=chosen))

        layer.on_update(self._guarded(choose))
        self._view: Any = None
        if viewer.scene.footage is not None:
            views = tuple(_VIEW_LABELS.values())
            self._view = gui.add_dropdown("Video", views, initial_value=views[0])
            self._view.on_update(self._guarded(lambda event: self._look(_key(_VIEW_LABELS, self._view.value))))
            opacity = gui.add_slider("Opacity", 0.0, 1.0, 0.01, viewer.shown.opacity, visible=False)
            opacity.on_update(self._guarded(lambda event: viewer.change(lambda s: s.replace(opacity=opacity.value))))
            wipe = gui.add_slider("Border", 0.0, 1.0, 0.01, viewer.shown.wipe, visible=False)
            wipe.on_update(self._guarded(lambda event: viewer.change(lambda s: s.replace(wipe=wipe.value))))
            self._compare_sliders = {"overlay": opacity, "wipe": wipe}
        for label, icon, full in (("Whole person", "man", True), ("Face", "user-circle", False)):
            button = gui.add_button(label, icon=icon, color=_QUIET)
            button.on_click(self._guarded(lambda event, full=full: self._stand(full=full)))
        if self._show.doubts:
            with gui.add_folder("Doubts of the training", expand_by_default=False):
                gui.add_markdown("Orange is what the training could not explain and trusted less.")
                for doubt in self._show.doubts:
                    gui.add_image(doubt.picture, label=doubt.title, format="jpeg")

    def _look(self, view: str) -> None:
        self._viewer.look(view)
        if self._view is not None:
            self._view.value = _VIEW_LABELS[view]
        for name, slider in self._compare_sliders.items():
            slider.visible = name == view
        self._retime()

    def _stand(self, *, full: bool) -> None:
        camera = self._desk.camera(64)
        eye, target = standpoint(self._show, full=full, aspect=camera.width_px / camera.height_px)
        self._viewer.change(lambda s: s.replace(turn_rad=0.0, turning=s.turning and full))
        self._desk.stand(eye, target)

    # --- pose and face --------------------------------------------------------------------------------------------

    def _build_pose(self) -> None:
        gui, viewer = self._gui, self._viewer
        poser = viewer.scene.poser
        assert poser is not None
        preset = gui.add_dropdown("Preset", tuple(POSES), initial_value=next(iter(POSES)))
        preset.on_update(self._guarded(lambda event: self._set_pose(POSES[preset.value])))
        reset = gui.add_button("Reset pose", icon="refresh", color=_QUIET)
        reset.on_click(self._guarded(lambda event: self._set_pose({})))
        for group in dict.fromkeys(control.group for control in poser.controls):
            with gui.add_folder(group, expand_by_default=group == "Head"):
                for control in (c for c in poser.controls if c.group == group):
                    slider = gui.add_slider(control.label.capitalize(), control.low_deg, control.high_deg, 1.0, 0.0)
                    slider.on_update(
                        self._guarded(
                            lambda event, name=control.name, slider=slider: viewer.change(
                                lambda s: with_control(s, name, float(slider.value))
                            )
                        )
                    )
                    self._pose_sliders[control.name] = slider

    def _set_pose(self, controls: dict[str, float]) -> None:
        known = {name: value for name, value in controls.items() if name in self._pose_sliders}
        self._viewer.change(lambda s: with_pose(s, known))
        for name, slider in self._pose_sliders.items():
            value = known.get(name, 0.0)
            slider.value = min(max(value, CONTROLS_BY_NAME[name].low_deg), CONTROLS_BY_NAME[name].high_deg)

    def _build_face(self) -> None:
        gui, viewer = self._gui, self._viewer
        preset = gui.add_dropdown("Preset", tuple(EXPRESSIONS), initial_value="neutral")
        strength = gui.add_slider("Strength", 0.0, 1.0, 0.01, 1.0)

        def set_face(event: Any) -> None:
            self._set_face({name: value * strength.value for name, value in EXPRESSIONS[preset.value].items()})

        preset.on_update(self._guarded(set_face))
        strength.on_update(self._guarded(set_face))
        reset = gui.add_button("Reset face", icon="refresh", color=_QUIET)
        reset.on_click(self._guarded(lambda event: self._set_face({})))
        for group, actions in FACE_GROUPS.items():
            with gui.add_folder(group, expand_by_default=False):
                for action in actions:
                    slider = gui.add_slider(action_label(action).capitalize(), 0.0, 1.0, 0.01, 0.0, hint=action)
                    slider.on_update(
                        self._guarded(
                            lambda event, name=action, slider=slider: viewer.change(
                                lambda s: with_action(s, name, float(slider.value))
                            )
                        )
                    )
                    self._face_sliders[action] = slider

    def _set_face(self, actions: dict[str, float]) -> None:
        self._viewer.change(lambda s: with_face(s, actions))
        for name, slider in self._face_sliders.items():
            slider.value = round(actions.get(name, 0.0), 2)

    # --- save -----------------------------------------------------------------------------------------------------

    def _build_save(self) -> None:
        gui = self._gui
        picture = gui.add_button("Picture (PNG)", icon="camera", color=_QUIET)
        picture.on_click(self._guarded(lambda event: self._save_picture()))
        film = gui.add_button("Video (MP4)", icon="video", color=_QUIET, hint="The motion once, as you see it")
        film.on_click(self._guarded(lambda event: self._save_video()))
        labels = saving.FORMAT_LABELS
        to = gui.add_dropdown("Format", tuple(labels.values()), initial_value=labels["glb"])
        author = gui.add_text("Author", "", hint="Named in a .vrm, which says who may use the likeness", visible=False)

        def choose(event: Any) -> None:
            author.visible = _key(labels, to.value) == "vrm"

        to.on_update(self._guarded(choose))
        button = gui.add_button("Export the double", icon="package-export")
        button.on_click(self._guarded(lambda event: self._export(_key(labels, to.value), author.value)))

    def _save_picture(self) -> None:
        viewer = self._viewer
        self._desk.save(saving.screenshot(viewer.scene, viewer.shown, viewer.motion, self._desk.camera(1920)))

    def _save_video(self) -> None:
        viewer = self._viewer
        tell = self._desk.working("Making the video")
        try:
            made = saving.video(
                viewer.scene,
                viewer.shown,
                viewer.motion,
                self._desk.camera(960),
                duration_s=viewer.duration_s,
                tell=tell,
            )
        finally:
            tell(1.0)
        if made is not None:
            self._desk.save(made)

    def _export(self, to: str, author: str) -> None:
        viewer = self._viewer
        tell = self._desk.working(f"Exporting {to}")
        try:
            made = saving.export(viewer.scene, viewer.shown, viewer.motion, to, author=author)
        finally:
            tell(1.0)
        self._desk.save(made)

    def _guarded(self, action: Callable[[Any], Any]) -> Callable[[Any], None]:
        """A callback for moves of the viewer's own hand, whose errors become notes: nothing here may end the studio."""

        def act(event: Any) -> None:
            if event.client is None:  # the program itself has set the value
                return
            try:
                action(event)
            except BodydoubleError as error:
                self._desk.note("That did not work", str(error), bad=True)
            except Exception as error:  # noqa: BLE001  (the last resort, as on the command line)
                self._desk.note("Something went wrong that should not", f"{type(error).__name__}: {error}", bad=True)

        return act


def standpoint(
    show: Show, *, full: bool = True, aspect: float = 1.0
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Eye and target of a camera that sees the whole person, from the height of the face, or the face alone; metres.

    Args:
        show: Whose double it is.
        full: The whole person, not the face.
        aspect: Width of the window over its height: from a narrow one the camera steps back, so that arms fit in.
    """
    place = show.scene.place(show.repertoire.motion(show.first_motion))
    x, y, z = place.centre_m
    if full:
        distance = 2.05 * place.height_m * max(1.0, _ROOM_FOR_ARMS / aspect)
        return (x + 0.32 * distance, place.face_m[1], z + 0.95 * distance), (x, y, z)
    face_x, face_y, face_z = place.face_m
    face_y += 0.05 * place.height_m  # the head's joint is where it sits on the neck
    return (face_x + 0.08, face_y + 0.02, face_z + 0.52 * place.height_m), (face_x, face_y, face_z)


def _key(labels: dict[str, str], label: str) -> Any:
    return next(key for key, text in labels.items() if text == label)
