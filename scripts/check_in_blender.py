"""What Blender makes of an exported avatar. Run inside it, without a window:

    blender -b --factory-startup --python scripts/check_in_blender.py -- FILE [PICTURE.png]

Imports a .glb, .vrm, .obj, .ply or .usd, prints what arrived as one line of JSON, moves a bone and a morph target, and
ends with 1 where nothing followed. With PICTURE it also draws the avatar as it stands in the middle of its clip.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import bpy  # type: ignore[import-not-found]
from mathutils import Vector  # type: ignore[import-not-found]

_WIDTH_PX, _HEIGHT_PX = 480, 640


def load(path: Path) -> None:
    """Import into an empty scene."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    kind = path.suffix.lower()
    if kind == ".vrm":  # a .vrm is a .glb with extensions that Blender ignores
        copy = Path(tempfile.mkdtemp()) / "avatar.glb"
        shutil.copy(path, copy)
        path, kind = copy, ".glb"
    if kind == ".glb":
        import numpy

        # Debian 12 pairs an importer that says numpy.bool with a NumPy that has dropped it.
        if not hasattr(numpy, "bool"):
            numpy.bool = bool
        bpy.ops.import_scene.gltf(filepath=str(path))
    elif kind in (".usd", ".usda", ".usdc", ".usdz"):
        bpy.ops.wm.usd_import(filepath=str(path))
    elif kind == ".obj":
        bpy.ops.wm.obj_import(filepath=str(path))
    elif kind == ".ply":
        bpy.ops.import_mesh.ply(filepath=str(path))
    else:
        raise SystemExit(f"no importer for {kind}")


def shape(obj: Any) -> list[Vector]:
    """Vertices of the object as it stands now."""
    return [v.co.copy() for v in obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.vertices]


def farthest(a: list[Vector], b: list[Vector]) -> float:
    return max((x - y).length for x, y in zip(a, b, strict=True))


def examine() -> dict[str, Any]:
    """Counts, and how far vertices follow a bone and a morph target, metres."""
    people = [o for o in bpy.data.objects if o.type == "MESH" and len(o.data.polygons) > 100]
    rigs = [o for o in bpy.data.objects if o.type == "ARMATURE"]
    body = max(people, key=lambda o: len(o.data.vertices))
    keys: Any = body.data.shape_keys.key_blocks if body.data.shape_keys else {}
    found: dict[str, Any] = {
        "vertices": len(body.data.vertices),
        "triangles": len(body.data.polygons),
        "bones": sum(len(rig.data.bones) for rig in rigs),
        "vertex_groups": len(body.vertex_groups),
        "shape_keys": max(len(keys) - 1, 0),
        "colors": bool(getattr(body.data, "color_attributes", ())),
        "textures": [list(image.size) for image in bpy.data.images if image.size[0] > 0],
        "clips": {a.name: round(float(a.frame_range[1]), 1) for a in bpy.data.actions},
    }
    if rigs:
        scene = bpy.context.scene
        last = max((a.frame_range[1] for a in bpy.data.actions), default=0)
        if last:
            scene.frame_set(0)
            start = shape(body)
            scene.frame_set(int(last / 2))
            found["clip_moves_m"] = round(farthest(start, shape(body)), 4)
        for rig in rigs:
            rig.animation_data_clear()
        before = shape(body)
        arms = [b for b in rigs[0].pose.bones if "arm" in b.name.lower()]
        bone = next((b for b in arms if "upper" in b.name.lower()), arms[0])
        bone.rotation_mode = "XYZ"
        bone.rotation_euler = (0.5, 0.3, 0.2)
        found["bone_moves_m"] = round(farthest(before, shape(body)), 4)
        bone.rotation_euler = (0, 0, 0)
    if len(keys) > 1 and "jawOpen" in keys:
        before = shape(body)
        keys["jawOpen"].value = 1.0
        found["jaw_moves_m"] = round(farthest(before, shape(body)), 4)
        keys["jawOpen"].value = 0.0
    return found


def picture(out: Path) -> None:
    """The person from the front, filling the picture, in the middle of the clip."""
    scene = bpy.context.scene
    last = max((a.frame_range[1] for a in bpy.data.actions), default=0)
    scene.frame_set(int(last / 2))
    body = max((o for o in bpy.data.objects if o.type == "MESH"), key=lambda o: len(o.data.vertices))
    places = [body.matrix_world @ place for place in shape(body)]
    low = [min(p[k] for p in places) for k in range(3)]
    high = [max(p[k] for p in places) for k in range(3)]
    middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
    half = max((high[2] - low[2]) / 2, (high[0] - low[0]) / 2 * _HEIGHT_PX / _WIDTH_PX)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    distance = 1.12 * half / math.tan(camera.data.angle / 2) + (high[1] - low[1]) / 2
    camera.location, camera.rotation_euler = (middle[0], middle[1] - distance, middle[2]), (math.pi / 2, 0.0, 0.0)
    scene.camera = camera
    scene.world = bpy.data.worlds.new("plain")
    scene.world.color = (0.78, 0.79, 0.82)
    scene.render.engine = "BLENDER_WORKBENCH"
    shading = scene.display.shading
    textured = any(image.size[0] > 0 for image in bpy.data.images)
    shading.light, shading.color_type = "FLAT", "TEXTURE" if textured else "VERTEX"
    scene.view_settings.view_transform = "Standard"  # colours hold the light of the video: none is to be added
    scene.render.resolution_x, scene.render.resolution_y = _WIDTH_PX, _HEIGHT_PX
    scene.render.filepath = str(out)
    bpy.ops.render.render(write_still=True)


def main() -> int:
    """Load, examine, draw."""
    words = sys.argv[sys.argv.index("--") + 1 :]
    load(Path(words[0]))
    if len(words) > 1:
        picture(Path(words[1]))
    found = examine()
    print(json.dumps({"file": Path(words[0]).name, "blender": bpy.app.version_string, **found}))
    moved = [found[k] for k in ("bone_moves_m", "jaw_moves_m", "clip_moves_m") if k in found]
    return 0 if all(m > 0.005 for m in moved) else 1


if __name__ == "__main__":
    try:
        code = main()
    except Exception as error:  # noqa: BLE001  (Blender itself ends with 0 after an exception)
        print(f"failed: {error!r}")
        code = 1
    sys.exit(code)
