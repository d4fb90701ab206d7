"""A real MQTT broker on loopback for demo and replay: mosquitto where it is installed, else the embedded amqtt."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

START_S: Final = 15.0
_PLACES: Final = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"  # where mosquitto lies when it is not on a user's PATH
_MOSQUITTO: Final = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
max_inflight_messages 4000
max_queued_messages 20000
max_queued_bytes 268435456
max_packet_size 262144
max_keepalive 600
"""
_AMQTT: Final = """\
listeners:
  default:
    type: tcp
    bind: 127.0.0.1:{port}
timeout_disconnect_delay: 2
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
"""


class BrokerError(RuntimeError):
    """No broker could be started; the text says why."""


@dataclass(frozen=True, slots=True)
class LocalBroker:
    """A broker that runs: ``name`` for people, ``port`` on 127.0.0.1."""

    name: str
    port: int
    pid: int
    protocol: Literal["auto", "3.1.1"]


def free_port() -> int:
    """A TCP port of loopback that nothing listens on at this moment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def find_mosquitto() -> str | None:
    """Path of mosquitto, or None."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=_PLACES)


def _command(folder: Path, port: int, embedded: bool) -> tuple[str, list[str]]:
    found = None if embedded else find_mosquitto()
    if found:
        config = folder / "mosquitto.conf"
        config.write_text(_MOSQUITTO.format(port=port), encoding="utf-8")
        return "mosquitto", [found, "-c", str(config)]
    config = folder / "amqtt.yaml"
    config.write_text(_AMQTT.format(port=port), encoding="utf-8")
    return "amqtt (embedded, MQTT 3.1.1)", [sys.executable, "-m", "amqtt.scripts.broker_script", "-c", str(config)]


@contextlib.asynccontextmanager
async def local_broker(folder: Path, *, port: int = 0, embedded: bool = False) -> AsyncIterator[LocalBroker]:
    """Run a broker while the block runs. ``port`` 0 takes a free one. Raises BrokerError."""
    port = port or free_port()
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise BrokerError(f"port {port} is taken; choose another with --port")
    name, command = _command(folder, port, embedded)
    log = (folder / "broker.log").open("wb")
    process = subprocess.Popen(  # noqa: S603, ASYNC220
        command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        await _wait_for(process, name, port, folder / "broker.log")
        yield LocalBroker(name, port, process.pid, "auto" if name == "mosquitto" else "3.1.1")
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            await asyncio.to_thread(process.wait, 5)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def _wait_for(process: subprocess.Popen[bytes], name: str, port: int, log: Path) -> None:
    try:
        async with asyncio.timeout(START_S):
            while not await _answers(port):
                if process.poll() is not None:
                    raise BrokerError(f"{name} ended at once, see {log}")
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise BrokerError(f"{name} did not answer within {START_S:g} s, see {log}") from None
