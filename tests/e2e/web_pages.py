"""Exported pages in a real, headless Chromium. No browser is downloaded: the machine's own is used where there is one."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float
from PIL import Image

from bodydouble.avatar.export.html import ASSETS

_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SOFTWARE_GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
PATIENCE_MS = 120_000
"""Software rendering on a busy machine; nothing waits this long when all is well."""


def chromium() -> str:
    """The browser of the machine; skips the test where there is none, or where the page was not built."""
    pytest.importorskip("playwright.sync_api", reason="playwright is needed: pip install playwright")
    if not (ASSETS / "page.js").is_file():
        pytest.skip("the web page's program is not built: make web")
    found = os.environ.get("BODYDOUBLE_CHROMIUM") or next((p for n in _CHROMIUMS if (p := shutil.which(n))), None)
    if found is None:
        pytest.skip("no Chromium on this machine: install one, or name it in BODYDOUBLE_CHROMIUM")
    return found


@contextlib.contextmanager
def browsers() -> Iterator[Callable[[bool], Any]]:
    """Starts headless browsers: `start(True)` draws WebGL in software, `start(False)` has none at all."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = []

        def start(webgl: bool) -> Any:
            args = ["--no-sandbox", *(_SOFTWARE_GL if webgl else ("--disable-gpu", "--disable-3d-apis"))]
            started.append(playwright.chromium.launch(executable_path=path, args=args))
            return started[-1]

        try:
            yield start
        finally:
            for browser in started:
                browser.close()


class Opened:
    """A page from a file, and what it said and asked for."""

    def __init__(self, browser: Any, path: Path, *, offline: bool = True, **context: Any) -> None:
        context = {"viewport": {"width": 900, "height": 640}, **context}
        self.page = browser.new_context(offline=offline, **context).new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready]")

    def js(self, expression: str, argument: Any = None) -> Any:
        return self.page.evaluate(expression, argument)

    def until(self, function: str, argument: Any = None) -> None:
        """Waits until a function of the page's gives true. (Playwright's own way needs eval, which the page forbids.)"""
        end = time.monotonic() + PATIENCE_MS / 1000.0
        while not self.page.evaluate(function, argument):
            if time.monotonic() > end:
                raise AssertionError(f"{function} stayed false for {argument!r}: {self.complaints}")
            self.page.wait_for_timeout(30)

    def snapshot(self, **shot: Any) -> Float[np.ndarray, "height width 3"]:
        """`bodydouble.snapshot` as values in [0, 1]."""
        url = self.js("shot => bodydouble.snapshot(shot)", shot)
        return picture(base64.b64decode(url.split(",", 1)[1]))


def picture(png: bytes) -> Float[np.ndarray, "height width 3"]:
    """A PNG as values in [0, 1]."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.float32) / 255.0


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal to noise ratio, dB, of values in [0, 1]."""
    return float(-10.0 * np.log10(max(float(((a - b) ** 2).mean()), 1e-12)))
