"""A PostgreSQL client of a few lines, for conversations written down as text. Independent of the server's code."""

import base64
import hashlib
import hmac
import re
import socket
import struct
from collections.abc import Iterator
from typing import Any

KINDS = {
    b"1": "ParseComplete", b"2": "BindComplete", b"3": "CloseComplete", b"n": "NoData", b"s": "PortalSuspended",
    b"I": "EmptyQueryResponse", b"T": "RowDescription", b"t": "ParameterDescription", b"D": "DataRow", b"C": "CommandComplete",
    b"E": "ErrorResponse", b"N": "NoticeResponse", b"Z": "ReadyForQuery", b"S": "ParameterStatus", b"K": "BackendKeyData",
    b"R": "Authentication", b"v": "NegotiateProtocolVersion",
}  # fmt: skip
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')


def text(value: str) -> bytes:
    """Text with its zero byte."""
    return value.encode() + b"\0"


def framed(kind: bytes, body: bytes) -> bytes:
    """A message."""
    return kind + struct.pack("!i", len(body) + 4) + body


def startup(**settings: str) -> bytes:
    """StartupMessage of protocol 3.0."""
    return framed(b"", struct.pack("!i", 196608) + b"".join(text(k) + text(v) for k, v in settings.items()) + b"\0")


def words(line: str) -> list[str]:
    """The words of a line; quoted ones keep one leading quote as a mark."""
    return ['"' + w[1:-1].replace('\\"', '"') if w[0] == '"' else w for w in _WORD.findall(line)]


def encoded(line: str) -> bytes:
    """A client's line as bytes."""
    kind, *rest = words(line)
    plain = [w.removeprefix('"') for w in rest]
    match kind:
        case "Query":
            return framed(b"Q", text(plain[0]))
        case "Parse":
            return framed(b"P", text(plain[0]) + text(plain[1]) + struct.pack("!h", 0))
        case "Describe" | "Close":
            return framed(b"D" if kind == "Describe" else b"C", plain[0].encode() + text(plain[1]))
        case "Execute":
            return framed(b"E", text(plain[0]) + struct.pack("!i", int(plain[1])))
        case "Bind":
            arrow = rest.index("->")
            values = plain[3:arrow]
            cells = b"".join(struct.pack("!i", len(v.encode())) + v.encode() for v in values)
            forms = [0 if f == "text" else 1 for f in plain[arrow + 1 :]]
            head = text(plain[0]) + text(plain[1]) + struct.pack("!hh", 0, len(values))
            return framed(b"B", head + cells + struct.pack(f"!h{len(forms)}h", len(forms), *forms))
    return framed({"Sync": b"S", "Flush": b"H", "Terminate": b"X"}[kind], b"")


def _cell(raw: bytes | None, form: int) -> str:
    return "NULL" if raw is None else "x" + raw.hex() if form else '"' + raw.decode() + '"'


class Client:
    """One connection."""

    def __init__(self, host: str, port: int, timeout: float = 20.0) -> None:
        self.socket = socket.create_connection((host, port), timeout)
        self.formats: list[int] = []
        self._buffer = b""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def message(self) -> tuple[bytes, bytes]:
        """The server's next message. EOFError when it has closed."""
        while len(self._buffer) < 5 or len(self._buffer) < 1 + struct.unpack_from("!i", self._buffer, 1)[0]:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError
            self._buffer += more
        end = 1 + struct.unpack_from("!i", self._buffer, 1)[0]
        kind, body, self._buffer = self._buffer[:1], self._buffer[5:end], self._buffer[end:]
        return kind, body

    def log_in(self, user: str, password: str, **settings: str) -> list[str]:
        """Startup and SCRAM, up to ReadyForQuery. Returns what the server said after it let us in."""
        self.send(startup(user=user, database="fleetco2", **settings))
        kind, body = self.message()
        if kind == b"v":
            kind, body = self.message()
        assert (kind, body) == (b"R", struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0"), (kind, body)
        bare = "n=,r=clientnonce"
        first = ("n,," + bare).encode()
        self.send(framed(b"p", text("SCRAM-SHA-256") + struct.pack("!i", len(first)) + first))
        kind, body = self.message()
        challenge = body[4:].decode()
        salt, rounds = (dict(p.split("=", 1) for p in challenge.split(","))[k] for k in ("s", "i"))
        nonce = dict(p.split("=", 1) for p in challenge.split(","))["r"]
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
        key = hmac.digest(salted, b"Client Key", "sha256")
        final = f"c=biws,r={nonce}"
        signature = hmac.digest(hashlib.sha256(key).digest(), f"{bare},{challenge},{final}".encode(), "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
        self.send(framed(b"p", f"{final},p={proof}".encode()))
        said: list[str] = []
        while not said or not said[-1].startswith("ReadyForQuery"):
            said.append(self.line())
        return said

    def line(self) -> str:
        """The server's next message as a line."""
        kind, body = self.message()
        name = KINDS[kind]
        match kind:
            case b"T":
                columns = list(self._columns(body))
                self.formats = [form for _, _, form in columns]
                return " ".join([name, *(f"{n}:{oid}:{form}" for n, oid, form in columns)])
            case b"t":
                (n,) = struct.unpack_from("!h", body)
                return " ".join([name, *map(str, struct.unpack_from(f"!{n}i", body, 2))])
            case b"D":
                return " ".join([name, *self._cells(body)])
            case b"E" | b"N":
                return f"{name} {next(f[1:].decode() for f in body.split(bytes(1)) if f[:1] == b'C')}"
            case b"Z":
                return f"{name} {body.decode()}"
            case b"C" | b"S":
                return " ".join([name, *(f'"{p.decode()}"' for p in body[:-1].split(b"\0"))])
            case b"R":
                return f"{name} {struct.unpack_from('!i', body)[0]}"
        return name

    def _columns(self, body: bytes) -> Iterator[tuple[str, int, int]]:
        at = 2
        for _ in range(struct.unpack_from("!h", body)[0]):
            end = body.index(b"\0", at)
            _, _, oid, _, _, form = struct.unpack_from("!ihihih", body, end + 1)
            yield body[at:end].decode(), oid, form
            at = end + 19

    def _cells(self, body: bytes) -> Iterator[str]:
        (n,) = struct.unpack_from("!h", body)
        at = 2
        for i in range(n):
            (size,) = struct.unpack_from("!i", body, at)
            raw = None if size < 0 else body[at + 4 : at + 4 + size]
            at += 4 + max(size, 0)
            yield _cell(raw, self.formats[i] if i < len(self.formats) else 0)


def replay(client: Client, script: str) -> None:
    """Send the C lines, compare what comes with the S lines."""
    for number, line in enumerate(script.splitlines(), 1):
        if line.startswith("C "):
            client.send(encoded(line[2:]))
            if line.startswith("C Parse"):
                client.formats = []
        elif line.startswith("S "):
            said = client.line()
            assert said == line[2:], f"line {number}: {said}"
