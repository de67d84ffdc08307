"""Watch `create --studio` in a real browser, from the first frame to the finished double.

    python scripts/watch_create.py VIDEO -o FOLDER [--every SECONDS] [-- --preset draft --recipe eva ...]

What stands behind -- goes to `create`. FOLDER gets the run (`run/`), a picture of the page every few seconds (`at-0012s.jpg`),
the last of the finished double as it plays, and a choice of them on one sheet (`watched.png`).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from in_chromium import SOFTWARE_GL, find_chromium
from PIL import Image, ImageDraw

_OPEN = "The studio is open at "
_DONE = "The studio stays open"
_WINDOW_PX = (1000, 640)
_TILE_PX, _COLUMNS = 500, 3
_PATIENCE_S = 3600.0


def main() -> None:
    """Start, look, end it, put the pictures together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between pictures")
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    words, options = parser.parse_args(sys.argv[1:at]), sys.argv[at + 1 :]
    words.out.mkdir(parents=True, exist_ok=True)
    command = ["create", str(words.video), "-o", str(words.out / "run"), "--studio", *options]
    creating = Creating(command)
    try:
        pictures = watch(creating, words.out, words.every)
    finally:
        creating.end()
    sheet(pictures).save(words.out / "watched.png")
    print(f"{len(pictures)} pictures in {words.out}; the run took {creating.seconds:.0f} s.")


class Creating:
    """A running `create --studio` and what it has said."""

    def __init__(self, words: list[str]) -> None:
        environment = {**os.environ, "BROWSER": "true"}  # it would open the user's own browser
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bodydouble", *words],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip
        self._begun_s = time.monotonic()
        self.said: list[str] = []
        self.seconds = 0.0
        self.news = threading.Event()
        """Set whenever it says something, and when it ends."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        """Where the studio is; empty before it has said so."""
        return next((line.removeprefix(_OPEN) for line in self.said if line.startswith(_OPEN)), "")

    @property
    def done(self) -> bool:
        """Whether the double is finished and the studio open for it."""
        return any(line.startswith(_DONE) for line in self.said)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._begun_s

    def check(self) -> None:
        """End here if it has ended."""
        if self._process.poll() is not None:
            raise SystemExit("\n".join([f"create ended with {self._process.returncode}:", *self.said[-5:]]))
        if self.elapsed_s > _PATIENCE_S:
            raise SystemExit("create takes longer than an hour.")

    def end(self) -> None:
        """Close the studio, or stop the work if it goes on."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said.append(line.rstrip())
            print(line, end="", file=sys.stderr)
            if line.startswith(_DONE):
                self.seconds = self.elapsed_s
            self.news.set()
        self.news.set()


def watch(creating: Creating, out: Path, every_s: float) -> list[Path]:
    """A picture every so often, and one of the finished double."""
    from playwright.sync_api import sync_playwright

    while not creating.url:
        creating.check()
        creating.news.wait(1.0)
        creating.news.clear()
    pictures: list[Path] = []
    with sync_playwright() as playwright:
        chromium = find_chromium()
        if chromium is None:
            raise SystemExit("No Chromium was found: install one, or name it in BODYDOUBLE_CHROMIUM.")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *SOFTWARE_GL])
        page = browser.new_page(viewport={"width": _WINDOW_PX[0], "height": _WINDOW_PX[1]})
        page.set_default_timeout(300_000)
        page.goto(creating.url)
        page.wait_for_selector("canvas")
        for close in page.locator(".mantine-Notification-closeButton").all():  # viser's, about software rendering
            close.click()
        while not creating.done:
            creating.check()
            pictures.append(photograph(page, out, creating.elapsed_s))
            wait_until = time.monotonic() + every_s
            while time.monotonic() < wait_until and not creating.done:
                page.wait_for_timeout(250)
        page.get_by_role("button", name="Pause").wait_for()  # the finished double plays
        page.wait_for_timeout(4000)
        pictures.append(photograph(page, out, creating.elapsed_s))
        browser.close()
    return pictures


def photograph(page: Any, out: Path, seconds: float) -> Path:
    """The page as it is now."""
    file, raw = out / f"at-{seconds:04.0f}s.jpg", out / "now.png"
    page.screenshot(path=str(raw))
    with Image.open(raw) as image:
        image.convert("RGB").save(file, quality=88)
    raw.unlink()
    return file


def sheet(pictures: list[Path]) -> Image.Image:
    """Up to fifteen of the pictures side by side, first and last among them, each with its second."""
    count = min(len(pictures), 5 * _COLUMNS)
    chosen = [pictures[round(i * (len(pictures) - 1) / max(count - 1, 1))] for i in range(count)]
    height = round(_TILE_PX * _WINDOW_PX[1] / _WINDOW_PX[0])
    made = Image.new("RGB", (_COLUMNS * _TILE_PX, -(-count // _COLUMNS) * height))
    for place, file in enumerate(chosen):
        with Image.open(file) as image:
            tile = image.resize((_TILE_PX, height), Image.Resampling.LANCZOS)
        ImageDraw.Draw(tile).text((8, 6), file.stem.removeprefix("at-"), fill=(255, 255, 255))
        made.paste(tile, (place % _COLUMNS * _TILE_PX, place // _COLUMNS * height))
    return made


if __name__ == "__main__":
    main()
