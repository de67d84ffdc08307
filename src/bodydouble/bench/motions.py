"""The suite `motions`: how well every motion of a folder sits on an avatar, in figures and pictures.

Each figure is taken twice: with the joints' angles alone, and with contacts (`avatar.contacts`). Whether a foot stands is
judged on the source, whose feet the figures therefore hold to account.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bodydouble.avatar.anatomy import humanoid_bones
from bodydouble.avatar.bvh import SourceMotion
from bodydouble.avatar.clips.read import READABLE, read_motion
from bodydouble.avatar.contacts import planted_feet
from bodydouble.avatar.limb_ik import joint_places
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.motion_quality import MotionQuality, motion_quality
from bodydouble.avatar.performer import read_performer
from bodydouble.avatar.retarget import leg_length, rest_floor, retarget
from bodydouble.avatar.values import Avatar, Mesh, Provenance, Rig
from bodydouble.bench.rows import Row, shown
from bodydouble.core.errors import ConfigError, InputError
from bodydouble.core.events import Event, Progress

_CLOSE_M = 0.25
ALONE, HELD = "angles alone", "with contacts"
BEGIN, END = "<!-- bodydouble bench motions: begin -->", "<!-- bodydouble bench motions: end -->"


@dataclass(frozen=True, kw_only=True)
class Retargeted:
    """One motion on the avatar, without and with contacts."""

    file: str
    frames: int
    """Of the source, at its own rate."""
    alone: MotionQuality
    held: MotionQuality
    hands_alone_cm: float
    """Mean error of the distance between the wrists where they are close in the source; NaN where they never are."""
    hands_held_cm: float
    turned_deg: float
    """99th percentile of the angle by which contacts turn a limb."""
    motion: Motion
    """With contacts."""


def run(
    folder: Path, motions: Path | None, avatar: Avatar | None, emit: Callable[[Event], None]
) -> tuple[list[Row], list[str]]:
    """Measure, and draw a contact sheet.

    Args:
        folder: The sheet `motions.png` goes here.
        motions: A folder of motion files.
        avatar: Who performs them; an adult of 1.70 m (`stand_in`) if none.
        emit: Told about progress.
    Returns:
        Rows, and remarks: files that were left out and why, and where the sheet is.
    Raises:
        ConfigError: When no folder is named, or it holds no motion.
    """
    from bodydouble.bench.motion_sheet import write_sheet

    if motions is None or not motions.is_dir():
        raise ConfigError(f"The suite `motions` needs --motions FOLDER with motion files ({', '.join(READABLE)}).")
    paths = sorted(path for path in motions.iterdir() if path.suffix.lower() in READABLE)
    if not paths:
        raise ConfigError(f"{motions} holds no motion file; expected some of {', '.join(READABLE)}.")
    avatar = stand_in() if avatar is None else avatar
    found: list[Retargeted] = []
    remarks: list[str] = []
    for done, path in enumerate(paths):
        emit(Progress(stage="motions", done=done, total=len(paths), unit="files"))
        try:
            found.append(measure(path.name, read_motion(path), avatar))
        except InputError as error:
            remarks.append(f"{path.name} left out: {error}")
    sheet = folder / "motions.png"
    write_sheet(sheet, avatar, [(item.file, item.motion) for item in found])
    emit(Progress(stage="motions", done=len(paths), total=len(paths), unit="files"))
    return [row for item in found for row in _rows(item)], [*remarks, f"Contact sheet: {sheet}"]


def measure(name: str, source: SourceMotion, avatar: Avatar) -> Retargeted:
    """Figures of one motion on an avatar.

    Raises:
        InputError: When the source's bones are not those of a human.
    """
    rig, floor = avatar.rig, rest_floor(avatar)
    bones = humanoid_bones(rig)
    performer = read_performer(source)
    scale = leg_length(rig.joints_rest_m.double()[None], bones) / leg_length(performer.joints_world, performer.humanoid)
    planted = planted_feet(performer, scale)
    stands: Bool[Tensor, "frames parts sides"] = torch.stack([planted.heel, planted.ball], 1)
    alone = retarget(source, rig, fps_hz=source.fps_hz, floor_rest_m=floor, contacts=False)
    held = retarget(source, rig, fps_hz=source.fps_hz, floor_rest_m=floor)
    theirs = performer.joints_world * scale
    return Retargeted(
        file=name,
        frames=held.num_frames,
        alone=motion_quality(alone, rig, stands, floor_rest_m=floor),
        held=motion_quality(held, rig, stands, floor_rest_m=floor),
        hands_alone_cm=_hands(alone, rig, theirs, performer.humanoid),
        hands_held_cm=_hands(held, rig, theirs, performer.humanoid),
        turned_deg=_turned(held, alone, rig),
        motion=held,
    )


def stand_in() -> Avatar:
    """The body model's adult of 1.70 m as an avatar without splats."""
    from bodydouble.pipeline.bodies import load_body
    from bodydouble.reconstruct.skin import vertex_skinning

    body = load_body("anny")
    shaped = body.with_shape(body.shape_default)
    vertices = shaped.vertices_rest.detach()
    joints, weights = vertex_skinning(body, torch.arange(len(vertices)))
    shade = 0.55 + 0.25 * (vertices[:, 2:] - vertices[:, 2].min()) / (vertices[:, 2].max() - vertices[:, 2].min())
    limbs = torch.tensor([name in ("left_hand", "left_foot") for name in body.part_names])[body.vertex_parts]
    rig = Rig(
        bone_names=body.bone_names,
        bone_parents=body.bone_parents,
        joints_rest_m=shaped.joints_rest.detach(),
        humanoid=dict(body.humanoid),
    )
    mesh = Mesh(
        vertices_rest_m=vertices,
        faces=body.faces,
        colors=shade * torch.where(limbs[:, None], torch.tensor([1.0, 0.7, 0.4]), torch.tensor([0.7, 0.85, 1.0])),
        joints=joints,
        weights=weights,
    )
    return Avatar(rig=rig, mesh=mesh, splats=None, provenance=Provenance(generator="bodydouble bench"))


