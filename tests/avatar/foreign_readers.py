"""Other programs' readers, from npm: `make readers` installs them; tests that need one are skipped without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).resolve().parent


def node_modules(package: str) -> Path:
    """The folder that holds a package of npm; the test is skipped where there is none."""
    named = os.environ.get("GLTF_VALIDATOR_MODULES")
    folder = Path(named) if named else _HERE.parents[1] / "node_modules"
    if shutil.which("node") is None or not (folder / package).is_dir():
        pytest.skip(f"node with the package {package} is needed: `make readers` in the repository")
    return folder


def read_with_three(path: Path, seconds: float | None = None) -> dict[str, Any]:
    """What three.js (and three-vrm, for .vrm) finds in a file."""
    modules = node_modules("three")
    if path.suffix == ".vrm":
        node_modules("@pixiv/three-vrm")
    words = ["node", str(_HERE / "read_gltf.mjs"), str(modules), str(path)]
    return json.loads(_run(words if seconds is None else [*words, str(seconds)]))


def khronos_report(path: Path) -> list[dict[str, Any]]:
    """Messages of the Khronos validator."""
    modules = node_modules("gltf-validator")
    report = _run(["node", str(_HERE / "validate_gltf.mjs"), str(modules), str(path)])
    return json.loads(report)["issues"]["messages"]


def splat_transform(*words: str) -> None:
    """Run PlayCanvas's splat converter."""
    modules = node_modules("@playcanvas/splat-transform")
    _run(["node", str(modules / "@playcanvas" / "splat-transform" / "bin" / "cli.mjs"), "-q", "-w", *words])


def _run(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
