"""What a run was made with: versions, commit, machine, and a digest of the code itself."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import bodydouble

_PACKAGE = Path(bodydouble.__file__).parent
_PACKAGES = ("torch", "numpy", "numba", "scipy", "mediapipe", "anny", "av", "safetensors", "gsplat")
_ALWAYS = ("core",)


@functools.cache
def code_digest(rooms: tuple[str, ...]) -> str:
    """Digest of the sources of some packages of the program, and of the versions of what decides their results."""
    digest = hashlib.sha256()
    for room in sorted({*rooms, *_ALWAYS}):
        for path in sorted((_PACKAGE / room).rglob("*")):
            if path.is_file() and path.suffix in (".py", ".json", ".html"):
                digest.update(f"{path.relative_to(_PACKAGE).as_posix()}\0".encode() + path.read_bytes())
    for name in ("mediapipe", "anny", "torch"):
        digest.update(f"{name}={_version(name)}".encode())
    return digest.hexdigest()[:16]


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the program, of Python and of what it stands on, and the commit where it runs from a checkout."""
    found = {"bodydouble": bodydouble.__version__, "python": platform.python_version()}
    found |= {name: version for name in _PACKAGES if (version := _version(name))}
    commit = _git_commit()
    return {**found, "commit": commit} if commit else found


@functools.cache
def machine_facts() -> dict[str, str | int]:
    """What timings depend on: processor, cores that may be used, memory, system."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    facts: dict[str, str | int] = {"system": platform.platform(), "cpu": cpu_name(), "cores": cores}
    memory = total_memory_bytes()
    return {**facts, "memory_mb": memory // 10**6} if memory else facts


def cpu_name() -> str:
    """The processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def total_memory_bytes() -> int:
    """Memory of the machine; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def available_memory_bytes() -> int:
    """Memory that programs could still take; 0 where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _git_commit() -> str:
    """Commit of the checkout the program runs from, with `+changes` if files differ; empty elsewhere."""
    root = _PACKAGE.parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        ask = functools.partial(subprocess.run, capture_output=True, text=True, timeout=10, check=True, cwd=root)
        commit = ask(["git", "rev-parse", "HEAD"]).stdout.strip()
        changed = ask(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{commit}+changes" if changed else commit
