"""API keys: who may see what. Only a salted hash of a key is kept; the key itself is shown once, when it is made.

A key is ``fc_<id>_<secret>`` with 256 random bits, so one round of BLAKE2b is enough and a request costs microseconds. The same
key is an OAuth2 client: the id is its ``client_id``, the whole key its ``client_secret``. The file is read again when it changes,
so a revoked key ends within a second, without a restart.
"""

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

ALL: Final = "*"
DETAILS: Final = ("totals", "routes", "vehicles")
DAY_NS: Final = 86_400_000_000_000
DEFAULT_DAYS: Final = 365  # a key nobody renews ends

Detail = Literal["totals", "routes", "vehicles"]


class KeyFileError(ValueError):
    """A key file that cannot be used. The text names the file and the mend."""


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One authority's rights.

    ``tenants`` and ``regions`` are names, or ``*`` for all. ``detail``: totals = operators and regions; routes = also route groups
    and warehouses; vehicles = everything, single vehicles and orders, any period, nothing hidden.
    """

    id: Annotated[str, msgspec.Meta(pattern="^[a-z0-9]{12}$")]
    name: str
    salt: str
    hash: str
    tenants: tuple[str, ...]
    regions: tuple[str, ...]
    detail: Detail
    created_ns: int
    expires_ns: int
    revoked_ns: int | None = None

    def sees_tenant(self, tenant: str) -> bool:
        """Whether the key reaches ``tenant``."""
        return ALL in self.tenants or tenant in self.tenants

    def sees_region(self, region: str | None) -> bool:
        """Whether the key reaches ``region``; None is what lies in no region."""
        return ALL in self.regions or region in self.regions

    @property
    def hides(self) -> bool:
        """Whether small cells are hidden from it."""
        return self.detail != "vehicles"

    def reaches(self, detail: Detail) -> bool:
        """Whether the key has at least this detail."""
        return DETAILS.index(self.detail) >= DETAILS.index(detail)


def _digest(secret: str, salt: str) -> str:
    return hashlib.blake2b(secret.encode(), salt=bytes.fromhex(salt), digest_size=32).hexdigest()


def split(key: str) -> tuple[str, str] | None:
    """(id, secret) of a key's text; None for anything else."""
    parts = key.split("_", 2)
    return (parts[1], parts[2]) if len(parts) == 3 and parts[0] == "fc" and len(key) <= 100 else None


def fits(key: Key, secret: str) -> bool:
    """Whether ``secret`` is that of ``key``, in constant time."""
    return hmac.compare_digest(_digest(secret, key.salt), key.hash)


def make(
    name: str,
    *,
    tenants: Sequence[str],
    regions: Sequence[str] = (ALL,),
    detail: Detail = "totals",
    now_ns: int,
    days: int = DEFAULT_DAYS,
) -> tuple[Key, str]:
    """A new key and its text, which is told to nobody else. Raises ValueError for rights that make no sense."""
    if not name.strip() or not tenants or not regions:
        raise ValueError("a key needs a name, at least one tenant and at least one region (* = all)")
    if days < 1:
        raise ValueError(f"a key of {days} days is over before it begins; give at least 1")
    key_id = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(12))
    secret, salt = secrets.token_urlsafe(32), secrets.token_hex(16)
    key = Key(
        id=key_id,
        name=name.strip(),
        salt=salt,
        hash=_digest(secret, salt),
        tenants=tuple(tenants),
        regions=tuple(regions),
        detail=detail,
        created_ns=now_ns,
        expires_ns=now_ns + days * DAY_NS,
    )
    return key, f"fc_{key_id}_{secret}"


def load(path: Path) -> dict[str, Key]:
    """Keys by id; none where there is no file. Raises KeyFileError for a file others may read or that is damaged."""
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as e:
        raise KeyFileError(f"{path} cannot be read: {e}") from e
    if stat.S_IMODE(mode) & 0o077:
        raise KeyFileError(f"{path} may be read by others; say: chmod 600 {path}")
    try:
        keys = msgspec.json.decode(content, type=list[Key])
    except msgspec.MsgspecError as e:
        raise KeyFileError(f"{path} is damaged: {e}; bring it back from a copy") from e
    return {key.id: key for key in keys}


def save(path: Path, keys: Sequence[Key]) -> None:
    """Replace the file, readable by its owner only. Raises OSError."""
    tmp = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    content = msgspec.json.format(msgspec.json.encode(list(keys)), indent=1) + b"\n"
    handle = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        tmp.replace(path)
    except OSError:
        tmp.unlink(missing_ok=True)
        raise


def revoke(path: Path, key_id: str, now_ns: int) -> Key:
    """End a key at once. Raises KeyFileError where there is none of that id."""
    keys = load(path)
    if key_id not in keys:
        raise KeyFileError(f"{path} holds no key {key_id!r}; 'keys list' shows them")
    ended = msgspec.structs.replace(keys[key_id], revoked_ns=now_ns)
    save(path, list((keys | {key_id: ended}).values()))
    return ended
