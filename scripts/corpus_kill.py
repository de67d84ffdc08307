"""Kill the driver, a worker, or Ray's head (its raylet or its control store) at random moments, run on each time, and hold
the end against an undisturbed run.

    python scripts/corpus_kill.py VIDEOS... --kills 10 --until alike

Both corpora are made of the same videos in a temporary folder. After the kills the run is left to finish. Printed: what was
killed when, whether the catalogues are equal, whether anything is left over, and whether any unit whose record was there
after a kill was worked on again.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_MARKS = {"driver": "", "worker": "ray::corpus", "raylet": "raylet/raylet", "control store": "gcs_server"}
"""What is killed, and a text in the command of its process."""
_START_S, _END_S = 300.0, 400.0
"""How long Ray may take to start, and a run to end after a kill."""
_LOOK_S = 0.1


def main() -> None:
    """Do it, and exit with 1 if anything differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--until", default="alike")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--longest-s", type=float, default=20.0, help="a kill comes within so many seconds after its victim is up"
    )
    options = parser.parse_args()
    from bodydouble.corpus.catalogue import Catalogue
    from bodydouble.corpus.plan import PlanOptions, plan
    from bodydouble.corpus.run import RunOptions, run_corpus

    with tempfile.TemporaryDirectory(prefix="corpus-kill-") as folder:
        quiet_root, root = Path(folder) / "undisturbed", Path(folder) / "disturbed"
        for place in (quiet_root, root):
            plan(options.videos, place, PlanOptions(licence="own"), lambda event: None)
        run_corpus(quiet_root, RunOptions(workers=0, until=options.until), lambda event: None)
        second, known = Catalogue.open(root), {}
        rng = random.Random(options.seed)
        driver = _begin(root, options)
        for number in range(options.kills):
            what, delay_s = list(_MARKS)[number % len(_MARKS)], rng.uniform(0.0, options.longest_s)
            said = _disturb(driver, what, delay_s)
            known |= _records(second)
            print(f"kill {number + 1}: {said}; {len(known)} records so far", flush=True)
            if driver.poll() is not None:
                driver = _begin(root, options)
        code = driver.wait()
        first = Catalogue.open(quiet_root)
        equal = first.digest() == second.digest()
        left = second.rows("select count(*) from records where state = 'pending'")[1][0][0]
        final = _records(second)
        twice = sum(final.get(name) != data for name, data in known.items())
        print(
            f"last run: exit {code}; catalogues equal: {equal}; units left over: {left}; {len(final)} records, done twice: {twice}"
        )
        sys.exit(0 if equal and not left and not twice and code == 0 else 1)


def _records(catalogue) -> dict[str, bytes]:
    """Records of finished work beside the files, whole: they name the seconds, so work done again would show."""
    store = catalogue.store
    names = [n for folder in ("sources", "items") for n in store.list(folder, ".json") if "/stages/" in n]
    return {name: store.read_bytes(name) for name in names}


def _begin(root: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "bodydouble"]
    words += ["corpus", "run", str(root), "--until", options.until, "--workers", str(options.workers), "--tries", "9"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _ends_within(driver: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        driver.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _disturb(driver: subprocess.Popen[bytes], what: str, delay_s: float) -> str:
    """Wait for the victim and a little longer, and kill it. A run survives its workers; else wait for its end."""
    mark = _MARKS[what] or _MARKS["worker"]  # a driver is at work once it has a worker
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and not _children(driver.pid, mark) and not _ends_within(driver, _LOOK_S):
        pass
    if _ends_within(driver, delay_s):
        return f"{what}: the run had ended with {driver.returncode}"
    victims = [driver.pid] if what == "driver" else _children(driver.pid, mark)
    began = time.monotonic()
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    said = f"{what} after {delay_s:.1f} s ({len(victims)} killed)"
    if what == "worker":
        return f"{said}; the run goes on"
    if not _ends_within(driver, _END_S):
        driver.kill()
        driver.wait()
        return f"{said}; the run was not at its end {_END_S:.0f} s later, and was killed, too"
    return f"{said}; the run ended with {driver.returncode} after {time.monotonic() - began:.0f} s"


def _children(pid: int, mark: str) -> list[int]:
    """Processes below `pid` whose name or command holds a text. Linux only."""
    parents: dict[int, int] = {}
    named: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if mark in (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                named.append(int(entry.name))
        except (OSError, IndexError, ValueError):
            continue
    return [n for n in named if _is_below(n, pid, parents)]


def _is_below(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid > 1:
        pid = parents.get(pid, 0)
        if pid == ancestor:
            return True
    return False


if __name__ == "__main__":
    main()
