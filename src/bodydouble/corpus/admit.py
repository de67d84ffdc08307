"""Which units a run still has to work on, page by page from the catalogue: the driver never holds them all."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bodydouble.corpus.catalogue import Catalogue
from bodydouble.corpus.stages import StageSpec
from bodydouble.corpus.tables import from_rows
from bodydouble.corpus.units import Unit
from bodydouble.corpus.values import Item, Source

_PAGE = 256


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which units are asked for."""

    scope: Literal["source", "item"]
    stages: Sequence[StageSpec]
    """Of that scope, in order; a unit has something left to do when one of them is."""
    keys: Mapping[str, str]
    """Today's."""
    licences: Sequence[str] | None = None
    """Only sources under these; None for any. Refused consent is never passed over."""
    again: bool = False
    """Also what was rejected, failed or quarantined in one of these stages."""


@dataclass(frozen=True)
class Waiting:
    """A unit and the first of its stages that is still to do."""

    unit: Unit
    stage: int
    """Place in the stages asked about."""
    attempts: int = 0
    """How often that stage has broken already."""


def waiting_units(catalogue: Catalogue, wanted: Wanted) -> Generator[Waiting, None, None]:
    """Units with something left to do, by id.

    Args:
        catalogue: As it is now; what is added later is not seen.
        wanted: Which units.
    """
    if not wanted.stages:
        return
    with catalogue.connected() as connection:
        cursor = _asked(connection, "*", wanted)
        names = [column[0] for column in cursor.description]
        while page := cursor.fetchmany(_PAGE):
            yield from _units(wanted.scope, names, page)


def count_waiting(catalogue: Catalogue, wanted: Wanted) -> int:
    """How many units `waiting_units` would give."""
    if not wanted.stages:
        return 0
    with catalogue.connected() as connection:
        return int(_asked(connection, "count(*)", wanted).fetchone()[0])


def _asked(connection: Any, what: Literal["*", "count(*)"], wanted: Wanted) -> Any:
    """The cursor of the question that both ask."""
    connection.execute("create temp table today (stage varchar, key varchar, place integer)")
    connection.executemany(
        "insert into today values (?, ?, ?)", [(s.name, wanted.keys[s.name], i) for i, s in enumerate(wanted.stages)]
    )
    order = " order by unit" if what == "*" else ""
    return connection.execute(f"select {what} from ({_query(wanted)}){order}", list(wanted.licences or ()))


def _query(wanted: Wanted) -> str:
    """Each unit with the stages that are done, where that is not all of them and none refused it.

    Lists are made of the few units that have one: groups that hold lists cannot be spilled.
    """
    closed = "r.state in ('rejected', 'failed', 'quarantined')"
    refused_today = "false" if wanted.again else "t.stage is not null"
    if wanted.scope == "source":
        refused = f"{closed} and {refused_today}"
        picked, source, unit, tracked = "s.*", "sources_rows s", "s.id", ""
    else:
        # What earlier stages refused (nobody, too short, a near-duplicate) is refused for good.
        refused = f"{closed} and (r.stage in ('tracks', 'alike') or {refused_today})"
        twice = ("id", "width_px", "height_px", "start_s", "end_s", "written_ns")
        renamed = ", ".join(f"{name} as s_{name}" for name in twice)
        picked = f"u.* exclude (hashes, embedding), s.* rename ({renamed})"
        source, unit = "items_rows u join sources_rows s on s.id = u.source_id", "u.id"
        # Items of an earlier cutting into tracks are not worked on any more.
        tracked = "and u.track >= 0 and p.tracked"
    allowed = "" if wanted.licences is None else f"and s.licence in ({', '.join('?' * len(wanted.licences))})"
    return f"""
    with progress as (
      select r.unit_id, bool_or({refused}) as refused,
        bool_or(r.stage = 'tracks' and r.key = '{wanted.keys["tracks"]}') as tracked,
        bit_or(case when r.state = 'done' and t.stage is not null then 1 << t.place else 0 end) as done
      from records_rows r left join today t on t.stage = r.stage and t.key = r.key group by r.unit_id),
    trouble as (
      select r.unit_id, list(struct_pack(place := t.place, attempt := r.attempt)) as broke
      from records_rows r join today t on t.stage = r.stage and t.key = r.key where r.state = 'pending' group by r.unit_id)
    select {unit} as unit, {picked}, coalesce(p.done, 0) as done, b.broke from {source}
    left join progress p on p.unit_id = {unit} left join trouble b on b.unit_id = {unit}
    where not coalesce(p.refused, false) and coalesce(p.done, 0) <> (1 << {len(wanted.stages)}) - 1 {tracked}
      and s.consent <> 'refused' {allowed}"""


def _units(scope: str, names: Sequence[str], page: Sequence[Sequence[Any]]) -> Iterator[Waiting]:
    for row in page:
        values = dict(zip(names, row, strict=True))
        done, broke = int(values.pop("done")), values.pop("broke") or []
        del values["unit"]
        stage = 0
        while done >> stage & 1:
            stage += 1
        attempts = next((int(b["attempt"]) for b in broke if b["place"] == stage), 0)
        if scope == "source":
            (source,) = from_rows(Source, list(values), [list(values.values())])
            yield Waiting(Unit(source), stage, attempts)
            continue
        own = {k: v for k, v in values.items() if k in _ITEM}
        of_source = {k.removeprefix("s_"): values[k] for k in _SOURCE}
        (item,) = from_rows(Item, list(own), [list(own.values())])
        (source,) = from_rows(Source, list(of_source), [list(of_source.values())])
        yield Waiting(Unit(source, item), stage, attempts)


_ITEM = (
    "id", "source_id", "first_frame", "stop_frame", "start_s", "end_s", "track", "person", "width_px", "height_px", "anchors",
    "others",
)  # fmt: skip
_SOURCE = (
    "s_id", "uri", "sha256", "bytes", "fps_hz", "s_width_px", "s_height_px", "s_start_s", "s_end_s", "licence", "provenance",
    "consent", "takedown_key", "annotations",
)  # fmt: skip
