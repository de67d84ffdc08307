"""Retargeting in figures and pictures: every motion of a folder on one avatar.

    python scripts/retarget_sheet.py AVATAR.glb MOTIONS -o SHEET.png [--json FIGURES.json]

Prints, for each motion, with and without contacts: sliding and height of standing feet, depth below the floor, joints past
their limits, jitter, and by how much the distance between close hands differs from the source's. The sheet shows the
avatar's mesh at eight moments of each motion.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import torch

from bodydouble.avatar.anatomy import humanoid_bones
from bodydouble.avatar.bvh import SourceMotion
from bodydouble.avatar.clips.read import READABLE, read_motion
from bodydouble.avatar.contacts import planted_feet
from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.glb import load_avatar
from bodydouble.avatar.limb_ik import joint_places
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.motion_quality import motion_quality
from bodydouble.avatar.performer import read_performer
from bodydouble.avatar.retarget import leg_length, rest_floor, retarget
from bodydouble.avatar.values import Avatar
from bodydouble.core.cameras import look_at_camera
from bodydouble.core.errors import InputError
from bodydouble.render.mesh import rasterize_mesh

_CLOSE_M = 0.25
_MOMENTS = 8
_WIDTH_PX, _HEIGHT_PX = 150, 200


def figures(source: SourceMotion, avatar: Avatar) -> dict[str, dict[str, float]]:
    """Figures without and with contacts."""
    rig, floor = avatar.rig, rest_floor(avatar)
    bones = humanoid_bones(rig)
    performer = read_performer(source)
    scale = leg_length(rig.joints_rest_m.double()[None], bones) / leg_length(performer.joints_world, performer.humanoid)
    planted = planted_feet(performer, scale)
    plain = retarget(source, rig, fps_hz=source.fps_hz, floor_rest_m=floor, contacts=False)
    stands = torch.stack([planted.heel, planted.ball], 1)
    rows = {}
    for name, motion in (("angles alone", plain), ("with contacts", _full(source, avatar))):
        rows[name] = dataclasses.asdict(motion_quality(motion, rig, stands, floor_rest_m=floor))
        rows[name]["hands_cm"] = _hands(motion, avatar, performer.joints_world * scale, performer.humanoid)
        rows[name]["limbs_changed_deg"] = _changed(motion, plain, avatar)
    return rows


def _full(source: SourceMotion, avatar: Avatar) -> Motion:
    return retarget(source, avatar.rig, fps_hz=source.fps_hz, floor_rest_m=rest_floor(avatar))


def _hands(motion: Motion, avatar: Avatar, source: torch.Tensor, human: dict[str, int]) -> float:
    """Mean error of the distance between the wrists where they are close in the source, cm; -1 where they never are."""
    bones = humanoid_bones(avatar.rig)
    if "leftHand" not in human or "rightHand" not in human:
        return -1.0
    _, p = joint_places(motion.rotvecs.double(), motion.translation_world_m.double(), avatar.rig)
    theirs = (source[:, human["leftHand"]] - source[:, human["rightHand"]]).norm(dim=-1)
    ours = (p[:, bones["leftHand"]] - p[:, bones["rightHand"]]).norm(dim=-1)
    close = theirs < _CLOSE_M
    return 100 * float((ours - theirs)[close].abs().mean()) if bool(close.any()) else -1.0


def _changed(motion: Motion, plain: Motion, avatar: Avatar) -> float:
    """The 99th percentile of the angle between limbs with and without contacts, degrees."""
    bones = humanoid_bones(avatar.rig)
    places = [joint_places(m.rotvecs.double(), m.translation_world_m.double(), avatar.rig)[1] for m in (motion, plain)]
    angles = []
    for side in ("left", "right"):
        for a, b in (("UpperArm", "LowerArm"), ("LowerArm", "Hand"), ("UpperLeg", "LowerLeg"), ("LowerLeg", "Foot")):
            lines = [
                torch.nn.functional.normalize(p[:, bones[side + b]] - p[:, bones[side + a]], dim=-1) for p in places
            ]
            angles.append(torch.rad2deg(torch.acos((lines[0] * lines[1]).sum(-1).clamp(-1, 1))))
    return float(torch.quantile(torch.cat(angles)[:1_000_000], 0.99))


def strip(source: SourceMotion, avatar: Avatar) -> torch.Tensor:
    """Pictures of the avatar side by side, height x width x 3."""
    motion = _full(source, avatar)
    assert avatar.mesh is not None
    pictures = []
    for moment in range(_MOMENTS):
        frame = min(int((moment + 0.5) / _MOMENTS * motion.num_frames), motion.num_frames - 1)
        posed = pose_avatar(avatar, motion.pose(frame), motion.expression[frame])
        assert posed.vertices_world_m is not None
        hips = posed.joints_world_m[0]
        at = torch.stack([hips[0], torch.tensor(0.9), hips[2]])
        camera = look_at_camera(
            at + torch.tensor([1.2, 0.5, 3.6]), at, focal_px=1.55 * _HEIGHT_PX, width_px=_WIDTH_PX, height_px=_HEIGHT_PX
        )
        floor = torch.tensor([[x, 0.0, z] for x in (-0.8, 0.8) for z in (-0.8, 0.8)]) + at * torch.tensor(
            [1.0, 0.0, 1.0]
        )
        count = len(posed.vertices_world_m)
        faces = torch.cat([avatar.mesh.faces, torch.tensor([[0, 2, 1], [1, 2, 3]]) + count])
        colors = torch.cat([avatar.mesh.colors, torch.full((4, 3), 0.82)])
        vertices = torch.cat([posed.vertices_world_m, floor])
        image = rasterize_mesh(vertices, faces, camera, colors=colors, background=torch.ones(3))
        assert image.rgb is not None
        pictures.append(image.rgb)
    return torch.cat(pictures, 1)


def main() -> None:
    """Measure, print, draw."""
    from PIL import Image, ImageDraw

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("motions", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    words = parser.parse_args()
    avatar = load_avatar(words.avatar)
    table: dict[str, dict[str, dict[str, float]]] = {}
    strips: list[tuple[str, torch.Tensor]] = []
    for path in sorted(p for p in words.motions.iterdir() if p.suffix in READABLE):
        try:
            source = read_motion(path)
            table[path.name] = figures(source, avatar)
        except InputError as error:
            print(f"{path.name}: {error}")
            continue
        strips.append((path.name, strip(source, avatar)))
        for name, row in table[path.name].items():
            print(f"{path.name:22} {name:14} " + " ".join(f"{k}={v:.2f}" for k, v in row.items()), flush=True)
    picture = Image.new("RGB", (_WIDTH_PX * _MOMENTS, (_HEIGHT_PX + 18) * len(strips)), "white")
    draw = ImageDraw.Draw(picture)
    for row, (name, image) in enumerate(strips):
        top = row * (_HEIGHT_PX + 18)
        draw.text((4, top + 3), name, fill="black")
        picture.paste(Image.fromarray((image.clamp(0, 1) * 255).round().byte().numpy()), (0, top + 18))
    picture.save(words.out)
    if words.json:
        words.json.write_text(json.dumps(table, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
