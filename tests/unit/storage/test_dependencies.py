"""Which tables a view reads: it fails without them, and without no other."""

import duckdb
import pytest

from storage.dependencies import VIEWS, stored_behind
from storage.disk_views import DISK_TABLES
from storage.lake import Lake
from storage.query import connect
from storage.schema import DIMENSIONS, SUMMARIES
from storage.views import OPEN, RECENT_ROLLUPS, STORED
from tests.lake_data import commit

MADE_OF = {source: [OPEN[summary]] for summary, source in SUMMARIES.items()}
MADE_OF["rollups"] += [RECENT_ROLLUPS]


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    path = tmp_path_factory.mktemp("lake")
    with Lake.open(path, create=True) as lake:
        lake.commit(commit(20))
    return connect(path, threads=1)


@pytest.mark.parametrize("table", [t for t in STORED if t not in DIMENSIONS])
def test_a_view_fails_without_its_tables_and_without_no_other(con: duckdb.DuckDBPyConnection, table: str) -> None:
    hidden = (table, *MADE_OF.get(table, ()))
    for name in hidden:
        con.execute(f"ALTER VIEW {name} RENAME TO {name}_hidden")
    broken = set()
    for view in VIEWS:
        try:
            con.execute(f"EXPLAIN SELECT * FROM {view}")
        except duckdb.CatalogException:
            broken.add(view)
    for name in hidden:
        con.execute(f"ALTER VIEW {name}_hidden RENAME TO {name}")
    assert broken == {view for view in VIEWS if table in stored_behind([view]) and view != "disk_now"}


def test_other_names(con: duckdb.DuckDBPyConnection) -> None:
    assert stored_behind(["pg_class"]) == stored_behind([]) == frozenset(DIMENSIONS)
    assert stored_behind(["readings"]) == {"readings", *DIMENSIONS}
    for name in (*DISK_TABLES, "disk_now"):
        assert stored_behind([name]) == frozenset(STORED)
