"""What survives in which format, by asking the programs that read it. Writes docs/exports-table.md.

    python scripts/export_table.py AVATAR... [-o docs/exports-table.md] [--work FOLDER]

Every cell is the outcome of a check that has just been made: a reader of somebody else's opened the file, and what it found
was compared with the avatar. Needed: `make readers` (node), Chromium, Blender, trimesh and usd-core; a reader that is absent is
said to be absent.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from in_chromium import PageReader, alike, browser_page, find_chromium, textures_in_three

import bodydouble as bd
from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.export.vrm import VrmMeta
from bodydouble.avatar.expressions import expression_tensor
from bodydouble.body.protocol import Pose
from bodydouble.core.files import write_text

ROOT = Path(__file__).resolve().parent.parent
NODE_MODULES = Path(os.environ.get("GLTF_VALIDATOR_MODULES", ROOT / "node_modules"))
ASPECTS = ("skeleton", "weights", "colours", "morph targets", "splats", "animation")
SECONDS = 0.8
"""Where in the clip bones are compared."""


class Absent(Exception):
    """A reader that is not on this machine."""


@dataclass
class Found:
    """What a reader found; an aspect that is not named did not survive."""

    survived: dict[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    format: str
    reader: str
    ask: Callable[[Path], Found]


def run(words: list[str]) -> str:
    """Standard output of a program, or its last words as the reason why there is none."""
    if shutil.which(words[0]) is None:
        raise Absent(f"{words[0]} is not installed")
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no words"]
        raise RuntimeError(lines[-1][:200])
    return done.stdout


def module(package: str) -> str:
    """The folder of npm's packages, if it holds this one."""
    if not (NODE_MODULES / package).is_dir():
        raise Absent(f"{package} is not installed (`make readers`)")
    return str(NODE_MODULES)


