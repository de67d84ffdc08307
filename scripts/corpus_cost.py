"""What each stage of a corpus costs for one video: processor seconds, child processes included, and bytes. Linux only.

    python scripts/corpus_cost.py VIDEO [VIDEO ...]

Only the first item of each video goes through the later stages. The first video pays for loading networks and the body; the
last line is the mean of the others, which is what a video of many costs. Processor time is what plans for many machines are
made of: unlike time on the clock it does not depend on what else the machine does.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bodydouble.corpus.catalogue import Catalogue
from bodydouble.corpus.plan import PlanOptions, plan
from bodydouble.corpus.stages import STAGES, CorpusConfig, stage_keys
from bodydouble.corpus.units import item_from_json, unit_to_json
from bodydouble.corpus.work import do_batch

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run the stages in this process and print a line for each video."""
    print("  ".join([f"{stage.name:>11}" for stage in STAGES] + ["   together", "         MB"]))
    with tempfile.TemporaryDirectory(prefix="corpus-cost-") as folder:
        lines = [_costs(video, Path(folder) / str(n)) for n, video in enumerate(sys.argv[1:])]
    if len(lines) > 1:
        _tell({name: sum(line[name] for line in lines[1:]) / (len(lines) - 1) for name in lines[0]})


def _costs(video: str, root: Path) -> dict[str, float]:
    plan([video], root, PlanOptions(licence="own"), lambda event: None)
    catalogue = Catalogue.open(root)
    (source,) = catalogue.sources()
    keys, item, found = stage_keys(CorpusConfig()), None, {}
    for stage in STAGES:
        unit = unit_to_json(source, item if stage.scope == "item" else None)
        task = {"root": str(root), "stage": stage.name, "key": keys[stage.name], "config": catalogue.config}
        before = _processor_s()
        (result,) = do_batch({**task, "units": [unit]})
        found[stage.name] = _processor_s() - before
        if result.get("state") != "done":
            raise SystemExit(f"{video}, {stage.name}: {result.get('reason') or result.get('broke')}")
        if stage.name == "tracks":
            item = item_from_json(result["items"][0])
    size = sum(p.stat().st_size for p in (root / "items").rglob("*") if p.is_file())
    found |= {"together": sum(found.values()), "MB": size / 1e6}
    _tell(found)
    return found


def _tell(found: Mapping[str, float]) -> None:
    print("  ".join(f"{value:11.2f}" for value in found.values()), flush=True)


def _processor_s() -> float:
    """Of this process, of its children that have ended, and of those at work."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    spent = sum(u.ru_utime + u.ru_stime for u in usage)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) == os.getpid():
            spent += (int(fields[11]) + int(fields[12])) * _TICK_S
    return spent


if __name__ == "__main__":
    main()
