"""The studio as people use it: the command, a real browser, two windows at once, Ctrl-C."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avatar_fakes import bvh_text, make_avatar
from PIL import Image

from bodydouble.avatar.glb import save_avatar

CHROMIUM = Path("/usr/bin/chromium")
AVATAR = make_avatar(splats_per_bone=30)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A running `bodydouble view` and its address."""
    pytest.importorskip("viser", reason="viser is not installed (extra: studio)")
    file = tmp_path_factory.mktemp("studio") / "boxes.glb"
    save_avatar(AVATAR, file)
    words = [sys.executable, "-m", "bodydouble", "view", str(file), "--no-open", "--json", "--threads", "1"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        yield json.loads(line)["url"], process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: dev)")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    with api.sync_playwright() as play:
        found = play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield found
        found.close()


def picture(page: Any) -> np.ndarray:
    """The stage without the panel."""
    with Image.open(io.BytesIO(page.screenshot())) as image:
        return np.asarray(image.convert("RGB"))[:, : image.width // 2].astype(int)


def settled(page: Any) -> np.ndarray:
    """The picture when it has stopped changing; the sharp one has then come."""
    before = picture(page)
    for _ in range(60):
        page.wait_for_timeout(500)
        now = picture(page)
        if np.abs(now - before).max() <= 2:
            return now
        before = now
    raise AssertionError("the picture never came to rest")


def differs_from(page: Any, before: np.ndarray) -> bool:
    """Whether another picture comes within half a minute: the server draws it when it has the time."""
    for _ in range(60):
        if (np.abs(picture(page) - before).max(2) > 20).sum() > 50:
            return True
        page.wait_for_timeout(500)
    return False


def seek(page: Any, time_s: str) -> None:
    field(page, "Time").fill(time_s)
    page.keyboard.press("Enter")


def field(page: Any, label: str) -> Any:
    """The text field of a labelled control: viser's sliders have theirs without a label of its own."""
    return page.locator(f"xpath=//label[text()='{label}']/following::input[not(@type='hidden')][1]")


def opened(browser: Any, url: str) -> Any:
    page = browser.new_page(viewport={"width": 900, "height": 520})
    page.goto(url)
    page.get_by_role("button", name="Pause").wait_for(timeout=60_000)
    return page


def status_of(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def socket_opens(url: str, **options: Any) -> bool:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    try:
        with connect(url, **options):
            return True
    except InvalidStatus as error:
        assert error.response.status_code == 403
        return False


def test_nobody_enters_without_the_token(studio: tuple[str, Any]) -> None:
    url, _ = studio
    page, _, token = url.partition("/?token=")
    assert status_of(url) == 200
    assert status_of(page) == 403
    assert status_of(f"{page}/?token={token[::-1]}") == 403
    assert status_of(url, Host="evil.example") == 403
    assert status_of(url, Origin="http://evil.example") == 403
    socket = page.replace("http", "ws", 1)
    viser = {"subprotocols": ["viser-v0.0.0"], "open_timeout": 20}
    assert not socket_opens(socket, **viser)
    assert socket_opens(f"{socket}/?token={token}", **viser)
    assert not socket_opens(f"{socket}/?token={token}", origin="http://evil.example", **viser)
    assert not socket_opens(socket, additional_headers={"Cookie": f"bodydouble-1={token}"}, **viser)
    port = page.rpartition(":")[2]
    assert socket_opens(socket, additional_headers={"Cookie": f"bodydouble-{port}={token}"}, **viser)


def test_a_first_look(studio: tuple[str, Any], browser: Any) -> None:
    """The double moves, stands still when paused, and changes when time, motion or pose do; two windows are apart."""
    url, _ = studio
    page = opened(browser, url)
    assert page.locator("canvas").count() >= 1
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Play", exact=True).wait_for()
    seek(page, "0.5")  # the button stopped the motion at any time, 2.5 s too
    start = settled(page)
    assert start.std() > 5.0
    other = opened(browser, url)

    seek(page, "2.5")
    assert differs_from(page, start)

    page.locator("input[type=file]").set_input_files(
        files=[{"name": "hop.bvh", "mimeType": "text/plain", "buffer": hop().encode()}]
    )
    page.get_by_text("12 frames at 30 Hz").wait_for(timeout=30_000)
    assert field(page, "Motion").input_value() == "hop.bvh"
    assert field(other, "Motion").input_value() == "idle"

    page.locator("input[type=file]").set_input_files(
        files=[{"name": "bad.bvh", "mimeType": "text/plain", "buffer": b"HIERARCHY nonsense"}]
    )
    page.get_by_text("That did not work").wait_for(timeout=30_000)
    assert other.get_by_role("button", name="Pause").is_visible()

    page.get_by_role("tab", name="Save").click()
    with page.expect_download(timeout=30_000) as saved:
        page.get_by_role("button", name="Picture (PNG)").click()
    with Image.open(saved.value.path()) as image:
        assert image.width >= 900 or image.height >= 500
    with page.expect_download(timeout=30_000) as saved:
        page.get_by_role("button", name="Export the double").click()
    assert Path(saved.value.path()).read_bytes()[:4] == b"glTF"
    page.close()
    other.close()


def test_ctrl_c_ends_it_in_peace(studio: tuple[str, subprocess.Popen[str]]) -> None:
    _, process = studio
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in out + errors


def hop() -> str:
    """A small jump."""
    rig = AVATAR.rig
    turns = torch.zeros(12, len(rig.bone_names), 3, dtype=torch.float64)
    root = rig.joints_rest_m[:1].double().repeat(12, 1)
    root[:, 1] += 0.2 * torch.sin(torch.linspace(0.0, 3.14, 12))
    return bvh_text(rig, turns, root)
