"""Which stored tables a view reads, so that a question waits for the newest commit in these only."""

import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final

import duckdb

from storage.disk_views import DISK, DISK_TABLES
from storage.gateway_views import GATEWAY_FIGURES
from storage.kpi_views import KPIS
from storage.now_views import NOW
from storage.panel_views import PANELS
from storage.schema import DIMENSIONS, SUMMARIES
from storage.trip_views import TRIP_FIGURES
from storage.views import FIGURES, OPEN, RECENT_ROLLUPS, STORED

VIEWS: Final = {**FIGURES, **NOW, **TRIP_FIGURES, **KPIS, **PANELS, **GATEWAY_FIGURES, **DISK}
_MADE: Final = {  # views and tables that are made of files
    RECENT_ROLLUPS: ("rollups",),
    **{OPEN[summary]: (summary, source) for summary, source in SUMMARIES.items()},
    **dict.fromkeys(DISK_TABLES, STORED),
}


def stored_behind(names: Iterable[str]) -> frozenset[str]:
    """The stored tables whose files tell what tables and views of these ``names`` show. The registry says whose rows they are, so
    it is always among them; names that are neither table nor view count as nothing."""
    found = set(DIMENSIONS)
    for name in names:
        found |= _behind(name)
    return frozenset(found)


@cache
def _behind(name: str) -> frozenset[str]:
    if name in STORED:
        return frozenset((name,))
    if name in _MADE:
        return frozenset(_MADE[name])
    if name not in VIEWS:
        return frozenset()
    with duckdb.connect(":memory:") as con:
        tree = con.execute("SELECT json_serialize_sql(?::VARCHAR)", [VIEWS[name]]).fetchall()[0][0]
    return frozenset().union(*(_behind(table) for table in _tables(json.loads(tree)) if table != name))


def _tables(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _tables(item)
    elif isinstance(node, dict):
        if node.get("type") == "BASE_TABLE":
            yield str(node["table_name"])
        for item in node.values():
            yield from _tables(item)
