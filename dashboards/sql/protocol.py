"""Messages of PostgreSQL's protocol 3.0 as bytes: no sockets here.

A client's message is one byte that names it, an int32 length that counts itself, and a body; the first message has no such byte.
A length above the limit of its phase is refused before a byte of the body is kept. Text is UTF-8.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from dashboards.sql.errors import PROTOCOL, SqlError

MAX_STARTUP: Final = 10_000  # as PostgreSQL's own
MAX_PASSWORD: Final = 2_000  # a SCRAM message is about 200 bytes
MAX_MESSAGE: Final = 1 << 20  # one query with its parameters; Grafana's are a few kB
MAX_PARAMETERS: Final = 1_000
_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a client. ``kind`` is empty for the first one."""

    kind: bytes
    body: bytes


class Inbox:
    """Cuts what arrives into messages. ``limit`` is the longest body now; ``opening`` until the startup message came."""

    def __init__(self) -> None:
        self.limit = MAX_STARTUP
        self.opening = True
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take bytes as they came."""
        self._buffer += data

    def __len__(self) -> int:
        return len(self._buffer)

    def take(self) -> Message | None:
        """The next whole message, or None. Raises SqlError (fatal) for a length that cannot be."""
        head = 0 if self.opening else 1
        if len(self._buffer) < head + 4:
            return None
        (length,) = struct.unpack_from("!i", self._buffer, head)
        if not 4 <= length <= self.limit + 4:
            raise SqlError(PROTOCOL, f"a message of {length} bytes, at most {self.limit} are taken", fatal=True)
        if len(self._buffer) < head + length:
            return None
        message = Message(bytes(self._buffer[:head]), bytes(self._buffer[head + 4 : head + length]))
        del self._buffer[: head + length]
        return message


class Body:
    """Reads a message's body from front to back. Raises SqlError where it ends too early or too late."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, n: int) -> bytes:
        """The next ``n`` bytes."""
        if n < 0 or self._at + n > len(self._body):
            raise SqlError(PROTOCOL, "a message ends before it should", fatal=True)
        self._at += n
        return self._body[self._at - n : self._at]

    def int16(self) -> int:
        """A signed int16."""
        return int.from_bytes(self.take(2), "big", signed=True)

    def int32(self) -> int:
        """A signed int32."""
        return int.from_bytes(self.take(4), "big", signed=True)

    def count(self, size: int) -> int:
        """An int16 that counts things of at least ``size`` bytes each: no more than the body can hold."""
        n = self.int16()
        if n < 0 or n > MAX_PARAMETERS or n * size > len(self._body) - self._at:
            raise SqlError(PROTOCOL, f"a message counts {n} entries", fatal=True)
        return n

    def text(self) -> str:
        """Text up to a zero byte."""
        end = self._body.find(b"\0", self._at)
        if end < 0:
            raise SqlError(PROTOCOL, "text in a message has no end", fatal=True)
        raw = self._body[self._at : end]
        self._at = end + 1
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise SqlError("22021", "text that is not UTF-8") from None

    @property
    def more(self) -> bool:
        """Whether something is left."""
        return self._at < len(self._body)

    def end(self) -> None:
        """Nothing may be left."""
        if self.more:
            raise SqlError(PROTOCOL, "a message is longer than its content", fatal=True)


@dataclass(frozen=True, slots=True)
class Encryption:
    """SSLRequest or GSSENCRequest, which are answered with one byte."""

    tls: bool


@dataclass(frozen=True, slots=True)
class Cancel:
    """CancelRequest: the key data of the connection whose query shall end."""

    pid: int
    secret: int


@dataclass(frozen=True, slots=True)
class Startup:
    """StartupMessage. ``minor`` above 0 and names that begin with ``_pq_.`` are answered with what we speak."""

    minor: int
    settings: dict[str, str]


def opening(body: bytes) -> Encryption | Cancel | Startup:
    """The first message of a connection. Raises SqlError."""
    b = Body(body)
    code = b.int32()
    if code in (_SSL, _GSS):
        b.end()
        return Encryption(code == _SSL)
    if code == _CANCEL:
        request = Cancel(b.int32(), b.int32())
        b.end()
        return request
    if code >> 16 != 3:
        raise SqlError(PROTOCOL, f"protocol {code >> 16}.{code & 0xFFFF} is not spoken here, 3.0 is", fatal=True)
    settings = {}
    while name := b.text():
        settings[name] = b.text()
    b.end()
    return Startup(code & 0xFFFF, settings)


@dataclass(frozen=True, slots=True)
class Parse:
    """Parse: a statement to prepare; ``types`` are OIDs, 0 = to be found out."""

    name: str
    sql: str
    types: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Bind:
    """Bind. Formats: 0 text, 1 binary; none = all text, one = for all."""

    portal: str
    statement: str
    formats: tuple[int, ...]
    values: tuple[bytes | None, ...]
    results: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """Describe or Close. ``kind`` S statement, P portal."""

    kind: str
    name: str


