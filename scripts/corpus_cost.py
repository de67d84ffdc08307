"""What each stage of a corpus costs for one video: processor seconds, child processes included, and bytes.

    python scripts/corpus_cost.py VIDEO

Only the first item of the video goes through the later stages. Processor time is what plans for many machines are made of:
unlike time on the clock it does not depend on what else the machine does.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path

from bodydouble.corpus.catalogue import Catalogue
from bodydouble.corpus.plan import PlanOptions, plan
from bodydouble.corpus.stages import STAGES, CorpusConfig, stage_keys
from bodydouble.corpus.units import item_from_json, unit_to_json
from bodydouble.corpus.work import do_batch


def main() -> None:
    """Run the stages in this process and print a line for each."""
    with tempfile.TemporaryDirectory(prefix="corpus-cost-") as folder:
        root = Path(folder) / "c"
        plan([sys.argv[1]], root, PlanOptions(licence="own"), lambda event: None)
        catalogue = Catalogue.open(root)
        (source,) = catalogue.sources()
        keys, item, total = stage_keys(CorpusConfig()), None, 0.0
        for stage in STAGES:
            unit = unit_to_json(source, item if stage.scope == "item" else None)
            task = {
                "root": str(root),
                "stage": stage.name,
                "key": keys[stage.name],
                "config": catalogue.config,
                "units": [unit],
            }
            before = _processor_s()
            (result,) = do_batch(task)
            spent, total = _processor_s() - before, total + _processor_s() - before
            print(
                f"{stage.name:12s} {spent:7.2f} s  {result.get('reason') or result.get('broke', '')[-200:]}", flush=True
            )
            if stage.name == "tracks":
                item = item_from_json(result["items"][0])
        size = sum(p.stat().st_size for p in (root / "items").rglob("*") if p.is_file())
        print(f"{'together':12s} {total:7.2f} s  {size / 1e6:.2f} MB")


def _processor_s() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


if __name__ == "__main__":
    main()
