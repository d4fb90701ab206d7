"""Who may ask: a JSON file of roles, each with its tenant and a SCRAM verifier. It holds no password."""

import os
import uuid
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from dashboards.sql import scram

EVERYONE: Final = "*"  # as a tenant: all of them
_NAME: Final = "^[a-z][a-z0-9_-]{0,62}$"
_TENANT: Final = r"^([a-z0-9-]{3,40}|\*)$"
SHORTEST_PASSWORD: Final = 12


class RolesError(Exception):
    """A roles file that cannot be used. The text names the file and what to do."""


class Role(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One role: the tenant whose rows it sees (``*`` = all), and what proves its password."""

    tenant: Annotated[str, Meta(pattern=_TENANT)]
    verifier: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    roles: dict[Annotated[str, Meta(pattern=_NAME)], Role]


def load(path: Path) -> dict[str, Role]:
    """The roles in ``path``. Raises RolesError, also where others than its owner may read it."""
    try:
        mode = path.stat().st_mode
        text = path.read_bytes()
    except FileNotFoundError:
        raise RolesError(
            f"{path} is missing; make it with: python -m dashboards role add NAME --tenant TENANT"
        ) from None
    except OSError as e:
        raise RolesError(f"{path} cannot be read: {e.strerror}") from e
    if mode & 0o077:
        raise RolesError(f"{path} can be read by others; run: chmod 600 {path}")
    try:
        roles = msgspec.json.decode(text, type=_File).roles
        for name, role in roles.items():
            try:
                scram.read(role.verifier)
            except ValueError as e:
                raise RolesError(f"{path}: verifier of {name} is {e}; add the role again") from None
    except msgspec.DecodeError as e:
        raise RolesError(f"{path} is no roles file: {e}") from None
    return roles


def add(path: Path, name: str, tenant: str, password: str) -> None:
    """Write role ``name`` into ``path``, in place of one of that name. Raises RolesError."""
    if len(password) < SHORTEST_PASSWORD:
        raise RolesError(f"the password has {len(password)} characters; use {SHORTEST_PASSWORD} or more")
    roles = load(path) if path.exists() else {}
    _write(path, {**roles, name: Role(tenant=tenant, verifier=str(scram.make(password)))})


def remove(path: Path, name: str) -> None:
    """Take role ``name`` out of ``path``. Raises RolesError where it is not there."""
    roles = load(path)
    if name not in roles:
        raise RolesError(f"{path} has no role {name}; it has {', '.join(sorted(roles)) or 'none'}")
    _write(path, {k: v for k, v in roles.items() if k != name})


def _write(path: Path, roles: dict[str, Role]) -> None:
    content = msgspec.json.format(msgspec.json.encode(_File(dict(sorted(roles.items())))), indent=1) + b"\n"
    try:
        msgspec.json.decode(content, type=_File)
    except msgspec.ValidationError as e:
        raise RolesError(f"{e}: a role is a-z, 0-9, _ and -, a tenant is 3 to 40 of a-z, 0-9 and -, or *") from None
    tmp = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        tmp.replace(path)
    except OSError as e:
        tmp.unlink(missing_ok=True)
        raise RolesError(f"{path} cannot be written: {e.strerror}") from e


class Roles:
    """The roles of a file, read again when the file has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] = (-1, -1)
        self._roles: dict[str, Role] = {}

    def get(self, name: str) -> Role | None:
        """A role, or None. Raises RolesError."""
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino)
        except OSError:
            seen = (-1, -2)
        if seen != self._seen:
            self._roles = load(self._path)
            self._seen = seen
        return self._roles.get(name)
