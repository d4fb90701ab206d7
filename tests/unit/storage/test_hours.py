"""Hourly sums: the same as the rollups' at any moment, whatever is covered; days that are dropped; a compaction killed outright."""

import datetime
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from storage.compact import compact, drop, sweep
from storage.hours import split
from storage.inventory import active
from storage.lake import Commit, Lake
from storage.query import connect, refresh
from storage.rebuild import rebuild
from storage.schema import ROLLUP_SUMS
from storage.verify import verify
from tests.lake_data import SECOND, T0, Clock, commit, nothing, rollup_rows
from tests.real_lake import NEW, build, drive
from tests.real_lake import split as in_batches

HOUR = 3600 * SECOND
SUMS = ", ".join(f"sum({name}) AS {name}" for name in (*ROLLUP_SUMS, "co2e_wtw_ug"))
KEYS = "kind, asset, route, region, trip_start_ns, load_state, kernel_version, factor_set, day"
NEWEST = "max(newest_time_ns), max(newest_received_ns)"


def both(con: Any) -> tuple[list[Any], list[Any]]:
    """Sums by hour and key: of ``asset_hours``, and of the rollups."""
    hour = f"minute_ns - minute_ns % {HOUR} AS hour_ns"
    return (
        con.execute(f"SELECT hour_ns, {KEYS}, {SUMS}, {NEWEST} FROM asset_hours GROUP BY ALL ORDER BY ALL").fetchall(),
        con.execute(f"SELECT {hour}, {KEYS}, {SUMS}, {NEWEST} FROM rollups GROUP BY ALL ORDER BY ALL").fetchall(),
    )


WORDS = "asset, trip_start_ns, version, kernel_version, factor_set, day, load_state, route, distance_mm, co2e_wtw_ug"


def words(con: Any) -> tuple[list[Any], list[Any]]:
    """The newest word on each trip: of ``trips_final``, and of all that was told."""
    newest = "QUALIFY row_number() OVER (PARTITION BY asset, trip_start_ns, factor_set ORDER BY kernel_version DESC, version DESC) = 1"
    return (
        con.execute(f"SELECT {WORDS} FROM trips_final ORDER BY ALL").fetchall(),
        con.execute(f"SELECT {WORDS} FROM trips {newest} ORDER BY ALL").fetchall(),
    )


def told(n: int, *, seed: int, start_ns: int, version: int) -> Commit:
    """A commit whose trips begin at the full hour, so that other commits tell of them too; every fifth has an old version."""
    made = commit(n, seed=seed, start_ns=start_ns)
    trips = made.trips
    start = trips["trip_start_ns"].to_numpy() // HOUR * HOUR
    number = np.where(np.arange(len(start)) % 5, 2 * version, 2 * version - 13).astype(
        np.int32
    )  # no number comes twice
    trips = trips.set_column(trips.column_names.index("trip_start_ns"), "trip_start_ns", pa.array(start))
    trips = trips.set_column(trips.column_names.index("version"), "version", pa.array(number))
    keys = trips.select(["asset", "trip_start_ns"]).to_pylist()
    first = [i for i, k in enumerate(keys) if k not in keys[:i]]
    return replace(made, trips=trips.take(pa.array(first)).cast(made.trips.schema))


def test_the_newest_word_on_each_trip_at_every_moment(tmp_path: Path) -> None:
    clock = Clock()
    with Lake.open(tmp_path, create=True, now_ns=clock) as lake:
        con = connect(tmp_path)
        covered, open_words = [], []
        for i in range(10):
            clock.move(1300)
            lake.commit(told(900, seed=i, start_ns=T0 - 5 * HOUR if i % 4 == 3 else T0, version=i))
            if i % 2:
                list(compact(tmp_path, now_ns=clock))
            refresh(con)
            final, all_told = words(con)
            assert final == all_told
            covered.append(con.execute("SELECT count(*) FROM trip_words").fetchall()[0][0])
            open_words.append(con.execute("SELECT count(*) FROM trips_open").fetchall()[0][0])
    assert covered[-1] > 100
    assert open_words[-1] > 0
    assert len(active(tmp_path, "trip_words")) == 2
    assert con.execute("SELECT count(*) = count(DISTINCT (asset, trip_start_ns)) FROM trip_words").fetchall() == [
        (True,)
    ]
    assert verify(tmp_path).findings == []


def test_they_equal_the_rollups_at_every_moment(tmp_path: Path) -> None:
    clock = Clock()
    with Lake.open(tmp_path, create=True, now_ns=clock) as lake:
        con = connect(tmp_path)
        covered = []
        for i in range(12):
            clock.move(1300)
            start = T0 - 5 * HOUR if i % 4 == 3 else T0 + i * 1300 * SECOND  # now and then late data of the day before
            lake.commit(commit(60, seed=i, start_ns=start, span_ns=1200 * SECOND))
            if i % 2:
                list(compact(tmp_path, now_ns=clock))
            refresh(con)
            hours, rollups = both(con)
            assert hours == rollups
            covered.append(con.execute("SELECT count(*) FROM rollup_hours").fetchall()[0][0])
    assert covered[-1] > covered[4] > 0
    assert len(active(tmp_path, "rollup_hours")) == 2
    assert both(connect(tmp_path))[0] == both(connect(tmp_path))[1]
    assert verify(tmp_path).findings == []


