"""What a session answers by itself: settings, transactions, and statements that change nothing here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dashboards.sql import errors as e
from dashboards.sql.catalog import VERSION, VERSION_NUM
from dashboards.sql.errors import SqlError

DEFAULTS: Final[Mapping[str, str]] = {
    "application_name": "",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "client_min_messages": "notice",
    "DateStyle": "ISO, MDY",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "on",
    "extra_float_digits": "1",
    "in_hot_standby": "off",
    "integer_datetimes": "on",
    "IntervalStyle": "postgres",
    "is_superuser": "off",
    "lc_collate": "C.UTF-8",
    "lc_ctype": "C.UTF-8",
    "max_identifier_length": "63",
    "max_index_keys": "32",
    "search_path": '"$user", public',
    "server_encoding": "UTF8",
    "server_version": VERSION,
    "server_version_num": str(VERSION_NUM),
    "session_authorization": "",
    "standard_conforming_strings": "on",
    "statement_timeout": "0",
    "TimeZone": "UTC",
    "transaction_isolation": "read committed",
    "transaction_read_only": "on",
}
REPORTED: Final = (
    "application_name", "client_encoding", "DateStyle", "default_transaction_read_only", "in_hot_standby",
    "integer_datetimes", "IntervalStyle", "is_superuser", "server_encoding", "server_version",
    "session_authorization", "standard_conforming_strings", "TimeZone",
)  # fmt: skip
_FIXED: Final = frozenset(
    name.lower()
    for name in DEFAULTS
    if name.startswith(
        ("server_", "max_", "lc_", "in_hot", "integer_", "is_super", "transaction_", "default_trans", "bytea")
    )
    or name
    in (
        "TimeZone",
        "DateStyle",
        "IntervalStyle",
        "standard_conforming_strings",
        "session_authorization",
        "client_encoding",
    )
)
_CANONICAL: Final = {name.lower(): name for name in DEFAULTS}
MAX_SETTINGS: Final = 100  # names that a client may set of its own accord
MAX_VALUE: Final = 500  # characters

_SET: Final = re.compile(
    r"SET\s+(?:(?:SESSION|LOCAL)\s+)?(?:(?P<zone>TIME\s+ZONE)\s+(?P<where>.+)|(?P<name>[\w.]+)\s*(?:=|\bTO\b)\s*(?P<value>.*))",
    re.IGNORECASE | re.DOTALL,
)
_TAGS: Final = {
    "begin": "BEGIN", "start": "START TRANSACTION", "commit": "COMMIT", "end": "COMMIT", "rollback": "ROLLBACK", "abort": "ROLLBACK",
    "savepoint": "SAVEPOINT", "release": "RELEASE", "discard": "DISCARD ALL", "deallocate": "DEALLOCATE", "close": "CLOSE CURSOR",
    "unlisten": "UNLISTEN", "reset": "RESET",
}  # fmt: skip

STATEMENTS: Final = frozenset(("set", "show", *_TAGS))  # first words of what a session answers itself


@dataclass(frozen=True, slots=True)
class Answer:
    """What the session says itself: a tag, and a small table for SHOW."""

    tag: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    changed: tuple[str, ...] = ()  # settings to report to the client
    forget: str = ""  # prepared statement to drop; "*" = all
    warning: str = ""


@dataclass
class Session:
    """Settings and transaction state of one connection. ``status``: I idle, T in a transaction, E in a failed one."""

    user: str
    settings: dict[str, str] = field(default_factory=lambda: dict(DEFAULTS))
    status: str = "I"

    def setting(self, name: str) -> str | None:
        """A setting's value, or None."""
        return self.settings.get(_CANONICAL.get(name.lower(), name.lower()))

    def put(self, name: str, value: str) -> tuple[str, ...]:
        """Set ``name``. Returns its name if clients are told.

        What this server cannot change stays as it is; raises SqlError where that matters.
        """
        lower = name.lower()
        if len(value) > MAX_VALUE or (
            lower not in self.settings and len(self.settings) >= len(DEFAULTS) + MAX_SETTINGS
        ):
            raise SqlError(e.BAD_PARAMETER, "too many or too long settings")
        if lower == "client_encoding" and value.lower().replace("-", "") not in ("utf8", "unicode", "'utf8'"):
            raise SqlError(e.BAD_PARAMETER, f"client_encoding {value} is not spoken here, UTF8 is")
        if lower in ("default_transaction_read_only", "transaction_read_only") and value.lower() in (
            "off",
            "false",
            "0",
            "no",
        ):
            raise SqlError(e.ACCESS_DENIED, "this server is read-only")
        if lower in _FIXED:
            return ()
        canonical = _CANONICAL.get(lower, lower)
        self.settings[canonical] = value
        return (canonical,) if canonical in REPORTED else ()

    def answer(self, statement: str) -> Answer | None:
        """The answer to a statement that needs no data; None for any other. Raises SqlError."""
        word = re.match(r"[A-Za-z]*", statement)
        first = word[0].lower() if word else ""
        if self.status == "E" and first not in ("commit", "end", "rollback", "abort"):
            raise SqlError(
                e.FAILED_TRANSACTION, "current transaction is aborted, commands ignored until end of transaction block"
            )
        if first == "set":
            return self._set(statement)
        if first == "show":
            return self._show(statement[4:].strip())
        if first not in _TAGS:
            return None
        return self._transaction(first, statement)

    def _transaction(self, first: str, statement: str) -> Answer:
        tag = _TAGS[first]
        words = statement.split()
        match tag:
            case "BEGIN" | "START TRANSACTION":
                self.status = "T"
            case "COMMIT" | "ROLLBACK":
                if (
                    tag == "ROLLBACK"
                    and len(words) > 2
                    and words[1].lower() in ("to", "transaction")
                    and "to" in statement.lower()
                ):
                    self.status = "T" if self.status != "I" else "I"
                    return Answer("ROLLBACK")
                tag = "ROLLBACK" if self.status == "E" else tag
                self.status = "I"
            case "DISCARD ALL" | "DEALLOCATE":
                what = words[-1].strip('"') if len(words) > 1 else ""
                tag = (
                    "DISCARD " + what.upper()
                    if first == "discard"
                    else "DEALLOCATE ALL"
                    if what.lower() == "all"
                    else tag
                )
                return Answer(tag, forget="*" if what.lower() == "all" else what if first == "deallocate" else "")
            case "RESET":
                name = words[1].lower() if len(words) > 1 else ""
                for key in [k for k in self.settings if name in ("all", k.lower())]:
                    self.settings[key] = DEFAULTS.get(key, "")
        return Answer(tag)

    def _set(self, statement: str) -> Answer:
        words = statement.lower().split()
        if words[1:2] == ["transaction"] or words[1:3] in (
            ["session", "characteristics"],
            ["session", "authorization"],
        ):
            if "write" in words:
                raise SqlError(e.ACCESS_DENIED, "this server is read-only")
            return Answer("SET")
        found = _SET.fullmatch(statement)
        if found is None:
            raise SqlError(e.SYNTAX, "SET name = value")
        name = "timezone" if found["zone"] else found["name"]
        value = (found["where"] if found["zone"] else found["value"]).strip()
        value = value[1:-1].replace("''", "'") if len(value) > 1 and value[0] == value[-1] == "'" else value
        return Answer("SET", changed=self.put(name, value))

    def _show(self, what: str) -> Answer:
        name = what.strip('"').lower()
        name = {"time zone": "timezone", "transaction isolation level": "transaction_isolation"}.get(name, name)
        if name == "all":
            rows = tuple((k, v, "") for k, v in sorted(self.settings.items()))
            return Answer("SHOW", ("name", "setting", "description"), rows)
        value = self.setting(name)
        if value is None:
            raise SqlError("42704", f'unrecognized configuration parameter "{what}"')
        return Answer("SHOW", (_CANONICAL.get(name, name),), ((value,),))
