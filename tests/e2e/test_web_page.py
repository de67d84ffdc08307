"""The exported page in a real browser: it draws what the Python renderer draws, plays, obeys, and asks nobody anything."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avatar_fakes import make_avatar
from PIL import Image
from scipy.ndimage import binary_erosion
from test_pose_correctives import corrected_avatar
from web_pages import Opened, browsers, chromium, psnr

from bodydouble.avatar.builtin import builtin_motion
from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.export.html import avatar_to_html
from bodydouble.avatar.export.vrm import VrmMeta
from bodydouble.avatar.expressions import EXPRESSIONS, named_expression
from bodydouble.avatar.picture import mesh_picture
from bodydouble.avatar.values import Avatar, Texture
from bodydouble.core.cameras import Camera, look_at_camera
from bodydouble.render.reference import ReferenceRasterizer

AVATAR = corrected_avatar()
DANCE = builtin_motion("dance", AVATAR.rig)
WAVE = builtin_motion("wave", AVATAR.rig)
FRAME = 45
BACKGROUND = torch.tensor([0.9, 0.85, 0.7])
EYE, TARGET, SIZE, FOCAL_PX = (0.9, 1.3, 2.8), (0.0, 0.9, 0.0), (240, 320), 400.0
SHOT: dict[str, Any] = {
    "width": SIZE[0], "height": SIZE[1], "eye": EYE, "target": TARGET, "focalPx": FOCAL_PX,
    "background": BACKGROUND.tolist(),
}  # fmt: skip
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


def camera() -> Camera:
    return look_at_camera(
        torch.tensor(EYE), torch.tensor(TARGET), width_px=SIZE[0], height_px=SIZE[1], focal_px=FOCAL_PX
    )


def written(folder: Path, avatar: Avatar, name: str = "page.html") -> Path:
    path = folder / name
    meta = VrmMeta(name=HOSTILE, authors=("Ada",), consent="written")
    path.write_bytes(avatar_to_html(avatar, [DANCE, WAVE.replace(name=HOSTILE)], meta))
    return path


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chromium()
    return written(tmp_path_factory.mktemp("page"), AVATAR)


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[[bool], Any]]:
    with browsers() as starter:
        yield starter


@pytest.fixture(scope="module")
def chrome(start: Callable[[bool], Any]) -> Any:
    return start(True)


@pytest.fixture(scope="module")
def opened(chrome: Any, page_file: Path) -> Opened:
    return Opened(chrome, page_file)


def put_in_pose(opened: Opened, preset: str = "surprise") -> None:
    pose = DANCE.pose(FRAME)
    opened.js(
        "p => { bodydouble.setPose(p.turns, p.place); bodydouble.setPreset(p.preset); }",
        {
            "turns": pose.rotvecs.flatten().tolist(),
            "place": pose.translation_world_m.tolist(),
            "preset": preset,
        },
    )


def test_it_opens_offline_from_a_file_and_names_stay_names(opened: Opened) -> None:
    assert opened.js("document.documentElement.dataset.ready") == "yes"
    assert opened.complaints == []
    assert {url.split(":")[0] for url in opened.requests} <= {"file", "blob"}
    assert opened.js("bodydouble.stats().stage") == "webgl2"
    assert opened.page.title() == HOSTILE
    assert opened.page.locator("h1").inner_text() == HOSTILE
    assert opened.page.locator(".motion span").all_inner_texts()[0] == "Dance"
    assert opened.page.locator("img").count() == 0 and opened.page.locator("script").count() == 4


def test_splats_look_as_the_python_renderer_draws_them(opened: Opened) -> None:
    put_in_pose(opened)
    opened.js("bodydouble.setView('splats')")
    found = opened.snapshot(**SHOT)
    posed = pose_avatar(AVATAR, DANCE.pose(FRAME), named_expression("surprise"))
    assert posed.splats is not None
    wanted = ReferenceRasterizer()(posed.splats, camera(), BACKGROUND).rgb.clamp(0, 1).numpy()
    person = np.abs(wanted - BACKGROUND.numpy()).max(-1) > 0.02
    assert person.mean() > 0.05
    assert psnr(found[person], wanted[person]) > 42.0
    still = pose_avatar(AVATAR, DANCE.pose(FRAME)).splats  # the expression is in it
    assert still is not None
    calm = ReferenceRasterizer()(still, camera(), BACKGROUND).rgb.clamp(0, 1).numpy()
    assert psnr(found[person], wanted[person]) > psnr(found[person], calm[person]) + 3.0


def test_colours_that_depend_on_the_direction_turn_with_the_body(chrome: Any, tmp_path: Path) -> None:
    """Harmonics of degree 3, of a body that is bent and turned: they count, and in the axes of the rest pose."""
    avatar = make_avatar(coeffs=16)
    opened = Opened(chrome, written(tmp_path, avatar))
    put_in_pose(opened)
    found = opened.snapshot(**SHOT)
    posed = pose_avatar(avatar, DANCE.pose(FRAME), named_expression("surprise")).splats
    assert posed is not None and avatar.splats is not None and opened.complaints == []
    wanted = ReferenceRasterizer()(posed, camera(), BACKGROUND).rgb.clamp(0, 1).numpy()
    person = np.abs(wanted - BACKGROUND.numpy()).max(-1) > 0.02
    assert psnr(found[person], wanted[person]) > 38.0  # 8 bits over the wide range of coefficients made by chance
    unturned = ReferenceRasterizer()(posed.replace(sh=avatar.splats.sh), camera(), BACKGROUND).rgb.clamp(0, 1).numpy()
    flat = ReferenceRasterizer()(posed.replace(sh=posed.sh[:, :1]), camera(), BACKGROUND).rgb.clamp(0, 1).numpy()
    for other in (unturned, flat):
        assert psnr(other[person], wanted[person]) < 30.0


def test_the_mesh_looks_as_the_python_renderer_draws_it(chrome: Any, tmp_path: Path) -> None:
    """Away from edges, which only one of them smooths. Once with vertex colours, once with a texture."""
    avatar = make_avatar()
    assert avatar.mesh is not None
    rng = torch.Generator().manual_seed(1)
    uv = torch.rand(len(avatar.mesh.vertices_rest_m), 2, generator=rng)
    ramp = torch.linspace(0, 255, 64)
    image = torch.stack([ramp[None].expand(64, 64), ramp[:, None].expand(64, 64), torch.full((64, 64), 99.0)], -1)
    texture = Texture(uv=uv, image=image.to(torch.uint8))
    for mesh in (avatar.mesh, avatar.mesh.replace(texture=texture)):
        shown = dataclasses.replace(avatar, mesh=mesh, splats=None)
        opened = Opened(chrome, written(tmp_path, shown))
        put_in_pose(opened)
        found = opened.snapshot(**SHOT)
        vertices = pose_avatar(shown, DANCE.pose(FRAME), named_expression("surprise")).vertices_world_m
        assert vertices is not None and opened.js("bodydouble.state().view") == "mesh"
        wanted = mesh_picture(mesh, vertices, camera(), BACKGROUND)
        inside = binary_erosion((wanted.alpha > 0.999).numpy(), iterations=2)
        assert inside.sum() > 500
        # Where boxes overlap there are edges inside: those few pixels are left out.
        off = np.abs(found - wanted.rgb.numpy()).max(-1)[inside]
        assert np.quantile(off, 0.8) < 0.03 and opened.complaints == []


def test_it_plays_pauses_and_stops_drawing_when_nobody_looks(opened: Opened) -> None:
    page = opened.page
    opened.js("bodydouble.setMotion(0)")
    page.locator("canvas").focus()
    page.keyboard.press("Space")
    opened.until("() => bodydouble.state().playing && bodydouble.state().seconds > 0.2")
    # The same property and event by which a browser tells a tab that it is hidden.
    opened.js(
        "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    opened.js("() => new Promise(done => setTimeout(done, 300))")
    before = opened.js("bodydouble.stats().frames")
    opened.js("() => new Promise(done => setTimeout(done, 500))")
    assert opened.js("bodydouble.stats().frames") == before
    opened.js("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    opened.until("n => bodydouble.stats().frames > n", before)
    page.keyboard.press("Space")
    opened.until("() => !bodydouble.state().playing")
    page.get_by_role("button", name="Rest pose").click()
    assert opened.js("bodydouble.state().motion") == -1


def test_a_visitor_looks_around_by_pointer_wheel_and_keys(opened: Opened) -> None:
    page = opened.page
    page.locator("canvas").focus()
    page.keyboard.press("r")
    eye = np.array(opened.js("bodydouble.state().eye"))
    box = page.locator("canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 120, y, steps=3)
    page.mouse.up()
    opened.until("x => Math.abs(bodydouble.state().eye[0] - x) > 0.3", float(eye[0]))
    page.keyboard.press("r")
    page.mouse.wheel(0, -400)
    opened.until("z => bodydouble.state().eye[2] < z - 0.1", float(eye[2]))
    page.keyboard.press("r")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    opened.until("x => Math.abs(bodydouble.state().eye[0] - x) > 0.3", float(eye[0]))
    page.keyboard.press("r")


def test_faces_change_by_presets_and_sliders(opened: Opened) -> None:
    page = opened.page
    opened.js("bodydouble.setView('splats'); bodydouble.setMotion(-1); bodydouble.setPreset('neutral')")
    calm = opened.snapshot(**SHOT)
    page.get_by_role("tab", name="Face").click()
    page.get_by_role("button", name="Laugh").click()
    state = opened.js("bodydouble.state().expression")
    assert {k: round(v, 4) for k, v in state.items() if v} == {k: round(v, 4) for k, v in EXPRESSIONS["laugh"].items()}
    page.locator("summary", has_text="Jaw").click()
    slider = page.get_by_label("Jaw open")
    assert float(slider.input_value()) == pytest.approx(0.4)
    slider.focus()
    page.keyboard.press("End")
    assert opened.js("bodydouble.state().expression.jawOpen") == 1.0
    assert page.get_by_role("button", name="Laugh").get_attribute("aria-pressed") == "false"
    opened.js("() => bodydouble.setExpression({ jawOpen: 1 })")
    assert np.abs(opened.snapshot(**SHOT) - calm).max() > 0.02
    # What a visitor sees gets there by itself, also where a frame takes long.
    page.get_by_role("button", name="Neutral").click()
    opened.until("() => Object.values(bodydouble.stats().shownExpression).every((strength) => strength === 0)")
    before = opened.js("bodydouble.stats().frames")
    page.get_by_role("button", name="Laugh").click()
    opened.until("() => Math.abs(bodydouble.stats().shownExpression.jawOpen - 0.4) < 1e-3")
    assert opened.js("bodydouble.stats().frames") - before < 60
    page.get_by_role("tab", name="Motion").click()


def test_pictures_are_saved_without_a_ground_and_the_speed_is_chosen(opened: Opened) -> None:
    page = opened.page
    opened.js("bodydouble.setMotion(0); bodydouble.setView('splats')")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save a picture (S)").click()
    assert saved.value.suggested_filename == "script-script-alert-1-script-img-src-x-onerror-alert-1.png"
    with Image.open(saved.value.path()) as image:
        assert image.mode == "RGBA" and max(image.size) >= max(page.locator("canvas").bounding_box().values())
        low, high = image.getchannel("A").getextrema()
        assert low == 0 and high > 240
    page.get_by_role("button", name="0.25\u00d7").click()
    assert opened.js("bodydouble.state().speed") == 0.25
    page.get_by_role("button", name="1\u00d7", exact=True).click()
    assert opened.js("bodydouble.state().speed") == 1.0 and opened.complaints == []


def test_it_fits_a_phone(chrome: Any, page_file: Path) -> None:
    opened = Opened(chrome, page_file, has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    page = opened.page
    canvas, panel = page.locator("canvas").bounding_box(), page.locator(".panel").bounding_box()
    assert canvas["width"] == 390 and canvas["height"] > 300
    assert panel["y"] >= canvas["y"] + canvas["height"] and panel["y"] + panel["height"] <= 845
    assert opened.js("document.documentElement.scrollWidth") == 390
    page.set_viewport_size({"width": 844, "height": 390})
    opened.until("() => document.querySelector('canvas').clientWidth > 500")
    opened.js("bodydouble.pause()")
    page.get_by_role("tab", name="Face").tap()
    page.get_by_role("button", name="Kiss").tap()
    assert opened.js("bodydouble.state().expression.mouthPucker") > 0.5 and opened.complaints == []


def test_without_webgl_the_mesh_is_drawn_all_the_same(
    start: Callable[[bool], Any], page_file: Path, tmp_path: Path
) -> None:
    plain = start(False)
    opened = Opened(plain, page_file)
    assert opened.js("bodydouble.stats().stage") == "canvas" and opened.complaints == []
    assert "no WebGL 2" in opened.page.locator(".fallback").inner_text()
    assert opened.js("bodydouble.setView('splats')") is False
    bare = dataclasses.replace(AVATAR, mesh=AVATAR.mesh.replace(correctives=None), splats=None)
    opened = Opened(plain, written(tmp_path, bare))
    put_in_pose(opened)
    found = opened.snapshot(**SHOT)
    vertices = pose_avatar(bare, DANCE.pose(FRAME), named_expression("surprise")).vertices_world_m
    wanted = mesh_picture(bare.mesh, vertices, camera(), BACKGROUND)
    inside = binary_erosion((wanted.alpha > 0.999).numpy(), iterations=2)
    off = np.abs(found - wanted.rgb.numpy()).max(-1)[inside]
    assert np.quantile(off, 0.8) < 0.03
    only_splats = dataclasses.replace(AVATAR, mesh=None)
    opened = Opened(plain, written(tmp_path, only_splats))
    assert "has no mesh, and the browser has no WebGL 2" in opened.page.get_by_role("alert").inner_text()


def test_scripts_in_the_page_cannot_reach_anybody(chrome: Any, page_file: Path) -> None:
    """With the network on: the page's own policy stops what is tried."""
    asked: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/"
        opened = Opened(chrome, page_file, offline=False)
        said = opened.js(
            """async url => {
                const stopped = [];
                document.addEventListener('securitypolicyviolation', event => stopped.push(event.effectiveDirective));
                const tries = [fetch(url + 'fetch').then(() => 'got', () => 'refused')];
                tries.push(new Promise(done => {
                    const image = new Image();
                    image.onload = () => done('got');
                    image.onerror = () => done('refused');
                    image.src = url + 'image';
                }));
                const script = document.createElement('script');
                tries.push(new Promise(done => {
                    script.onload = () => done('got');
                    script.onerror = () => done('refused');
                }));
                script.src = url + 'script';
                document.body.append(script);
                const results = await Promise.all(tries);
                await new Promise(done => setTimeout(done, 50));
                return { results, stopped };
            }""",
            url,
        )
    finally:
        server.shutdown()
    assert said["results"] == ["refused"] * 3 and asked == []
    assert {"connect-src", "img-src"} <= set(said["stopped"])
