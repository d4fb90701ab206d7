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

from storage.as_of import commit_of
from storage.backhaul import find_day
from storage.compact import KEEP_HOURS, compact, drop, sweep
from storage.difference import BY, Known, difference
from storage.disk import Disk
from storage.errors import LakeMissingError, StorageError
from storage.export import export
from storage.ledger import Ledger, decode
from storage.progress import bar
from storage.proof import latest_root
from storage.query import QueryError, connect, select
from storage.rebuild import rebuild
from storage.roots import KEY_VARIABLE, load_key, make_key
from storage.verify import verify
from storage.views import STORED
from stream.backhaul import Limits

_EPILOG: Final = """\
examples:
  python -m storage --lake lake sql "SELECT * FROM route_now"
  python -m storage --lake lake sql --format csv "SELECT time, route, co2e_wtw_kg FROM route_minutes ORDER BY time"
  python -m storage --lake lake sql "SHOW TABLES"
  python -m storage --lake lake stats
  python -m storage --lake lake compact --every 60 --key server.key
  python -m storage --lake lake sql --as-of 2026-11-22T10:00 "SELECT route, sum(co2e_ttw_ug) FROM rollups GROUP BY 1"
  python -m storage --lake lake rebuild --factors fleetco2-2026.1
  python -m storage --lake lake diff --before 2026-11-01 fleetco2-2025.1 --after 2026-11-22 fleetco2-2026.1 --by route
  python -m storage --lake lake verify --key PUBLIC_KEY
  python -m storage --lake lake export --from 2026-11-01 --to 2026-12-01 --out november

Tables: readings, emissions, rollups, trips, events, quarantine; vehicles, warehouses, routes, factors.
Figures: fleet_now, route_now, warehouse_now, route_minutes, warehouse_minutes, asset_minutes.
Running: running_days, region_benchmark, dock_days, cases; backhaul once `backhaul` has run for a day.
Filter by minute_ns or time_ns rather than by time where a table is large: the files are cut by them.
"""
KEEP_HELP: Final = (
    f"how long merged files stay, for readers and for the lake as of a commit within an hour; default {KEEP_HOURS}"
)
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
    sql.add_argument(
        "--as-of", metavar="WHEN", help="what was known then: a UTC time such as 2026-11-22T10:00, or a commit's number"
    )
    differing = commands.add_parser(
        "diff", help="why sums changed between two (WHEN, factor set) pairs: late data or other factors"
    )
    for name, what in (("--before", "from"), ("--after", "to")):
        differing.add_argument(
            name, nargs=2, required=True, metavar=("WHEN", "SET"), help=f"{what} this state, as sql --as-of"
        )
    differing.add_argument("--by", choices=tuple(BY), default="total", help="one line each; default: total")
    differing.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: table")
    commands.add_parser("stats", help="tables, files, rows, bytes, versions, newest commit and its age")
    compacting = commands.add_parser("compact", help="merge small files, then remove what was replaced an hour ago")
    compacting.add_argument("--every", type=float, metavar="SECONDS", help="go on for ever, with this pause in between")
    compacting.add_argument(
        "--keep",
        action="append",
        default=[],
        type=_keep,
        metavar="TABLE=DAYS",
        help="drop older days of a table; may stand several times; default: every day is kept for ever",
    )
    compacting.add_argument("--keep-hours", type=int, default=KEEP_HOURS, metavar="N", help=KEEP_HELP)
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
    exporting.add_argument(
        "--tenant", metavar="NAME", help="is refused, with the reason: files hold rows of all tenants"
    )
    matching = commands.add_parser("backhaul", help="find loads that a day's empty legs could have carried")
    matching.add_argument("--day", type=_day, required=True, metavar="DAY", help="day in UTC, as 2026-11-01")
    matching.add_argument("--factor-set", help="default: that of the newest commit")
    usual = Limits()
    matching.add_argument(
        "--approach-km",
        type=float,
        default=usual.approach_km,
        help=f"empty way to a load, from a drop; default {usual.approach_km:g}",
    )
    matching.add_argument(
        "--detour-km", type=float, default=usual.detour_km, help=f"longer way in all; default {usual.detour_km:g}"
    )
    matching.add_argument(
        "--wait-h", type=float, default=usual.wait_s / 3600, help=f"wait for a load; default {usual.wait_s / 3600:g}"
    )
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


