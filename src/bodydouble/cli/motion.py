"""`bodydouble motion`: motions as files of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bodydouble.cli.answers import print_json
from bodydouble.cli.options import Common


@dataclass(frozen=True, kw_only=True)
class Capture(Common):
    """Read the motion of the person in a video."""

    video: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="VIDEO")]
    """A face, close up or not, for a .csv; one person, at least from the hips up, for a .bvh or an .npz."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """The motion: .csv (face, as the Live Link Face app records it), .bvh (body with fingers) or .npz (SMPL-X)."""
    avatar: Annotated[Path | None, tyro.conf.arg(metavar="AVATAR")] = None
    """A double of the same person in the same clothes (a run's folder or its .glb), laid on every frame: a
    motion in which that double looks like the video."""


@dataclass(frozen=True, kw_only=True)
class Convert(Common):
    """Write a motion in another format, on its own skeleton or on an avatar's."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="IN")]
    """A motion: .bvh, .npz of SMPL, SMPL-H or SMPL-X, .glb with an animation, .vmd, .pt of GVHMR, .pkl of WHAM; or
    the folder of a run, for the motion that was fitted to its video."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """.bvh, .glb (a stick figure with a clip), .npz (SMPL-X), or .csv (the face, as Live Link Face records it)."""
    avatar: Annotated[Path | None, tyro.conf.arg(metavar="AVATAR")] = None
    """Retarget to the rig of this avatar."""
    fps: Annotated[float | None, tyro.conf.arg(metavar="HZ")] = None
    """Frames per second of OUT; those of IN if not said."""
    clip: str = ""
    """Which animation of a .glb; the longest if not said."""


@dataclass(frozen=True, kw_only=True)
class Info(Common):
    """Say what is in a motion file: length, skeleton, fingers, contacts of the feet, jitter."""

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """As IN of `motion convert`."""
    clip: str = ""
    """Which animation of a .glb; the longest if not said."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="OUT.png")] = None
    """Draw heights of the feet, contacts, speed and jitter over time."""


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Motions as files: capture from a video, convert, describe."""

    do: Annotated[
        Annotated[Capture, tyro.conf.subcommand("capture")]
        | Annotated[Convert, tyro.conf.subcommand("convert")]
        | Annotated[Info, tyro.conf.subcommand("info")],
        tyro.conf.arg(name=""),
    ]

    @property
    def json(self) -> bool:
        """Whether the result is wanted as JSON."""
        return self.do.json

    @property
    def quiet(self) -> bool:
        """Whether progress and notes are not wanted."""
        return self.do.quiet


Command = Annotated[Motion, tyro.conf.subcommand("motion")]


def run(command: Motion) -> int:
    """`bodydouble motion`."""
    if isinstance(command.do, Capture):
        return _capture(command.do)
    return _convert(command.do) if isinstance(command.do, Convert) else _info(command.do)


def _capture(command: Capture) -> int:
    import dataclasses

    from bodydouble.cli.progress import ProgressPrinter
    from bodydouble.pipeline.motion_capture import capture_motion

    with ProgressPrinter(()) as emit:
        result = capture_motion(command.video, command.out, emit, avatar=command.avatar)
    if command.json:
        return print_json({"motion": str(command.out), **dataclasses.asdict(result)})
    print(f"{result.frames} frames written to {command.out}; the face was seen in {result.face_seen:.0%} of them.")
    return 0


def _convert(command: Convert) -> int:
    import dataclasses

    from bodydouble.pipeline.motion_files import convert_motion

    result = convert_motion(command.source, command.out, avatar=command.avatar, fps_hz=command.fps, clip=command.clip)
    if command.json:
        return print_json({"motion": str(command.out), **dataclasses.asdict(result)})
    print(f"{result.frames} frames at {result.fps_hz:g} Hz written to {command.out}.")
    return 0


def _info(command: Info) -> int:
    import dataclasses

    from bodydouble.avatar.clips.facts import motion_facts, plot_motion
    from bodydouble.pipeline.motion_files import load_motion

    source = load_motion(command.file, command.clip)
    facts = motion_facts(source)
    if command.plot is not None:
        plot_motion(source, command.plot)
    if command.json:
        return print_json({"file": str(command.file), **dataclasses.asdict(facts)})
    print(f"{facts.name}: {facts.seconds:.2f} s, {facts.frames} frames at {facts.fps_hz:g} Hz")
    print(
        f"  skeleton   {facts.joints} joints, {facts.recognised} recognised, {facts.fingers} of fingers; "
        f"lengths in {facts.unit} (a guess)"
    )
    print(f"  face       {facts.face_actions} actions used")
    print(f"  way        {facts.path_m:.2f} m over the floor")
    print(
        f"  contacts   {facts.contacts}; left foot stands {facts.contact_left:.0%}, right {facts.contact_right:.0%} of "
        f"the time, sliding {facts.slide_cm_s:.1f} cm/s"
    )
    print(f"  jitter     {facts.jitter_m_s3:.0f} m/s3")
    if command.plot is not None:
        print(f"  chart      {command.plot}")
    return 0
