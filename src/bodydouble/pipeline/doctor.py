"""What this machine has, and what each missing thing would bring."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from bodydouble.core.errors import BodydoubleError
from bodydouble.pipeline import doctor_extras
from bodydouble.pipeline.findings import Finding
from bodydouble.pipeline.versions import available_memory_bytes, cpu_name, machine_facts, total_memory_bytes

_SIMD_FLAGS = ("avx2", "fma", "avx512f", "neon", "asimd")
_RUN_DISK_MB = 500
_GOOD_MEMORY_MB = 4000


def examine() -> tuple[Finding, ...]:
    """Look at everything. Takes some seconds: it loads the packages."""
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("python", _python),
        ("processor", _processor),
        ("memory", _memory),
        ("disk", _disk),
        ("torch", _torch),
        ("numba", _numba),
        ("mediapipe", _mediapipe),
        ("anny", _anny),
        ("video codecs", _codecs),
        ("cuda", _cuda),
        ("threads", doctor_extras.threads),
        ("studio", doctor_extras.studio),
        ("corpus", doctor_extras.corpus),
        ("sfm", doctor_extras.sfm),
        ("usd", doctor_extras.usd),
        ("web page", doctor_extras.web_page),
        ("browser", doctor_extras.browser),
        ("programs", doctor_extras.other_programs),
        ("wardrobe", _wardrobe),
    )
    return tuple(_looked_at(name, check) for name, check in checks)


def healthy(findings: tuple[Finding, ...]) -> bool:
    """Whether avatars can be made on this machine."""
    return all(finding.state != "problem" for finding in findings)


def _looked_at(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except metadata.PackageNotFoundError as error:
        return Finding(
            name=name,
            state="problem",
            found="not installed",
            advice=f"It belongs to every installation: pip install {error.name or name}.",
        )
    except (ImportError, OSError, RuntimeError, BodydoubleError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Finding(
            name=name, state="problem", found=first_line, advice="Install bodydouble anew in a fresh environment."
        )


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if (3, 10) <= sys.version_info[:2] <= (3, 12):
        return Finding(name="python", state="ok", found=found)
    return Finding(
        name="python",
        state="problem",
        found=found,
        advice="mediapipe 0.10.21 has wheels for Python 3.10, 3.11 and 3.12.",
    )


def _processor() -> Finding:
    cores = int(machine_facts()["cores"])
    flags = _cpu_flags()
    names = " ".join(flags) if flags else "unknown instruction sets"
    found = f"{cpu_name()}, {cores} core{'s' if cores > 1 else ''}, {names}"
    if sys.platform == "linux" and platform.machine() == "x86_64" and "avx2" not in flags:
        return Finding(
            name="processor", state="missing", found=found, advice="AVX2 would make training several times faster."
        )
    if cores < 2:
        return Finding(
            name="processor", state="missing", found=found, advice="A second core would nearly halve the time."
        )
    return Finding(name="processor", state="ok", found=found)


def _cpu_flags() -> tuple[str, ...]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ()
    words = set(text.split())
    return tuple(flag for flag in _SIMD_FLAGS if flag in words)


def _memory() -> Finding:
    total_mb = total_memory_bytes() // 10**6
    if not total_mb:
        return Finding(name="memory", state="ok", found="unknown on this system")
    free_mb = available_memory_bytes() // 10**6
    found = f"{total_mb / 1000:.1f} GB" + (f", {free_mb / 1000:.1f} GB of it free" if free_mb else "")
    if 0 < free_mb < _GOOD_MEMORY_MB <= total_mb:
        return Finding(
            name="memory",
            state="missing",
            found=found,
            advice="Close other programs, or use --preset draft: `standard` may need up to 4 GB.",
        )
    if total_mb < _GOOD_MEMORY_MB:
        return Finding(
            name="memory", state="missing", found=found, advice="Use --preset draft: `standard` may need up to 4 GB."
        )
    return Finding(name="memory", state="ok", found=found)


def _disk() -> Finding:
    here = Path.cwd()
    free_mb = shutil.disk_usage(here).free // 10**6
    found = f"{free_mb / 1000:.1f} GB free in {here}"
    if free_mb < _RUN_DISK_MB:
        return Finding(
            name="disk", state="problem", found=found, advice=f"A run needs up to {_RUN_DISK_MB} MB. Free some space."
        )
    if not os.access(here, os.W_OK):
        return Finding(
            name="disk", state="missing", found=f"{here} cannot be written", advice="Choose another folder with -o."
        )
    return Finding(name="disk", state="ok", found=found)


def _torch() -> Finding:
    version = metadata.version("torch")
    import torch

    numbers = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
    if numbers < (2, 11):
        return Finding(
            name="torch", state="problem", found=version, advice="Expected 2.11 or newer: pip install -U torch."
        )
    return Finding(name="torch", state="ok", found=f"{version}, {torch.get_num_threads()} threads")


def _numba() -> Finding:
    from bodydouble.core.jit import kernel_cache_dir, plain_kernels_wanted

    version = metadata.version("numba")
    cache = kernel_cache_dir()
    kernels = "plain kernels (asked for)" if plain_kernels_wanted() else "SIMD kernels"
    if cache is None:
        return Finding(
            name="numba",
            state="missing",
            found=f"{version}, {kernels}, no folder to keep compiled kernels in",
            advice="Point NUMBA_CACHE_DIR to a folder that can be written: each start would be a minute shorter.",
        )
    compiled = len(list(cache.glob("*.nbc")))
    note = (
        f"{compiled} compiled in {cache}" if compiled else f"none compiled yet, the first run compiles them to {cache}"
    )
    return Finding(name="numba", state="ok", found=f"{version}, {kernels}, {note}")


def _mediapipe() -> Finding:
    version = metadata.version("mediapipe")
    spec = importlib.util.find_spec("mediapipe")
    root = Path(spec.origin).parent if spec is not None and spec.origin else Path()
    models = ("pose_landmark/pose_landmark_full.tflite", "pose_detection/pose_detection.tflite",
              "hand_landmark/hand_landmark_full.tflite", "face_landmark/face_landmark_with_attention.tflite")  # fmt: skip
    absent = [model for model in models if not (root / "modules" / model).is_file()]
    if absent:
        return Finding(
            name="mediapipe",
            state="problem",
            found=f"{version} without {absent[0]}",
            advice="Only the wheel of 0.10.21 carries all models: pip install mediapipe==0.10.21.",
        )
    return Finding(name="mediapipe", state="ok", found=f"{version}, {len(models)} models present")


def _anny() -> Finding:
    version = metadata.version("anny")
    from bodydouble.body.anny_cache import cache_file

    path = cache_file(None)
    if path.is_file():
        found = f"{version}, cache of {path.stat().st_size / 1e6:.0f} MB at {path}"
    else:
        found = f"{version}, cache not built yet (the first run builds it at {path}, some ten seconds)"
    return Finding(name="anny", state="ok", found=found)


def _wardrobe() -> Finding:
    return Finding(
        name="wardrobe",
        state="ok",
        found="synthetic performers make their own clothes",
        advice="For MakeHuman's, get the CC0 assets at https://github.com/makehumancommunity/makehuman-assets and point "
        "--wardrobe at the folder `base` (it holds `clothes` and `hair`).",
    )


def _codecs() -> Finding:
    from bodydouble.capture.video_decode import codec_support

    version = metadata.version("av")
    found = codec_support()
    absent = [name for name, there in found.items() if not there]
    text = f"PyAV {version}: " + ", ".join(name for name, there in found.items() if there)
    if "H.264 writing" in absent:
        return Finding(
            name="video codecs", state="problem", found=text, advice="Videos cannot be written: pip install -U av."
        )
    if absent:
        return Finding(
            name="video codecs",
            state="missing",
            found=text,
            advice=f"Without {', '.join(absent)} such clips can't be used.",
        )
    return Finding(name="video codecs", state="ok", found=text)


def _cuda() -> Finding:
    import torch

    has_gsplat = importlib.util.find_spec("gsplat") is not None
    if not torch.cuda.is_available():
        return Finding(
            name="cuda",
            state="missing",
            found="no CUDA device that torch can use",
            advice="Not needed. An NVIDIA GPU, a CUDA build of torch and `pip install bodydouble[gpu]` make training faster.",
        )
    device = torch.cuda.get_device_name(0)
    if not has_gsplat:
        return Finding(
            name="cuda", state="missing", found=f"{device}, gsplat missing",
            advice="pip install bodydouble[gpu] makes training use it.",
        )  # fmt: skip
    return Finding(name="cuda", state="ok", found=f"{device}, gsplat {metadata.version('gsplat')}")