class Checks:
    """The checks of one avatar."""

    def __init__(self, avatar: bd.Avatar, work: Path) -> None:
        self.avatar, self.work = avatar, work
        self.motion = avatar.play("wave", fps_hz=30.0).motion
        rig, mesh, splats = avatar.value.rig, avatar.value.mesh, avatar.value.splats
        assert mesh is not None, "the table needs an avatar with a mesh"
        self.morphs = sum(morph.indices.numel() > 0 for morph in mesh.morphs)  # a body without a tongue moves none
        self.bones, self.mesh, self.splats = len(rig.bone_names), mesh, splats

    def all(self) -> list[Check]:
        """In the order of the table."""
        checks = [
            Check("html", "Chromium", self.chromium),
            Check("glb", "three.js GLTFLoader", self.three),
            Check("glb", "Blender", self.blender),
            Check("glb", "Khronos validator", self.khronos),
            Check("vrm", "@pixiv/three-vrm", self.three),
            Check("vrm", "Blender", self.blender),
            Check("usdz", "usd-core", self.usd),
            Check("obj", "trimesh", self.trimesh),
            Check("obj", "Blender", self.blender),
            Check("mesh-ply", "trimesh", self.trimesh),
            Check("mesh-ply", "Blender", self.blender),
            Check("ply", "splat-transform", self.splat_transform),
            Check("spz", "splat-transform", self.splat_transform),
        ]
        return [check for check in checks if self.splats is not None or check.reader != "splat-transform"]

    def write(self, kind: str) -> Path:
        """The avatar in a format, with a motion where the format holds one."""
        path = self.work / f"avatar.{kind.replace('mesh-ply', 'mesh.ply')}"
        if not path.exists():
            motion = self.motion if kind in ("glb", "usdz", "html") else None
            meta = VrmMeta(authors=("bodydouble",), consent="synthetic or given")
            self.avatar.export(path, kind, motion=motion, meta=meta)
        return path

    def three(self, path: Path) -> Found:
        """three.js, and three-vrm for .vrm."""
        modules = module("@pixiv/three-vrm" if path.suffix == ".vrm" else "three")
        words = ["node", str(ROOT / "tests" / "avatar" / "read_gltf.mjs"), modules, str(path)]
        still, moving = json.loads(run(words)), json.loads(run([*words, str(SECONDS)]))
        meshes = still["meshes"]
        body = max(range(len(meshes)), key=lambda i: meshes[i]["vertices"])
        found = Found()
        count = len(meshes[body]["bones"])
        if count == self.bones:
            found.survived["skeleton"] = f"{count} bones" + (
                f", {len(still['bones'])} humanoid" if "bones" in still else ""
            )
        if meshes[body]["vertices"] >= len(self.mesh.vertices_rest_m) and meshes[body]["weighted"]:
            found.survived["weights"] = f"{meshes[body]['vertices']} vertices"
        colors = self._texture(path) if self.mesh.texture is not None else meshes[body]["colors"]
        found.survived |= {"colours": colors} if colors else {}
        if len(meshes[body]["targets"]) >= self.morphs > 0:
            found.survived["morph targets"] = str(len(meshes[body]["targets"]))
        if still["clips"]:
            away = self._off_clip(moving["meshes"][body]["bones"])
            if away < 1e-3:
                found.survived["animation"] = f"joints within {1e3 * away:.2f} mm of ours"
        if "expressions" in still:
            found.note = f"{len(still['expressions'])} expressions, gaze by {still['lookAt']}"
        return found

    def _texture(self, path: Path) -> str:
        """What three.js makes of the texture where pictures can be decoded: in a browser."""
        texture = self.mesh.texture
        assert texture is not None
        chromium = _browser()
        ours = texture.image.reshape(-1, 3).float().mean(0)
        for theirs in textures_in_three(chromium, NODE_MODULES, path):
            away = float((torch.tensor(theirs.mean) - ours).abs().max())
            if theirs.size_px == (texture.image.shape[1], texture.image.shape[0]) and away < 1.0:
                return "texture {}x{}, mean colour within {:.1f}/255".format(*theirs.size_px, away)
        return ""

    def chromium(self, path: Path) -> Found:
        """Our page in a browser without a network, each aspect by pictures that are compared with ours."""
        with browser_page(_browser(), offline=True) as page:
            reader = PageReader(page, path, self.avatar.value)
            found = Found(note="pictures against ours, where the person is")
            if list(reader.info["bones"]) == list(self.avatar.value.rig.bone_names):
                found.survived["skeleton"] = f"{len(reader.info['bones'])} bones"
            views = [view for view in ("mesh", "splats") if reader.shows(view)]
            still = self.motion.pose(0)
            frame = round(SECONDS * self.motion.fps_hz)
            moved, face = self.motion.pose(frame), self.motion.expression[frame]
            for view in views:
                reader.shows(view)
                reader.stand(moved)
                same, other = (reader.agreement_db(pose, None, view) for pose in (moved, still))
                if not alike(same, other):
                    continue
                found.survived["weights"] = f"a pose: {same:.1f} dB"
                what = "texture" if view == "mesh" and self.mesh.texture is not None else view
                found.survived["colours"] = ", ".join(
                    [*filter(None, [found.survived.get("colours")]), f"{what} {same:.1f} dB"]
                )
                if view == "splats" and self.splats is not None:
                    found.survived["splats"] = f"all {len(self.splats.means_rest_m)}: {same:.1f} dB"
            jaw = expression_tensor({"jawOpen": 1.0})
            reader.stand(still, {"jawOpen": 1.0})
            near = self._face(still)
            same, other = (reader.agreement_db(still, actions, views[-1], near_m=near) for actions in (jaw, None))
            if alike(same, other) and len(reader.info["actions"]) >= self.morphs > 0:
                found.survived["morph targets"] = f"{len(reader.info['actions'])}; jawOpen: {same:.1f} dB"
            reader.stand(still)
            reader.seek(0, SECONDS)
            same, other = (
                reader.agreement_db(pose, actions, views[-1]) for pose, actions in ((moved, face), (still, None))
            )
            if alike(same, other):
                found.survived["animation"] = f"at {SECONDS} s: {same:.1f} dB"
        return found

    def _face(self, pose: Pose) -> tuple[float, float, float]:
        """The middle of the face in a pose, metres."""
        rig = self.avatar.value.rig
        joints = pose_avatar(self.avatar.value, pose).joints_world_m
        x, y, z = joints[rig.bone_names.index(rig.humanoid["head"])].tolist()
        return x, y + 0.06, z

    def _off_clip(self, theirs: dict[str, list[float]]) -> float:
        """How far their joints are from ours at `SECONDS`, metres."""
        ours = self.avatar.play(self.motion).at(SECONDS).state.joints_world_m.numpy()
        names = self.avatar.value.rig.bone_names
        # three.js drops what its paths of tracks cannot hold from names.
        place = {"".join(c for c in name if c not in "[].:/"): i for i, name in enumerate(names)}
        return max(
            float(np.abs(np.array(at) - ours[place[name]]).max()) for name, at in theirs.items() if name in place
        )

    def blender(self, path: Path) -> Found:
        """Blender without a window."""
        script = str(ROOT / "scripts" / "check_in_blender.py")
        said = run(["blender", "-b", "--factory-startup", "--python", script, "--", str(path)])
        lines = [line for line in said.splitlines() if line.startswith("{")]
        if not lines:
            raise RuntimeError(next((x for x in said.splitlines() if x.startswith("failed")), "nothing was imported"))
        told = json.loads(lines[-1])
        found = Found(note=f"Blender {told['blender'].split()[0]}")
        if told["bones"] >= self.bones:
            found.survived["skeleton"] = f"{told['bones']} bones"
        if told.get("bone_moves_m", 0.0) > 0.005:
            found.survived["weights"] = (
                f"{told['vertex_groups']} groups; a turned arm moves {told['bone_moves_m']:.2f} m"
            )
        if told["textures"]:
            found.survived["colours"] = "texture {}x{}".format(*told["textures"][0])
        elif told["colors"]:
            found.survived["colours"] = "vertex colours"
        if told.get("jaw_moves_m", 0.0) > 0.005:
            found.survived["morph targets"] = f"{told['shape_keys']}; jawOpen moves {100 * told['jaw_moves_m']:.1f} cm"
        if told.get("clip_moves_m", 0.0) > 0.005:
            found.survived["animation"] = f"the clip moves {told['clip_moves_m']:.2f} m"
        return found

    def khronos(self, path: Path) -> Found:
        """The validator opens nothing: it says whether others can."""
        words = ["node", str(ROOT / "tests" / "avatar" / "validate_gltf.mjs"), module("gltf-validator"), str(path)]
        issues = json.loads(run(words))["issues"]["messages"]
        errors = [m for m in issues if m["severity"] == 0]
        codes = ", ".join(sorted({m["code"].lower().replace("_", " ") for m in errors}))
        told = f"{len(errors)} errors ({codes})" if errors else "no errors"
        return Found(note=f"{told}, {sum(m['severity'] == 1 for m in issues)} warnings")

    def usd(self, path: Path) -> Found:
        """Pixar's library."""
        try:
            from pxr import Usd, UsdSkel
        except ImportError as error:
            raise Absent("usd-core is not installed") from error
        stage = Usd.Stage.Open(str(path))
        found = Found()
        for prim in stage.Traverse():
            kind = prim.GetTypeName()
            if kind == "Skeleton":
                joints = UsdSkel.Skeleton(prim).GetJointsAttr().Get()
                if len(joints) == self.bones:
                    found.survived["skeleton"] = f"{len(joints)} joints"
            elif kind == "SkelAnimation":
                times = UsdSkel.Animation(prim).GetRotationsAttr().GetTimeSamples()
                if len(times) == self.motion.num_frames:
                    found.survived["animation"] = f"{len(times)} frames"
            elif kind == "Mesh":
                binding = UsdSkel.BindingAPI(prim)
                weights = np.asarray(binding.GetJointWeightsPrimvar().Get()).reshape(-1, 4)
                if len(weights) == len(self.mesh.vertices_rest_m) and np.allclose(weights.sum(1), 1, atol=1e-4):
                    found.survived["weights"] = f"{len(weights)} vertices, rows sum to 1"
                shapes = binding.GetBlendShapesAttr().Get() or []
                if len(shapes) >= self.morphs > 0:
                    found.survived["morph targets"] = str(len(shapes))
                if stage.GetPrimAtPath(prim.GetPath()).GetAttribute("primvars:st") and _textures(stage):
                    found.survived["colours"] = f"texture {_textures(stage)[0]}"
                    continue
                color = prim.GetAttribute("primvars:displayColor")
                if color and len(color.Get() or []) == len(weights):
                    found.survived["colours"] = "display colours"
        return found

    def trimesh(self, path: Path) -> Found:
        """A Python library for meshes."""
        try:
            import trimesh
        except ImportError as error:
            raise Absent("trimesh is not installed") from error
        mesh: Any = trimesh.load(path, process=False, force="mesh")
        visual = mesh.visual
        found = Found(note=f"{len(mesh.vertices)} vertices, {len(mesh.faces)} triangles")
        if visual.kind == "vertex":
            colors = self.avatar.pose().state.vertex_colors
            assert colors is not None
            ours = (colors.clamp(0, 1) * 255).round().numpy()
            theirs = np.asarray(visual.vertex_colors)[:, :3]
            if len(theirs) == len(ours) and np.abs(theirs - ours).max() <= 1:
                found.survived["colours"] = "vertex colours"
        elif visual.kind == "texture" and getattr(visual.material, "image", None) is not None:
            found.survived["colours"] = "texture {}x{}".format(*visual.material.image.size)
        return found

    def splat_transform(self, path: Path) -> Found:
        """PlayCanvas's converter, into a table of numbers."""
        cli = Path(module("@playcanvas/splat-transform")) / "@playcanvas" / "splat-transform" / "bin" / "cli.mjs"
        table = path.with_suffix(path.suffix + ".csv")
        run(["node", str(cli), "-q", "-w", str(path), str(table)])
        with table.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        theirs = np.array([[float(row[axis]) for axis in ("x", "y", "z")] for row in rows])
        splats = self.avatar.pose().state.splats
        assert splats is not None
        away = _nearest(theirs, splats.means_world)
        found = Found()
        if len(theirs) == len(splats.means_world) and away < 1e-3:
            found.survived["splats"] = f"all {len(rows)}, within {1e3 * away:.3f} mm"
            found.survived["colours"] = "in the splats"
        return found


