"""The lake as it was known at a commit, and why sums changed since."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage.__main__ import main
from storage.as_of import NotKeptError, commit_of, dimensions_at
from storage.compact import compact, sweep
from storage.difference import Known, difference, missing
from storage.errors import StorageError
from storage.lake import Lake
from storage.proof import latest_root
from storage.query import connect, refresh
from storage.rebuild import rebuild
from stream.fleet import Route
from tests.lake_data import SECOND
from tests.real_lake import NEW, OLD, REGISTRY, Made, build, drive, split
from tests.support import T0_NS, rows

SUMS = "SELECT factor_set, count(*), sum(co2e_ttw_ug), sum(distance_mm), max(newest_received_ns) FROM rollups GROUP BY 1 ORDER BY 1"
ROWS = "SELECT * FROM emissions ORDER BY device, boot_id, seq"
MINUTES = "SELECT * EXCLUDE (age_s) FROM route_minutes ORDER BY ALL"


def answers(lake: Path, n: int | None) -> list[Any]:
    con = connect(lake, as_of=n)
    return [con.execute(q).fetchall() for q in (SUMS, ROWS, MINUTES)]


def grown(path: Path) -> tuple[Made, dict[int, list[Any]]]:
    """Eight commits over two hours, the fourth with an hour-old backlog; and what was answered after each of them."""
    drive_ = drive(2400)
    backlog = rows(drive_, drive_["device"] == 2)
    live = [rows(b, b["device"] != 2) for b in split(drive_, 7)]
    batches = [*live[:3], backlog, *live[3:]]
    seen = {}
    made = build(path, batches[:1], apart_s=900)
    seen[1] = answers(path, None)
    for i, batch in enumerate(batches[1:], 2):
        build(path, [batch], apart_s=900, clock=made.clock)
        seen[i] = answers(path, None)
    return made, seen


def frozen(answer: list[Any]) -> list[Any]:
    """Without what the clock of the connection shows."""
    return [answer[0], answer[1]]


def test_every_commit_can_be_read_before_and_after_compaction(tmp_path: Path) -> None:
    made, seen = grown(tmp_path)
    for n in (2, 5):
        assert frozen(answers(tmp_path, n)) == frozen(seen[n])
    assert list(compact(tmp_path, now_ns=made.clock))
    for n, answer in list(seen.items())[::3]:
        assert answers(tmp_path, n)[1] == answer[1]
        assert [r[2:] for r in answers(tmp_path, n)[0]] == [r[2:] for r in answer[0]]


def test_the_end_of_an_hour_can_be_read_for_ever(tmp_path: Path) -> None:
    made, seen = grown(tmp_path)
    made.clock.move(3600)
    list(compact(tmp_path, now_ns=made.clock))
    assert sweep(tmp_path)  # by the wall clock all that was replaced is long over
    root = latest_root(tmp_path)
    assert root is not None
    with pytest.raises(NotKeptError, match="cannot be told apart; as of commit 3 or 7 it can") as e:
        connect(tmp_path, as_of=5)
    assert (e.value.before, e.value.after) == (3, 7)
    for n in (3, 7, 8):
        assert [r[2:] for r in answers(tmp_path, n)[0]] == [r[2:] for r in seen[n][0]]
        assert answers(tmp_path, n)[1] == seen[n][1]


def test_the_registry_of_then_is_shown(tmp_path: Path) -> None:
    batches = split(drive(600), 4)
    made = build(tmp_path, batches[:2])
    other = replace(REGISTRY, routes=(Route("north", "North by another name"),))
    build(tmp_path, batches[2:], registry=other, clock=made.clock)
    names = [connect(tmp_path, as_of=n).execute("SELECT name FROM routes").fetchall() for n in (2, 3)]
    assert names == [[("North",)], [("North by another name",)]]
    assert dimensions_at(tmp_path, 4) == dimensions_at(tmp_path, 3) != dimensions_at(tmp_path, 2)


def test_the_clock_of_a_state_stands_and_refresh_changes_nothing(tmp_path: Path) -> None:
    made, _ = grown(tmp_path)
    con = connect(tmp_path, as_of=2)
    before = con.execute(SUMS).fetchall()
    [(now,)] = con.execute("SELECT now_ns()").fetchall()
    assert T0_NS < now < made.clock.now_ns - 3600 * SECOND
    with Lake.open(tmp_path, create=False):
        pass
    assert refresh(con) is False
    assert con.execute(SUMS).fetchall() == before


def test_times_and_numbers_of_commits(tmp_path: Path) -> None:
    grown(tmp_path)
    assert commit_of(tmp_path, "3") == 3
    assert commit_of(tmp_path, "2026-01-01T00:40") == 2  # commits are made a little after each quarter of an hour
    assert commit_of(tmp_path, "2026-01-01T01:40+01:00") == 2
    assert commit_of(tmp_path, "2027-01-01") == 8
    for text in ("2025-12-31", "99"):
        with pytest.raises(StorageError):
            commit_of(tmp_path, text)


def test_parts_add_up_whatever_the_pair(tmp_path: Path) -> None:
    made, _ = grown(tmp_path)
    rebuild(tmp_path, NEW, now_ns=made.clock)
    sums: dict[tuple[int, str], dict[Any, int]] = {}
    for n in (3, 8):
        con = connect(tmp_path, as_of=n)
        for name in (OLD, NEW):
            sql = f"SELECT route, sum(co2e_ttw_ug) FROM rollups WHERE factor_set = '{name}' GROUP BY 1"
            sums[n, name] = {g: int(v) for g, v in con.execute(sql).fetchall()}
    pairs = [((3, OLD), (8, NEW)), ((8, NEW), (3, OLD)), ((3, NEW), (8, NEW)), ((8, OLD), (8, NEW))]
    for a, b in pairs:
        found = difference(tmp_path, Known(*a), Known(*b), by="route", columns=["co2e_ttw_ug"])
        assert {d.group for d in found} == {*sums[a], *sums[b]}
        for d in found:
            assert d.before + d.late_data + d.factors == d.after
            assert (d.before, d.after) == (sums[a].get(d.group, 0), sums[b].get(d.group, 0))
            assert d.late_data == sums[b[0], a[1]].get(d.group, 0) - sums[a].get(d.group, 0)
            assert a[1] != b[1] or d.factors == 0
    by_day = difference(tmp_path, Known(3, OLD), Known(8, NEW), by="day")
    assert {d.group for d in by_day} == {"2026-01-01"}


def test_factors_that_end_are_left_at_the_commit_they_cover(tmp_path: Path) -> None:
    batches = split(drive(1200), 6)
    made = build(tmp_path, batches[:3])
    rebuild(tmp_path, NEW, now_ns=made.clock)
    build(tmp_path, batches[3:], factors=NEW, clock=made.clock)
    assert missing(tmp_path, Known(7, NEW)) == 0
    assert missing(tmp_path, Known(7, OLD)) == sum(b["seq"].size for b in batches[3:])
    [found] = difference(tmp_path, Known(3, OLD), Known(7, NEW), columns=["readings"])
    assert (found.late_data, found.factors) == (sum(b["seq"].size for b in batches[3:]), 0)
    with pytest.raises(StorageError, match=f"rebuild --factors {OLD} makes them"):
        difference(tmp_path, Known(7, OLD), Known(7, NEW))


def test_a_rebuilt_factor_set_is_not_shown_in_part(tmp_path: Path) -> None:
    made, _ = grown(tmp_path)
    rebuild(tmp_path, NEW, now_ns=made.clock)
    sets = {n: [row[0] for row in answers(tmp_path, n)[0]] for n in (2, 3, 5, 7, 8)}
    assert sets == {2: [OLD], 3: [OLD, NEW], 5: [OLD], 7: [OLD, NEW], 8: [OLD, NEW]}
    with pytest.raises(StorageError, match="for the ends of hours"):
        difference(tmp_path, Known(2, NEW), Known(8, NEW))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, seen = grown(tmp_path)
    rebuild(tmp_path, NEW, now_ns=made.clock)
    words = ["sql", "--format", "csv", "--as-of", "2026-01-01T00:40", "SELECT sum(co2e_ttw_ug) FROM rollups"]
    assert main(["--lake", str(tmp_path), *words]) == 0
    assert capsys.readouterr().out.splitlines()[1] == str(seen[2][0][0][2])
    pairs = ["--before", "3", OLD, "--after", "8", NEW, "--format", "json"]
    assert main(["--lake", str(tmp_path), "diff", *pairs]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [t["sum"] for t in told] == ["co2e_ttw_ug", "co2e_wtt_ug", "distance_mm", "readings"]
    assert all(t["before"] + t["late_data"] + t["factors"] == t["after"] for t in told)
    assert told[0]["factors"] != 0
    assert told[2]["factors"] == 0
    assert main(["--lake", str(tmp_path), "sql", "--as-of", "yesterday", "SELECT 1"]) == 2
    assert "Invalid isoformat string" in capsys.readouterr().err
