"""Runs queries for sessions: one run for those who ask the same at once, a short memory of answers, and limits.

An answer is given again for ``cache_s`` after its data were looked at; near the end of that the next run begins in the background, so
of many viewers of one panel none waits. With the look itself, a commit shows within ``cache_s`` + ``REFRESH_S`` and a run.
"""

import asyncio
import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from dashboards.config import SqlConfig
from dashboards.sql import check
from dashboards.sql.check import Plan, Surroundings
from dashboards.sql.errors import BUSY, CANCELLED, LAKE, OUT_OF_MEMORY, SqlError
from dashboards.sql.lanes import LONG_S, PATIENCE_S, Lanes
from dashboards.sql.protocol import Field
from dashboards.sql.roles import EVERYONE
from dashboards.sql.session import DEFAULTS
from dashboards.sql.store import CANCELLED_BY_USER, REFRESH_S, Job, Limits, Result, Store, open_store
from storage.errors import StorageError
from storage.views import Tenant

CACHE_BYTES: Final = 64_000_000  # answers remembered, over all tenants
AHEAD: Final = 0.8  # of an answer's time, after which the next one is made: earlier costs runs, later costs a wait
CACHE_SHARE: Final = 8  # an answer over this part of it is not remembered
PLANS: Final = 2_000  # checked statements remembered
CHECKERS: Final = 2  # threads that check statements; one takes about 2 ms
_STOP_AGAIN_S: Final = 0.05
_LOOK_AGAIN_S: Final = 0.1  # how late a query may learn that its time is up, and how often it is told
Key = tuple[object, ...]


@dataclass
class _Flight:
    """One run, and how many wait for it: it ends when nobody does. A run for later counts as one."""

    job: Job
    task: "asyncio.Task[Result] | None" = None
    waiters: int = 0


@dataclass
class _Tenancy:
    store: Store
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    running: list[Job] = field(default_factory=list)


