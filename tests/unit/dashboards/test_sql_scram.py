"""SCRAM-SHA-256 against the exchange printed in RFC 7677, section 3."""

import base64

import pytest

from dashboards.sql import scram
from dashboards.sql.errors import SqlError

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def exchange(password: str = "pencil") -> scram.Exchange:
    return scram.Exchange(scram.make(password, iterations=4096, salt=SALT), nonce=SERVER_NONCE)


def test_the_exchange_of_rfc_7677() -> None:
    server = exchange()
    assert server.challenge(CLIENT_FIRST) == SERVER_FIRST
    assert server.finish(CLIENT_FINAL) == SERVER_FINAL


@pytest.mark.parametrize(
    "final",
    [
        CLIENT_FINAL.replace(b"dHzb", b"dHzc"),
        CLIENT_FINAL.replace(b"r=rO", b"r=rX"),
        CLIENT_FINAL.replace(b"c=biws", b"c=eSws"),
        CLIENT_FINAL[:-8],
        CLIENT_FINAL.rpartition(b"p=")[0] + b"p=",
        b"",
        b"\xff",
        b"p=AAAA",
    ],
)
def test_a_proof_that_does_not_fit_is_refused(final: bytes) -> None:
    server = exchange()
    server.challenge(CLIENT_FIRST)
    with pytest.raises(SqlError) as refused:
        server.finish(final)
    assert refused.value.fatal


def test_another_password_is_refused() -> None:
    server = exchange("pencils")
    server.challenge(CLIENT_FIRST)
    with pytest.raises(SqlError, match="do not fit"):
        server.finish(CLIENT_FINAL)


@pytest.mark.parametrize(
    "first", [b"", b"p=tls-unique,,n=u,r=x", b"n,a=other,n=u,r=x", b"n,,n=u", b"n,,n=u,r=", b"x", b"\xff\xff"]
)
def test_a_first_message_that_cannot_be_read_is_refused(first: bytes) -> None:
    with pytest.raises(SqlError) as refused:
        exchange().challenge(first)
    assert refused.value.fatal


def test_a_verifier_survives_its_text_and_holds_no_password() -> None:
    made = scram.make("pencil", iterations=4096)
    assert scram.read(str(made)) == made
    assert "pencil" not in str(made)
    assert scram.make("pencil", iterations=4096) != made


@pytest.mark.parametrize(
    "line", ["", "md5abc", "SCRAM-SHA-256$1:AA==$AA==:AA==", "SCRAM-SHA-1$1:AA==$AA==:AA==", "a$b$c", "a$b:c$d:e"]
)
def test_a_broken_verifier_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a SCRAM"):
        scram.read(line)


def test_a_user_who_is_not_there_looks_the_same_each_time() -> None:
    one, two = scram.pretended("nobody", b"secret"), scram.pretended("nobody", b"secret")
    assert (one.salt, one.iterations) == (two.salt, two.iterations)
    assert one.salt != scram.pretended("somebody", b"secret").salt


@pytest.mark.parametrize(
    ("password", "bytes_"),
    [("I\u00adX", b"IX"), ("\u00aa", b"a"), ("\u2168", b"IX"), ("a\u00a0b", b"a b"), ("\u0007", b"\x07")],
)
def test_passwords_are_prepared_as_rfc_4013_says(password: str, bytes_: bytes) -> None:
    assert scram.prepared(password) == bytes_
