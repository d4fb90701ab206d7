"""Live progress by Server-Sent Events. Each event carries the whole state at a commit and the commits since the event before it.

The event's id is the commit's number. A client that reconnects with ``Last-Event-ID`` gets what it missed: from the backlog of
its channel, or, where that no longer reaches back, the missing commits from the ledger (event ``resume``) and then the state. So the
commit numbers a client sees have no gap, and no state is older than the newest commit when it was sent.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from pathlib import Path
from typing import Any, Final

import msgspec

from dashboards.feed.answers import Commit, commit_of
from dashboards.feed.problem import ProblemError
from dashboards.feed.reader import CommitMark, commits_between
from storage.errors import StorageError

BACKLOG: Final = 600  # events kept per channel: ten minutes at one per second
CHANNELS: Final = 64  # kinds of question at once (rights x breakdown x factor set); each is asked once per commit
RESUME_CHUNK: Final = 500  # commits per event ``resume``
HEARTBEAT_S: Final = 15.0  # a comment, so that proxies keep the connection and a dead one is noticed
PAUSE_S: Final = 0.25  # between two looks at the lake

Ask = Callable[[], Awaitable[Any]]


class Event(msgspec.Struct, frozen=True):
    """One event as sent."""

    n: int
    text: bytes


def encode(name: str, n: int, data: Any) -> bytes:
    """An event in the form of the standard: JSON on one data line."""
    return b"event: %s\nid: %d\ndata: %s\n\n" % (name.encode(), n, msgspec.json.encode(data))


class Channel:
    """Everyone with the same rights who asks the same."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.listeners = 0
        self.backlog: deque[Event] = deque(maxlen=BACKLOG)
        self.covers_from = 0  # the backlog holds every commit above this number
        self.asking = asyncio.Lock()
        self._changed = asyncio.Event()

    def publish(self, event: Event, after: int) -> None:
        """Add an event that covers the commits above ``after``."""
        if self.backlog and self.backlog[-1].n < after:  # commits in between are told from the ledger
            self.backlog.clear()
        if not self.backlog:
            self.covers_from = after
        elif len(self.backlog) == BACKLOG:
            self.covers_from = self.backlog[0].n
        self.backlog.append(event)
        self._changed.set()
        self._changed = asyncio.Event()

    def after(self, known: int) -> Event | None:
        """The oldest event above commit ``known``."""
        found = None
        for event in reversed(self.backlog):
            if event.n <= known:
                break
            found = event
        return found

    async def wait(self) -> bool:
        """Wait for an event; False after a heartbeat without one."""
        try:
            await asyncio.wait_for(self._changed.wait(), HEARTBEAT_S)
        except TimeoutError:
            return False
        return True


class Hub:
    """Looks for commits, asks each channel's question once per commit, and feeds its listeners."""

    def __init__(self, lake: Path, refresh: Callable[[], CommitMark | None]) -> None:
        self._lake, self._refresh = lake, refresh
        self._channels: dict[Hashable, Channel] = {}
        self._newest: CommitMark | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for commits, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._look())

    async def stop(self) -> None:
        """End all streams."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            try:
                newest = await asyncio.to_thread(self._refresh)
            except StorageError:
                newest = self._newest  # a log that is being cleaned; the next look reads it again
            if newest != self._newest:
                before, self._newest = self._newest, newest
                if newest is not None:
                    await self._tell(newest, before.n if before else newest.n - 1)
            await asyncio.sleep(PAUSE_S)

    async def _tell(self, newest: CommitMark, after: int) -> None:
        for key in [k for k, c in self._channels.items() if not c.listeners]:
            del self._channels[key]
        for channel in list(self._channels.values()):
            since = channel.backlog[-1].n if channel.backlog else after
            if newest.n > since:
                await self._event(channel, newest, since)

    async def _event(self, channel: Channel, newest: CommitMark, after: int) -> None:
        """One event with the state at ``newest`` and the commits above ``after``."""
        async with channel.asking:
            if channel.backlog and channel.backlog[-1].n >= newest.n:
                return
            try:
                figures = await channel.ask()
            except ProblemError:
                return  # the next commit asks again; a rebuilt lake may hold no results for a moment
            first = max(after, newest.n - RESUME_CHUNK)
            commits = await asyncio.to_thread(_commits, self._lake, first, newest.n)
            text = encode("progress", newest.n, {"commits": commits, "progress": figures})
            channel.publish(Event(newest.n, text), first)

    async def listen(self, key: Hashable, ask: Ask, last: int | None) -> AsyncIterator[bytes]:
        """The stream of one client. ``last`` is the newest commit it knows of.

        Raises ProblemError 503 where there are too many channels.
        """
        channel = self._channels.get(key)
        if channel is None:
            if len(self._channels) >= CHANNELS and all(c.listeners for c in self._channels.values()):
                raise ProblemError(503, "too many different live questions at once; ask again later")
            channel = self._channels[key] = Channel(ask)
        channel.listeners += 1
        try:
            async for text in self._stream(channel, last):
                yield text
        finally:
            channel.listeners -= 1

    async def _stream(self, channel: Channel, last: int | None) -> AsyncIterator[bytes]:
        newest = self._newest
        if newest is not None and not channel.backlog:
            await self._event(channel, newest, newest.n - 1)
        yield b": fleetco2 live progress\nretry: 2000\n\n"
        known = last if last is not None else (newest.n - 1 if newest else 0)
        if newest is not None and known > newest.n:  # another lake, or one that was rebuilt: begin anew
            known = newest.n - 1
        while True:
            if channel.backlog and known < channel.covers_from:
                until = min(known + RESUME_CHUNK, channel.covers_from)
                commits = await asyncio.to_thread(_commits, self._lake, known, until)
                yield encode("resume", until, {"commits": commits})
                known = until
            elif (event := channel.after(known)) is not None:
                yield event.text
                known = event.n
            elif not await channel.wait():
                yield b": alive\n\n"


def _commits(lake: Path, after: int, until: int) -> list[Commit]:
    return [c for mark in commits_between(lake, after, until) if (c := commit_of(mark)) is not None]
