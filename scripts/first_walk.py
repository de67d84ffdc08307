"""The walk of a first-time user: a video becomes a double that dances in the studio, on a page and in Blender.

    python scripts/first_walk.py VIDEO|RUN MOTION -o FOLDER [--preset draft] [--page docs/walk.md]

Runs the commands of docs/walk.md one after the other as anybody would type them, looks at what they made with Chromium and
Blender, and leaves a picture of each in FOLDER. With the folder of a finished run nothing is created. With --page the
seconds that each took are written into that page.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from in_chromium import SOFTWARE_GL, find_chromium
from PIL import Image

from bodydouble.core.files import write_text

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- first walk: begin -->", "<!-- first walk: end -->"
MOMENT_S = 5.2
"""Of the dance, for the pictures."""
_WINDOW_PX = (1000, 640)
_PHONE_PX = (390, 844)
_PICTURE_WIDTH_PX = 640


def main() -> None:
    """Walk, look, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a video, or the folder of a finished run")
    parser.add_argument("motion", type=Path, help="such as jesse_dance.bvh")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--page", type=Path)
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    rows = walk(words.source, words.motion.resolve(), words.out.resolve(), words.preset)
    table = "\n".join(["| step | seconds |", "|---|---|", *(f"| {name} | {spent:.0f} |" for name, spent in rows)])
    print(table)
    if words.page is not None:
        before, _, rest = words.page.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        write_text(words.page, f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")


def walk(source: Path, motion: Path, out: Path, preset: str) -> list[tuple[str, float]]:
    """Every step and the seconds it took."""
    rows: list[tuple[str, float]] = []

    def step(name: str, work: Callable[[], object]) -> None:
        begun = time.perf_counter()
        work()
        rows.append((name, time.perf_counter() - begun))
        print(f"{name}: {rows[-1][1]:.0f} s", file=sys.stderr, flush=True)

    run = source
    if not source.is_dir():
        run = out / "double"
        step("`create`", lambda: bodydouble("create", source, "-o", run, "--preset", preset))
    video, page, clip = out / "dance.mp4", out / "dance.html", out / "dancing.glb"
    step("`render`", lambda: bodydouble("render", run, "--motion", motion, "-o", video))
    step("the studio open, the motion dropped in", lambda: look_at_studio(run, motion, out / "studio.jpg"))
    step("`export --to html`", lambda: bodydouble("export", run, "--to", "html", "--motion", motion, "-o", page))
    step("the page open", lambda: look_at_page(page, out / "page.jpg"))
    look_at_page(page, out / "phone.jpg", phone=True)
    step("`export --to glb`", lambda: bodydouble("export", run, "--to", "glb", "--motion", motion, "-o", clip))
    if shutil.which("blender"):
        step("Blender, with a picture", lambda: look_in_blender(clip, out / "blender.jpg"))
    return rows


def bodydouble(*words: object) -> None:
    """A command, told before it runs; its failure is the walk's."""
    command = [sys.executable, "-m", "bodydouble", *map(str, words)]
    print(f"$ bodydouble {shlex.join(command[3:])}", file=sys.stderr, flush=True)
    subprocess.run(command, check=True)


def look_at_studio(run: Path, motion: Path, out: Path) -> None:
    """`bodydouble view`, the motion dropped in, and a picture of it dancing."""
    command = [sys.executable, "-m", "bodydouble", "view", str(run), "--no-open", "--json"]
    studio = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert studio.stdout is not None
        url = json.loads(studio.stdout.readline())["url"]

        def dance(page: Any) -> None:
            page.get_by_role("button", name="Pause").wait_for()
            page.locator("input[type=file]").set_input_files(str(motion))
            page.get_by_text("frames at").wait_for()
            page.get_by_role("button", name="Pause").click()
            time_field = page.locator("xpath=//label[text()='Time']/following::input[not(@type='hidden')][1]")
            time_field.fill(f"{MOMENT_S:g}")
            page.keyboard.press("Enter")
            for close in page.locator(".mantine-Notification-closeButton").all():
                close.click()
            page.wait_for_timeout(6000)  # what stands still becomes sharp

        photograph(url, out, dance)
    finally:
        studio.terminate()
        studio.wait()


def look_at_page(file: Path, out: Path, *, phone: bool = False) -> None:
    """The page from the disk, without a network, and a picture of it dancing."""

    def dance(page: Any) -> None:
        page.wait_for_selector("html[data-ready=yes]")
        names = page.evaluate("bodydouble.info.motions")
        page.evaluate("motion => bodydouble.setMotion(motion)", len(names) - 1)
        page.evaluate(f"() => {{ bodydouble.pause(); bodydouble.seek({MOMENT_S}); }}")
        before = page.evaluate("bodydouble.stats().frames")
        while page.evaluate("bodydouble.stats().frames") < before + 12:  # the pose comes with its own order of splats
            page.wait_for_timeout(200)
            page.evaluate("bodydouble.orbit(0.02, 0.0)")

    photograph(file.resolve().as_uri(), out, dance, phone=phone)


def photograph(url: str, out: Path, prepare: Callable[..., None], *, phone: bool = False) -> None:
    """A picture of a page in headless Chromium, once it has been prepared."""
    from playwright.sync_api import sync_playwright

    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("No Chromium was found: install one, or name it in BODYDOUBLE_CHROMIUM.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *SOFTWARE_GL])
        width, height = _PHONE_PX if phone else _WINDOW_PX
        page = browser.new_page(viewport={"width": width, "height": height}, has_touch=phone, is_mobile=phone)
        page.set_default_timeout(300_000)
        page.goto(url)
        prepare(page)
        raw = out.with_suffix(".png")
        page.screenshot(path=str(raw))
        browser.close()
    shrink(raw, out)


def look_in_blender(clip: Path, out: Path) -> None:
    """Imported, examined, and drawn by Blender's own engine."""
    raw = out.with_suffix(".png")
    script = str(ROOT / "scripts" / "check_in_blender.py")
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }  # Blender has a Python of its own
    words = ["blender", "-b", "--factory-startup", "--python", script, "--", str(clip), str(raw)]
    subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)
    shrink(raw, out)


def shrink(raw: Path, out: Path) -> None:
    """A picture as a small JPEG in its place."""
    with Image.open(raw) as image:
        picture = image.convert("RGB")
        picture.thumbnail((_PICTURE_WIDTH_PX, _PICTURE_WIDTH_PX))
        picture.save(out, quality=84, optimize=True)
    raw.unlink()


if __name__ == "__main__":
    main()
