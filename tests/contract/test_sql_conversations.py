"""Recorded conversations: the messages that Grafana's drivers send, and what is answered, message by message."""

import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.sql.selfmade import make_certificate
from storage.lake import Lake
from storage.landing import Commit
from storage.registry import write_dimensions
from storage.schema import empty
from tests.lake_data import FACTOR_SET, T0, rollup_rows
from tests.sql_server import PASSWORD, Address, make_lake, running, two_tenants
from tests.sql_wire import Client, framed, replay, startup, text

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "sql"
MINUTE = 60_000_000_000
GRAM = 1_000_000


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    folder = tmp_path_factory.mktemp("sql")
    rows = rollup_rows(
        {"minute_ns": T0, "asset": 0, "co2e_ttw_ug": 1_000 * GRAM, "observed_us": MINUTE // 1000},
        {"minute_ns": T0, "asset": 3, "co2e_ttw_ug": 2_000 * GRAM, "observed_us": MINUTE // 1000},
        {"minute_ns": T0, "asset": 1, "co2e_ttw_ug": 7_000 * GRAM, "observed_us": MINUTE // 1000},
        {"minute_ns": T0 + 5 * MINUTE, "asset": 0, "co2e_ttw_ug": 4_000 * GRAM, "observed_us": MINUTE // 1000},
    )
    tables = {
        name: empty(name) for name in Commit.__dataclass_fields__ if name not in ("rollups", "factor_set", "state")
    }
    with Lake.open(folder / "lake", create=True) as lake:
        write_dimensions(lake, two_tenants())
        lake.commit(Commit(rollups=rows, factor_set=FACTOR_SET, state=b"", **tables))
    with running(folder / "lake", folder) as address:
        yield address


@pytest.mark.parametrize("name", sorted(p.stem for p in GOLDEN.glob("*.txt")))
def test_a_recorded_conversation(address: Address, name: str) -> None:
    with Client(address.host, address.port) as client:
        said = client.log_in("acme", PASSWORD, application_name="grafana")
        assert said[:2] == ["Authentication 12", "Authentication 0"]
        assert 'ParameterStatus "TimeZone" "UTC"' in said
        assert 'ParameterStatus "server_encoding" "UTF8"' in said
        replay(client, (GOLDEN / f"{name}.txt").read_text(encoding="utf-8"))
        with pytest.raises(EOFError):
            client.message()


def test_encryption_that_is_not_offered_is_answered_with_n(address: Address) -> None:
    with Client(address.host, address.port) as client:
        for code in (80877103, 80877104):  # SSLRequest, GSSENCRequest
            client.send(framed(b"", struct.pack("!i", code)))
            assert client.socket.recv(1) == b"N"
        assert client.log_in("acme", PASSWORD)[-1] == "ReadyForQuery I"


def test_a_newer_minor_version_and_its_options_are_negotiated(address: Address) -> None:
    with Client(address.host, address.port) as client:
        body = struct.pack("!i", (3 << 16) + 2) + text("user") + text("acme") + text("_pq_.x") + text("1") + b"\0"
        client.send(framed(b"", body))
        kind, said = client.message()
        assert (kind, said) == (b"v", struct.pack("!ii", 0, 1) + text("_pq_.x"))
        assert client.message()[0] == b"R"


@pytest.mark.parametrize(
    "first",
    [
        struct.pack("!ii", 1 << 30, 196608),
        struct.pack("!ii", 8, 2 << 16),
        struct.pack("!ii", 3, 0),
        struct.pack("!ii", -1, 196608),
        framed(b"", struct.pack("!i", 196608) + text("user") + b"acme"),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        struct.pack("!ii", 8, 80877103) + b"early",
    ],
)
def test_an_opening_that_is_none_is_refused(address: Address, first: bytes) -> None:
    with Client(address.host, address.port) as client:
        client.send(first)
        assert client.line().startswith("ErrorResponse 08P01")
        with pytest.raises((EOFError, ConnectionError)):
            client.message()


@pytest.mark.parametrize("kind", [b"Q", b"\0", b"z"])
def test_nothing_is_answered_before_the_login(address: Address, kind: bytes) -> None:
    with Client(address.host, address.port) as client:
        client.send(startup(user="acme"))
        assert client.line() == "Authentication 10"
        client.send(framed(kind, text("SELECT 1")))
        assert client.line().startswith("ErrorResponse 08P01")


def test_a_cancelled_query_ends_and_its_connection_lives(address: Address) -> None:
    with Client(address.host, address.port) as client, Client(address.host, address.port) as other:
        key = _key(client)
        client.send(
            framed(b"Q", text("SELECT 1; SELECT count(*) FROM generate_series(1, 100000000000) a WHERE hash(a) = 7"))
        )
        other.send(framed(b"", struct.pack("!iii", 80877102, key[0], key[1] ^ 1)))  # somebody else's guess
        for _ in range(1_000):  # an early one meets nothing that runs
            with Client(address.host, address.port) as canceller:
                canceller.send(framed(b"", struct.pack("!iii", 80877102, *key)))
                with pytest.raises(EOFError):
                    canceller.message()
            client.socket.settimeout(0.1)
            try:
                said = client.line()
            except TimeoutError:
                continue
            if said == "ErrorResponse 57014":
                break
        client.socket.settimeout(20)
        assert client.line() == "ReadyForQuery I"
        client.send(framed(b"Q", text("SELECT 1")))
        assert client.line().startswith("RowDescription")


def _key(client: Client) -> tuple[int, int]:
    found: list[tuple[int, int]] = []
    original = client.message

    def message() -> tuple[bytes, bytes]:
        kind, body = original()
        if kind == b"K":
            found.append(struct.unpack("!ii", body))
        return kind, body

    client.message = message  # type: ignore[method-assign]
    client.log_in("acme", PASSWORD)
    return found[0]


def test_tls_with_the_server_named_in_its_certificate(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path / "tls")
    make_lake(tmp_path / "lake", commits=0)
    with running(tmp_path / "lake", tmp_path, tls_cert=str(certificate), tls_key=str(key)) as address:
        context = ssl.create_default_context(cafile=str(certificate))
        with Client(address.host, address.port) as client:
            client.send(framed(b"", struct.pack("!i", 80877103)))
            assert client.socket.recv(1) == b"S"
            client.socket = context.wrap_socket(client.socket, server_hostname="127.0.0.1")
            assert client.log_in("acme", PASSWORD)[-1] == "ReadyForQuery I"
            client.send(framed(b"Q", text("SELECT i FROM generate_series(1, 200000) AS i")))
            assert client.line() == "RowDescription i:20:0"
            assert sum(1 for _ in iter(client.line, 'CommandComplete "SELECT 200000"')) == 200_000


def test_a_client_that_reads_slowly_gets_all_and_one_that_leaves_hurts_nobody(address: Address) -> None:
    with Client(address.host, address.port) as leaving:
        leaving.log_in("acme", PASSWORD)
        leaving.send(framed(b"Q", text("SELECT i FROM generate_series(1, 900000) AS i")))
        leaving.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with Client(address.host, address.port) as client:
        client.log_in("acme", PASSWORD)
        client.send(framed(b"Q", text("SELECT i FROM generate_series(1, 100000) AS i")))
        assert sum(1 for _ in iter(client.line, 'CommandComplete "SELECT 100000"')) == 100_001