def test_results_made_anew_are_in_them_at_once(tmp_path: Path) -> None:
    batches = in_batches(drive(3000), 10)
    made = build(tmp_path, batches[:6], apart_s=600)
    build(tmp_path, batches[6:], apart_s=600, factors=NEW, clock=made.clock)
    made.clock.move(3600)
    list(compact(tmp_path, now_ns=made.clock))
    con = connect(tmp_path)
    assert con.execute("SELECT count(DISTINCT factor_set) FROM rollup_hours").fetchall() == [(2,)]
    rebuild(tmp_path, NEW, now_ns=made.clock)
    refresh(con)
    hours, rollups = both(con)
    assert hours == rollups
    assert con.execute("SELECT count(DISTINCT factor_set) FROM rollup_hours").fetchall() == [(1,)]
    list(compact(tmp_path, now_ns=made.clock))
    refresh(con)
    assert both(con) == (hours, rollups)
    assert con.execute("SELECT count(DISTINCT factor_set) FROM rollup_hours").fetchall() == [(2,)]
    assert verify(tmp_path).findings == []


def test_which_files_count() -> None:
    day = "day=2026-11-22/factor_set=f"
    own = [f"{day}/{n:012d}-a.parquet" for n in (3, 5)]
    merged, anew = (
        f"{day}/merged-000000000001-000000000002-b.parquet",
        f"{day}/rebuilt-000000000001-000000000004-c.parquet",
    )
    hours = f"{day}/hours-000000000004-0-d.parquet"
    assert split([merged, *own], [hours]) == ([hours], [own[1]])
    assert split([merged, anew, *own], [hours]) == ([], [merged, anew, *own])
    assert split([merged, anew, *own], [hours.replace("-0-", "-1-")]) == ([hours.replace("-0-", "-1-")], [own[1]])
    across = f"{day}/merged-000000000004-000000000006-e.parquet"
    assert split([across], [hours]) == ([], [across])
    other = hours.replace("=f", "=g")
    assert split([merged], [other]) == ([other], [merged])


def test_days_are_dropped_and_their_files_go(tmp_path: Path) -> None:
    clock = Clock()
    with Lake.open(tmp_path, create=True, now_ns=clock) as lake:
        for back in (2, 1, 0):
            lake.commit(commit(20, seed=back, start_ns=T0 - back * 24 * HOUR))
    assert drop(tmp_path, "readings", datetime.date(2026, 11, 21), now_ns=clock) == 1
    con = connect(tmp_path)
    assert con.execute("SELECT min(day), count(*) FROM readings").fetchall() == [(datetime.date(2026, 11, 21), 40)]
    assert con.execute("SELECT count(*) FROM emissions").fetchall() == [(60,)]
    assert verify(tmp_path).findings == []
    assert len(list((tmp_path / "readings").rglob("day=*/*.parquet"))) == 3
    assert sweep(tmp_path, keep_hours=0)
    assert len(list((tmp_path / "readings").rglob("day=*/*.parquet"))) == 2
    assert verify(tmp_path).findings == []
    assert drop(tmp_path, "readings", datetime.date(2026, 11, 21), now_ns=clock) == 0
    with pytest.raises(ValueError, match="there is no table nothing"):
        drop(tmp_path, "nothing", datetime.date(2026, 11, 21))


KILLED = """
import os, signal, sys
from pathlib import Path
from storage.compact import compact
from storage.disk import Disk

class Killing(Disk):
    left = int(sys.argv[2])

    def strike(self):
        Killing.left -= 1
        if Killing.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def write(self, *args):
        self.strike()
        super().write(*args)

    def overwrite(self, *args):
        self.strike()
        super().overwrite(*args)

    def sync(self, *args):
        self.strike()
        super().sync(*args)

    def remove(self, *args):
        self.strike()
        super().remove(*args)

now = int(sys.argv[3])
list(compact(Path(sys.argv[1]), disk=Killing(), now_ns=lambda: now))
"""


def test_a_compaction_killed_outright_beside_a_writer(tmp_path: Path) -> None:
    clock = Clock()
    row = {"minute_ns": T0, "asset": 1, "readings": 1, "co2e_ttw_ug": 1000}
    with Lake.open(tmp_path, create=True, now_ns=clock) as lake:
        for i in range(4):
            lake.commit(replace(nothing(), rollups=rollup_rows(row, row | {"asset": i})))
        clock.move(3600)
        lake.commit(replace(nothing(), rollups=rollup_rows(row)))
        count, died = 9, 0
        for left in range(0, 24, 3):
            done = subprocess.run(
                [sys.executable, "-c", KILLED, str(tmp_path), str(left), str(clock.now_ns)],
                check=False,
                capture_output=True,
            )
            died += done.returncode == -signal.SIGKILL
            assert done.returncode in (0, -signal.SIGKILL), done.stderr
            lake.commit(replace(nothing(), rollups=rollup_rows(row)))
            count += 1
            hours, rollups = both(connect(tmp_path))
            assert hours == rollups
            assert connect(tmp_path).execute("SELECT sum(readings) FROM rollups").fetchall() == [(count,)]
    assert died > 3
    list(compact(tmp_path, now_ns=clock))
    assert verify(tmp_path).findings == []
