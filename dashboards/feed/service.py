"""What the HTTP handlers share: lake, keys, log, archive, cache, live streams. Made once per process; nothing connects before ``open``."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable
from pathlib import Path
from typing import Any, Final, Literal

import duckdb
import msgspec

from dashboards.feed import answers, tables
from dashboards.feed.access import Access, Audit
from dashboards.feed.answers import Archived, Progress
from dashboards.feed.archive import Archive, Cell
from dashboards.feed.cache import Answer, Cache
from dashboards.feed.config import FeedConfig
from dashboards.feed.keys import Key
from dashboards.feed.live import Hub
from dashboards.feed.orders import History, Orders
from dashboards.feed.periods import Period, month_of
from dashboards.feed.problem import ProblemError
from dashboards.feed.progress import Figure
from dashboards.feed.reader import CommitMark, Reader
from dashboards.feed.requests import Requests
from dashboards.feed.sums import By
from storage.errors import StorageError
from storage.proof import latest_root

Form = Literal["json", "csv", "parquet", "arrow"]
ROOT_EVERY_NS: Final = 10_000_000_000  # a root is made once an hour


class Question(msgspec.Struct, frozen=True):
    """A question for progress."""

    by: By
    period: Period
    tenant: str | None
    factor_set: str | None
    form: Form = "json"


class Feed:
    """The feed over one lake, as of now or as of a commit."""

    def __init__(
        self,
        lake: Path,
        tenant: str,
        config: FeedConfig,
        now_ns: Callable[[], int] = time.time_ns,
        *,
        as_of: int | None = None,
    ) -> None:
        self.config, self.now_ns = config, now_ns
        self.lake = lake
        self.reader = Reader(lake, tenant, now_ns, as_of=as_of)
        self.access = Access(Path(config.keys), now_ns, token_s=config.token_s, rate=config.rate)
        self.audit = Audit(Path(config.audit), now_ns)
        self.archive = Archive(Path(config.figures), now_ns)
        self.orders = Orders(Path(config.orders) if config.orders else None)
        self.history = History(Path(config.figures) / "labels")
        self.requests = Requests(Path(config.figures) / "events.jsonl")
        self.hub = Hub(lake, self._newest)
        self._cache = Cache(now_ns)
        self._streams: Counter[str] = Counter()
        self._sealed = (-ROOT_EVERY_NS, 0)

    async def open(self) -> None:
        """Begin to look for commits."""
        self.hub.start()

    async def close(self) -> None:
        """End streams and queries."""
        await self.hub.stop()
        await asyncio.to_thread(self.reader.close)
        self.audit.close()

    def _newest(self) -> CommitMark | None:
        self.reader.refresh()
        return self.reader.newest

    def sealed(self) -> int:
        """The newest commit under a signed root; 0 where there is none."""
        now = self.now_ns()
        if now - self._sealed[0] >= ROOT_EVERY_NS:
            try:
                root = latest_root(self.lake)
            except StorageError:
                root = None
            self._sealed = (now, root.last if root is not None and root.signature else 0)
        return self._sealed[1]

    def archived(self, tenant: str, by: str, name: str, period: Period, factor_set: str) -> Archived | None:
        """The newest published version of a cell's figure."""
        found = self.archive.newest("progress", Cell(tenant, by, name), period, factor_set)
        if found is None:
            return None
        return Archived(found.id, found.commits.last <= self.sealed(), found.sums)

    def answer(self, cursor: duckdb.DuckDBPyConnection, key: Key, q: Question) -> Progress:
        """Progress, in this thread. Raises ProblemError."""
        return answers.progress(
            cursor,
            self.reader,
            key,
            q.by,
            q.period,
            tenant=q.tenant,
            asked_set=q.factor_set,
            k=self.config.k,
            rules=self.config.rules,
            archive=self.archived,
        )

    def _encoded(self, cursor: duckdb.DuckDBPyConnection, key: Key, q: Question) -> bytes:
        found = self.answer(cursor, key, q)
        if q.form == "json":
            return msgspec.json.encode(found)
        head = {"from": found.from_, "to": found.to, "factor_set": found.factor_set}
        return tables.encode(q.form, tables.table_of(found.figures, Figure, head))

    async def progress(self, key: Key, q: Question) -> Answer:
        """Progress as it is sent, from the cache where it is fresh. Raises ProblemError."""
        answers.may_ask(key, q.by, q.period, q.tenant)
        return await self._cache.get(
            ("progress", rights(key), q), lambda: self.reader.run(lambda cursor: self._encoded(cursor, key, q))
        )

    async def cached(self, key: Hashable, make: Callable[[duckdb.DuckDBPyConnection], Any]) -> Answer:
        """Any other answer as JSON, kept like progress. ``key`` must hold the rights."""
        return await self._cache.get(key, lambda: self.reader.run(lambda cursor: msgspec.json.encode(make(cursor))))

    async def stream(
        self, key: Key, by: By, tenant: str | None, factor_set: str | None, last: int | None
    ) -> AsyncIterator[bytes]:
        """Live progress of the running month. Ends when the key does. Raises ProblemError 403 and 503."""
        answers.may_ask(key, by, month_of(self.now_ns()), tenant)

        async def ask() -> msgspec.Raw:
            q = Question(by, month_of(self.now_ns()), tenant, factor_set)
            return msgspec.Raw(await self.reader.run(lambda cursor: self._encoded(cursor, key, q)))

        self._streams[key.id] += 1
        try:
            async for text in self.hub.listen((rights(key), by, tenant, factor_set), ask, last):
                yield text
                if not self.access.stands(key.id):
                    return
        finally:
            self._streams[key.id] -= 1

    def check_streams(self, key: Key) -> None:
        """Whether one more live stream may be opened. Raises ProblemError 429 and 503."""
        if self._streams[key.id] >= self.config.streams_per_key:
            raise ProblemError(429, f"{self.config.streams_per_key} live streams of this key are open; close one first")
        if self._streams.total() >= self.config.streams:
            raise ProblemError(503, "too many live streams are open; ask again later, or take /v1/progress")


def rights(key: Key) -> Hashable:
    """What two keys must share to be given the same answer."""
    return key.tenants, key.regions, key.detail