def _rows(item: Retargeted) -> list[Row]:
    rows = []
    for label, quality, hands in ((ALONE, item.alone, item.hands_alone_cm), (HELD, item.held, item.hands_held_cm)):
        values = dataclasses.asdict(quality)
        figures = {
            "foot stands": (100 * values["contact_share"], "%"),
            "sliding": (values["slide_cm_s"], "cm/s"),
            "farthest wander": (values["slide_worst_cm"], "cm"),
            "sole over the floor": (values["hover_cm"], "cm"),
            "mean depth": (values["penetration_mean_cm"], "cm"),
            "deepest": (values["penetration_max_cm"], "cm"),
            "past limits": (100 * values["limits_share"], "%"),
            "close hands": (hands, "cm"),
            "limbs turned": (item.turned_deg if label == HELD else 0.0, "deg"),
            "jitter ratio": (values["jitter_m_s3"] / max(item.alone.jitter_m_s3, 1e-9), ""),
            "peak ratio": (values["peak_m_s2"] / max(item.alone.peak_m_s2, 1e-9), ""),
        }
        rows += [
            Row(suite="motions", name=f"{item.file}: {figure}, {label}", value=value, unit=unit, better="lower")
            for figure, (value, unit) in figures.items()
        ]
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table: a motion a line, each cell without and with contacts."""
    cells: dict[str, dict[str, dict[str, Row]]] = {}
    for row in rows:
        if row.suite.split()[0] == "motions":
            file, rest = row.name.split(": ", 1)
            figure, label = rest.rsplit(", ", 1)
            cells.setdefault(file, {}).setdefault(figure, {})[label] = row
    if not cells:
        raise ConfigError("There are no rows of the suite `motions` to make a table of; run it first.")
    figures = list(next(iter(cells.values())))
    units = {name: next(iter(of.values())).unit for name, of in next(iter(cells.values())).items()}
    heads = [f"{name}, {units[name]}" if units[name] else name for name in figures]
    lines = [f"| motion | {' | '.join(heads)} |", "|---|" + "---:|" * len(figures)]
    once = ("foot stands", "limbs turned", "jitter ratio", "peak ratio")
    for file, of in cells.items():
        texts = []
        for name in figures:
            pair = [_short(of[name][label].value) for label in (ALONE, HELD)]
            texts.append(pair[1] if name in once or pair[0] == pair[1] else " / ".join(pair))
        lines.append(f"| {file} | {' | '.join(texts)} |")
    return "\n".join(lines)


def with_table(page: str, rows: Sequence[Row]) -> str:
    """A page whose part between the two marks is replaced by the table.

    Raises:
        InputError: When the page lacks the marks.
    """
    before, after = around_table(page)
    return f"{before}{BEGIN}\n\n{table(rows)}\n\n{END}{after}"


def around_table(page: str) -> tuple[str, str]:
    """What stands before and after the two marks.

    Raises:
        InputError: When the page lacks them.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"The page lacks the lines {BEGIN!r} and {END!r}, between which the table goes. Add them.")
    return before, after


def _short(value: float) -> str:
    return "-" if math.isnan(value) else "0" if value == 0 else shown(value) if value >= 100 else f"{value:.1f}"


def _hands(motion: Motion, rig: Rig, source: Float[Tensor, "frames joints 3"], human: dict[str, int]) -> float:
    bones = humanoid_bones(rig)
    if "leftHand" not in human or "rightHand" not in human:
        return float("nan")
    _, p = joint_places(motion.rotvecs.double(), motion.translation_world_m.double(), rig)
    theirs = (source[:, human["leftHand"]] - source[:, human["rightHand"]]).norm(dim=-1)
    ours = (p[:, bones["leftHand"]] - p[:, bones["rightHand"]]).norm(dim=-1)
    close = theirs < _CLOSE_M
    return 100 * float((ours - theirs)[close].abs().mean()) if bool(close.any()) else float("nan")


def _turned(motion: Motion, plain: Motion, rig: Rig) -> float:
    bones = humanoid_bones(rig)
    places = [joint_places(m.rotvecs.double(), m.translation_world_m.double(), rig)[1] for m in (motion, plain)]
    angles = []
    for side in ("left", "right"):
        for a, b in (("UpperArm", "LowerArm"), ("LowerArm", "Hand"), ("UpperLeg", "LowerLeg"), ("LowerLeg", "Foot")):
            lines = [
                torch.nn.functional.normalize(p[:, bones[side + b]] - p[:, bones[side + a]], dim=-1) for p in places
            ]
            angles.append(torch.rad2deg(torch.acos((lines[0] * lines[1]).sum(-1).clamp(-1, 1))))
    return float(torch.quantile(torch.cat(angles)[:1_000_000], 0.99))
