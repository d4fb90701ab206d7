"""A client of a broker that says what went wrong, over aiomqtt: what the gateway's link and the ear have in common.

aiomqtt 2.5 hides the reason code of a PUBACK and waits out its timeout when a broker hangs up before CONNACK.
``BrokerClient`` opens both, on private names of the 2.x series; ``tests/system/test_gateway_broker.py`` fails if one goes.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

from devices.config import Broker

MqttVersion = Literal["5", "3.1.1"]
HANDSHAKE_S: Final = 10  # for connect, subscribe and disconnect each; a mobile link may take seconds
_PROTOCOL: Final = {"5": aiomqtt.ProtocolVersion.V5, "3.1.1": aiomqtt.ProtocolVersion.V311}
_SILENT: Final = logging.Logger("paho", logging.CRITICAL)  # every fault it would log comes as LinkError or a counter
_BAD_VERSION: Final = (1, 0x84)
_BAD_LOGIN: Final = (4, 5, 0x86, 0x87)


class LinkError(Exception):
    """The link could not be made, or was lost. ``old_broker``: perhaps because the broker knows no MQTT 5."""

    def __init__(self, text: str, *, old_broker: bool = False) -> None:
        super().__init__(text)
        self.old_broker = old_broker


def client_options(
    broker: Broker, version: MqttVersion, *, client_id: str, password: str | None, base: Path
) -> dict[str, Any]:
    """How a ``BrokerClient`` reaches ``broker``; files of its ``tls`` lie in ``base``. The broker keeps no session.

    LinkError names what to mend.
    """
    return {
        "hostname": broker.host,
        "port": broker.port,
        "identifier": client_id,
        "username": broker.username or None,
        "password": password,
        "protocol": _PROTOCOL[version],
        "keepalive": broker.keepalive_s,
        "clean_session": None if version == "5" else True,  # with MQTT 5 the first connect of a client starts clean
        "timeout": HANDSHAKE_S,
        "tls_context": _tls(broker, base),
        "logger": _SILENT,
    }


@asynccontextmanager
async def connected(
    client: "BrokerClient", address: str, version: MqttVersion, topics: Sequence[str]
) -> AsyncIterator[None]:
    """While ``client`` is connected, ``topics`` subscribed. LinkError tells the address and what to mend."""
    try:
        await client.__aenter__()
    except aiomqtt.MqttError as error:
        client.abandon()
        raise _refusal(error, address, v5=version == "5") from None
    except BaseException:
        client.abandon()
        raise
    try:
        try:
            granted = await client.subscribe_or_lose(topics)
        except aiomqtt.MqttError as error:
            raise lost(error, address) from None
        for topic, code in zip(topics, granted, strict=False):
            if _code(code) >= 0x80:
                who = client.identifier
                raise LinkError(f"{address} does not let {who} read {topic}; mend the broker's access rules")
        yield
    finally:
        await client.leave()


def lost(error: aiomqtt.MqttError, address: str) -> LinkError:
    """What a broken connection is to those who use it."""
    return LinkError(f"{address}: {_reason(error)}")


def _tls(broker: Broker, base: Path) -> ssl.SSLContext | None:
    if broker.tls is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(base / broker.tls.ca) if broker.tls.ca else None)
        if broker.tls.cert:
            context.load_cert_chain(str(base / broker.tls.cert), str(base / broker.tls.key))
    except (OSError, ssl.SSLError) as error:
        raise LinkError(f"broker.tls cannot be used: {error}") from None
    return context


def _refusal(error: aiomqtt.MqttError, address: str, *, v5: bool) -> LinkError:
    if isinstance(error, MqttConnectError):
        code = _code(error.rc)
        if code in _BAD_LOGIN:
            text = "refuses the login; mend broker.username, or the variable that broker.password_env names"
            return LinkError(f"{address} {text} ({_reason(error)})")
        if code in _BAD_VERSION:
            return LinkError(f"{address} does not speak this version of MQTT", old_broker=v5)
    silent = isinstance(error, _NoAnswerError) or str(error) == "Operation timed out"
    return LinkError(f"{address}: {_reason(error)}", old_broker=v5 and silent)


def _code(rc: Any) -> int:
    """The number of a paho reason code, which is an int or holds one."""
    return int(getattr(rc, "value", rc) or 0)


def _reason(error: aiomqtt.MqttError) -> str:
    cause = error.__cause__ or error
    text = str(cause).partition("] ")[2] if str(cause).startswith("[code:") else str(cause)
    if text == "Unspecified error":  # what paho calls a socket that closed
        return "the connection was closed; if this repeats, look for a second gateway with the same device id"
    return text or type(cause).__name__


class _NoAnswerError(aiomqtt.MqttError):
    """The connection was closed, or fell silent, before the broker answered CONNECT."""


class BrokerClient(aiomqtt.Client):
    """aiomqtt's client that tells PUBACKs with their token, and can be given up at any moment."""

    def __init__(self, on_puback: Callable[[int, int], None], **options: Any) -> None:
        super().__init__(**options)
        self._puback = on_puback
        self._tokens: dict[int, int] = {}
        self._abandoned = False

    def send(self, token: int, topic: str, payload: bytes, *, retain: bool) -> None:
        info = self._client.publish(topic, payload, 1, retain)
        self._tokens[info.mid] = token

    async def subscribe_or_lose(self, topics: Sequence[str]) -> Sequence[Any]:
        """Reason codes of the SUBACK, one a topic. aiomqtt would wait for one on a link that is lost meanwhile."""
        granted = asyncio.ensure_future(self.subscribe([(topic, 1) for topic in topics]))
        try:
            either: list[asyncio.Future[Any]] = [granted, self._disconnected]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not granted.done():
                raise aiomqtt.MqttError("lost while subscribing") from self._disconnected.exception()
            return granted.result()
        finally:
            granted.cancel()

    def cut(self, reason: str) -> None:
        """Lose the link: whoever waits for messages gets ``reason``."""
        if not self._disconnected.done():
            self._disconnected.set_exception(aiomqtt.MqttError(reason))
        self._see_exceptions()

    async def leave(self) -> None:
        """Disconnect in good order where that is still possible."""
        try:
            await self.__aexit__(None, None, None)
        except aiomqtt.MqttError:
            pass  # no answer to DISCONNECT in time; abandon closes the socket
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the socket whatever state it is in, also one that a thread is still opening."""
        self._abandoned = True
        self._loop.call_soon(self._client._sock_close)  # after what aiomqtt has scheduled for this socket
        if self._misc_task is not None:
            self._misc_task.cancel()
        self._see_exceptions()

    def _client_connect(self) -> None:
        super()._client_connect()
        if self._abandoned:
            self._loop.call_soon_threadsafe(self._client._sock_close)

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        super()._on_publish(client, userdata, mid, reason_code, properties)
        token = self._tokens.pop(mid, None)
        if token is not None:  # later, because paho must not be called from its own callback
            self._loop.call_soon(self._puback, token, _code(reason_code))

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._write_when_ready, client, sock)

    def _write_when_ready(self, client: Any, sock: Any) -> None:
        if sock.fileno() >= 0:  # aiomqtt does not look, and a socket that closed meanwhile is an error in the loop
            self._loop.add_writer(sock.fileno(), self._write, client)

    def _write(self, client: Any) -> None:
        try:
            client.loop_write()
        except OSError as error:
            self.cut(str(error))

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        if not self._connected.done():
            self._connected.set_exception(_NoAnswerError("gives no answer to CONNECT"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)
        self._see_exceptions()

    def _see_exceptions(self) -> None:
        """asyncio complains of an exception that nobody looked at, and aiomqtt drops these futures at times."""
        for future in (self._connected, self._disconnected):
            if future.done() and not future.cancelled():
                future.exception()
