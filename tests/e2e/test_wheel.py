"""The wheel holds what it needs: built, unpacked elsewhere, and used from there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from avatar_fakes import make_avatar

from bodydouble.avatar.glb import save_avatar

ROOT = Path(__file__).resolve().parents[2]
USE = """
import json, sys
import bodydouble as bd
from bodydouble.cli.main import main
picture = bd.load(sys.argv[1]).play("wave").at(0.5).render(32, 48)
from bodydouble.fit.face_model import load_face_model
load_face_model()  # reads a file of the package
print(json.dumps([bd.__file__, picture.size, main(["completion", "bash", "--json", "-q"]) == 0]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(out), str(ROOT)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0 and "hatchling" in done.stderr and "No matching distribution" in done.stderr:
        pytest.skip("the build backend (hatchling) is neither installed nor to be had here")
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


def test_all_files_of_the_package_are_inside(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = ROOT / "src" / "bodydouble"
    wanted = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert wanted - names == set()
    if shutil.which("npm"):  # builds the page's program, which git does not keep
        pages = {
            f"bodydouble/avatar/export/page_assets/{name}"
            for name in ("page.html", "page.css", "page.js", "licences.txt")
        }
        assert pages <= names
    assert "bodydouble/py.typed" in wanted and len(wanted) > 300
    assert any(name.endswith("licenses/NOTICE") for name in names)
    assert not any(name.startswith(("tests/", "docs/", "scripts/")) for name in names)


def test_it_works_where_only_the_wheel_is(wheel: Path, tmp_path: Path):
    with zipfile.ZipFile(wheel) as archive:  # a wheel of pure Python is installed by unpacking it
        archive.extractall(tmp_path / "site")
    save_avatar(make_avatar(), tmp_path / "avatar.glb")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    words = [sys.executable, "-c", USE, str(tmp_path / "avatar.glb")]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    file, size, completed = json.loads(done.stdout.strip().splitlines()[-1])
    assert Path(file).is_relative_to(tmp_path / "site") and size == [32, 48] and completed
