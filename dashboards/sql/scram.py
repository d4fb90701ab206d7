"""SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL speaks it: verifiers, and the server's side of the exchange.

A verifier is what PostgreSQL keeps in ``pg_authid``: ``SCRAM-SHA-256$iterations:salt$stored-key:server-key``. The password cannot
be had back from it. Channel binding is not offered.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import stringprep
import unicodedata
from dataclasses import dataclass
from typing import Final

from dashboards.sql.errors import BAD_PASSWORD, SqlError

MECHANISM: Final = "SCRAM-SHA-256"
ITERATIONS: Final = 15_000  # RFC 7677 asks for 4,096 or more; the client pays, about 5 ms
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 18


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def prepared(password: str) -> bytes:
    """SASLprep (RFC 4013); a password that it forbids is taken as it is, as PostgreSQL does."""
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c))
    normal = unicodedata.normalize("NFKC", mapped)
    forbidden = (
        stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4,
        stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8,
        stringprep.in_table_c9, stringprep.in_table_a1,
    )  # fmt: skip
    if not normal or any(table(c) for c in normal for table in forbidden):
        return password.encode()
    return normal.encode()


@dataclass(frozen=True, slots=True)
class Verifier:
    """What proves a password without telling it."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    def __str__(self) -> str:
        salt, stored, server = (base64.b64encode(x).decode() for x in (self.salt, self.stored_key, self.server_key))
        return f"{MECHANISM}${self.iterations}:{salt}${stored}:{server}"


def make(password: str, *, iterations: int = ITERATIONS, salt: bytes | None = None) -> Verifier:
    """The verifier of a password, with a random salt."""
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password), salt, iterations)
    stored = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
    return Verifier(iterations, salt, stored, _hmac(salted, b"Server Key"))


def read(line: str) -> Verifier:
    """A verifier from its text. Raises ValueError."""
    try:
        mechanism, work, keys = line.split("$")
        iterations, salt = work.split(":")
        stored, server = keys.split(":")
        verifier = Verifier(int(iterations), *(base64.b64decode(x, validate=True) for x in (salt, stored, server)))
    except (ValueError, binascii.Error):
        raise ValueError("not a SCRAM-SHA-256 verifier") from None
    if mechanism != MECHANISM or len(verifier.stored_key) != 32 or len(verifier.server_key) != 32:
        raise ValueError("not a SCRAM-SHA-256 verifier")
    return verifier


def pretended(user: str, secret: bytes) -> Verifier:
    """The verifier of a user who does not exist: the same at every try, and no password fits."""
    salt = _hmac(secret, user.encode())[:_SALT_BYTES]
    return Verifier(ITERATIONS, salt, secrets.token_bytes(32), secrets.token_bytes(32))


def _attributes(line: str) -> dict[str, str]:
    out = {}
    for part in line.split(","):
        name, equals, value = part.partition("=")
        if not equals or len(name) != 1:
            raise ValueError(part)
        out[name] = value
    return out


class Exchange:
    """One login: ``challenge`` answers the client's first message, ``finish`` its last. Both raise SqlError (fatal)."""

    def __init__(self, verifier: Verifier, *, nonce: str = "") -> None:
        self._verifier = verifier
        self._own_nonce = nonce or base64.b64encode(secrets.token_bytes(_NONCE_BYTES)).decode()
        self._gs2 = self._bare = self._first = self._nonce = ""

    def challenge(self, data: bytes) -> bytes:
        """Server-first: nonce, salt, iterations."""
        try:
            flag, identity, self._bare = data.decode().split(",", 2)
            if flag not in ("n", "y") or identity:
                raise ValueError(flag)
            client_nonce = _attributes(self._bare)["r"]
            if not client_nonce or not client_nonce.isprintable():
                raise ValueError(client_nonce)
        except (ValueError, KeyError, UnicodeDecodeError):
            raise SqlError("08P01", "the first SCRAM message cannot be read", fatal=True) from None
        self._gs2 = f"{flag},,"
        self._nonce = client_nonce + self._own_nonce
        salt = base64.b64encode(self._verifier.salt).decode()
        self._first = f"r={self._nonce},s={salt},i={self._verifier.iterations}"
        return self._first.encode()

    def finish(self, data: bytes) -> bytes:
        """Server-final with the server's own proof, if the client's is right."""
        try:
            line = data.decode()
            without_proof, _, proof_text = line.rpartition(",p=")
            attributes = _attributes(without_proof)
            proof = base64.b64decode(proof_text, validate=True)
            same_binding = base64.b64decode(attributes["c"], validate=True) == self._gs2.encode()
            nonce = attributes["r"]
        except (ValueError, KeyError, UnicodeDecodeError, binascii.Error):
            raise SqlError("08P01", "the last SCRAM message cannot be read", fatal=True) from None
        signed = f"{self._bare},{self._first},{without_proof}".encode()
        signature = _hmac(self._verifier.stored_key, signed)
        key = bytes(a ^ b for a, b in zip(proof, signature, strict=False)) if len(proof) == 32 else b""
        right = hmac.compare_digest(hashlib.sha256(key).digest(), self._verifier.stored_key)
        if not (right and same_binding and hmac.compare_digest(nonce.encode(), self._nonce.encode())):
            raise SqlError(BAD_PASSWORD, "user and password do not fit", fatal=True)
        return b"v=" + base64.b64encode(_hmac(self._verifier.server_key, signed))
