"""A period of a lake as a folder that anybody can check: files as they are, the ledger lines behind them, roots, registry, factors.

The folder brings its own checker, ``verify_export.py``, which needs nothing of this project.
"""

import datetime
import gzip
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from storage.errors import LakeBusyError, StorageError
from storage.factor_files import factor_set_ids, factor_set_text
from storage.inventory import Moment, active, moment
from storage.ledger import CHANGES, Change, decode, decode_as, lines
from storage.progress import Step, silent
from storage.roots import Root, days_of, roots
from storage.schema import DAY_NS, DIMENSIONS, LANDED
from storage.verify import file_sha256

FORMAT: Final = "fleetco2 export 1"
TRIES: Final = 3  # a compaction may remove a file while it is copied
ABOUT: Final = """Readings, emissions and sums of a fleet, with what proves them.

  pip install pyarrow cryptography
  python -I verify_export.py . --key PUBLIC_KEY_OF_THE_OPERATOR [--figure FIGURE.json]

data/        Parquet files by table and day, as the operator's ledger names them
ledger/      the lines that name them with their hashes, and the signed hourly Merkle roots over these lines
dimensions/  vehicles, warehouses and routes
factors/     the emission factors
"""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written. ``open_lines`` lie under no root yet."""

    files: int
    rows: int
    bytes: int
    open_lines: int


def _touches(days: Iterable[str], first: str, end: str) -> bool:
    return any(first <= day < end for day in days)


@dataclass(frozen=True, slots=True)
class _Lines:
    roots: list[tuple[Root, bytes]]
    commits: list[bytes]
    changes: list[bytes]
    open_lines: int  # how many of them lie under no root


def _range(folder: Path, first: int, last: int) -> list[tuple[Path, bytes]]:
    return (
        [found for _, found in zip(range(last - first + 1), lines(folder, first), strict=False)]
        if last >= first
        else []
    )


def _lines(lake: Path, now: Moment, first_day: str, end_day: str) -> _Lines:
    """Lines up to ``now`` of the hours that touch the period: whole hours where there is a root, else only lines that do."""
    folder = lake / "ledger"
    made = [(r, line) for r, line in roots(lake) if r.last <= now.commit and r.last_change <= now.change]
    commits: list[bytes] = []
    changes: list[bytes] = []
    for root, _ in made:
        if _touches(root.days, first_day, end_day):
            commits += [line for _, line in _range(folder, root.first, root.last)]
            changes += [line for _, line in _range(folder / CHANGES, root.first_change, root.last_change)]
    sealed = len(commits) + len(changes)
    last, last_change = (made[-1][0].last, made[-1][0].last_change) if made else (0, 0)
    for path, line in _range(folder, last + 1, now.commit):
        if _touches(days_of([decode(line, path)], []), first_day, end_day):
            commits.append(line)
    for path, line in _range(folder / CHANGES, last_change + 1, now.change):
        if _touches(days_of([], [decode_as(Change, line, path)]), first_day, end_day):
            changes.append(line)
    return _Lines(made, commits, changes, len(commits) + len(changes) - sealed)


def _dimensions(lake: Path, out: Path) -> dict[str, str]:
    """Copy the dimension tables' newest files, and older ones of those that hold keys; gives their names in the lake."""
    found: dict[str, str] = {}
    (out / "dimensions").mkdir()
    for table in DIMENSIONS:
        newest = list(active(lake, table))
        older = [p.name for p in sorted((lake / table).glob("*.parquet")) if p.name not in newest]
        for i, name in enumerate([*newest, *(older if table in ("vehicles", "warehouses") else [])]):
            found[table if i == 0 else f"{table}-{i}"] = name
    for as_name, name in found.items():
        shutil.copyfile(lake / as_name.partition("-")[0] / name, out / "dimensions" / f"{as_name}.parquet")
    return found


def export(
    lake: Path,
    out: Path,
    first_day: datetime.date,
    end_day: datetime.date,
    *,
    tables: Sequence[str] = LANDED,
    step: Step = silent,
) -> Exported:
    """Write the days from ``first_day`` up to and without ``end_day`` (UTC) to the new folder ``out``.

    Safe beside a writer and a compaction: what is exported is one state of each table. Raises StorageError.
    """
    if first_day >= end_day:
        raise StorageError(out, f"the period {first_day} to {end_day} is empty: --to is the first day that is left out")
    try:
        out.mkdir(parents=True)
    except FileExistsError:
        raise LakeBusyError(out, "is there already; name a new folder") from None
    first, end = first_day.isoformat(), end_day.isoformat()
    for left in reversed(range(TRIES)):
        now = moment(lake, tables)
        named = {
            t: {p: a for p, a in found.items() if first <= a.partition["day"] < end} for t, found in now.files.items()
        }
        try:
            files = _copy(lake, out, named, step)
            break
        except FileNotFoundError:
            shutil.rmtree(out / "data")
            if not left:
                raise
    told = _lines(lake, now, first, end)
    known = {f.path for line in told.commits for f in decode(line, lake).files}
    known |= {c.made.path for line in told.changes if (c := decode_as(Change, line, lake)).made is not None}
    if strange := [f["path"] for f in files if f["path"] not in known]:
        raise StorageError(lake, f"no ledger line names {strange[0]}; python -m storage verify says more")
    (out / "ledger").mkdir()
    for name, content in (("commits", told.commits), ("changes", told.changes)):
        # no name and no time in the head: the checker knows each of its bits
        with (
            (out / "ledger" / f"{name}.jsonl.gz").open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as file,
        ):
            file.writelines(line + b"\n" for line in content)
    (out / "ledger" / "roots.jsonl").write_bytes(b"".join(line + b"\n" for _, line in told.roots))
    sets = sorted({f["partition"]["factor_set"] for f in files if "factor_set" in f["partition"]})
    (out / "factors").mkdir()
    for name in sets:
        if name in factor_set_ids():
            (out / "factors" / f"{name}.csv").write_text(factor_set_text(name), encoding="utf-8")
    dimensions = _dimensions(lake, out)
    checker = resources.files("storage").joinpath("verify_export.py").read_bytes()
    (out / "verify_export.py").write_bytes(checker)
    (out / "README.txt").write_text(ABOUT, encoding="utf-8")
    others = [p for folder in ("dimensions", "factors") for p in sorted((out / folder).glob("*"))]
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "from_day": first,
        "to_day": end,
        "from_ns": _ns(first_day),
        "to_ns": _ns(end_day),
        "tables": list(tables),
        "commits": {"last": now.commit},
        "factor_sets": sets,
        "public_key": told.roots[-1][0].public_key if told.roots else "",
        "dimensions": dimensions,
        "others": {str(p.relative_to(out)): file_sha256(p) for p in others},
        "files": files,
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return Exported(len(files), sum(f["rows"] for f in files), sum(f["bytes"] for f in files), told.open_lines)


def _ns(day: datetime.date) -> int:
    return (day - datetime.date(1970, 1, 1)).days * DAY_NS


def _copy(lake: Path, out: Path, named: dict[str, dict[str, Any]], step: Step) -> list[dict[str, Any]]:
    """Copy the files. Raises FileNotFoundError where a compaction has taken one away meanwhile."""
    files: list[dict[str, Any]] = []
    (out / "data").mkdir(exist_ok=True)
    total = sum(map(len, named.values()))
    for table, paths in named.items():
        for path, told in sorted(paths.items()):
            target = out / "data" / table / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(lake / table / path, target)
            files.append(
                {"table": table, "path": path, "rows": told.rows, "bytes": told.bytes, "partition": told.partition}
            )
            step("export", len(files), total)
    return files
