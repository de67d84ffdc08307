"""Near-duplicates over a whole corpus: candidates by a join in the catalogue, decided by `corpus.alike`.

The join runs in DuckDB, which spills what does not fit into memory; here are only ever the clips that some pair names.
"""

from __future__ import annotations

from bodydouble.corpus.alike import PART_BITS, PARTS, Looks, find_alike
from bodydouble.corpus.catalogue import Catalogue
from bodydouble.corpus.stages import ALIKE, CorpusConfig, stage_keys
from bodydouble.corpus.values import Record, State

_BATCH = 1024
_MAX_SHARED = 64
"""Parts of a hash that more clips share say nothing (an even picture); they are passed over."""
_MIN_SHARED = 2
"""Parts that two clips must share, unless one of them has a single picture."""
_USABLE = "track >= 0 and id not in (select unit_id from records_rows where stage = 'tracks' and state = 'rejected')"
_PAIRS = f"""
    with hashes as (select id, source_id, len(hashes) as pictures, unnest(hashes) as hash from current_items_rows where {_USABLE}),
    parts as (select distinct id, source_id, pictures, k, (hash >> ({PART_BITS} * k)::ubigint) & {2**PART_BITS - 1} as part
      from hashes, (select unnest(range({PARTS}))::ubigint as k)),
    telling as (select k, part from parts group by all having count(*) between 2 and {_MAX_SHARED})
    select a.id, b.id from parts a join telling using (k, part) join parts b using (k, part)
    where a.id < b.id and a.source_id <> b.source_id
    group by all having count(*) >= least({_MIN_SHARED}, any_value(a.pictures), any_value(b.pictures)) order by all"""


def mark_alike(catalogue: Catalogue, config: CorpusConfig) -> int:
    """Reject near-duplicates over the whole corpus; how many there are. Writes only what is new."""
    key = stage_keys(config)[ALIKE]
    pairs = [(str(a), str(b)) for a, b in catalogue.rows(_PAIRS)[1]]
    copies = find_alike(_looks(catalogue, sorted({id for pair in pairs for id in pair})), pairs, config.alike)
    rows: list[Record] = []
    with catalogue.connected() as connection:
        cursor = connection.execute(
            f"select i.id, i.source_id, r.key, r.state, r.reason from current_items_rows i left join records_rows r "
            f"on r.unit_id = i.id and r.stage = '{ALIKE}' where {_USABLE.replace('id not', 'i.id not')} order by i.id"
        )
        while page := cursor.fetchmany(_BATCH):
            for id, source, *before in page:
                state: State = "rejected" if id in copies else "done"
                reason = f"near-duplicate of {copies[id]}" if id in copies else ""
                if before != [key, state, reason]:
                    record = Record(
                        unit_id=id, source_id=source, stage=ALIKE, key=key, state=state, attempt=1, reason=reason
                    )
                    rows.append(record)
            if len(rows) >= 16 * _BATCH:
                catalogue.add_records(rows)
                rows = []
    catalogue.add_records(rows)
    return len(copies)


def _looks(catalogue: Catalogue, ids: list[str]) -> list[Looks]:
    found = []
    for first in range(0, len(ids), _BATCH):
        some = ids[first : first + _BATCH]
        for item in catalogue.items(f"id in ({', '.join('?' * len(some))})", some):
            worth = (item.width_px * item.height_px, item.stop_frame - item.first_frame)
            found.append(
                Looks(id=item.id, source_id=item.source_id, hashes=item.hashes, embedding=item.embedding, worth=worth)
            )
    return found