def _sql(lake: Path, query: str, form: str, moment: str | None) -> None:
    n = commit_of(lake, moment) if moment is not None else None
    found = select(connect(lake, as_of=n), sys.stdin.read() if query == "-" else query)
    names = [str(d[0]) for d in found.description or []]
    _show(names, [[_plain(v) for v in row] for row in found.fetchall()], form)


def _backhaul(lake: Path, arguments: argparse.Namespace) -> None:
    ledger = Ledger(lake / "ledger", Disk())
    ledger.load()
    if ledger.newest is None:
        print("no commit yet")
        return
    factor_set = arguments.factor_set or decode(ledger.newest, lake / "ledger").factor_set
    limits = Limits(arguments.approach_km, arguments.detour_km, arguments.wait_h * 3600)
    found = find_day(lake, arguments.day.isoformat(), factor_set, limits, now_ns=time.time_ns)
    print(
        f"{found.legs} empty legs, {found.loads} loads, {found.pairs} legal pairs, {found.best} that can all be done:"
    )
    litres = "litres unknown" if found.litres is None else f"{found.litres:.0f} L"
    print(f"{found.km:.0f} km, {litres} not needed. They stand in the table backhaul.")


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
    root = latest_root(lake)
    sealed = (
        "no hourly root yet"
        if root is None
        else f"{root.n} hourly roots up to commit {root.last}, newest {root.root[:16]}..."
    )
    print(f"{sealed}{'' if root is None or root.signature else ', not signed'}")
    print(f"newest commit {record.n} at {when}, {age_s:.1f} s ago, factor set {record.factor_set}")


def _compact(lake: Path, arguments: argparse.Namespace) -> None:
    named = arguments.key or os.environ.get(KEY_VARIABLE)
    key = load_key(Path(named)) if named else None
    os.nice(_NICE)
    while True:
        started = time.monotonic()
        today = datetime.datetime.now(datetime.UTC).date()
        for table, days in arguments.keep:
            if dropped := drop(lake, table, today - datetime.timedelta(days=days)):
                print(f"{table}: {dropped} files of days over {days} days ago dropped", flush=True)
        for done in compact(lake, key=key):
            source = (
                f"{done.files} files, {done.rows_before} rows" if done.rows_before else f"{done.files} files of rollups"
            )
            print(f"{done.table} {done.partition}: {source} -> 1 file, {done.rows_after} rows", flush=True)
        if removed := sweep(lake, keep_hours=arguments.keep_hours):
            print(f"{len(removed)} files removed that were replaced over {arguments.keep_hours} h ago", flush=True)
        if arguments.every is None:
            return
        time.sleep(max(0.0, arguments.every - (time.monotonic() - started)))


def _keep(text: str) -> tuple[str, int]:
    table, _, days = text.partition("=")
    return table, int(days)


def _day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def _export(lake: Path, arguments: argparse.Namespace) -> None:
    if arguments.tenant:
        raise StorageError(
            arguments.out,
            f"{arguments.tenant} cannot be exported alone: what is proved is the hash of a file, and files hold rows of all tenants. "
            "Give the tenant its figures with a proof from the feed, or keep a lake for each tenant and export that",
        )
    with bar() as step:
        done = export(lake, arguments.out, arguments.first, arguments.end, step=step)
    print(f"{done.files} files, {done.rows} rows, {done.bytes / 1e6:.3f} MB in {arguments.out}")
    if done.open_lines:
        print(f"{done.open_lines} ledger lines lie under no hourly root yet; compact makes them when an hour is over")
    print(f"check it anywhere: python -I {arguments.out}/verify_export.py {arguments.out} --key PUBLIC_KEY")


def _diff(lake: Path, arguments: argparse.Namespace) -> None:
    before, after = (Known(commit_of(lake, when), name) for when, name in (arguments.before, arguments.after))
    rows = [
        [d.group, d.column, d.before, d.late_data, d.factors, d.after]
        for d in difference(lake, before, after, by=arguments.by)
    ]
    _show([arguments.by, "sum", "before", "late_data", "factors", "after"], rows, arguments.format)


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
                _sql(arguments.lake, arguments.query, arguments.format, arguments.as_of)
            case "stats":
                _stats(arguments.lake)
            case "backhaul":
                _backhaul(arguments.lake, arguments)
            case "compact":
                _compact(arguments.lake, arguments)
            case "diff":
                _diff(arguments.lake, arguments)
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
    except (StorageError, QueryError, ValueError, OSError) as error:
        print(f"storage: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
