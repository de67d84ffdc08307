"""Where to draw the double for the studio: measured in a real browser, three ways.

    python scripts/studio_ways.py AVATAR [--splats 30000] [--seconds 5] [--motion dance]

`here`: the studio as it is, pictures drawn on this machine and sent as JPEG. `browser`: splats posed here, sent as they
are for viser's splat renderer to sort and draw. `bones`: only the bones of the mesh, which the browser skins, in one
colour (viser's skinned meshes have no vertex colours). All for a window of 512 x 512 pixels. Printed for each: bytes of one
picture, the fastest and the median milliseconds in which this process made one, and how many arrived in a second, and how
often the page painted. On a busy machine only the bytes and the fastest mean anything.
"""

from __future__ import annotations

import os

for _name, _value in (("OMP_WAIT_POLICY", "PASSIVE"), ("KMP_BLOCKTIME", "0")):  # as the command line has it
    os.environ.setdefault(_name, _value)

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from in_chromium import find_chromium

from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.glb import load_avatar
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Avatar
from bodydouble.core.cameras import look_at_camera
from bodydouble.core.geometry import matrix_to_quat_wxyz, quat_wxyz_to_matrix
from bodydouble.core.kinematics import fast_bone_transforms
from bodydouble.pipeline.motions import find_motion
from bodydouble.render.select import make_rasterizer
from bodydouble.render.warm_up import warm_up
from bodydouble.studio.motions import Repertoire
from bodydouble.studio.scene import Scene
from bodydouble.studio.server import Studio
from bodydouble.studio.show import Show
from bodydouble.studio.state import Shown

SIDE_PX, PANEL_PX = 512, 320
_COUNT_FRAMES = """() => { window.painted = 0; const tick = () => { window.painted++; requestAnimationFrame(tick); };
requestAnimationFrame(tick); }"""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--splats", type=int, default=30_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--motion", default="dance")
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    warm_up()
    path = words.avatar / "avatar.glb" if words.avatar.is_dir() else words.avatar
    avatar = with_splats(load_avatar(path), words.splats)
    motion = find_motion(words.motion, avatar, 30.0)
    figures = {}
    for name, way in (("here", drawn_here), ("browser", splats_sent), ("bones", bones_sent)):
        figures[name] = way(avatar, motion, words.seconds)
    if words.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"{'way':8} {'bytes':>10} {'fastest ms':>10} {'median ms':>10} {'arrive/s':>9} {'painted/s':>10}")
    for name, row in figures.items():
        numbers = (
            f"{row['fastest_ms']:10.1f} {row['median_ms']:10.1f} {row['arrive_hz']:9.1f} {row['painted_hz']:10.1f}"
        )
        print(f"{name:8} {row['bytes']:10.0f} {numbers}")


def with_splats(avatar: Avatar, count: int) -> Avatar:
    """The avatar with so many splats: some are left out, or repeated beside themselves."""
    splats = avatar.splats
    if splats is None:
        raise SystemExit("This avatar has no splats.")
    have = len(splats.means_rest_m)
    rows = torch.arange(count) % have
    jitter = (
        0.002
        * torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
        * (torch.arange(count) >= have)[:, None]
    )
    picked = splats.map(lambda t: t[rows] if t.shape[:1] == (have,) else t)
    kept = dataclasses.replace(
        picked, morphs=(), correctives=None, means_rest_m=splats.means_rest_m[rows] + jitter
    )  # fmt: skip
    if splats.correctives is not None:
        hung = splats.correctives
        kept = kept.replace(correctives=hung.replace(nodes=hung.nodes[rows], weights=hung.weights[rows]))
    return dataclasses.replace(avatar, splats=kept)


def drawn_here(avatar: Avatar, motion: Motion, seconds: float) -> dict[str, float]:
    """The studio itself."""
    scene = Scene(avatar, make_rasterizer("cpu"))
    repertoire = Repertoire(avatar, lambda: motion)
    with_motion = Show(title="speed", scene=scene, repertoire=repertoire, first_motion=repertoire.names[0])
    own = in_process(scene, motion, seconds)
    studio = Studio()
    studio.open(with_motion)
    try:
        return watched(studio.url, seconds, lambda: None) | own
    finally:
        studio.close()


def in_process(scene: Scene, motion: Motion, seconds: float) -> dict[str, float]:
    """Pictures as the studio makes them, one after the other."""
    import cv2

    eye, target = torch.tensor([1.1, 1.5, 3.4]), torch.tensor([0.0, 0.9, 0.0])
    camera = look_at_camera(eye, target, width_px=SIDE_PX, height_px=SIDE_PX, focal_px=1.56 * SIDE_PX)
    shown, spent, end_s = Shown(motion=motion.name), [], time.monotonic() + seconds
    while time.monotonic() < end_s:
        began_s = time.perf_counter()
        picture = scene.picture(shown.replace(time_s=(len(spent) / 30.0) % motion.duration_s), motion, camera)
        cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 84])
        spent.append(time.perf_counter() - began_s)
    return milliseconds(spent)


