"""``python -m storage --lake PATH ...``: questions to a lake, its figures, and its upkeep, beside a running consumer."""

import argparse
import csv
import datetime
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from deltalake import DeltaTable
from rich.console import Console
from rich.table import Table

from storage.compact import KEEP_HOURS, compact, sweep
from storage.disk import Disk
from storage.errors import LakeMissingError, StorageError
from storage.export import export
from storage.ledger import Ledger, decode
from storage.progress import bar
from storage.query import QueryError, connect, select
from storage.rebuild import rebuild
from storage.roots import KEY_VARIABLE, load_key, make_key
from storage.verify import verify
from storage.views import STORED
from stream.factors import FactorError

_EPILOG: Final = """\
examples:
  python -m storage --lake lake sql "SELECT * FROM route_now"
  python -m storage --lake lake sql --format csv "SELECT time, route, co2e_wtw_kg FROM route_minutes ORDER BY time"
  python -m storage --lake lake sql "SHOW TABLES"
  python -m storage --lake lake stats
  python -m storage --lake lake compact --every 60

Tables: readings, emissions, rollups, quarantine; vehicles, warehouses, routes, factors.
Figures: route_now, warehouse_now, route_minutes, warehouse_minutes, asset_minutes.
Filter by minute_ns or time_ns rather than by time where a table is large: the files are cut by them.
"""
_NICE: Final = 10  # compaction gives way to the consumer


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m storage",
        description="Ask a lake in SQL, show its figures, keep its files few. Safe while a consumer writes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--lake",
        type=Path,
        default=Path(os.environ.get("FLEETCO2_LAKE", "lake")),
        help="folder that the consumer writes to; default: what FLEETCO2_LAKE says, else ./lake",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    sql = commands.add_parser("sql", help="answer one SELECT")
    sql.add_argument("query", help="one SELECT; - reads it from standard input")
    sql.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: table")
    commands.add_parser("stats", help="tables, files, rows, bytes, versions, newest commit and its age")
    compacting = commands.add_parser("compact", help="merge small files, then remove what was replaced an hour ago")
    compacting.add_argument("--every", type=float, metavar="SECONDS", help="go on for ever, with this pause in between")
    compacting.add_argument(
        "--key", type=Path, metavar="FILE", help=f"signs hourly roots; default: what {KEY_VARIABLE} says"
    )
    checking = commands.add_parser(
        "verify", help="check chains, roots, files and signatures; name the first that does not fit"
    )
    checking.add_argument(
        "--key", metavar="HEX", help="the server's public key: every hourly root must be signed by it"
    )
    checking.add_argument("--root", metavar="HEX", help="a root published earlier: it must still be in the chain")
    exporting = commands.add_parser("export", help="a period with all that proves it, and a checker, in a new folder")
    exporting.add_argument(
        "--from", dest="first", type=_day, required=True, metavar="DAY", help="first day, UTC, as 2026-11-01"
    )
    exporting.add_argument(
        "--to", dest="end", type=_day, required=True, metavar="DAY", help="the day after the last one"
    )
    exporting.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder")
    anew = commands.add_parser(
        "rebuild", help="make the results of a factor set from the raw readings, beside the others"
    )
    anew.add_argument("--factors", required=True, metavar="SET", help="such as fleetco2-2026.1")
    anew.add_argument(
        "--compare", action="store_true", help="also make those that are there, and say whether they are the same"
    )
    making = commands.add_parser("key", help="make the server's Ed25519 key and print its public half")
    making.add_argument("--out", type=Path, required=True, metavar="FILE", help="new file, readable by its owner only")
    return parser.parse_args(words)


def _plain(value: Any) -> Any:
    """A value as JSON and people can read it. What JSON cannot carry becomes text; NaN and infinity too."""
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ", timespec="milliseconds")
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    return value if value is None or isinstance(value, str | bool | int | list | dict) else str(value)


def _cell(value: Any) -> str:
    if value is None:
        return "·"  # unknown
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _show(names: list[str], rows: list[list[Any]], form: str) -> None:
    if form == "json":
        print(json.dumps([dict(zip(names, row, strict=True)) for row in rows], ensure_ascii=False, indent=1))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
    else:
        table = Table(box=None, pad_edge=False)
        for name in names:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*(_cell(v) for v in row))
        wide = Console(width=None if sys.stdout.isatty() else 10_000)
        wide.print(table, soft_wrap=not sys.stdout.isatty())


def _sql(lake: Path, query: str, form: str) -> None:
    found = select(connect(lake), sys.stdin.read() if query == "-" else query)
    names = [str(d[0]) for d in found.description or []]
    _show(names, [[_plain(v) for v in row] for row in found.fetchall()], form)


