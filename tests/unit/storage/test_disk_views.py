"""What the lake takes of its disk: the bytes of the files that its tables name, by day; free space; whose figure it is."""

import shutil
from pathlib import Path

import pytest

from storage.compact import compact
from storage.disk_views import sizes
from storage.inventory import active
from storage.lake import Lake
from storage.query import connect, refresh
from storage.schema import LANDED
from storage.views import Tenant
from tests.lake_data import SECOND, T0, Clock, commit


def test_files_by_day() -> None:
    assert sizes([("2026-11-22", 5), (None, 1), ("2026-11-22", 7)]) == {"2026-11-22": (2, 12), "": (1, 1)}


def test_bytes_are_those_of_the_files_that_count(tmp_path: Path) -> None:
    clock = Clock()
    with Lake.open(tmp_path, create=True, now_ns=clock) as lake:
        con = connect(tmp_path)
        assert con.execute("SELECT lake_bytes, days_left FROM disk_now").fetchall() == [(None, None)]
        for i in range(4):
            clock.move(1300)
            lake.commit(commit(200, seed=i, start_ns=T0 - 86_400 * SECOND * (i % 2)))
        list(compact(tmp_path, now_ns=clock))
        assert refresh(con) is True
    told = con.execute("SELECT table_name, sum(files), sum(bytes) FROM lake_files GROUP BY ALL").fetchall()
    for table, files, size in told:
        named = active(tmp_path, table)
        assert (files, size) == (len(named), sum((tmp_path / table / path).stat().st_size for path in named))
    assert {table for table, _, _ in told} >= set(LANDED[:5])
    con.execute(
        f"SET VARIABLE now_ns = {T0 + 3_600 * SECOND}"
    )  # of the week before only the day of the second commits is over
    (lake_bytes, a_day, left, free, total) = con.execute(
        "SELECT lake_bytes, bytes_per_day, days_left, free_bytes, total_bytes FROM disk_now"
    ).fetchall()[0]
    assert lake_bytes == sum(size for _, _, size in told)
    assert 0 < a_day < lake_bytes
    assert left == pytest.approx(free / a_day)
    assert total == shutil.disk_usage(tmp_path).total


def test_it_is_the_operators_figure(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(commit(10))
    asked = "SELECT count(*) FROM disk_now"
    assert connect(tmp_path, tenant=Tenant("other")).execute(asked).fetchall() == [(0,)]
    assert connect(tmp_path, tenant=Tenant("acme", owns_unnamed=True)).execute(asked).fetchall() == [(1,)]
