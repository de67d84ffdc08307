"""What is not needed to make an avatar but opens more doors: extras, a browser, other programs, settings of threads."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from importlib import metadata, resources
from pathlib import Path

from bodydouble.pipeline.findings import Finding

_STUDIO = ("viser",)
_CORPUS = ("ray", "pyarrow", "duckdb", "fsspec")
_SFM = ("pycolmap",)
_USD = ("pxr",)
_DISTRIBUTIONS = {"pxr": "usd-core"}
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge", "firefox")
_MAC_BROWSERS = ("Google Chrome", "Chromium", "Microsoft Edge", "Firefox", "Safari")


def threads() -> Finding:
    """Whether something holds the threads back."""
    from bodydouble.pipeline.versions import machine_facts

    cores = int(machine_facts()["cores"])
    held = {name: os.environ[name] for name in _THREAD_SETTINGS if os.environ.get(name, "").isdigit()}
    few = [f"{name}={value}" for name, value in held.items() if int(value) < cores]
    if few:
        return Finding(
            name="threads",
            state="missing",
            found=f"{', '.join(few)} on {cores} cores",
            advice="Unset that (or raise it) and runs use all cores; leave it where other work needs them.",
        )
    return Finding(name="threads", state="ok", found=f"nothing holds the {cores} cores back")


def studio() -> Finding:
    """The live viewer's package."""
    return _extra("studio", _STUDIO, "shows an avatar live in the browser: `bodydouble view`")


def corpus() -> Finding:
    """Packages for many videos."""
    return _extra("corpus", _CORPUS, "turns whole folders of videos into data sets: `bodydouble corpus`")


def sfm() -> Finding:
    """Cameras from motion."""
    return _extra("sfm", _SFM, "finds the path of a camera that moves through a scene")


def usd() -> Finding:
    """USD's own library."""
    return _extra("usd", _USD, "writes .usd, .usda and .usdz: `bodydouble export --to usd`")


def web_page() -> Finding:
    """What `export --to html` puts into its page; it comes inside the wheel."""
    try:
        folder = resources.files("bodydouble.avatar.export") / "page_assets"
        bundles = [item for item in folder.iterdir() if item.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        bundles = []
    if bundles:
        size = sum(len(item.read_bytes()) for item in bundles)
        return Finding(name="web page", state="ok", found=f"its viewer is here ({size / 1e6:.1f} MB)")
    return Finding(
        name="web page",
        state="missing",
        found="its viewer has not been built into this installation",
        advice="It opens avatars as one page: `bodydouble export --to html`. A released wheel holds it; in a checkout run "
        "`make web` (needs Node.js and npm).",
    )


def browser() -> Finding:
    """Something to open reports, pages and the studio with."""
    found = next((name for name in _BROWSERS if shutil.which(name)), None)
    if found is None and sys.platform == "darwin":
        found = next((name for name in _MAC_BROWSERS if Path(f"/Applications/{name}.app").exists()), None)
    if found is None and sys.platform == "win32":
        found = "the system's"  # Windows comes with one, outside of PATH
    if found is not None:
        return Finding(name="browser", state="ok", found=found)
    return Finding(
        name="browser",
        state="missing",
        found="none found",
        advice="Reports and pages are plain files: copy them to a machine that has a browser.",
    )


def other_programs() -> Finding:
    """Programs that are welcome but never needed."""
    uses = {
        "ffmpeg": "is not needed, PyAV carries it",
        "blender": "opens .glb and checks exports",
        "node": "lets tests ask three.js and others",
    }
    there = [name for name in uses if shutil.which(name)]
    absent = [f"{name} {uses[name]}" for name in uses if name not in there]
    return Finding(
        name="programs",
        state="ok",
        found=", ".join(there) if there else "none of ffmpeg, blender, node",
        advice=f"Not needed: {'; '.join(absent)}." if absent else "",
    )


def _extra(name: str, packages: tuple[str, ...], brings: str) -> Finding:
    absent = [package for package in packages if importlib.util.find_spec(package) is None]
    if absent:
        return Finding(
            name=name,
            state="missing",
            found=f"{', '.join(absent)} not installed",
            advice=f"pip install 'bodydouble[{name}]' {brings}.",
        )
    versions = [f"{package} {_version(package)}".strip() for package in packages]
    return Finding(name=name, state="ok", found=", ".join(versions))


def _version(package: str) -> str:
    try:
        return metadata.version(_DISTRIBUTIONS.get(package, package))
    except metadata.PackageNotFoundError:
        return ""
