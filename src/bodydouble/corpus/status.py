"""Where a corpus stands: per stage done, refused and left, rate and time left. Read from the catalogue alone, while a run works or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bodydouble.corpus.catalogue import Catalogue
from bodydouble.corpus.stages import ALIKE, STAGES, CorpusConfig, stage_keys

_RATE_WINDOW_S = 600.0
"""The rate is that of the last ten minutes in which something was written."""


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """One stage."""

    stage: str
    scope: str
    done: int
    rejected: int
    failed: int
    quarantined: int
    retried: int
    """Broke at least once and is waiting for another try."""
    waiting: int
    """Units that have come so far and have not been through it."""
    mean_seconds: float
    """Of work for one unit; 0 where nothing was done."""
    per_hour: float
    """Units in an hour, lately."""
    left_s: float | None
    """Time until all that are waiting are through; None where that cannot be told."""


@dataclass(frozen=True, kw_only=True)
class CorpusStatus:
    """All of a corpus."""

    root: str
    sources: int
    places: int
    """Files and pages that were planned; copies count."""
    held: int
    """Sources that are not worked on, for their licence or for refused consent."""
    items: int
    states: dict[str, int]
    """Items by state."""
    stages: tuple[StageStatus, ...]
    refusals: tuple[tuple[str, str, int], ...]
    """Stage, reason with its numbers left out, and how often; the most frequent first."""


def corpus_status(root: str | Path) -> CorpusStatus:
    """Count.

    Raises:
        InputError: When there is no corpus.
    """
    catalogue = Catalogue.open(root)
    config = CorpusConfig.from_json(catalogue.config)
    keys = stage_keys(config)
    with catalogue.connected() as connection:
        connection.execute("create temp table today (stage varchar, key varchar)")
        connection.executemany("insert into today values (?, ?)", list(keys.items()))

        def one(sql: str, *parameters: object) -> int:
            return int(connection.execute(sql, list(parameters)).fetchone()[0])

        marks = ", ".join("?" * len(config.licences))
        held = f"(licence not in ({marks}) or consent = 'refused')"
        sources, places = one("select count(*) from sources_rows"), one("select count(*) from places_rows")
        held_count = one(f"select count(*) from sources_rows where {held}", *config.licences)
        items = one("select count(*) from items")
        states = dict(connection.execute("select state, count(*) from items group by state order by state").fetchall())
        # Units of a stage and of its scope only: `tracks` also writes a record for each item it finds.
        rows = connection.execute(_COUNTS).fetchall()
        reasons = connection.execute(_REASONS).fetchall()
    found = {(row[0], row[1]): row[2:] for row in rows}
    stages, arriving = [], sources - held_count
    for name, scope in _ORDER:
        counts = found.get((name, scope), (0, 0, 0, 0, 0, 0.0, 0.0))
        done, rejected, failed, quarantined, retried, mean, per_s = counts
        if name == "perceive":
            arriving = int(next((s.done for s in stages if s.stage == ALIKE), 0))
        elif name == ALIKE:
            refused = found.get(("tracks", "item"), (0,) * 7)
            arriving = int(refused[0])
        waiting = max(0, arriving - done - rejected - failed - quarantined)
        stages.append(
            StageStatus(
                stage=name,
                scope=scope,
                done=done,
                rejected=rejected,
                failed=failed,
                quarantined=quarantined,
                retried=retried,
                waiting=waiting,
                mean_seconds=round(float(mean or 0.0), 3),
                per_hour=round(3600.0 * float(per_s or 0.0), 1),
                left_s=round(waiting / per_s, 1) if per_s else (0.0 if not waiting else None),
            )
        )
        arriving = done
    return CorpusStatus(
        root=catalogue.store.root,
        sources=sources,
        places=places,
        held=held_count,
        items=items,
        states=states,
        stages=tuple(stages),
        refusals=tuple((str(a), str(b), int(n)) for a, b, n in reasons),
    )


_ORDER = (
    *((s.name, s.scope) for s in STAGES if s.scope == "source"),
    (ALIKE, "item"),
    *((s.name, s.scope) for s in STAGES if s.scope == "item"),
)
_WINDOW_NS = int(_RATE_WINDOW_S * 1e9)
_COUNTS = f"""
    with mine as (
      select r.*, case when unit_id = source_id then 'source' else 'item' end as scope,
        written_ns > max(written_ns) over (partition by r.stage) - {_WINDOW_NS} as lately
      from records_rows r join today t on t.stage = r.stage and t.key = r.key)
    select stage, scope, count(*) filter (state = 'done'), count(*) filter (state = 'rejected'),
      count(*) filter (state = 'failed'), count(*) filter (state = 'quarantined'), count(*) filter (state = 'pending'),
      avg(seconds) filter (state = 'done'), count(*) filter (lately) / greatest((max(written_ns)
        - min(written_ns - (seconds * 1e9)::bigint) filter (lately)) / 1e9, 0.001)
    from mine group by stage, scope"""
_REASONS = """
    select stage, regexp_replace(regexp_replace(regexp_replace(reason, '[0-9a-f]{8}-[0-9a-f-]{27}', 'ID', 'g'),
      '(^| )(/|[a-z0-9]+://)[^ ]+', '\\1FILE', 'g'), '\\b[0-9]+([.][0-9]+)?\\b', 'N', 'g') as why, count(*) as n
    from records_rows join today using (stage, key) where state in ('rejected', 'failed', 'quarantined') group by all order by n desc, 1, 2 limit 20"""
