"""CSV files that a warehouse system drops into a folder: rows with a time, as totals or as movements to be added up.

A file is taken when it has not changed between two looks, and then moved to ``done``, or to ``bad`` when its first line is not
what it should be. What is added up is saved before the file is moved, with a digest of it, so it counts once whatever happens.
"""

import csv
import hashlib
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from devices.json_values import Reader, ValueOptions
from devices.saved import load, save
from devices.source_csv import parse_time
from devices.sources import Context
from devices.wire import Sample

MAX_FILE_BYTES: Final = 16 << 20  # a day of movements of a large warehouse; it is held in memory
REMEMBERED: Final = 1000  # digests of files that were added up; a file delivered again later would count twice
_LOG: Final = logging.getLogger("devices.wms")


class ColumnOptions(ValueOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A ``[[source.value]]`` of a CSV file; ``key`` is its column."""

    adds: Annotated[bool, Meta(description="the number is a movement; movements are added up to a total")] = False
    start: Annotated[float, Meta(ge=0, description="adds: the total before the first file")] = 0


class FolderOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the source "wms" takes for a folder of CSV files."""

    folder: Annotated[str, Meta(min_length=1, description="where the files are dropped")]
    value: Annotated[tuple[ColumnOptions, ...], Meta(min_length=1, description="[[source.value]] tables")]
    pattern: Annotated[str, Meta(min_length=1, description="which files; those that begin with a dot never")] = "*.csv"
    time: Annotated[str, Meta(min_length=1, description="the column with the time of the row")] = "time"
    naive: Annotated[
        Literal["refuse", "utc"], Meta(description='times without a zone: "refuse" (skip and count) or "utc"')
    ] = "refuse"
    delimiter: Annotated[Literal[",", ";", "\t", "|"], Meta(description="between cells")] = ","
    decimal: Annotated[Literal[".", ","], Meta(description="the decimal mark; the other is refused")] = "."
    state: Annotated[str, Meta(description="adds: file that keeps the totals; blank = <name>.totals.json")] = ""
    every_s: Annotated[float, Meta(ge=0.1, le=3600, description="seconds between looks")] = 10


class SavedTotals(msgspec.Struct, frozen=True):
    """What was added up, by signal, and the digests of the files that are in it."""

    totals: dict[str, float]
    digests: tuple[str, ...] = ()


class CsvDrop:
    """The rows of a folder's files, in the order of their names. Called again, it goes on with the files that are left."""

    can_wait = True

    def __init__(self, options: FolderOptions, context: Context) -> None:
        self._options = options
        self._context = context
        self._folder = context.base / options.folder
        self._state = context.base / (options.state or f"{context.name}.totals.json")
        self._reader = Reader([v for v in options.value if not v.adds], context.counters)
        self._seen: dict[Path, tuple[int, int]] = {}

    @property
    def name(self) -> str:
        return self._context.name

    async def samples(self) -> AsyncIterator[Sample]:
        """Readings as files come. OSError if the folder cannot be read or a file not moved."""
        while True:
            for path in self._ready():
                try:
                    content = _content(path)
                    names = self._names(content)
                except _NotOursError as error:
                    self._context.counters.add("message_unreadable", label=self.name)
                    _LOG.warning("file_refused source=%s file=%s detail=%s", self.name, path.name, error)
                    _move(path, self._folder / "bad")
                    continue
                for sample in self._file(content, names):
                    yield sample
                _move(path, self._folder / "done")
            await self._context.sleep(self._options.every_s)

    def _ready(self) -> list[Path]:
        """Files that have not changed since the last look, by name."""
        if not self._folder.is_dir():
            raise OSError(f"{self._folder} is no folder; make it, or mend folder")
        (self._folder / "done").mkdir(exist_ok=True)  # before anything is taken: a file that stays would be taken again
        now: dict[Path, tuple[int, int]] = {}
        for path in sorted(self._folder.glob(self._options.pattern)):
            if path.is_file() and not path.name.startswith("."):
                stat = path.stat()
                now[path] = (stat.st_size, stat.st_mtime_ns)
        ready = [path for path, stat in now.items() if self._seen.get(path) == stat]
        self._seen = now
        return ready

    def _names(self, content: bytes) -> list[str]:
        """Names of the columns of the file."""
        first = content.split(b"\n", 1)[0].decode("utf-8-sig", errors="replace")
        names = [cell.strip() for cell in self._cells(first) or []]
        wanted = [self._options.time, *(v.key for v in self._options.value)]
        wrong = [name for name in wanted if names.count(name) != 1]
        if wrong:
            raise _NotOursError(f"no single column {', '.join(wrong)}")
        return names

    def _file(self, content: bytes, names: list[str]) -> Iterator[Sample]:
        """The rows; after the last one what was added up is saved."""
        adds = [v for v in self._options.value if v.adds]
        saved = (load(self._state, SavedTotals) if adds else None) or SavedTotals({})
        digest = hashlib.sha256(content).hexdigest()
        if digest in saved.digests:
            self._context.counters.add("message_stale", label=self.name)
            return
        totals = {v.signal: saved.totals.get(v.signal, v.start) for v in adds}
        for line in content.decode("utf-8-sig", errors="replace").split("\n")[1:]:
            if line.strip():
                sample = self._row(self._cells(line), names, totals)
                if sample is not None:
                    yield sample
        if adds:
            save(self._state, SavedTotals(totals, (*saved.digests, digest)[-REMEMBERED:]))

    def _row(self, cells: Sequence[str] | None, names: list[str], totals: dict[str, float]) -> Sample | None:
        count = self._context.counters.add
        row = dict(zip(names, cells, strict=True)) if cells is not None and len(cells) == len(names) else None
        utc = self._options.naive == "utc"
        time_ns = None if row is None else parse_time(row[self._options.time], naive_is_utc=utc)
        if row is None or time_ns is None:
            count("csv_row_unparsable", label=self.name)
            return None
        values: dict[str, float] = {}
        for wanted in self._options.value:
            cell = row[wanted.key].strip()
            if not cell:
                continue
            number = self._number(cell)
            if number is None:
                count("csv_cell_unparsable", label=wanted.key)
            elif not wanted.adds:
                value = self._reader.value(wanted, number, time_ns / 1e9)
                if value is not None:
                    values[wanted.signal] = value
            elif number * wanted.factor < 0:
                count("meter_value_refused", label=f"{wanted.signal}: below_zero")
            else:
                totals[wanted.signal] += number * wanted.factor
                values[wanted.signal] = totals[wanted.signal]
        return Sample(time_ns, values) if values else None

    def _cells(self, line: str) -> list[str] | None:
        try:
            return next(csv.reader([line.rstrip("\r")], delimiter=self._options.delimiter), [])
        except csv.Error:
            return None

    def _number(self, cell: str) -> float | None:
        if self._options.decimal == ",":
            if "." in cell:  # 1.234 may be a thousand; it is not guessed
                return None
            cell = cell.replace(",", ".")
        try:
            number = float(cell) if "_" not in cell else None
        except ValueError:
            return None
        return number if number is not None and abs(number) < 1e15 else None  # NaN fails the comparison


class _NotOursError(Exception):
    """A file that is not what it should be."""


def _content(path: Path) -> bytes:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise _NotOursError(f"more than {MAX_FILE_BYTES} bytes")
    return path.read_bytes()


def _move(path: Path, folder: Path) -> None:
    """Move a file, beside those of its name that are there already."""
    folder.mkdir(exist_ok=True)
    to, n = folder / path.name, 1
    while to.exists():
        n += 1
        to = folder / f"{path.name}.{n}"
    path.rename(to)


def check(options: FolderOptions) -> tuple[str, str] | None:
    """(key, mend) of what is wrong beyond single values."""
    for i, value in enumerate(options.value):
        if not value.key:
            return f"value[{i}].key", "is missing; write the name of the column"
        if value.adds and (value.offset or value.factor < 0):
            return f"value[{i}].adds", "a movement has no offset and a factor above 0"
        if value.start and not value.adds:
            return f"value[{i}].start", "goes with adds = true"
    return None
