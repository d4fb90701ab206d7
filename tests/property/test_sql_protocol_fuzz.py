"""Bytes from anywhere: the parser gives messages or a refusal, keeps no more than its limit, and does not care how bytes were cut."""

import struct
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from dashboards.sql import lexer, protocol, scram
from dashboards.sql.errors import SqlError
from dashboards.sql.protocol import Inbox, Message

BODIES = st.binary(max_size=200)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def refusal(call: Callable[..., object], *arguments: object) -> SqlError | None:
    """What ``call`` was refused with; None when it was taken."""
    try:
        call(*arguments)
    except SqlError as refused:
        return refused
    return None


def _taken(inbox: Inbox) -> list[Message]:
    out = []
    while (message := inbox.take()) is not None:
        out.append(message)
    return out


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=1), BODIES), max_size=6), st.integers(1, 50))
def test_messages_come_out_as_they_went_in_however_they_are_cut(messages: list[tuple[bytes, bytes]], step: int) -> None:
    wire = b"".join(kind + struct.pack("!i", len(body) + 4) + body for kind, body in messages)
    inbox = Inbox()
    inbox.opening = False
    found = []
    for at in range(0, len(wire), step):
        inbox.feed(wire[at : at + step])
        found += _taken(inbox)
    assert found == [Message(kind, body) for kind, body in messages]
    assert len(inbox) == 0


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_give_messages_or_a_refusal(data: bytes, opening: bool) -> None:
    inbox = Inbox()
    inbox.opening = opening
    inbox.limit = 100
    inbox.feed(data)
    kept: list[Message] = []
    refused = refusal(lambda: kept.extend(_taken(inbox)))
    assert refused is None or refused.state == "08P01"
    for message in kept:
        assert len(message.body) <= 100
        refused = refusal(protocol.opening, message.body)
        assert refused is None or refused.state in ("08P01", "22021")


@given(st.integers(-(2**31), 2**31 - 1))
def test_a_length_beyond_the_limit_is_refused_with_its_first_bytes(length: int) -> None:
    inbox = Inbox()
    inbox.opening = False
    inbox.feed(b"Q" + struct.pack("!i", length))
    refused = refusal(inbox.take)
    assert (refused is None) == (4 <= length <= protocol.MAX_STARTUP + 4)
    assert refused is None or refused.fatal


@given(BODIES)
def test_every_body_parser_takes_or_refuses(body: bytes) -> None:
    for parser in (
        protocol.query,
        protocol.parse,
        protocol.bind,
        protocol.named,
        protocol.execute,
        protocol.sasl_first,
        protocol.opening,
    ):
        refused = refusal(parser, body)
        assert refused is None or refused.state in ("08P01", "22021")


@given(
    NAMES,
    NAMES,
    st.lists(st.one_of(st.none(), st.binary(max_size=20)), max_size=5),
    st.lists(st.integers(0, 1), max_size=5),
)
def test_a_bind_is_read_back(portal: str, statement: str, values: list[bytes | None], formats: list[int]) -> None:
    cells = b"".join(struct.pack("!i", -1) if v is None else struct.pack("!i", len(v)) + v for v in values)
    body = portal.encode() + b"\0" + statement.encode() + b"\0" + struct.pack("!h", 0)
    body += struct.pack("!h", len(values)) + cells + struct.pack(f"!h{len(formats)}h", len(formats), *formats)
    assert protocol.bind(body) == protocol.Bind(portal, statement, (), tuple(values), tuple(formats))


@given(st.text(max_size=200))
def test_any_text_is_cut_or_refused(sql: str) -> None:
    found: list[str] = []
    refused = refusal(lambda: found.extend(lexer.statements(sql)))
    assert refused is None or refused.state == "42601"
    assert all(s.strip() == s and s for s in found)
    for s in found:
        assert lexer.statements(s) in ([s], []) or ";" not in s  # a statement holds no other


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_any_login_is_refused_in_order(first: bytes, final: bytes) -> None:
    exchange = scram.Exchange(scram.Verifier(4096, b"salt", bytes(32), bytes(32)))
    refused = refusal(exchange.challenge, first) or refusal(exchange.finish, final)
    assert refused is not None
    assert refused.fatal
