"""What is in a motion file: length, skeleton, fingers, contacts, jitter; and a chart of it over time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bodydouble.avatar.bvh import SourceMotion
from bodydouble.avatar.clips.rigs import guess_unit
from bodydouble.avatar.contacts import Planted, planted_feet
from bodydouble.avatar.motion_quality import jitter
from bodydouble.avatar.performer import Performer, read_performer
from bodydouble.body.humanoid import FINGERS
from bodydouble.core.files import atomic_path


@dataclass(frozen=True, kw_only=True)
class MotionFacts:
    """A motion file in figures; lengths in metres by the guessed unit."""

    name: str
    seconds: float
    frames: int
    fps_hz: float
    joints: int
    recognised: int
    """Joints that are bones of a human by their names."""
    fingers: int
    """Finger bones among them."""
    face_actions: int
    """ARKit actions that are used."""
    unit: str
    """Guessed from the length of the legs."""
    path_m: float
    """How far the hips travel over the floor."""
    contact_left: float
    contact_right: float
    """Share of frames in which the foot stands."""
    contacts: int
    """Number of times a foot is set down."""
    slide_cm_s: float
    """Mean speed over the floor of what stands: feet that slide in the file itself."""
    jitter_m_s3: float
    """Median third derivative of the joints' positions; smooth captures have some hundreds at 30 frames per second."""


def motion_facts(source: SourceMotion) -> MotionFacts:
    """Describe a motion.

    Raises:
        InputError: When its bones are not those of a human.
    """
    performer = read_performer(source)
    unit, unit_m = guess_unit(source)
    planted = planted_feet(performer, unit_m)
    stands = planted.ball | planted.heel
    p = performer.joints_world * unit_m
    hips = p[:, performer.humanoid["hips"]][:, [0, 2]]
    used = 0 if source.expression is None else int((source.expression > 0.01).any(0).sum())
    known = list(performer.humanoid)
    frames = len(p)
    return MotionFacts(
        name=source.name,
        seconds=frames / source.fps_hz,
        frames=frames,
        fps_hz=source.fps_hz,
        joints=len(source.joint_names),
        recognised=len(known),
        fingers=sum(any(finger in name for finger in FINGERS) for name in known),
        face_actions=used,
        unit=unit,
        path_m=float((hips[1:] - hips[:-1]).norm(dim=-1).sum()),
        contact_left=float(stands[:, 0].double().mean()),
        contact_right=float(stands[:, 1].double().mean()),
        contacts=int((stands[1:] & ~stands[:-1]).sum() + stands[:1].sum()),
        slide_cm_s=100 * _sliding(p, performer, planted),
        jitter_m_s3=jitter(p, source.fps_hz),
    )


def _sliding(p: Float[Tensor, "frames joints 3"], performer: Performer, planted: Planted) -> float:
    """Mean horizontal speed of standing feet, m/s; 0 where none stands."""
    speeds = []
    for parts, name in ((planted.ball, "Toes"), (planted.heel, "Foot")):
        for place, side in enumerate(("left", "right")):
            joint = performer.humanoid.get(side + name)
            if joint is not None:
                step = (p[1:, joint] - p[:-1, joint])[:, [0, 2]].norm(dim=-1) * performer.fps_hz
                speeds.append(step[parts[1:, place] & parts[:-1, place]])
    every = torch.cat(speeds) if speeds else torch.zeros(0)
    return float(every.mean()) if len(every) else 0.0


def plot_motion(source: SourceMotion, path: Path) -> None:
    """Draw a chart: heights of the feet with their contacts, speed of the hips, jitter.

    Args:
        source: A motion.
        path: A .png; whole or absent.
    Raises:
        InputError: When its bones are not those of a human.
    """
    performer = read_performer(source)
    unit_m = guess_unit(source)[1]
    planted = planted_feet(performer, unit_m)
    p = performer.joints_world * unit_m
    human, fps_hz = performer.humanoid, source.fps_hz
    heights = []
    for side in ("left", "right"):
        track = p[:, human.get(f"{side}Toes", human.get(f"{side}Foot", 0)), 1]
        heights.append((track - track.min()).numpy())
    hips = p[:, human["hips"]]
    speed = _padded((hips[1:] - hips[:-1]).norm(dim=-1) * fps_hz, len(p))
    third = torch.zeros(0)
    if len(p) > 3:
        third = ((p[3:] - 3 * p[2:-1] + 3 * p[1:-2] - p[:-3]) * fps_hz**3).norm(dim=-1).mean(1)
    stands = planted.ball | planted.heel
    rows = [
        ("height of the feet, m (bars: the foot stands)", heights, [stands[:, 0].numpy(), stands[:, 1].numpy()]),
        ("speed of the hips, m/s", [speed], []),
        ("jitter: third derivative, m/s3", [_padded(third, len(p))], []),
    ]
    _draw(path, f"{source.name}: {len(p)} frames at {fps_hz:g} Hz", rows, len(p) / fps_hz)


def _padded(values: Tensor, count: int) -> np.ndarray:
    out = np.zeros(count)
    out[count - len(values) :] = values.numpy()
    return out


def _draw(path: Path, title: str, rows: list[tuple[str, list[np.ndarray], list[np.ndarray]]], seconds: float) -> None:
    from PIL import Image, ImageDraw, ImageFont

    width, row_height, left, top = 1100, 190, 70, 40
    picture = Image.new("RGB", (width, top + row_height * len(rows) + 30), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(15)
    colors = [(38, 98, 200), (208, 72, 52)]
    draw.text((left, 10), title, fill="black", font=font)
    span = width - left - 20
    for index, (name, lines, flags) in enumerate(rows):
        y0 = top + index * row_height + 22
        y1 = y0 + row_height - 50
        highest = max((float(np.quantile(line, 0.995)) for line in lines), default=0.0) or 1.0
        draw.text((left, y0 - 20), name, fill=(70, 70, 70), font=font)
        draw.rectangle((left, y0, left + span, y1), outline=(210, 210, 210))
        draw.text((8, y0 - 4), f"{highest:.3g}", fill=(110, 110, 110), font=font)
        draw.text((8, y1 - 12), "0", fill=(110, 110, 110), font=font)
        for line, color in zip(lines, colors, strict=False):
            x = left + span * np.arange(len(line)) / max(len(line) - 1, 1)
            y = y1 - (y1 - y0) * np.clip(line / highest, 0.0, 1.0)
            draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=color, width=2)
        for row, (flag, color) in enumerate(zip(flags, colors, strict=False)):
            _bars(draw, flag, color, left, span, y1 + 3 + 7 * row)
    bottom = top + row_height * len(rows)
    for tick in range(6):
        x = left + span * tick / 5
        draw.text((x - 12, bottom), f"{seconds * tick / 5:.1f} s", fill=(110, 110, 110), font=font)
    with atomic_path(path) as partial:
        picture.save(partial, format="PNG")


def _bars(
    draw: Any, flag: Bool[np.ndarray, " frames"], color: tuple[int, int, int], left: int, span: int, y: int
) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flag.astype(np.int8), [0]])))
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        x0, x1 = (left + span * e / len(flag) for e in (begin, end))
        draw.rectangle((x0, y, x1, y + 4), fill=color)
