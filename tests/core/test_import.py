"""Importing the package does nothing: no heavy package, no files, hardly any time."""

import json
import os
import subprocess
import sys
import time

HEAVY = ("torch", "numba", "mediapipe", "cv2", "anny", "warp", "av", "scipy", "gsplat", "jax", "tyro", "rich", "numpy")


def run_python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_import_loads_nothing_heavy():
    loaded = json.loads(run_python("import bodydouble, sys, json; print(json.dumps(sorted(sys.modules)))"))
    assert "bodydouble" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_import_is_quick():
    """Best of five against an empty interpreter, so that a busy machine doesn't fail it."""

    def seconds(code: str) -> float:
        best = 1e9
        for _ in range(5):
            start = time.perf_counter()
            run_python(code)
            best = min(best, time.perf_counter() - start)
        return best

    assert seconds("import bodydouble") - seconds("pass") < 0.3


def test_rooms_import_without_foreign_estimators():
    rooms = ["core.skinning", "render.protocol", "body.protocol", "capture.values", "avatar.values", "pipeline.create"]
    words = ", ".join(f"bodydouble.{room}" for room in rooms)
    loaded = json.loads(run_python(f"import {words}, sys, json; print(json.dumps(sorted(sys.modules)))"))
    assert [name for name in ("mediapipe", "anny", "warp", "av", "gsplat", "jax", "tyro") if name in loaded] == []


def test_help_needs_no_heavy_package():
    environment = {**os.environ, "COLUMNS": "100"}
    code = (
        "import sys\nfrom bodydouble.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
    )
    code += "import json\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    loaded = json.loads(result.stderr.strip().splitlines()[-1])
    assert [name for name in ("mediapipe", "anny", "numba", "av", "torch") if name in loaded] == []
    assert "create" in result.stdout