def milliseconds(spent_s: list[float]) -> dict[str, float]:
    return {"fastest_ms": 1000.0 * min(spent_s), "median_ms": 1000.0 * float(np.median(spent_s))}


def splats_sent(avatar: Avatar, motion: Motion, seconds: float) -> dict[str, float]:
    """Posed splats, 32 bytes each."""
    import viser

    server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    server.scene.set_up_direction("+y")
    server.initial_camera.position, server.initial_camera.look_at = (1.1, 1.5, 3.4), (0.0, 0.9, 0.0)
    drawn = dataclasses.replace(avatar, mesh=None)
    place, handle = 0, None

    def step() -> None:
        nonlocal place, handle
        place = (place + 1) % motion.num_frames
        with torch.no_grad():
            cloud = pose_avatar(drawn, motion.pose(place), motion.expression[place]).splats
            assert cloud is not None
            half = quat_wxyz_to_matrix(torch.nn.functional.normalize(cloud.quats_wxyz, dim=1)) * cloud.scales_m[:, None]
            covariances = half @ half.transpose(1, 2)
        if handle is None:
            colors = (0.5 + 0.2820948 * cloud.sh[:, 0]).clamp(0, 1).numpy()
            handle = server.scene.add_gaussian_splats(
                "/double", cloud.means_world.numpy(), covariances.numpy(), colors, cloud.opacities.numpy()[:, None]
            )
        else:
            with server.atomic():
                handle.centers = cloud.means_world.numpy()
                handle.covariances = covariances.numpy()

    try:
        return watched(f"http://127.0.0.1:{server.get_port()}", seconds, step)
    finally:
        server.stop()


def bones_sent(avatar: Avatar, motion: Motion, seconds: float) -> dict[str, float]:
    """Positions and turns of bones."""
    import viser

    mesh, rig = avatar.mesh, avatar.rig
    if mesh is None:
        raise SystemExit("This avatar has no mesh.")
    server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    server.scene.set_up_direction("+y")
    server.initial_camera.position, server.initial_camera.look_at = (1.1, 1.5, 3.4), (0.0, 0.9, 0.0)
    count = len(rig.bone_names)
    weights = torch.zeros(len(mesh.weights), count).scatter_add_(1, mesh.joints.long(), mesh.weights)
    rest = np.tile(np.array([1.0, 0.0, 0.0, 0.0]), (count, 1))
    handle = server.scene.add_mesh_skinned(
        "/double", mesh.vertices_rest_m.numpy(), mesh.faces.numpy(), bone_wxyzs=rest,
        bone_positions=rig.joints_rest_m.numpy(), skin_weights=weights.numpy(),
    )  # fmt: skip
    place = 0

    def step() -> None:
        nonlocal place
        place = (place + 1) % motion.num_frames
        pose = motion.pose(place)
        R, t = fast_bone_transforms(
            pose.rotvecs[None], rig.joints_rest_m, pose.translation_world_m[None], rig.bone_parents
        )  # fmt: skip
        turns = matrix_to_quat_wxyz(R[0]).numpy()
        places = ((R[0] @ rig.joints_rest_m[:, :, None])[..., 0] + t[0]).numpy()
        with server.atomic():
            for bone, turn, at in zip(handle.bones, turns, places, strict=True):
                bone.wxyz, bone.position = turn, at

    try:
        return watched(f"http://127.0.0.1:{server.get_port()}", seconds, step)
    finally:
        server.stop()


def watched(url: str, seconds: float, step: Callable[[], None]) -> dict[str, float]:
    """Open the page in Chromium, take steps at 30 Hz at most, and count what arrives."""
    from playwright.sync_api import sync_playwright

    sizes: list[int] = []

    def listen(socket: Any) -> None:
        socket.on("framereceived", lambda payload: sizes.append(len(payload)))

    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page(viewport={"width": SIDE_PX + PANEL_PX, "height": SIDE_PX})
        page.on("websocket", listen)
        page.goto(url)
        page.wait_for_selector("canvas")
        page.evaluate(_COUNT_FRAMES)
        paced(page, 2.0, step)  # until everything is there
        sizes.clear()
        before, start_s = page.evaluate("window.painted"), time.monotonic()
        steps_s = paced(page, seconds, step)
        spent_s = time.monotonic() - start_s
        painted = page.evaluate("window.painted") - before
        browser.close()
    arrived = [size for size in sizes if size > 1000]
    return {
        **milliseconds(steps_s),
        "bytes": float(np.median(arrived)) if arrived else float("nan"),
        "arrive_hz": len(arrived) / spent_s,
        "painted_hz": painted / spent_s,
    }


def paced(page: Any, seconds: float, step: Callable[[], None]) -> list[float]:
    """Steps at 30 Hz at most; the seconds that each took."""
    spent, end_s = [], time.monotonic() + seconds
    while time.monotonic() < end_s:
        began_s = time.perf_counter()
        step()
        spent.append(time.perf_counter() - began_s)
        page.wait_for_timeout(max(1.0, 1000.0 * (1.0 / 30.0 - spent[-1])))
    return spent


if __name__ == "__main__":
    main()
