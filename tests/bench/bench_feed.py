"""The feed: cached progress on one core, a million rows in constant memory, live events to 500 clients."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from storage.lake import Lake
from storage.schema import to_arrow
from stream.columns import TABLES
from tests import feed_lake
from tests.bench.result import Result

CONNECTIONS = 32
SECONDS = 4.0
ROWS = 1_000_000
CLIENTS = 500
EVENTS = 5


@contextmanager
def _served(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.feed_child", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        yield child, int(child.stdout.readline())
        assert child.stdin is not None
        child.stdin.close()


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    [line] = [x for x in status.splitlines() if x.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


class _Asking(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, request: bytes, count: list[int]) -> None:
        self._request, self._count, self._buffer = request, count, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        assert self._buffer.startswith(b"HTTP/1.1 200"), self._buffer[:200]
        at = self._buffer.lower().index(b"content-length:") + 15
        length = int(self._buffer[at : self._buffer.index(b"\r\n", at)])
        if len(self._buffer) >= head + 4 + length:
            self._buffer = self._buffer[head + 4 + length :]
            self._count[0] += 1
            self._transport.write(self._request)


def _get(path: str, key: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n".encode()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _rate(port: int, key: str, pid: int) -> tuple[float, float]:
    """Requests per second, and per second of the server's CPU: what an otherwise idle core would give."""
    count, loop = [0], asyncio.get_running_loop()
    request = _get("/v1/progress?from=2026-10&tenant=acme", key)
    made = [
        (await loop.create_connection(lambda: _Asking(request, count), "127.0.0.1", port))[0]
        for _ in range(CONNECTIONS)
    ]
    await asyncio.sleep(2.0)
    before, started, cpu = count[0], time.perf_counter(), _cpu_s(pid)
    await asyncio.sleep(SECONDS)
    done = count[0] - before
    rate = done / (time.perf_counter() - started), done / max(0.01, _cpu_s(pid) - cpu)
    for transport in made:
        transport.close()
    return rate


def _million(lake: Path) -> None:
    """A month of a million minutes."""
    rng = np.random.default_rng(7)
    [first, *_] = days = feed_lake.days("2026-10-01", "2026-10-31")
    minutes = first + np.sort(rng.integers(0, len(days) * 1_440, ROWS)) * 60 * feed_lake.SECOND
    columns = {}
    for c in TABLES["rollups"]:
        if c.name == "minute_ns" or c.name.startswith("newest_"):
            columns[c.name] = minutes
        elif c.name == "asset":
            columns[c.name] = rng.integers(0, 6, ROWS).astype(np.int32)
        elif c.dtype in ("code", "int32"):
            columns[c.name] = np.zeros(ROWS, np.int32)
        elif c.dtype == "int64":
            columns[c.name] = rng.integers(0, 10**9, ROWS)
        else:
            raise TypeError(f"rollups have a column of {c.dtype} now: give it values here")
    rows = to_arrow("rollups", columns, feed_lake.NAMES)
    with Lake.open(lake, create=False, now_ns=lambda: feed_lake.NOW) as open_lake:
        open_lake.commit(replace(feed_lake.commit_of(), rollups=rows))


async def _export(port: int, key: str, pid: int) -> tuple[float, float, float]:
    """Seconds, megabytes sent, growth of the server's memory in megabytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    before, most, sent = _rss_mb(pid), 0.0, 0
    started = time.perf_counter()
    writer.write(
        _get("/v1/export/csv/rollups?from=2026-10", key).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    )
    while part := await reader.read(1 << 20):
        sent += len(part)
        most = max(most, _rss_mb(pid))
    writer.close()
    return time.perf_counter() - started, sent / 1e6, most - before


async def _listen(port: int, key: str, seen: list[list[float]]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    writer.write(_get("/v1/live?tenant=acme", key))
    times: list[float] = []
    seen.append(times)
    while line := await reader.readline():
        if line.startswith(b"id: "):
            times.append(time.perf_counter())
    writer.close()


async def _fan_out(port: int, key: str, lake: Path) -> list[float]:
    """Longest time from a commit to its event, over all clients, per commit. [s]"""
    seen: list[list[float]] = []
    tasks = [asyncio.create_task(_listen(port, key, seen)) for _ in range(CLIENTS)]
    while len(seen) < CLIENTS or not all(seen):
        await asyncio.sleep(0.05)
    lags = []
    with Lake.open(lake, create=False, now_ns=lambda: feed_lake.NOW) as open_lake:
        for n in range(2, EVENTS + 2):
            commit = feed_lake.commit_of([feed_lake.rollup("van-0", feed_lake.NOW - 60 * feed_lake.SECOND)])
            await asyncio.to_thread(open_lake.commit, commit)
            made = time.perf_counter()
            while not all(len(times) >= n for times in seen):
                await asyncio.sleep(0.01)
            lags.append(max(times[n - 1] for times in seen) - made)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return lags


def run() -> list[Result]:
    """The server on one core, the clients on another."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, own - {0} or own)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            lake = feed_lake.build(folder / "lake")
            _, key = feed_lake.key_for(folder)
            with _served(folder) as (child, port):
                rate, per_cpu = asyncio.run(_rate(port, key, child.pid))
                lags = asyncio.run(_fan_out(port, key, lake))
            _million(lake)
            with _served(folder) as (child, port):
                took, sent, grown = asyncio.run(_export(port, key, child.pid))
                _, _, again = asyncio.run(_export(port, key, child.pid))
    finally:
        os.sched_setaffinity(0, own)
    return [
        Result("feed cached progress", rate, "requests/s", "one core, shared with whatever else runs; target 1,000"),
        Result("feed cached progress, per CPU", per_cpu, "requests/cpu-s", "an idle core; target 1,000"),
        Result(f"feed live lag, {CLIENTS} clients, longest", max(lags), "s", f"{EVENTS} commits; target 1"),
        Result("feed export, 1 M rows as CSV", ROWS / took, "rows/s", f"{sent:.0f} MB"),
        Result("feed export, memory grown", grown, "MB", "first export: DuckDB's and Arrow's pools fill"),
        Result("feed export, memory grown again", again, "MB", "second export; row groups in flight"),
    ]
