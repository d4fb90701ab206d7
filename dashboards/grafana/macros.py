"""The macros of Grafana's PostgreSQL data source, expanded as Grafana does it, to run a panel's SQL without Grafana.

Forms after grafana/grafana, pkg/tsdb/grafana-postgresql-datasource/macros.go (AGPL; read, not copied).
"""

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_CALL: Final = re.compile(r"\$__(\w+)(?:\(((?:[^()]|\([^()]*\))*)\))?")
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::(\w+))?\}")


@dataclass(frozen=True)
class Window:
    """What a dashboard is set to: the time from ``from_ns`` to ``to_ns`` and the width of a bucket."""

    from_ns: int
    to_ns: int
    interval_s: int = 60
    timescaledb: bool = False

    def _rfc3339(self, ns: int) -> str:
        at = datetime.datetime.fromtimestamp(ns // 10**9, datetime.UTC)
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _macro(self, name: str, arguments: list[str]) -> str:
        start, end = self._rfc3339(self.from_ns), self._rfc3339(self.to_ns)
        if name in ("timeFilter",):
            return f"{arguments[0]} BETWEEN '{start}' AND '{end}'"
        if name in ("timeFrom", "timeTo"):
            return f"'{start if name == 'timeFrom' else end}'"
        if name in ("timeGroup", "timeGroupAlias"):
            group = self._group(arguments)
            return f'{group} AS "time"' if name == "timeGroupAlias" else group
        if name == "unixEpochNanoFilter":
            return f"{arguments[0]} >= {self.from_ns} AND {arguments[0]} <= {self.to_ns}"
        if name in ("unixEpochNanoFrom", "unixEpochNanoTo"):
            return str(self.from_ns if name.endswith("From") else self.to_ns)
        if name == "interval":
            return f"{self.interval_s}s"
        if name == "interval_ms":
            return str(self.interval_s * 1000)
        raise ValueError(f"the macro $__{name} is not one of Grafana's")

    def _group(self, arguments: list[str]) -> str:
        """Fill values (NULL, 0, previous) are applied by Grafana after the answer."""
        if self.timescaledb:
            return f"time_bucket('{self.interval_s:.3f}s',{arguments[0]})"
        return f"floor(extract(epoch from {arguments[0]})/{self.interval_s})*{self.interval_s}"


def expand(sql: str, window: Window, variables: Mapping[str, str | Sequence[str]]) -> str:
    """``sql`` as Grafana sends it. A sequence is a variable with several values. KeyError for a variable that is not given."""

    def variable(found: re.Match[str]) -> str:
        value = variables[found[1]]
        chosen = [value] if isinstance(value, str) else list(value)
        if found[2] == "sqlstring":
            return ",".join("'" + v.replace("'", "''") + "'" for v in chosen)
        return ",".join(chosen)

    def macro(found: re.Match[str]) -> str:
        return window._macro(found[1], [a.strip() for a in _split(found[2] or "")])

    return _CALL.sub(macro, _VARIABLE.sub(variable, sql))


def _split(text: str) -> list[str]:
    """Arguments at the commas outside brackets."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if c == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [*parts, text[start:]]