class Engine:
    """All stores of one server; used from one event loop. ``close`` waits for what runs."""

    def __init__(
        self, config: SqlConfig, lake: Path, unnamed: str, *, long_s: float = LONG_S, patience_s: float = PATIENCE_S
    ) -> None:
        """``unnamed``: the tenant that owns what the registry gives to nobody; blank = none does."""
        self._config = config
        self._lake = lake
        self._unnamed = unnamed
        self._long_s = long_s
        self._patience_s = patience_s
        cores = os.cpu_count() or 2
        self._short = config.at_once or cores + 2
        self._threads = self._short + 2 * config.long_at_once + 2
        self._lanes = Lanes(self._short, config.long_at_once, config.queue)
        self._runners = ThreadPoolExecutor(self._threads, thread_name_prefix="sql")
        self._checkers = ThreadPoolExecutor(CHECKERS, thread_name_prefix="sql-check")
        self._lookers = ThreadPoolExecutor(1, thread_name_prefix="sql-look")
        self._limits = Limits(config.rows, config.result_mb * 1_000_000)
        self._tenancies: dict[str, asyncio.Future[_Tenancy]] = {}
        self._flights: dict[Key, _Flight] = {}
        self._answers: OrderedDict[Key, tuple[float, Result]] = OrderedDict()
        self._answers_size = 0
        self._plans: OrderedDict[Key, Plan] = OrderedDict()

    async def close(self) -> None:
        """End what runs and let go of the threads."""
        for flight in list(self._flights.values()):
            flight.job.stop(SqlError("57P01", "the server goes down", fatal=True))
        await asyncio.gather(*(f.task for f in self._flights.values() if f.task), return_exceptions=True)
        for pool in (self._runners, self._checkers, self._lookers):
            pool.shutdown(wait=True)

    async def tenancy(self, tenant: str) -> "_Tenancy":
        """The open store of a tenant (``*`` = all rows). Raises SqlError."""
        future = self._tenancies.get(tenant)
        if future is None:
            future = self._tenancies[tenant] = asyncio.ensure_future(self._open(tenant))
        try:
            return await asyncio.shield(future)
        except SqlError:
            self._tenancies.pop(tenant, None)
            raise

    async def _open(self, tenant: str) -> "_Tenancy":
        whose = None if tenant == EVERYONE else Tenant(tenant, owns_unnamed=tenant == self._unnamed)
        make = partial(
            open_store,
            self._lake,
            whose,
            unnamed=self._unnamed,
            database=self._config.database,
            memory_mb=self._config.memory_mb,
            threads=self._config.threads,
            cursors=self._threads + CHECKERS,
            settings=DEFAULTS,
        )
        try:
            return _Tenancy(await asyncio.get_running_loop().run_in_executor(self._lookers, make))
        except StorageError as error:
            raise SqlError(LAKE, "the lake cannot be read now; the server's log says more", fatal=True) from error

    async def plan(self, sql: str, around: Surroundings, declared: Sequence[int] = ()) -> Plan:
        """Check a statement. Raises SqlError."""
        tenant_free = (around.user, around.pid) if _asks_session(sql) else ()
        key: Key = (id(around.relations), sql, tuple(declared), *tenant_free)
        if not tenant_free and key in self._plans:
            self._plans.move_to_end(key)
            return self._plans[key]
        run = partial(check.plan, sql, around, declared)
        made = await asyncio.get_running_loop().run_in_executor(self._checkers, run)
        if not tenant_free:
            self._plans[key] = made
            if len(self._plans) > PLANS:
                self._plans.popitem(last=False)
        return made

    async def describe(self, tenancy: "_Tenancy", plan: Plan) -> tuple[Field, ...]:
        """The columns of a plan without running it. Raises SqlError."""
        return await asyncio.get_running_loop().run_in_executor(self._checkers, tenancy.store.describe, plan)

    async def run(
        self, tenancy: "_Tenancy", plan: Plan, values: Sequence[Any] = (), formats: Sequence[int] = ()
    ) -> Result:
        """The answer, from memory or from a run that others may share. Raises SqlError; a cancelled caller leaves the run to others."""
        now = asyncio.get_running_loop().time()
        key: Key = (id(tenancy), plan.sql, plan.names, _hashable(values), tuple(formats))
        flight = self._flights.get(key)
        known = self._answers.get(key)
        if known is not None and now - known[0] < self._config.cache_s:
            if flight is None and now - known[0] > self._config.cache_s * AHEAD:
                begun = self._begin(key, tenancy, plan, values, formats)  # so that the next to ask need not wait
                begun.waiters = 1
            return known[1]
        flight = flight or self._begin(key, tenancy, plan, values, formats)
        task = flight.task
        if task is None:
            raise AssertionError("a flight has its task from the start")
        flight.waiters += 1
        try:
            return await asyncio.shield(task)
        finally:
            flight.waiters -= 1
            if flight.waiters == 0 and not task.done():
                if self._flights.get(key) is flight:
                    del self._flights[key]
                flight.job.stop(CANCELLED_BY_USER)

    def _begin(
        self, key: Key, tenancy: "_Tenancy", plan: Plan, values: Sequence[Any], formats: Sequence[int]
    ) -> _Flight:
        flight = self._flights[key] = _Flight(Job())
        flight.task = asyncio.get_running_loop().create_task(self._fly(key, flight, tenancy, plan, values, formats))
        flight.task.add_done_callback(_heard)
        return flight

    async def _look(self, tenancy: "_Tenancy", plan: Plan) -> None:
        if tenancy.store.age_s(plan.reads) < REFRESH_S:
            return
        async with tenancy.lock:
            if tenancy.store.age_s(plan.reads) >= REFRESH_S:
                await asyncio.get_running_loop().run_in_executor(self._lookers, tenancy.store.look, plan.reads)

    async def _fly(
        self, key: Key, flight: _Flight, tenancy: "_Tenancy", plan: Plan, values: Sequence[Any], formats: Sequence[int]
    ) -> Result:
        try:
            await self._look(tenancy, plan)
            born = asyncio.get_running_loop().time()
            await self._lanes.enter()
            try:
                result = await self._timed(tenancy, plan, values, formats, flight.job)
            except SqlError as error:
                if error.state != OUT_OF_MEMORY or flight.job.why or not await self._make_room(tenancy, flight.job):
                    raise
                flight.job = Job(why=flight.job.why)
                await self._lanes.enter()
                result = await self._timed(tenancy, plan, values, formats, flight.job)
            self._remember(key, born, result)
            return result
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def _timed(
        self, tenancy: "_Tenancy", plan: Plan, values: Sequence[Any], formats: Sequence[int], job: Job
    ) -> Result:
        """One run in a thread, in the place that was entered; the place is left at the end."""
        loop = asyncio.get_running_loop()
        job.started = loop.time()
        tenancy.running.append(job)
        run = loop.run_in_executor(self._runners, tenancy.store.run, plan, values, formats, self._limits, job)
        leave = self._lanes.leave
        try:
            done, _ = await asyncio.wait([run], timeout=min(self._long_s, self._config.time_s))
            while not done:
                if (over := self._over(loop.time() - job.started, long=leave == self._lanes.leave_long)) is not None:
                    job.stop(over)
                elif leave != self._lanes.leave_long and self._lanes.become_long():
                    leave = self._lanes.leave_long
                done, _ = await asyncio.wait([run], timeout=_LOOK_AGAIN_S)
            return run.result()
        finally:
            tenancy.running.remove(job)
            leave()

    def _over(self, ran_s: float, *, long: bool) -> SqlError | None:
        """Why a query that has run for so long is to end, if it is."""
        if ran_s >= self._config.time_s:
            return SqlError(CANCELLED, f"the query took longer than {self._config.time_s:g} s and was ended")
        if not long and ran_s >= self._patience_s and self._lanes.crowded:
            text = f"{self._config.long_at_once} queries of more than {self._long_s:g} s run already and others wait; this one was ended"
            return SqlError(BUSY, text, hint="ask for less, or try again later")
        return None

    async def _make_room(self, tenancy: "_Tenancy", job: Job) -> bool:
        """After a query found no memory: end the longest-running one, if that is another and long. False where there is none."""
        now = asyncio.get_running_loop().time()
        others = [
            j for j in tenancy.running if j is not job and now - j.started > self._long_s and j.started < job.started
        ]
        if not others:
            return False
        hog = min(others, key=lambda j: j.started)
        while hog in tenancy.running:
            hog.stop(SqlError(OUT_OF_MEMORY, "the query held the memory that others needed and was ended"))
            await asyncio.sleep(_STOP_AGAIN_S)
        return True

    def _remember(self, key: Key, born: float, result: Result) -> None:
        if self._config.cache_s <= 0 or result.size > CACHE_BYTES // CACHE_SHARE:
            return
        self._forget(key)
        self._answers[key] = (born, result)
        self._answers_size += result.size
        while self._answers_size > CACHE_BYTES or self._oldest() < born - self._config.cache_s:
            self._forget(next(iter(self._answers)))

    def _oldest(self) -> float:
        return next(iter(self._answers.values()))[0] if self._answers else float("inf")

    def _forget(self, key: Key) -> None:
        if (old := self._answers.pop(key, None)) is not None:
            self._answers_size -= old[1].size


def _heard(task: "asyncio.Task[Result]") -> None:
    """A run that nobody waits for any more: its error is nobody's."""
    if not task.cancelled():
        task.exception()


def _hashable(values: Sequence[Any]) -> tuple[object, ...]:
    return tuple(repr(v) for v in values)


def _asks_session(sql: str) -> bool:
    """Whether the answer may depend on the session: then its plan is not shared."""
    text = sql.lower()
    return any(word in text for word in ("user", "current_", "pg_backend_pid", "set_config"))
