"""A TCP proxy between two real processes that misbehaves as it is told: late, slow, in pieces, silent, cut off. Seeded."""

import asyncio
import contextlib
import random
import socket
import struct
from dataclasses import dataclass, field
from typing import Final

CHUNK: Final = 4096  # bytes taken at once: small, so that a slow link holds back the sender and not this process
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close sends RST


@dataclass
class Weather:
    """What the link does now; every field may be changed while bytes flow.

    ``latency_s``: each chunk waits uniform(low, high) [s]. ``piece``: bytes in one write at most, 0 = as they come.
    ``bytes_per_s``: of both directions and all connections together, 0 = no limit. ``stalled``: nothing moves, all stays open.
    ``hollow``: new connections are taken and lead nowhere, without a word.
    """

    latency_s: tuple[float, float] = (0.0, 0.0)
    piece: int = 0
    bytes_per_s: float = 0.0
    stalled: bool = False
    hollow: bool = False


@dataclass(eq=False)
class _Pair:
    """One connection through the proxy."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter | None
    stranded: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class FaultProxy:
    """Listens on a free port of loopback and passes on to ``target``. ``async with`` starts and ends it."""

    def __init__(self, target: int, rng: random.Random) -> None:
        self.weather = Weather()
        self.port = 0
        self.passed = 0  # bytes, both directions
        self.accepted = 0
        self._target = target
        self._rng = rng
        self._pairs: set[_Pair] = set()
        self._free_at = 0.0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "FaultProxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        tasks = [task for pair in self._pairs for task in pair.tasks]
        for pair in list(self._pairs):
            self._end(pair)
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def open(self) -> int:
        """Connections that stand, those that lead nowhere too."""
        return len(self._pairs)

    def reset(self) -> None:
        """Cut every connection with a RST on both sides."""
        for pair in list(self._pairs):
            for writer in (pair.near, pair.far):
                if writer is not None and (sock := writer.get_extra_info("socket")) is not None:
                    with contextlib.suppress(OSError):
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._end(pair)

    def strand(self) -> None:
        """Half-open: what stands stays open for ever and passes nothing more on; new connections are sound."""
        for pair in self._pairs:
            pair.stranded = True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        pair = _Pair(writer, None, stranded=self.weather.hollow)
        self._pairs.add(pair)
        if not pair.stranded:
            try:
                back, pair.far = await asyncio.open_connection("127.0.0.1", self._target, limit=CHUNK)
            except OSError:
                self._end(pair)
                return
            if pair not in self._pairs:  # reset meanwhile
                pair.far.close()
                return
            pair.tasks.append(asyncio.create_task(self._pump(pair, back, writer)))
        pair.tasks.append(asyncio.create_task(self._pump(pair, reader, pair.far)))

    def _end(self, pair: _Pair) -> None:
        self._pairs.discard(pair)
        for writer in (pair.near, pair.far):
            if writer is not None:
                writer.close()
        for task in pair.tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async def _pump(self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None) -> None:
        try:
            while data := await reader.read(CHUNK):
                if pair.stranded or writer is None:
                    continue
                await self._carry(pair, data, writer)
        except OSError:
            pass  # one side is gone: so is the other
        self._end(pair)

    async def _carry(self, pair: _Pair, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self.weather.latency_s[1]:
            await asyncio.sleep(self._rng.uniform(*self.weather.latency_s))
        size = self.weather.piece or len(data)
        for at in range(0, len(data), size):
            while self.weather.stalled and not pair.stranded:
                await asyncio.sleep(0.02)
            if pair.stranded:
                return
            piece = data[at : at + size]
            await self._pay(len(piece))
            writer.write(piece)
            await writer.drain()
            self.passed += len(piece)

    async def _pay(self, n: int) -> None:
        """Wait until the link has had time for ``n`` more bytes."""
        if not self.weather.bytes_per_s:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + n / self.weather.bytes_per_s
        await asyncio.sleep(self._free_at - now)