def _stats(lake: Path) -> None:
    rows = []
    for name in STORED:
        if not DeltaTable.is_deltatable(str(lake / name)):
            rows.append([name, 0, 0, 0, None])
            continue
        table = DeltaTable(str(lake / name))
        actions = pa.table(table.get_add_actions(flatten=True))
        total = [sum(actions[column].to_pylist()) for column in ("num_records", "size_bytes")]
        rows.append([name, actions.num_rows, total[0], f"{total[1] / 1e6:.3f} MB", table.version()])
    _show(["table", "files", "rows", "size", "version"], rows, "table")
    ledger = Ledger(lake / "ledger", Disk())
    ledger.load()
    if ledger.newest is None:
        print("no commit yet")
        return
    record = decode(ledger.newest, lake / "ledger")
    age_s = (time.time_ns() - record.time_ns) / 1e9
    when = datetime.datetime.fromtimestamp(record.time_ns // 1_000_000_000, datetime.UTC).isoformat(sep=" ")
    print(f"newest commit {record.n} at {when}, {age_s:.1f} s ago, factor set {record.factor_set}")


def _compact(lake: Path, every_s: float | None, key_file: Path | None) -> None:
    named = key_file or os.environ.get(KEY_VARIABLE)
    key = load_key(Path(named)) if named else None
    os.nice(_NICE)
    while True:
        started = time.monotonic()
        for done in compact(lake, key=key):
            merged = f"{done.files} files, {done.rows_before} rows -> 1 file, {done.rows_after} rows"
            print(f"{done.table} {done.partition}: {merged}", flush=True)
        if removed := sweep(lake):
            print(f"{len(removed)} files removed that were replaced over {KEEP_HOURS} h ago", flush=True)
        if every_s is None:
            return
        time.sleep(max(0.0, every_s - (time.monotonic() - started)))


def _day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def _export(lake: Path, arguments: argparse.Namespace) -> None:
    with bar() as step:
        done = export(lake, arguments.out, arguments.first, arguments.end, step=step)
    print(f"{done.files} files, {done.rows} rows, {done.bytes / 1e6:.3f} MB in {arguments.out}")
    if done.open_lines:
        print(f"{done.open_lines} ledger lines lie under no hourly root yet; compact makes them when an hour is over")
    print(f"check it anywhere: python -I {arguments.out}/verify_export.py {arguments.out} --key PUBLIC_KEY")


def _rebuild(lake: Path, name: str, compare: bool) -> int:
    with bar() as step:
        done = rebuild(lake, name, compare=compare, step=step)
    rate = done.readings / done.seconds if done.seconds else 0.0
    print(
        f"{done.readings} readings taken in {done.seconds:.1f} s ({rate / 1e6:.2f} M/s), {len(done.files)} files made"
    )
    if compare:
        print(
            f"{done.same} parts compared are the same to the last bit, {len(done.other)} are not: {', '.join(done.other[:5])}"
        )
    if done.files:
        taken = (
            "the running consumer shows them with its next commit"
            if done.n is None
            else f"visible since commit {done.n}"
        )
        print(f"results under {name}: {taken}")
    return 1 if done.other else 0


def _verify(lake: Path, trusted: str | None, published: str | None) -> int:
    with bar() as step:
        report = verify(lake, trusted=trusted, published=published, step=step)
    print(
        f"{report.commits} commits and {report.changes} changes, {report.roots} hourly roots ({report.unsigned} unsigned)\n"
        f"{report.files} files with {report.rows} rows as written, {report.replaced} replaced and removed since\n"
        f"{report.batches} batches of gateways: {report.signed} signed and checked, {report.without_key} signed by a gateway "
        f"without a registered key, {report.gaps} whose predecessor is not here"
    )
    if not report.findings:
        return 0
    hours = sorted(f.hour for f in report.findings if f.hour[:1].isdigit())
    print(f"DOES NOT FIT: {len(report.findings)} findings; the first hour is {hours[0] if hours else 'unknown'}")
    for kind in ("hour", "file", "batch"):
        if (first := report.first(kind)) is not None:
            print(f"first {kind}: {first.where}: {first.what} ({first.hour})")
    return 1


def _check_lake(lake: Path) -> None:
    if not (lake / "readings" / "_delta_log").is_dir():
        raise LakeMissingError(lake, "there is no lake here; name the folder that the consumer writes to")


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 0, 1 where ``verify`` finds something, 2 for a lake or SQL that cannot be used."""
    arguments = _arguments(words)
    try:
        if arguments.command == "key":
            print(make_key(arguments.out))
            return 0
        _check_lake(arguments.lake)
        match arguments.command:
            case "sql":
                _sql(arguments.lake, arguments.query, arguments.format)
            case "stats":
                _stats(arguments.lake)
            case "compact":
                _compact(arguments.lake, arguments.every, arguments.key)
            case "export":
                _export(arguments.lake, arguments)
            case "rebuild":
                return _rebuild(arguments.lake, arguments.factors, arguments.compare)
            case _:
                return _verify(arguments.lake, arguments.key, arguments.root)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        pass
    except (StorageError, QueryError, FactorError, OSError) as error:
        print(f"storage: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