def query(body: bytes) -> str:
    """The SQL of Query."""
    b = Body(body)
    sql = b.text()
    b.end()
    return sql


def parse(body: bytes) -> Parse:
    """Parse."""
    b = Body(body)
    name, sql = b.text(), b.text()
    types = tuple(b.int32() for _ in range(b.count(4)))
    b.end()
    return Parse(name, sql, types)


def _formats(b: Body) -> tuple[int, ...]:
    formats = tuple(b.int16() for _ in range(b.count(2)))
    if not set(formats) <= {0, 1}:
        raise SqlError(PROTOCOL, "a format is 0 (text) or 1 (binary)")
    return formats


def bind(body: bytes) -> Bind:
    """Bind."""
    b = Body(body)
    portal, statement = b.text(), b.text()
    formats = _formats(b)
    values: list[bytes | None] = []
    for _ in range(b.count(4)):
        length = b.int32()
        values.append(None if length == -1 else b.take(length))
    results = _formats(b)
    b.end()
    return Bind(portal, statement, formats, tuple(values), results)


def named(body: bytes) -> Named:
    """Describe or Close."""
    b = Body(body)
    kind = b.take(1)
    if kind not in (b"S", b"P"):
        raise SqlError(PROTOCOL, "neither statement (S) nor portal (P)", fatal=True)
    request = Named(kind.decode(), b.text())
    b.end()
    return request


def execute(body: bytes) -> tuple[str, int]:
    """Execute: portal and the most rows, 0 = all."""
    b = Body(body)
    portal, rows = b.text(), b.int32()
    b.end()
    return portal, max(rows, 0)


def sasl_first(body: bytes) -> tuple[str, bytes]:
    """SASLInitialResponse: mechanism and data."""
    b = Body(body)
    mechanism = b.text()
    data = b.take(b.int32())
    b.end()
    return mechanism, data


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a result: its name, the OID of its type and that type's length (-1 = varies)."""

    name: str
    oid: int
    size: int


def message(kind: bytes, *parts: bytes) -> bytes:
    """One message to a client."""
    body = b"".join(parts)
    return kind + struct.pack("!i", len(body) + 4) + body


def text(value: str) -> bytes:
    """Text with its zero byte; zero bytes inside are left out."""
    return value.encode("utf-8", "replace").replace(b"\0", b"") + b"\0"


def authentication(code: int, data: bytes = b"") -> bytes:
    """R: 0 done, 10 SASL mechanisms, 11 challenge, 12 final."""
    return message(b"R", struct.pack("!i", code), data)


def parameter_status(name: str, value: str) -> bytes:
    """S: a setting of the session."""
    return message(b"S", text(name), text(value))


def key_data(pid: int, secret: int) -> bytes:
    """K: what a CancelRequest has to name."""
    return message(b"K", struct.pack("!ii", pid, secret))


def negotiate(options: Sequence[str]) -> bytes:
    """v: the newest minor version is 0, and the options that are not known."""
    return message(b"v", struct.pack("!ii", 0, len(options)), *(text(o) for o in options))


def ready(status: bytes) -> bytes:
    """Z: I idle, T in a transaction, E in a failed one."""
    return message(b"Z", status)


def row_description(fields: Iterable[Field], formats: Sequence[int]) -> bytes:
    """T: the columns. ``formats`` has one entry per column."""
    parts = [
        text(f.name) + struct.pack("!ihihih", 0, 0, f.oid, f.size, -1, form)
        for f, form in zip(fields, formats, strict=True)
    ]
    return message(b"T", struct.pack("!h", len(parts)), *parts)


def parameter_description(types: Sequence[int]) -> bytes:
    """t: OIDs of a statement's parameters."""
    return message(b"t", struct.pack(f"!h{len(types)}i", len(types), *types))


def data_row(values: Sequence[bytes | None]) -> bytes:
    """D: one row, for results of a few rows."""
    cells = [struct.pack("!i", -1) if v is None else struct.pack("!i", len(v)) + v for v in values]
    return message(b"D", struct.pack("!h", len(cells)), *cells)


def command_complete(tag: str) -> bytes:
    """C: a statement is done."""
    return message(b"C", text(tag))


def error(problem: SqlError, *, severity: str = "") -> bytes:
    """E: what went wrong. ``severity`` other than ERROR or FATAL makes it a notice (N)."""
    level = severity or ("FATAL" if problem.fatal else "ERROR")
    fields = {"S": level, "V": level, "C": problem.state, "M": problem.text, "H": problem.hint}
    parts = [k.encode() + text(v) for k, v in fields.items() if v]
    return message(b"N" if severity else b"E", *parts, b"\0")


PARSE_COMPLETE: Final = message(b"1")
BIND_COMPLETE: Final = message(b"2")
CLOSE_COMPLETE: Final = message(b"3")
NO_DATA: Final = message(b"n")
PORTAL_SUSPENDED: Final = message(b"s")
EMPTY_QUERY: Final = message(b"I")
