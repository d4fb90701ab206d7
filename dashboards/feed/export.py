"""Rows of a table over a period, streamed: memory holds one batch whatever the period is."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Final, Literal

import duckdb

from dashboards.feed import tables
from dashboards.feed.keys import ALL, Key
from dashboards.feed.periods import Period
from dashboards.feed.problem import ProblemError
from dashboards.feed.reader import Reader

Exported = Literal["rollups", "trips", "events"]
BATCH_ROWS: Final = 16_384  # about 4 MB of rollups
TIME_OF: Final = {"rollups": "minute_ns", "trips": "trip_start_ns", "events": "time_ns"}


def _sql(table: Exported) -> str:
    return f"""
SELECT coalesce(owned.tenant, $own) AS tenant, t.*
FROM {table} AS t JOIN (
  SELECT vehicle AS asset, tenant FROM vehicles UNION ALL SELECT warehouse, tenant FROM warehouses
) AS owned USING (asset)
WHERE t.day BETWEEN $first_day AND $last_day AND t.{TIME_OF[table]} >= $from_ns AND t.{TIME_OF[table]} < $to_ns
  AND t.factor_set = $factor_set AND ($every OR list_contains($tenants, coalesce(owned.tenant, $own)))"""  # noqa: S608


def chunks(
    cursor: duckdb.DuckDBPyConnection, key: Key, table: Exported, form: str, period: Period, factor_set: str, own: str
) -> Iterator[bytes]:
    """The rows that the key may see, in ``form``."""
    first, last = period.days
    bound = {
        "own": own,
        "first_day": first,
        "last_day": last,
        "from_ns": period.from_ns,
        "to_ns": period.to_ns,
        "factor_set": factor_set,
        "every": ALL in key.tenants,
        "tenants": list(key.tenants),
    }
    found = cursor.sql(_sql(table), params=bound)
    if found is not None:  # a SELECT always gives a relation
        reader = found.to_arrow_reader(BATCH_ROWS)
        yield from tables.stream(form, reader.schema, reader)


def may_export(key: Key) -> None:
    """Raises ProblemError 403: single rows tell about single vehicles."""
    if not key.reaches("vehicles") or not key.sees_region(None):
        raise ProblemError(403, "rows need a key of detail 'vehicles' without limits to regions; take /v1/progress")


async def stream(
    reader: Reader, key: Key, table: Exported, form: str, period: Period, factor_set: str
) -> AsyncIterator[bytes]:
    """The rows, each batch made in a thread of its own turn: a slow client holds one batch and no worker."""
    cursor = reader.cursor()
    found = chunks(cursor, key, table, form, period, factor_set, reader.own_tenant)
    try:
        while (part := await asyncio.to_thread(next, found, None)) is not None:
            yield part
    finally:
        cursor.interrupt()
        cursor.close()
