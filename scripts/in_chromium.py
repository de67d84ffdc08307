"""What a real browser makes of exported files: three.js's loader with its pictures decoded, and our own web page.

Used by `export_table.py`. WebGL is drawn in software, so that it works on machines without a graphics card.
"""

from __future__ import annotations

import base64
import contextlib
import io
import mimetypes
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.picture import picture_of
from bodydouble.avatar.values import Avatar
from bodydouble.body.protocol import Pose
from bodydouble.core.cameras import look_at_camera
from bodydouble.render.cpu import CpuRasterizer

SOFTWARE_GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
_HOST = "http://readers.invalid"
"""Answered from files by the browser itself: nothing leaves the machine."""
_LOADER = """<!doctype html><script type="importmap">
{"imports": {"three": "/three/build/three.module.js", "three/addons/": "/three/examples/jsm/"}}</script>
<script type="module">
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
window.read = async (plugin) => {
  const loader = new GLTFLoader();
  if (plugin) {
    const { VRMLoaderPlugin } = await import("/@pixiv/three-vrm/lib/three-vrm.module.js");
    loader.register((parser) => new VRMLoaderPlugin(parser));
  }
  const gltf = await loader.parseAsync(await (await fetch("/avatar.glb")).arrayBuffer(), "");
  const found = [];
  gltf.scene.traverse((object) => {
    const picture = object.isSkinnedMesh && [object.material].flat()[0].map?.image;
    if (!picture) return;
    const canvas = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
    canvas.drawImage(picture, 0, 0);
    const rgba = canvas.getImageData(0, 0, picture.width, picture.height).data;
    const sum = [0, 0, 0];
    for (let i = 0; i < rgba.length; i += 4) for (let c = 0; c < 3; c++) sum[c] += rgba[i + c];
    found.push({ size: [picture.width, picture.height], mean: sum.map((s) => (s * 4) / rgba.length) });
  });
  return found;
};
window.loaded = true;
</script>"""
_BACKGROUND = (0.9, 0.9, 0.92)
_WIDTH_PX, _HEIGHT_PX, _FOCAL_PX = 640, 800, 1040.0
_ALIKE_DB = 25.0
"""From here on two pictures of a person on a plain ground show the same."""


def find_chromium() -> str | None:
    """The machine's browser."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("BODYDOUBLE_CHROMIUM") or next((p for n in names if (p := shutil.which(n))), None)


@contextlib.contextmanager
def browser_page(chromium: str, *, offline: bool) -> Iterator[Any]:
    """An empty page in a fresh headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *SOFTWARE_GL])
        try:
            page = browser.new_context(offline=offline, viewport={"width": 480, "height": 640}).new_page()
            page.set_default_timeout(120_000)
            yield page
        finally:
            browser.close()


@dataclass(frozen=True)
class TextureFound:
    """A texture that three.js has decoded."""

    size_px: tuple[int, int]
    mean: tuple[float, float, float]
    """Of its colours, 8-bit sRGB."""


def textures_in_three(chromium: str, modules: Path, file: Path) -> list[TextureFound]:
    """The textures of skinned meshes as three.js's GLTFLoader (with three-vrm's plugin for .vrm) has them.

    Args:
        chromium: The browser.
        modules: npm's packages.
        file: A .glb or .vrm.
    """

    def answer(route: Any) -> None:
        path = route.request.url.removeprefix(_HOST)
        if path == "/":
            route.fulfill(body=_LOADER, content_type="text/html")
        elif path == "/avatar.glb":
            route.fulfill(body=file.read_bytes(), content_type="model/gltf-binary")
        elif (modules / path[1:]).is_file():
            kind = mimetypes.guess_type(path)[0] or "text/javascript"
            route.fulfill(body=(modules / path[1:]).read_bytes(), content_type=kind)
        else:
            route.fulfill(status=404)

    with browser_page(chromium, offline=False) as page:
        page.route("**/*", answer)
        page.goto(f"{_HOST}/")
        page.wait_for_function("window.loaded")
        found = page.evaluate("plugin => window.read(plugin)", file.suffix == ".vrm")
    return [TextureFound(size_px=tuple(one["size"]), mean=tuple(one["mean"])) for one in found]


