"""The macros of Grafana's PostgreSQL data source, expanded as Grafana does it, to run a panel's SQL without Grafana.

Forms and errors after grafana/grafana, pkg/tsdb/grafana-postgresql-datasource/macros.go and sqleng (AGPL; read, not copied). A macro's
arguments end at the first closing bracket there, so a call inside of them is an error here too. Fill values are Grafana's own work, done
after the answer; only their form is checked.
"""

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_MACRO: Final = re.compile(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)")
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::(\w+))?\}")
_DURATION: Final = re.compile(r"(\d+)(ms|[smhdwMy])")
_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "M": 2_629_800, "y": 31_557_600}


class MacroError(ValueError):
    """Grafana would refuse the query, with this message."""


@dataclass(frozen=True)
class Window:
    """What a dashboard is set to: the time from ``from_ns`` to ``to_ns`` and the width of a bucket."""

    from_ns: int
    to_ns: int
    interval_s: int = 60
    timescaledb: bool = False


def expand(sql: str, window: Window, variables: Mapping[str, str | Sequence[str]]) -> str:
    """``sql`` as Grafana sends it. A sequence is a variable with several values. KeyError for a variable that is not given, MacroError."""

    def variable(found: re.Match[str]) -> str:
        value = variables[found[1]]
        chosen = [value] if isinstance(value, str) else list(value)
        if found[2] == "sqlstring":
            return ",".join("'" + v.replace("'", "''") + "'" for v in chosen)
        if not isinstance(value, str):  # a variable of several values is quoted by Grafana's SQL data sources
            return ",".join("'" + v.replace("'", "''") + "'" for v in chosen)
        return value.replace("'", "''")

    text = _VARIABLE.sub(variable, sql)
    text = text.replace("$__interval_ms", str(window.interval_s * 1000)).replace("$__interval", f"{window.interval_s}s")
    text = text.replace("$__unixEpochFrom()", str(window.from_ns // 10**9))
    text = text.replace("$__unixEpochTo()", str(window.to_ns // 10**9))

    def macro(found: re.Match[str]) -> str:
        name = found[1]
        if name == "__timeGroup" and text[text.find(found[0]) + len(found[0]) :].startswith(","):
            name = "__timeGroupAlias"  # as before Grafana 5.3
        return _evaluated(window, name, [a.strip(" ") for a in found[2].split(",")])

    return _MACRO.sub(macro, text)


def _evaluated(window: Window, name: str, arguments: list[str]) -> str:
    start, end, column = _rfc3339(window.from_ns), _rfc3339(window.to_ns), arguments[0]
    match name:
        case "__time":
            return f'{column} AS "time"'
        case "__timeEpoch":
            return f'extract(epoch from {column}) as "time"'
        case "__timeFilter":
            return f"{column} BETWEEN '{start}' AND '{end}'"
        case "__timeFrom":
            return f"'{start}'"
        case "__timeTo":
            return f"'{end}'"
        case "__timeGroup" | "__unixEpochGroup":
            return _grouped(window, name, arguments)
        case "__timeGroupAlias" | "__unixEpochGroupAlias":
            return f'{_grouped(window, name.removesuffix("Alias"), arguments)} AS "time"'
        case "__unixEpochFilter":
            return f"{column} >= {window.from_ns // 10**9} AND {column} <= {window.to_ns // 10**9}"
        case "__unixEpochNanoFilter":
            return f"{column} >= {window.from_ns} AND {column} <= {window.to_ns}"
        case "__unixEpochNanoFrom":
            return str(window.from_ns)
        case "__unixEpochNanoTo":
            return str(window.to_ns)
    raise MacroError(f"unknown macro {name!r}")


def _grouped(window: Window, name: str, arguments: list[str]) -> str:
    if len(arguments) < 2:
        raise MacroError(f"macro {name} needs time column and interval and optional fill value")
    found = _DURATION.fullmatch(arguments[1].strip("'"))
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if seconds <= 0:
        raise MacroError(f"error parsing interval {arguments[1]}")
    if len(arguments) == 3 and arguments[2] not in ("NULL", "previous"):
        try:
            float(arguments[2])
        except ValueError:
            raise MacroError(f"error parsing fill value {arguments[2]}") from None
    if len(arguments) == 3 and seconds < 1:
        raise MacroError("Grafana divides by whole seconds when it fills, and fails below one")
    width = str(int(seconds)) if seconds == int(seconds) else repr(seconds)
    if name == "__unixEpochGroup":
        return f"floor(({arguments[0]})/{width})*{width}"
    if window.timescaledb:
        return f"time_bucket('{seconds:.3f}s',{arguments[0]})"
    return f"floor(extract(epoch from {arguments[0]})/{width})*{width}"


def _rfc3339(ns: int) -> str:
    at = datetime.datetime.fromtimestamp(ns // 10**9, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{ns % 10**9:09}".rstrip("0") if ns % 10**9 else ""
    return f"{at}{fraction}Z"
