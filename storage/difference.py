"""Why a figure changed between two (knowledge, factor set) pairs: other factors, or data that came late. Exact, in integers."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import duckdb
import pyarrow.parquet as pq

from storage.as_of import files_at
from storage.errors import StorageError
from storage.inventory import active
from storage.query import connect
from storage.schema import ROLLUP_SUMS

BY: Final = {"total": "'total'", "route": "route", "asset": "asset", "kind": "kind", "day": "CAST(day AS VARCHAR)"}
By = Literal["total", "route", "asset", "kind", "day"]
COLUMNS: Final = ("co2e_ttw_ug", "co2e_wtt_ug", "distance_mm", "readings")


@dataclass(frozen=True, slots=True)
class Known:
    """What was known at commit ``n``, under a factor set."""

    n: int
    factor_set: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One sum of one group: ``before + late_data + factors == after``."""

    group: str | None
    column: str
    before: int
    late_data: int
    factors: int
    after: int


def difference(
    lake: Path, before: Known, after: Known, *, by: By = "total", columns: Sequence[str] = COLUMNS
) -> list[Difference]:
    """The change of the rollups' sums from ``before`` to ``after``, group by group.

    Late data are taken under the old factors, then the factors change; where the old factors have no results for the late data, the
    other way round. Raises StorageError where neither factor set covers both, or a state cannot be read any more.
    """
    for name in columns:
        if name not in ROLLUP_SUMS:
            raise ValueError(f"{name} is no additive column; there are {', '.join(ROLLUP_SUMS)}")
    for known in (before, after):
        _need_whole(lake, known)
    late_first = missing(lake, Known(after.n, before.factor_set)) == 0
    middle = Known(after.n, before.factor_set) if late_first else Known(before.n, after.factor_set)
    if not late_first:
        _need_whole(lake, middle)
    a, m, b = (_sums(lake, known, by, columns) for known in (before, middle, after))
    found = []
    for group in sorted({*a, *m, *b}, key=str):
        for i, column in enumerate(columns):
            start, between, end = (side.get(group, (0,) * len(columns))[i] for side in (a, m, b))
            first, second = between - start, end - between
            late, factors = (first, second) if late_first else (second, first)
            found.append(Difference(group, column, start, late, factors, end))
    return found


def missing(lake: Path, known: Known) -> int:
    """How many readings known then have no result under the factor set: rows of ``readings`` less those of ``emissions``, by day."""
    files = files_at(lake, known.n, ("readings", "emissions"))
    wanted: Counter[str] = Counter()
    for path, rows in _rows_by_file(lake / "readings", files["readings"]):
        wanted[_part(path, "day")] += rows
    for path, rows in _rows_by_file(lake / "emissions", files["emissions"]):
        if _part(path, "factor_set") == known.factor_set and _part(path, "day") in wanted:
            wanted[_part(path, "day")] -= rows
    return sum(abs(n) for n in wanted.values())


def _part(path: str, name: str) -> str:
    return next((p.partition("=")[2] for p in path.split("/") if p.startswith(f"{name}=")), "")


def _rows_by_file(table: Path, paths: Sequence[str]) -> Iterator[tuple[str, int]]:
    known = {path: told.rows for path, told in active(table.parent, table.name).items()}
    for path in paths:
        yield path, known[path] if path in known else pq.read_metadata(table / path).num_rows


def _need_whole(lake: Path, known: Known) -> None:
    if left := missing(lake, known):
        raise StorageError(
            lake,
            f"{left} readings known at commit {known.n} have no result under {known.factor_set};"
            f" python -m storage rebuild --factors {known.factor_set} makes them, for the ends of hours",
        )


def _sums(lake: Path, known: Known, by: By, columns: Sequence[str]) -> dict[str | None, tuple[int, ...]]:
    con = connect(lake, as_of=known.n)
    sums = ", ".join(f"sum({c})" for c in columns)
    sql = f"SELECT {BY[by]}, {sums} FROM rollups WHERE factor_set = $name GROUP BY 1"  # noqa: S608  our own names
    try:
        rows = con.execute(sql, {"name": known.factor_set}).fetchall()
    except duckdb.Error as e:
        raise StorageError(lake, f"a file of commit {known.n} cannot be read: {e}") from e
    return {row[0]: tuple(int(v or 0) for v in row[1:]) for row in rows}
