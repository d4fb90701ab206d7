"""Answers are made once for all who ask, given again while fresh, and never kept without bound."""

import asyncio

import pytest

from dashboards.feed.cache import ENTRIES, FRESH_NS, STALE_NS, Cache


class Clock:
    ns = 0

    def __call__(self) -> int:
        return self.ns


def test_many_who_ask_at_once_share_one_answer() -> None:
    async def main() -> None:
        clock, made = Clock(), 0
        cache, go = Cache(clock), asyncio.Event()

        async def make() -> bytes:
            nonlocal made
            made += 1
            await go.wait()
            return b"x%d" % made

        waiting = [asyncio.create_task(cache.get("k", make)) for _ in range(10)]
        await asyncio.sleep(0)
        go.set()
        assert {(await w).content for w in waiting} == {b"x1"}
        assert (await cache.get("k", make)).content == b"x1"
        clock.ns += FRESH_NS
        assert (await cache.get("k", make)).content == b"x1"  # the old one, while the new one is made
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (await cache.get("k", make)).content == b"x2"
        clock.ns += STALE_NS
        assert (await cache.get("k", make)).content == b"x3"

    asyncio.run(main())


def test_an_error_is_told_to_all_and_not_kept() -> None:
    async def main() -> None:
        cache = Cache(lambda: 0)

        async def fail() -> bytes:
            raise ValueError("no")

        async def work() -> bytes:
            return b"yes"

        with pytest.raises(ValueError, match="no"):
            await cache.get("k", fail)
        assert (await cache.get("k", work)).content == b"yes"

    asyncio.run(main())


def test_the_oldest_answers_are_let_go() -> None:
    async def main() -> None:
        cache = Cache(lambda: 0)

        async def make() -> bytes:
            return b""

        for n in range(ENTRIES + 1):
            await cache.get(n, make)
        assert cache.fresh(0) is None
        assert cache.fresh(ENTRIES) is not None

    asyncio.run(main())
