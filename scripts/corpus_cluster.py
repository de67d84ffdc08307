"""A corpus on two Ray nodes of this machine, held against the same corpus worked on in one process.

    python scripts/corpus_cluster.py VIDEOS... --until ready

Two nodes with one CPU each are started on the loopback interface, as two machines would be: a head, and a second one that is
told the head's address. Printed: nodes and CPUs, seconds of both runs, whether the catalogues are equal.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_STORE_BYTES = 80 * 2**20
_UP = "Ray runtime started"
_RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]


def main() -> None:
    """Do it, and exit with 1 if the catalogues differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--until", default="")
    parser.add_argument("--port", type=int, default=6399)
    options = parser.parse_args()
    from bodydouble.corpus.catalogue import Catalogue
    from bodydouble.corpus.plan import PlanOptions, plan
    from bodydouble.corpus.run import RunOptions, run_corpus

    with tempfile.TemporaryDirectory(prefix="corpus-cluster-") as folder:
        roots = [Path(folder) / name for name in ("local", "cluster")]
        for root in roots:
            plan(options.videos, root, PlanOptions(licence="own"), lambda event: None)
        with two_nodes(options.port, Path(folder) / "ray") as address:
            _tell_nodes(address)
            began = time.perf_counter()
            run_corpus(roots[0], RunOptions(workers=0, until=options.until), lambda event: None)
            print(f"one process: {time.perf_counter() - began:.0f} s", flush=True)
            began = time.perf_counter()
            run_corpus(roots[1], RunOptions(address=address, until=options.until), lambda event: None)
            print(f"two nodes: {time.perf_counter() - began:.0f} s", flush=True)
        equal = Catalogue.open(roots[0]).digest() == Catalogue.open(roots[1]).digest()
        scores = Catalogue.open(roots[1]).rows("select count(*) from scores")[1][0][0]
        print(f"catalogues equal: {equal} ({scores} scores)")
        sys.exit(0 if equal else 1)


@contextlib.contextmanager
def two_nodes(port: int, folder: Path) -> Iterator[str]:
    """Two Ray nodes with one CPU each, in process groups of their own; ended with the context."""
    address = f"127.0.0.1:{port}"
    # Nodes and driver share a secret, as on several machines; all three find it in the environment.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with tempfile.TemporaryDirectory(prefix="bdray-", dir="/tmp", ignore_cleanup_errors=True) as place:
        head = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={place}"]
        with _node(folder / "head", head), _node(folder / "second", [f"--address={address}"]):
            yield address


@contextlib.contextmanager
def _node(log: Path, words: list[str]) -> Iterator[None]:
    log.parent.mkdir(parents=True, exist_ok=True)
    common = ["--node-ip-address=127.0.0.1", "--num-cpus=1", f"--object-store-memory={_STORE_BYTES}", "--block"]
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}
    with log.open("w") as said:
        node = subprocess.Popen(
            [*_RAY, "start", *words, *common],
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, **quiet},
            start_new_session=True,
        )
    try:
        while _UP not in log.read_text():
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(timeout=0.2)
                raise SystemExit(f"A Ray node has ended:\n{log.read_text()[-2000:]}")
        yield
    finally:
        node.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.wait(timeout=60)
        node.kill()


def _tell_nodes(address: str) -> None:
    """How many nodes and CPUs there are, asked in another process: this one has its own Ray later."""
    code = f"import ray; ray.init(address='{address}', log_to_driver=False); print('NODES', len(ray.nodes()), ray.cluster_resources()['CPU'])"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    found = re.search(r"NODES (\d+) ([\d.]+)", done.stdout)
    print(f"nodes: {found[1]}, CPUs: {found[2]}" if found else done.stderr[-2000:], flush=True)


if __name__ == "__main__":
    main()
