"""`bodydouble render` and `bodydouble synth`: from options to pictures and videos, and to words."""

from __future__ import annotations

from bodydouble.cli import options
from bodydouble.cli.answers import print_json
from bodydouble.cli.progress import ProgressPrinter
from bodydouble.core.errors import ConfigError
from bodydouble.pipeline.layout import avatar_file, capture_folder


def render(command: options.Render) -> int:
    """`bodydouble render`."""
    from bodydouble.pipeline.create import use_threads

    use_threads(command.threads)
    return _render_like(command) if command.like is not None else _render_video(command)


def synth(command: options.Synth) -> int:
    """`bodydouble synth`."""
    from bodydouble.pipeline.create import use_threads
    from bodydouble.synth.stage import SynthConfig
    from bodydouble.synth.synthesise import synthesise
    from bodydouble.synth.truth import read_truth

    use_threads(command.threads)
    config = SynthConfig(
        seed=command.performer,
        motion=command.motion,
        camera=command.camera,
        orbit_deg=command.orbit_deg,
        scene=command.scene,
        seconds=command.seconds,
        fps=command.fps,
        size=_parse_size(command.size),
        bitrate_mbps=command.bitrate,
        wardrobe=command.wardrobe,
        truth_every=command.truth_every,
        extra_views=command.extra_views,
    )
    with ProgressPrinter(()) as emit:
        index = read_truth(synthesise(command.out, config, emit)).index
    facts = {"frames": index.num_frames, "scene": index.scene, "camera": index.camera, "bitrate_bps": index.bitrate_bps}
    if command.json:
        print_json({"folder": str(command.out), "video": str(command.out / "video.mp4"), **facts})
    else:
        print(f"{index.num_frames} frames ({index.scene}, {index.camera} camera) and their truth are in {command.out}.")
    return 0


def _render_video(command: options.Render) -> int:
    from bodydouble.avatar.arkit_csv import read_arkit_csv
    from bodydouble.avatar.expressions import named_expression
    from bodydouble.avatar.face_motion import with_face
    from bodydouble.avatar.glb import load_avatar
    from bodydouble.pipeline.motions import find_motion
    from bodydouble.pipeline.playback import Playback, render_video
    from bodydouble.render.select import make_rasterizer

    width_px, height_px = _parse_size(command.size)
    playback = Playback(
        camera=command.camera,
        width_px=width_px,
        height_px=height_px,
        fps_hz=command.fps,
        seconds=command.seconds,
        background=_parse_color(command.background),
    )
    expression = named_expression(command.expression) if command.expression else None
    avatar = load_avatar(avatar_file(command.avatar))
    motion = find_motion(command.motion, avatar, command.fps)
    if command.face is not None:
        motion = with_face(motion, read_arkit_csv(command.face), avatar.rig)
    rasterizer = make_rasterizer(command.device)
    with ProgressPrinter(()) as emit:
        count = render_video(avatar, motion, command.out, playback, rasterizer, emit, expression=expression)
    if command.json:
        print_json({"video": str(command.out), "frames": count, "fps_hz": command.fps, "motion": motion.name})
    else:
        print(f"{count} frames written to {command.out}.")
    return 0


def _render_like(command: options.Render) -> int:
    from bodydouble.pipeline.likeness import render_run_like

    assert command.like is not None
    with ProgressPrinter(()) as emit:
        files = render_run_like(
            avatar_file(command.avatar),
            capture_folder(command.like),
            command.out,
            frames=command.frames,
            poses=command.poses,
            device=command.device,
            emit=emit,
        )
    if command.json:
        print_json({"folder": str(command.out), "files": [file.name for file in files], "poses": command.poses})
    else:
        print(f"{len(files)} pictures written to {command.out}.")
    return 0


def _parse_size(text: str) -> tuple[int, int]:
    width, cross, height = text.lower().partition("x")
    if not (cross and width.strip().isdigit() and height.strip().isdigit()):
        raise ConfigError(f"--size is {text!r}; expected width x height in pixels, such as 720x960.")
    return int(width), int(height)


def _parse_color(text: str) -> tuple[float, float, float] | None:
    """A background; none for a transparent one."""
    from PIL import ImageColor

    if text.lower() == "transparent":
        return None
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise ConfigError(
            f"--background is {text!r}; expected a colour such as white, gray or '#20242c', or transparent."
        ) from error
    return red / 255.0, green / 255.0, blue / 255.0
