"""The source "csv": replay of a file with a column ``time`` and columns named as signals.

``time`` is ISO 8601 with a zone, or seconds since 1970 UTC. Order and defects are those of the file: an empty cell is absent,
a cell that is no number is absent and counted, a row whose time or number of cells is wrong is skipped and counted.
"""

import csv
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from devices.config import ConfigError, convert
from devices.signals import BY_NAME
from devices.sources import Context, Source
from devices.wire import Sample

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_S: Final = (2**63 - 1) // 10**9


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``[[source]] kind = "csv"`` takes."""

    path: Annotated[str, Meta(min_length=1, description="the file; relative paths start at the configuration file")]
    speed: Annotated[
        float, Meta(ge=0, description="1 = as recorded, 60 = a minute a second, 0 = as fast as it goes")
    ] = 1
    naive: Annotated[
        Literal["refuse", "utc"], Meta(description='times without a zone: "refuse" (skip and count) or "utc"')
    ] = "refuse"
    rename: Annotated[dict[str, str], Meta(description="column of the file = signal or time")] = {}
    ignore: Annotated[tuple[str, ...], Meta(description="columns to leave out")] = ()


def make(options: Mapping[str, Any], context: Context) -> Source:
    """A replay of the file that ``options`` name. ConfigError if its first line is missing or has an unknown column."""
    key = f"source.{context.name}"
    given = convert(dict(options), Options, context.where, key)
    path = context.base / given.path
    try:
        columns = _header(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(context.where, f"{key}.path", f"cannot read {path}: {error}") from None
    names: list[str] = []
    for column in columns:
        name = given.rename.get(column, column)
        if column in given.ignore:
            name = ""
        elif name != "time" and name not in BY_NAME:
            near = get_close_matches(name, BY_NAME, n=1)
            hint = f' (rename = {{ "{column}" = "{near[0]}" }}?)' if near else ""
            mend = f"column {column!r} of {path} is no signal{hint}; put it into rename or ignore"
            raise ConfigError(context.where, key, mend)
        elif name in names:
            raise ConfigError(context.where, key, f"{path} has {name} twice; put one of its columns into ignore")
        names.append(name)
    if "time" not in names:
        raise ConfigError(context.where, key, f"{path} has no column time; rename the one that holds it")
    return CsvReplay(path, tuple(names), given, context)


class CsvReplay:
    """Rows of one CSV file as readings, at the recorded pace times ``speed``. Called again, it goes on where it was."""

    can_wait = True

    def __init__(self, path: Path, names: tuple[str, ...], options: Options, context: Context) -> None:
        self._path = path
        self._names = names  # per column: "time", a signal, or blank = left out
        self._options = options
        self._context = context
        self._lines_done = 0

    @property
    def name(self) -> str:
        return self._context.name

    async def samples(self) -> AsyncIterator[Sample]:
        """The rows that can be read, in the file's order."""
        clock, speed = self._context.monotonic, self._options.speed
        begun_s, first_ns = clock(), None
        for sample in self._rows():
            first_ns = sample.time_ns if first_ns is None else first_ns
            due_s = begun_s + (sample.time_ns - first_ns) / 1e9 / speed if speed else begun_s
            await self._context.sleep(max(0.0, due_s - clock()))
            yield sample

    def _rows(self) -> Iterator[Sample]:
        count = self._context.counters.add
        with self._path.open(encoding="utf-8-sig", errors="replace") as file:
            for number, line in enumerate(file):
                if number <= self._lines_done:
                    continue
                self._lines_done = number
                if not line.strip():
                    continue
                sample = self._sample(line)
                if sample is None:
                    count("csv_row_unparsable", label=self.name)
                else:
                    yield sample

    def _sample(self, line: str) -> Sample | None:
        # line by line, so that a stray quote damages its own row only
        try:
            cells = next(csv.reader([line]))
        except csv.Error:
            return None
        if len(cells) != len(self._names):
            return None
        time_ns: int | None = None
        values: dict[str, float] = {}
        for name, cell in zip(self._names, cells, strict=True):
            if name == "time":
                time_ns = parse_time(cell, naive_is_utc=self._options.naive == "utc")
            elif name and cell.strip():
                number = _number(cell)
                if number is None:
                    self._context.counters.add("csv_cell_unparsable", label=name)
                else:
                    values[name] = number
        return None if time_ns is None else Sample(time_ns, values)


def parse_time(text: str, *, naive_is_utc: bool = False) -> int | None:
    """ns since 1970 from ISO 8601 or seconds since 1970. None if it is neither, or lacks a zone without ``naive_is_utc``."""
    text = text.strip()
    try:
        seconds = Decimal(text)
    except InvalidOperation:
        return _parse_iso(text, naive_is_utc=naive_is_utc)
    if "_" in text or not seconds.is_finite() or not -_LATEST_S <= seconds <= _LATEST_S:
        return None
    return int(seconds * 10**9)


def _parse_iso(text: str, *, naive_is_utc: bool) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        if not naive_is_utc:
            return None
        moment = moment.replace(tzinfo=UTC)
    micros = (moment - _EPOCH) // timedelta(microseconds=1)
    return micros * 1000 if abs(micros) <= _LATEST_S * 10**6 else None


def _number(cell: str) -> float | None:
    if "_" in cell:  # Python's float takes 1_000, a file does not mean it
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def _header(path: Path) -> list[str]:
    with path.open("rb") as file:
        first = file.readline().decode("utf-8-sig")
    return [cell.strip() for cell in next(csv.reader([first]), [])]
