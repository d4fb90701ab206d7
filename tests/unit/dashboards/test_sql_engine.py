"""The engine: shared runs, remembered answers, places for short and long queries."""

import asyncio
from pathlib import Path

import pytest

from dashboards.config import SqlConfig
from dashboards.sql.check import Plan, Surroundings
from dashboards.sql.engine import Engine
from dashboards.sql.errors import BUSY, CANCELLED, SqlError
from dashboards.sql.lanes import Lanes
from tests.sql_server import make_lake

ENDLESS = "SELECT count(*) FROM generate_series({}, 100000000000) AS t(a) WHERE hash(a) = 7"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lake(tmp_path_factory.mktemp("lake") / "lake", rows=200)


def config(**settings: float) -> SqlConfig:
    return SqlConfig(roles="roles.json", memory_mb=256, **settings)  # type: ignore[arg-type]


async def _one_run_for_all(lake: Path) -> None:
    engine = Engine(config(cache_s=30.0), lake, "acme")
    tenancy = await engine.tenancy("*")
    plan = Plan("SELECT uuid() AS id")
    together = await asyncio.gather(*(engine.run(tenancy, plan) for _ in range(20)))
    assert len({r.pieces for r in together}) == 1
    later = await engine.run(tenancy, plan)
    assert later.pieces == together[0].pieces  # remembered
    assert (await engine.run(tenancy, plan, (), (1,))).pieces != later.pieces  # another format is another answer
    acme = await engine.tenancy("acme")
    assert (await engine.run(acme, plan)).pieces != later.pieces  # another tenant's
    await engine.close()


def test_one_run_for_all_who_ask_at_once_and_for_nobody_else(lake: Path) -> None:
    asyncio.run(_one_run_for_all(lake))


def test_nothing_is_remembered_for_longer_than_asked(lake: Path) -> None:
    async def body() -> None:
        engine = Engine(config(cache_s=0.0), lake, "")
        tenancy = await engine.tenancy("*")
        first, second = [await engine.run(tenancy, Plan("SELECT uuid() AS id")) for _ in range(2)]
        assert first.pieces != second.pieces
        await engine.close()

    asyncio.run(body())


def test_a_runaway_does_not_hold_up_the_others(lake: Path) -> None:
    async def body() -> None:
        settings = config(at_once=1, long_at_once=1, time_s=60.0, threads=2)
        engine = Engine(settings, lake, "", long_s=0.1, patience_s=0.5)
        tenancy = await engine.tenancy("*")
        first = asyncio.create_task(engine.run(tenancy, Plan(ENDLESS.format(1))))
        second = asyncio.create_task(engine.run(tenancy, Plan(ENDLESS.format(2))))
        answers = await asyncio.gather(*(engine.run(tenancy, Plan(f"SELECT {i} AS i")) for i in range(20)))
        assert [a.rows for a in answers] == [1] * 20
        with pytest.raises(SqlError, match=r"1 queries of more than 0\.1 s run already") as refused:
            await second  # one long one keeps its place, the next holds up the others and goes
        assert refused.value.state == BUSY
        assert not first.done()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await engine.close()

    asyncio.run(body())


def test_the_time_is_up(lake: Path) -> None:
    async def body() -> None:
        engine = Engine(config(time_s=0.2), lake, "")
        tenancy = await engine.tenancy("*")
        with pytest.raises(SqlError, match=r"longer than 0\.2 s") as ended:
            await engine.run(tenancy, Plan(ENDLESS.format(1)))
        assert ended.value.state == CANCELLED
        await engine.close()

    asyncio.run(body())


def test_who_leaves_does_not_end_the_run_of_others(lake: Path) -> None:
    async def body() -> None:
        engine = Engine(config(time_s=60.0), lake, "")
        tenancy = await engine.tenancy("*")
        slow = Plan("SELECT count(*) AS n FROM generate_series(1, 30000000) AS t(a) WHERE hash(a) = 7")
        one, two = (asyncio.create_task(engine.run(tenancy, slow)) for _ in range(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        one.cancel()
        assert (await two).rows == 1
        assert one.cancelled()
        await engine.close()

    asyncio.run(body())


def test_places_are_given_in_turn_and_the_queue_ends() -> None:
    async def body() -> None:
        lanes = Lanes(short=1, long=1, queue=2)
        order: list[int] = []
        await lanes.enter()

        async def ask(i: int) -> None:
            await lanes.enter()
            order.append(i)

        waiting = [asyncio.create_task(ask(i)) for i in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(SqlError, match="2 queries wait already"):
            await lanes.enter()
        lanes.leave()
        await waiting[0]
        assert order == [0]
        assert lanes.become_long()  # its place goes to the next
        await waiting[1]
        assert order == [0, 1]
        assert not lanes.become_long()
        lanes.leave_long()
        assert lanes.become_long()

    asyncio.run(body())


def test_a_place_that_is_no_longer_wanted_goes_on() -> None:
    async def body() -> None:
        lanes = Lanes(short=1, long=1, queue=5)
        await lanes.enter()
        gone, stays = (asyncio.create_task(lanes.enter()) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        lanes.leave()
        await stays
        assert gone.cancelled() or gone.done()

    asyncio.run(body())


@pytest.mark.parametrize("rows", [0, 1])
def test_a_plan_without_rows_or_columns(lake: Path, rows: int) -> None:
    async def body() -> None:
        engine = Engine(config(), lake, "")
        result = await engine.run(await engine.tenancy("*"), Plan(f"SELECT 1 AS i WHERE {rows} = 1"))
        assert result.rows == rows
        await engine.close()

    asyncio.run(body())


def test_viewers_of_one_minute_share_a_plan_where_minutes_are_asked_for(lake: Path) -> None:
    async def body() -> None:
        engine = Engine(config(), lake, "acme")
        store = (await engine.tenancy("*")).store
        around = Surroundings(store.relations, store.column_types, "fleetco2", "x", 1, "v", lambda _: None)
        asked = "SELECT count(*) FROM {} WHERE time BETWEEN '2026-11-22T00:00:{:02}Z' AND '2026-11-22T03:00:{:02}.5Z'"
        minutes = [await engine.plan(asked.format("rollups", s, s), around) for s in (1, 30, 59)]
        assert minutes[0] is minutes[1] is minutes[2]
        exact = [await engine.plan(asked.format("readings", s, s), around) for s in (1, 30)]
        assert exact[0].sql != exact[1].sql
        assert "00:00:30Z" in exact[1].sql
        assert await engine.plan(asked.format("readings", 30, 30), around) is exact[1]
        await engine.close()

    asyncio.run(body())