def _browser() -> str:
    chromium = find_chromium()
    if chromium is None:
        raise Absent("no Chromium was found")
    return chromium


def _textures(stage: Any) -> list[str]:
    """Files that the stage's shaders read."""
    shaders = [prim.GetAttribute("inputs:file") for prim in stage.Traverse() if prim.GetTypeName() == "Shader"]
    return [Path(file.Get().path).name for file in shaders if file and file.Get()]


def _nearest(theirs: np.ndarray, ours: torch.Tensor) -> float:
    """The greatest distance from theirs to ours; they may be turned by half a turn about X (+Y down)."""
    from scipy.spatial import cKDTree

    tree = cKDTree(ours.double().numpy())
    return min(float(tree.query(theirs * np.array(turn))[0].max()) for turn in ((1, 1, 1), (1, -1, -1)))


def table(checks: Checks) -> str:
    """The lines of one avatar."""
    lines = [f"| format | reader | {' | '.join(ASPECTS)} | note |", "|---|---|" + "---|" * (len(ASPECTS) + 1)]
    for check in checks.all():
        try:
            found = check.ask(checks.write(check.format))
        except Absent as reason:
            found = Found(note=f"not checked: {reason}")
            cells = ["?"] * len(ASPECTS)
        except Exception as error:  # noqa: BLE001 - a reader that fails is a finding, told in its line
            found = Found(note=f"FAILED: {error}")
            cells = ["FAILED"] * len(ASPECTS)
        else:
            cells = [found.survived.get(aspect, "-") for aspect in ASPECTS]
        lines.append(f"| {check.format} | {check.reader} | {' | '.join(cells)} | {found.note} |")
        print(lines[-1], file=sys.stderr, flush=True)
    splats = 0 if checks.splats is None else len(checks.splats.means_rest_m)
    facts = f"{splats} splats" if splats else "no splats"
    facts += f", {len(checks.mesh.vertices_rest_m)} vertices and "
    facts += "a texture" if checks.mesh.texture is not None else "vertex colours"
    lines = "\n".join(lines)
    return _TABLE.format(facts=facts, bones=checks.bones, morphs=checks.morphs, table=lines)


_TABLE = """## An avatar of {facts}

{bones} bones, {morphs} facial actions.

{table}
"""
_PAGE = """# What survives in which format

Made by `python scripts/export_table.py AVATAR...`; do not edit. Each cell is what somebody else's program found in the file when
the page was made; `-` is what did not survive there. The validator's errors are about the splats, an extension that it does
not know yet ([avatar-format.md](avatar-format.md)). `glb`, `usdz`
and `html` were written with the motion `wave`; the page's pictures, in a browser without a network, are compared with the Python
renderer's. What each format loses by its nature, and why: [exports.md](exports.md).

{tables}"""


def main() -> None:
    """Write, ask, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatars", type=Path, nargs="+", help="such as one with splats and one with a texture")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "docs" / "exports-table.md")
    parser.add_argument("--work", type=Path, help="where the files go; a temporary folder if none is named")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        tables = []
        for number, path in enumerate(words.avatars):
            work = (words.work or Path(scratch)) / str(number)
            work.mkdir(parents=True, exist_ok=True)
            tables.append(table(Checks(bd.load(path), work)))
        write_text(words.out, _PAGE.format(tables="\n".join(tables)))
    print(f"{words.out} written.")


if __name__ == "__main__":
    main()
