"""Builds the web page's program (`web/`, TypeScript) into the package when it is installed from a clone or packed.

Without npm, or without its registry, the package is built all the same: everything works but `export --to html`, whose
error then says what to do. BODYDOUBLE_REQUIRE_PAGE=1 makes that a failure, for wheels that are handed out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FILES = ("page.html", "page.css", "page.js", "licences.txt")


class PageBuildHook(BuildHookInterface):
    """Runs npm in `web/` where the built page is missing or older than its sources."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before files are collected. `version` is "editable" or "standard"."""
        web = Path(self.root) / "web"
        assets = Path(self.root) / "src" / "bodydouble" / "avatar" / "export" / "page_assets"
        if _is_fresh(web, assets):
            return
        problem = _build(web)
        if problem is None:
            return
        message = f"The web page's program was not built ({problem}): `bodydouble export --to html` will not work."
        if os.environ.get("BODYDOUBLE_REQUIRE_PAGE") == "1":
            raise RuntimeError(message)
        self.app.display_warning(f"{message} Later: make web")


def _is_fresh(web: Path, assets: Path) -> bool:
    built = [assets / name for name in _FILES]
    if not all(path.is_file() for path in built):
        return False
    sources = [path for path in (web / "src").rglob("*") if path.is_file()]
    sources += [path for path in (web / "build.mjs", web / "package-lock.json") if path.is_file()]
    return min(p.stat().st_mtime for p in built) >= max((p.stat().st_mtime for p in sources), default=0.0)


def _build(web: Path) -> str | None:
    """What stood in the way, or none."""
    if not (web / "package.json").is_file():
        return "web/ is not in this source"
    npm = shutil.which("npm")
    if npm is None:
        return "npm was not found; it comes with Node.js 20 or later"
    for words in (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "build"]):
        try:
            done = subprocess.run([npm, *words], cwd=web, capture_output=True, text=True, timeout=600, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"npm {words[0]}: {error}"
        if done.returncode != 0:
            said = [
                line for line in (done.stderr or done.stdout).splitlines() if line.strip() and "npm warn" not in line
            ]
            return f"npm {' '.join(words[:2])} failed: {' '.join(said[:3]) or 'no message'}"
    return None
