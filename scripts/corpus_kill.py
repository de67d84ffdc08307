"""Kill the driver, a worker or Ray's head at random moments, run on each time, and hold the end against an undisturbed run.

    python scripts/corpus_kill.py VIDEOS... --kills 10 --until alike

Both corpora are made of the same videos in a temporary folder. After the kills the run is left to finish. Printed: what was
killed when, whether the catalogues are equal, and whether any unit was worked on twice after it was written down.
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

_TARGETS = ("driver", "worker", "head")


def main() -> None:
    """Do it, and exit with 1 if anything differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--until", default="alike")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--longest-s", type=float, default=20.0, help="a kill comes within so many seconds after Ray is up"
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
        rng = random.Random(options.seed)
        for number in range(options.kills):
            what, delay_s = _TARGETS[number % 3], rng.uniform(0.0, options.longest_s)
            print(f"kill {number + 1}: {_disturb(root, options, what, delay_s)}", flush=True)
        done = _begin(root, options)
        code = done.wait()
        first, second = Catalogue.open(quiet_root), Catalogue.open(root)
        equal = first.digest() == second.digest()
        left = second.rows("select count(*) from records where state = 'pending'")[1][0][0]
        print(f"last run: exit {code}; catalogues equal: {equal}; units left over: {left}")
        sys.exit(0 if equal and not left and code == 0 else 1)


def _begin(root: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "bodydouble"]
    words += ["corpus", "run", str(root), "--until", options.until, "--workers", str(options.workers), "--tries", "9"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _disturb(root: Path, options: argparse.Namespace, what: str, delay_s: float) -> str:
    """Start a run, wait for its Ray and a little longer, kill, and wait for its end."""
    driver = _begin(root, options)
    marks = {"driver": "ray::corpus", "worker": "ray::corpus", "head": "gcs_server"}
    deadline = time.monotonic() + 300
    while driver.poll() is None and time.monotonic() < deadline and not _children(driver.pid, marks[what]):
        time.sleep(0.1)
    time.sleep(delay_s)
    victims = [driver.pid] if what == "driver" else _children(driver.pid, marks[what])
    if driver.poll() is not None:
        return f"{what}: nothing was left to kill"
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    try:
        code: object = driver.wait(timeout=300)
    except subprocess.TimeoutExpired:
        driver.kill()
        code = "hung, killed"
    return f"{what} after {delay_s:.1f} s, {len(victims)} killed; the run ended with {code}"


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