class PageReader:
    """Our own page with an avatar in it, asked for pictures that are compared with the Python renderer's."""

    def __init__(self, page: Any, file: Path, avatar: Avatar) -> None:
        self.page, self.avatar = page, avatar
        page.goto(file.resolve().as_uri())
        page.wait_for_selector("html[data-ready=yes]")
        page.evaluate("bodydouble.pause()")
        self.info: dict[str, Any] = page.evaluate("bodydouble.info")

    def shows(self, view: str) -> bool:
        """Change to splats or mesh; false where the page has none."""
        return bool(self.page.evaluate("view => bodydouble.setView(view)", view))

    def stand(self, pose: Pose, expression: dict[str, float] | None = None) -> None:
        """Put the double into a pose, with a face."""
        words = [pose.rotvecs.flatten().tolist(), pose.translation_world_m.tolist()]
        self.page.evaluate("([turns, place]) => bodydouble.setPose(turns, place)", words)
        self.page.evaluate("face => bodydouble.setExpression(face)", expression or {})

    def seek(self, motion: int, seconds: float) -> None:
        """A moment of one of the page's motions."""
        self.page.evaluate(
            "([m, s]) => { bodydouble.setMotion(m); bodydouble.pause(); bodydouble.seek(s); }", [motion, seconds]
        )

    def agreement_db(
        self,
        pose: Pose,
        actions: Float[Tensor, " actions"] | None,
        view: str,
        *,
        near_m: tuple[float, float, float] | None = None,
    ) -> float:
        """PSNR between the page's picture as it stands and ours of a pose, where the person is in either.

        Args:
            pose, actions: What is drawn here.
            view: `splats` or `mesh`.
            near_m: A place to look at from nearby; by default the whole person is seen.
        """
        target = torch.tensor((0.0, 0.95, 0.0) if near_m is None else near_m)
        away = torch.tensor((0.8, 0.25, 2.9)) if near_m is None else torch.tensor((0.1, 0.0, 0.9))
        camera = look_at_camera(target + away, target, width_px=_WIDTH_PX, height_px=_HEIGHT_PX, focal_px=_FOCAL_PX)
        shot = {
            "width": _WIDTH_PX, "height": _HEIGHT_PX, "focalPx": _FOCAL_PX, "eye": (target + away).tolist(), "target": target.tolist(),
            "background": _BACKGROUND,
        }  # fmt: skip
        url = self.page.evaluate("shot => bodydouble.snapshot(shot)", shot)
        found = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))).convert("RGB")) / 255.0
        ground = torch.tensor(_BACKGROUND)
        with torch.no_grad():
            posed = pose_avatar(self.avatar, pose, actions)
            posed = posed if view == "splats" else posed.replace(splats=None)
            ours = picture_of(self.avatar, posed, camera, CpuRasterizer(), ground).rgb
        wanted, found = _halved(ours.clamp(0, 1).numpy()), _halved(found)
        person = (np.abs(wanted - _BACKGROUND).max(-1) > 0.02) | (np.abs(found - _BACKGROUND).max(-1) > 0.05)
        return float(-10.0 * np.log10(max(float(((found - wanted)[person] ** 2).mean()), 1e-9)))


def _halved(picture: Float[np.ndarray, "height width 3"]) -> Float[np.ndarray, "h w 3"]:
    """Means of 2 x 2 pixels: how edges are smoothed is no part of the question."""
    height, width, _ = picture.shape
    return picture.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))


def alike(same_db: float, other_db: float) -> bool:
    """Whether a picture shows the wanted state, and not just the one before.

    Args:
        same_db: Agreement with our picture of the wanted state.
        other_db: Agreement with our picture of the state before.
    """
    return same_db > _ALIKE_DB and same_db > other_db + 3.0
