"""Windows and macOS: what those systems lack or do otherwise is not taken for granted."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bodydouble
from bodydouble.core.files import atomic_path

PACKAGE = Path(bodydouble.__file__).parent
POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
POSIX_NAMES = {
    "fork", "forkpty", "getegid", "geteuid", "getgid", "getgroups", "getloadavg", "getpgid", "getpgrp", "getuid", "killpg",
    "mkfifo", "nice", "register_at_fork", "sched_getaffinity", "sched_setaffinity", "setpgid", "setsid", "setuid",
    "statvfs", "sysconf", "uname", "wait", "wait3", "wait4", "SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "alarm",
    "pause", "setitimer", "chown", "lchown", "mknod", "pread", "pwrite", "sendfile",
}  # fmt: skip
"""Of `os` and `signal`: not on Windows, some not on macOS."""
TEXT_METHODS = {"read_text", "write_text"}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def guarded(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether a use stands in a `try` for what is not there, or under a question whether it is."""
    here: ast.AST = node
    while here in parents:
        above = parents[here]
        if isinstance(above, ast.Try) and here in above.body:
            caught = {
                name.id for h in above.handlers if h.type for name in ast.walk(h.type) if isinstance(name, ast.Name)
            }
            if caught & {"AttributeError", "ImportError", "ModuleNotFoundError"}:
                return True
        if isinstance(above, ast.If | ast.IfExp) and here is not above.test:
            asked = ast.unparse(above.test)
            if "hasattr" in asked or "os.name" in asked or "sys.platform" in asked:
                return True
        here = above
    return False


def posix_only(tree: ast.Module) -> list[str]:
    """Uses of what is not on every system, outside of guards."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        used = ""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("os", "signal"):
            used = node.attr if node.attr in POSIX_NAMES else ""
        elif isinstance(node, ast.Import):
            used = next((a.name for a in node.names if a.name in POSIX_MODULES), "")
        elif isinstance(node, ast.ImportFrom):
            used = node.module or "" if node.module in POSIX_MODULES else ""
        if used and not guarded(node, parents):
            found.append(f"{used} in line {node.lineno}")  # type: ignore[attr-defined]
    return found


def test_the_search_finds_what_it_looks_for():
    text = "import os, fcntl\nos.fork()\nif hasattr(os, 'nice'):\n    os.nice(1)\n"
    text += "try:\n    import resource\nexcept ImportError:\n    pass\n"
    assert posix_only(ast.parse(text)) == ["fcntl in line 1", "fork in line 2"]


def test_nothing_is_taken_for_granted_that_is_not_on_every_system():
    found = {str(path.relative_to(PACKAGE)): posix_only(tree) for path, tree in sources()}
    assert len(found) > 200
    assert {path: uses for path, uses in found.items() if uses} == {}


def without_encoding(tree: ast.Module) -> list[int]:
    """Lines that read or write text in whatever encoding the system prefers (Windows: not UTF-8)."""
    lines = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(k.arg == "encoding" for k in node.keywords):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr in TEXT_METHODS:
            positional = len(node.args) - (node.func.attr == "write_text")
            if positional < 1:
                lines.append(node.lineno)
        opens = isinstance(node.func, ast.Name) and node.func.id == "open"
        if opens or (isinstance(node.func, ast.Attribute) and node.func.attr == "open" and _of_a_path(node)):
            modes = [a.value for a in node.args[1:2] + node.args[:1] if isinstance(a, ast.Constant)]
            if not any(isinstance(mode, str) and "b" in mode for mode in modes[:1]):
                lines.append(node.lineno)
    return lines


def _of_a_path(call: ast.Call) -> bool:
    """`path.open()` and `path.open("w")`; libraries' own `open` take what they open, or are told of it by a keyword."""
    return not call.keywords and all(isinstance(word, ast.Constant) for word in call.args)


def test_the_search_for_encodings_finds_what_it_looks_for():
    text = "open(p)\nopen(p, 'w')\nopen(p, 'rb')\np.open()\np.open('w')\np.open('rb')\np.read_text()\np.write_text(t)\n"
    text += "open(p, encoding='utf-8')\np.read_text('utf-8')\np.write_text(t, encoding='utf-8')\ntarfile.open(p, 'w')\n"
    assert without_encoding(ast.parse(text)) == [1, 2, 4, 5, 7, 8]


def test_text_has_an_encoding():
    found = {str(path.relative_to(PACKAGE)): without_encoding(tree) for path, tree in sources()}
    assert {path: lines for path, lines in found.items() if lines} == {}


WITHOUT_POSIX = """
import json, os, signal, sys, types
import torch, numba, scipy.ndimage, PIL.Image, av, tyro, rich.progress, safetensors, jinja2  # theirs is theirs to solve
for name in {modules!r}:
    sys.modules[name] = None
for name in {names!r}:
    for module in (os, signal):
        if hasattr(module, name):
            delattr(module, name)
locked = []
windows = types.ModuleType("msvcrt")
windows.LK_NBLCK = 2
windows.locking = lambda fd, mode, count: locked.append((os.lseek(fd, 0, 1), mode, count))
sys.modules["msvcrt"] = windows
from pathlib import Path
from bodydouble.cli.main import main
from bodydouble.pipeline.memory import MemoryWatch, lifetime_peak_mb
from bodydouble.pipeline.stages import open_run
from bodydouble.pipeline.versions import machine_facts, total_memory_bytes
with open_run(Path(sys.argv[2]) / "run", kind="create", resume=False) as run:
    run.describe("a", {{"b": 1}})
codes = [main(["doctor", "-q", "--json"]), main(["render", sys.argv[1], "-o", sys.argv[2] + "/v.mp4", "--size", "32x48",
         "--seconds", "0.2", "--json"])]
facts = [codes, locked, total_memory_bytes() >= 0, int(machine_facts()["cores"]) >= 1, lifetime_peak_mb() >= 0]
print("\\n" + json.dumps(facts))
"""


def test_the_default_path_runs_without_what_posix_brings(tmp_path: Path):
    from avatar_fakes import make_avatar

    from bodydouble.avatar.glb import save_avatar

    save_avatar(make_avatar(), tmp_path / "avatar.glb")
    code = WITHOUT_POSIX.format(modules=sorted(POSIX_MODULES - {"posix"}), names=sorted(POSIX_NAMES - {"wait"}))
    words = [sys.executable, "-c", code, str(tmp_path / "avatar.glb"), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    codes, locked, memory, cores, peak = json.loads(done.stdout.strip().splitlines()[-1])
    assert codes[0] in (0, 1) and codes[1] == 0 and memory and cores and peak, done.stdout
    assert locked == [[1 << 20, 2, 1]]  # not the byte that others read
    assert (tmp_path / "v.mp4").stat().st_size > 0


def test_files_are_flushed_by_a_handle_that_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Windows refuses to flush a file that is open for reading alone."""
    fcntl = pytest.importorskip("fcntl")
    flushed = []

    def as_on_windows(fd: int) -> None:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        flushed.append(fd)

    monkeypatch.setattr(os, "fsync", as_on_windows)
    with atomic_path(tmp_path / "x.txt") as partial:
        partial.write_text("whole", encoding="utf-8")
    assert (tmp_path / "x.txt").read_text(encoding="utf-8") == "whole" and len(flushed) == 1
