"""Measure an exported web page in headless Chromium: bytes, load time, frames a second, and its pictures against ours.

    python scripts/check_web_page.py DIR|AVATAR.glb [-o FOLDER] [--chromium PATH] [--gpu]

WebGL is drawn in software unless --gpu is given, so frames a second are a lower bound. The pictures of the page and of
the Python renderer, from the same camera in the same pose, are left in FOLDER.
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from in_chromium import SOFTWARE_GL, find_chromium
from PIL import Image

from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.expressions import named_expression
from bodydouble.avatar.glb import load_avatar
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Avatar
from bodydouble.core.cameras import look_at_camera
from bodydouble.pipeline.export import ExportChoices, export_avatar
from bodydouble.pipeline.motions import page_motions
from bodydouble.render.cpu import CpuRasterizer

WIDTH, HEIGHT, FOCAL_PX = 480, 640, 900.0
BACKGROUND = (0.9, 0.9, 0.92)
FPS_SCRIPT = """async () => {
    bodydouble.play();
    await new Promise(done => setTimeout(done, 3000));
    const [start, before] = [performance.now(), bodydouble.stats().frames];
    await new Promise(done => setTimeout(done, 5000));
    return [(bodydouble.stats().frames - before) / (performance.now() - start) * 1000, bodydouble.stats().density];
}"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("avatar", type=Path)
    arguments.add_argument("-o", "--out", type=Path, default=Path("web-page-check"))
    arguments.add_argument("--chromium", default=find_chromium())
    arguments.add_argument("--gpu", action="store_true", help="let the browser use the graphics card")
    given = arguments.parse_args()
    if given.chromium is None:
        sys.exit("No Chromium was found: install one, or name it in BODYDOUBLE_CHROMIUM or by --chromium.")
    source: Path = given.avatar / "avatar.glb" if given.avatar.is_dir() else given.avatar
    given.out.mkdir(parents=True, exist_ok=True)
    avatar = load_avatar(source)
    motions = page_motions((), avatar, source.parent, 30.0)
    done = export_avatar(avatar, "html", given.out / "double.html", ExportChoices(motions=motions))
    print(f"{done.path}: {done.bytes / 1e6:.2f} MB, {len(motions)} motions")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        args = ["--no-sandbox", *(() if given.gpu else SOFTWARE_GL)]
        browser = playwright.chromium.launch(executable_path=given.chromium, args=args)
        for width, height in ((640, 640), (1280, 800)):
            page = browser.new_context(offline=True, viewport={"width": width, "height": height}).new_page()
            start = time.perf_counter()
            page.goto(done.path.resolve().as_uri())
            page.wait_for_selector("html[data-ready=yes]")
            loaded = time.perf_counter() - start
            print(f"{width} x {height}: ready after {loaded:.2f} s")
            for view in ("splats", "mesh"):
                if page.evaluate("view => bodydouble.setView(view)", view):
                    fps, density = page.evaluate(FPS_SCRIPT)
                    print(f"    {view}: {fps:.1f} frames/s, {density:.2f} pixels for one of the page's, each way")
            if width == 640:
                compare(page, avatar, motions, given.out)
        browser.close()


def compare(page: Any, avatar: Avatar, motions: tuple[Motion, ...], out: Path) -> None:
    """PSNR of the page's splats against the CPU rasteriser, in the middle of each motion."""
    if avatar.splats is None:
        return
    eye, target = torch.tensor([0.8, 1.2, 2.9]), torch.tensor([0.0, 0.95, 0.0])
    camera = look_at_camera(eye, target, width_px=WIDTH, height_px=HEIGHT, focal_px=FOCAL_PX)
    shot = {
        "width": WIDTH, "height": HEIGHT, "focalPx": FOCAL_PX, "eye": eye.tolist(), "target": target.tolist(),
        "background": BACKGROUND,
    }  # fmt: skip
    page.evaluate("bodydouble.pause()")
    page.evaluate("bodydouble.setView('splats')")
    page.evaluate("bodydouble.setPreset('surprise')")
    for motion in motions:
        pose = motion.pose(motion.num_frames // 2)
        pose_now = [pose.rotvecs.flatten().tolist(), pose.translation_world_m.tolist()]
        page.evaluate("([turns, place]) => bodydouble.setPose(turns, place)", pose_now)
        url = page.evaluate("shot => bodydouble.snapshot(shot)", shot)
        found = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))).convert("RGB")) / 255.0
        with torch.no_grad():
            cloud = pose_avatar(avatar, pose, named_expression("surprise")).splats
            assert cloud is not None
            wanted = CpuRasterizer()(cloud, camera, torch.tensor(BACKGROUND)).rgb.clamp(0, 1).numpy()
        person = np.abs(wanted - np.array(BACKGROUND)).max(-1) > 0.02
        whole, inside = ((found - wanted) ** 2).mean(), ((found - wanted)[person] ** 2).mean()
        print(f"{motion.name}: PSNR {-10 * np.log10(whole):.1f} dB, on the person {-10 * np.log10(inside):.1f} dB")
        pair = np.concatenate([wanted, found], axis=1)
        Image.fromarray(np.round(pair * 255).astype(np.uint8)).save(out / f"{motion.name.replace(' ', '-')}.png")


if __name__ == "__main__":
    main()
