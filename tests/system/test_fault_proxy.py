"""The proxy does to a connection what it is told, and nothing else."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.system.fault_proxy import FaultProxy

DATA = bytes(range(256)) * 40


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A server that sends back what it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def run(scene: Callable[[FaultProxy], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(20), echo() as port, FaultProxy(port, random.Random(1)) as proxy:
            await scene(proxy)

    asyncio.run(whole())


async def connect(proxy: FaultProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def there_and_back(proxy: FaultProxy) -> None:
    reader, writer = await connect(proxy)
    writer.write(DATA)
    assert await reader.readexactly(len(DATA)) == DATA
    writer.close()
    await writer.wait_closed()


async def silent(reader: asyncio.StreamReader) -> bool:
    """Whether nothing comes for a while, not even the end."""
    try:
        await asyncio.wait_for(reader.read(1), 0.2)
    except TimeoutError:
        return True
    return False


def test_bytes_pass_unaltered_late_and_in_pieces() -> None:
    async def scene(proxy: FaultProxy) -> None:
        await there_and_back(proxy)
        proxy.weather.piece = 7
        proxy.weather.latency_s = (0.0, 0.01)
        await there_and_back(proxy)
        assert proxy.passed == 4 * len(DATA)
        assert proxy.accepted == 2

    run(scene)


def test_a_slow_link_is_as_slow_as_told() -> None:
    async def scene(proxy: FaultProxy) -> None:
        proxy.weather.bytes_per_s = 40_000
        begun = asyncio.get_running_loop().time()
        await there_and_back(proxy)
        # twice DATA, both directions count; what the sender may still have in its buffers is one chunk
        assert asyncio.get_running_loop().time() - begun >= (2 * len(DATA) - 4096) / 40_000

    run(scene)


def test_a_stall_keeps_everything() -> None:
    async def scene(proxy: FaultProxy) -> None:
        reader, writer = await connect(proxy)
        proxy.weather.stalled = True
        writer.write(b"hello")
        assert await silent(reader)
        proxy.weather.stalled = False
        assert await reader.readexactly(5) == b"hello"
        writer.close()

    run(scene)


def test_a_stranded_connection_is_open_and_dead_and_new_ones_live() -> None:
    async def scene(proxy: FaultProxy) -> None:
        reader, writer = await connect(proxy)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        proxy.strand()
        writer.write(b"hello")
        assert await silent(reader)
        await there_and_back(proxy)
        assert await silent(reader)
        writer.close()

    run(scene)


def test_a_hollow_proxy_takes_connections_that_lead_nowhere() -> None:
    async def scene(proxy: FaultProxy) -> None:
        proxy.weather.hollow = True
        reader, writer = await connect(proxy)
        writer.write(b"hello")
        assert await silent(reader)
        proxy.weather.hollow = False
        assert await silent(reader)  # it was born dead
        await there_and_back(proxy)
        writer.close()

    run(scene)


def test_a_reset_is_a_reset() -> None:
    async def scene(proxy: FaultProxy) -> None:
        reader, writer = await connect(proxy)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        assert proxy.open == 0
        await there_and_back(proxy)

    run(scene)
