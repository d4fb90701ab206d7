"""Does everything in a lake still fit together: chains, roots, files, states, dimension tables, and the gateways' signatures.

What is found is told in order: the first hour, the first file and the first batch that do not fit are what matters; whatever
comes after may follow from them.
"""

import datetime
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow.parquet as pq
from cryptography.exceptions import InvalidSignature

from devices.envelope import batch_hash, envelope, replaced, signed_message
from devices.wire import HEADER
from storage import merkle, snapshot
from storage.disk import Disk
from storage.errors import StorageError
from storage.file_names import commits_of
from storage.inventory import KEPT, Active, Expected, active, expected
from storage.ledger import CHANGES, Change, Ledger, Record, decode, decode_as, digest, lines, segments_of
from storage.progress import Step, silent
from storage.roots import Root, public_key, signature_fits
from storage.schema import DIMENSIONS, PARTITIONS, arrow_schema

BLOCK: Final = 1 << 20
IN_FLIGHT_S: Final = (
    60.0  # from a commit's files to its line in the ledger; a disk that stalls longer than this is a finding
)

TORN_LOOKS: Final = 3
TORN_PAUSE_S: Final = 0.05  # an append takes microseconds


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not fit. ``hour`` is that of the commit behind it, as far as it is known; ``where`` names a file or a batch."""

    kind: Literal["hour", "file", "batch"]
    hour: str
    where: str
    what: str


@dataclass
class Report:
    """What was looked at, and what does not fit, in the order of looking."""

    findings: list[Finding]
    commits: int = 0
    changes: int = 0
    roots: int = 0
    unsigned: int = 0
    files: int = 0
    rows: int = 0
    replaced: int = 0
    batches: int = 0
    signed: int = 0
    without_key: int = 0
    gaps: int = 0

    def first(self, kind: str) -> Finding | None:
        """The first of a kind."""
        return next((f for f in self.findings if f.kind == kind), None)


def hour_text(time_ns: int) -> str:
    """The hour of a time, such as 2026-11-22T09Z."""
    return f"{datetime.datetime.fromtimestamp(time_ns // 1_000_000_000, datetime.UTC):%Y-%m-%dT%H}Z"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex. Raises OSError."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def _chain(report: Report, folder: Path, kind: type[Any], name: str) -> list[tuple[Any, bytes]]:
    """Lines that can be read, each with its record; where they break is a finding."""
    found: list[tuple[Any, bytes]] = []
    previous, n = "", 0
    try:
        for path, line in lines(folder):
            record = decode_as(kind, line, path)
            if record.n != n + 1 or record.previous != previous:
                when = hour_text(record.time_ns)
                text = f"{name} {record.n} does not follow {name} {n}: one of both was altered"
                report.findings.append(Finding("hour", when, str(path), text))
            previous, n = digest(line), record.n
            found.append((record, line))
    except (StorageError, OSError) as e:
        report.findings.append(Finding("hour", _hour_after(found), str(folder), f"after {name} {n}: {e}"))
    for path in segments_of(folder):
        if _torn(path):
            text = f"does not end with a whole line, after {name} {n}"
            report.findings.append(Finding("hour", _hour_after(found), str(path), text))
    return found


def _hour_after(found: list[tuple[Any, bytes]]) -> str:
    return hour_text(found[-1][0].time_ns) if found else "unknown hour"


def _torn(path: Path) -> bool:
    """Whether a file goes on behind its last whole line, and not because a writer is just appending."""
    for _ in range(TORN_LOOKS):
        if path.read_bytes()[-1:] in (b"\n", b""):
            return False
        time.sleep(TORN_PAUSE_S)
    return True


def _roots(
    report: Report,
    lake: Path,
    commits: list[tuple[Record, bytes]],
    changes: list[tuple[Change, bytes]],
    trusted: str | None,
    published: str | None,
) -> None:
    made: list[tuple[Root, bytes]] = _chain(report, lake / "ledger" / "roots", Root, "root")
    last = last_change = 0
    if published is not None and published not in {root.root for root, _ in made}:
        text = f"root {published} was published, but is not here"
        report.findings.append(Finding("hour", "unknown hour", str(lake / "ledger" / "roots"), text))
    for root, _ in made:
        where = str(lake / "ledger" / "roots")
        when = hour_text(root.hour_ns)
        report.roots += 1
        if root.first != last + 1 or root.first_change != last_change + 1:
            report.findings.append(
                Finding("hour", when, where, f"root {root.n} does not go on where the one before ended")
            )
        last, last_change = root.last, root.last_change
        under = [line for _, line in commits[root.first - 1 : root.last]]
        head = digest(under[-1]) if under else ""
        under += [line for _, line in changes[root.first_change - 1 : root.last_change]]
        found = merkle.root([merkle.leaf_hash(line) for line in under]).hex()
        if (len(under), found, head) != (root.leaves, root.root, root.head):
            text = f"commits {root.first} to {root.last} do not add up to root {root.n}"
            report.findings.append(Finding("hour", when, where, text))
        if not root.signature:
            report.unsigned += 1
            if trusted is not None:
                report.findings.append(Finding("hour", when, where, f"root {root.n} is not signed"))
            continue
        try:
            fits = signature_fits(root)
        except ValueError:
            fits = False
        if not fits:
            report.findings.append(Finding("hour", when, where, f"the signature of root {root.n} does not fit"))
        elif trusted is not None and root.public_key != trusted:
            report.findings.append(Finding("hour", when, where, f"root {root.n} is signed by another key"))


def _files(
    report: Report, lake: Path, found: Expected, now: dict[str, dict[str, Active]], hours: dict[str, str], step: Step
) -> None:
    """Every file that the ledger names and that is there: its hash, and what its table's log says of it."""
    for table, path, what in sorted(found.faults):
        if _in_flight(lake / table / path, path, report.commits):
            continue
        report.findings.append(Finding("file", hours.get(path, "unknown hour"), f"{table}/{path}", what))
    entries = [e for table in found.entries.values() for e in table.values()]
    for done, entry in enumerate(entries, 1):
        step("files", done, len(entries))
        where, when = f"{entry.table}/{entry.path}", hours.get(entry.path, "unknown hour")
        told = now.get(entry.table, {}).get(entry.path)
        full = lake / entry.table / entry.path
        if not full.exists():
            if told is not None:
                report.findings.append(Finding("file", when, where, "is missing"))
            else:
                report.replaced += 1
            continue
        if file_sha256(full) != entry.sha256:
            report.findings.append(Finding("file", when, where, "is not as it was written: its hash differs"))
            continue
        if told is not None and (told.rows, told.bytes, told.partition) != (entry.rows, entry.bytes, entry.partition):
            report.findings.append(
                Finding("file", when, where, "the table's log says something else of it than the ledger")
            )
        report.files += 1
        report.rows += entry.rows


def _in_flight(full: Path, path: str, newest: int) -> bool:
    """Whether a file is that of a commit whose line a writer is just about to write."""
    known = commits_of(path)
    return known == (newest + 1, newest + 1) and full.exists() and time.time() - full.stat().st_mtime < IN_FLIGHT_S


def _state(report: Report, lake: Path, commits: list[tuple[Record, bytes]]) -> None:
    """The parts of the newest state must be there; every part that is there must be the one that its commit names."""
    named = {record.state: record for record, _ in commits if record.state}
    here = {f"state/{path.name}" for path in (lake / "state").iterdir()}
    since = _state_since(lake, commits)
    for name, record in named.items():
        if record.n >= since and name not in here:
            report.findings.append(Finding("file", hour_text(record.time_ns), name, "is missing"))
    for name in sorted(here & set(named)):
        record = named[name]
        try:
            snapshot.read(lake / name, record.state_sha256)
        except StorageError as e:
            if (lake / name).exists():  # a writer removes old ones
                report.findings.append(Finding("file", hour_text(record.time_ns), name, e.what))


def _state_since(lake: Path, commits: list[tuple[Record, bytes]]) -> int:
    """Commit from which on a state is needed by now: a writer that went on meanwhile has removed older ones."""
    ledger = Ledger(lake / "ledger", Disk())
    ledger.load()
    try:
        record = decode(ledger.newest or b"", lake / "ledger")
    except StorageError:  # found by the chain
        if not commits:
            return 0
        record = commits[-1][0]
    return record.state_since or record.n


def _dimensions(report: Report, lake: Path, commits: list[tuple[Record, bytes]]) -> None:
    """Dimension files carry their hash in their name; those that commits name must be there, the newest ones in the tables."""
    newest: dict[str, str] = {}
    for record, _ in commits:
        for table, name in record.dimensions.items():
            newest[table] = name
            if not (lake / table / name).exists():
                report.findings.append(Finding("file", hour_text(record.time_ns), f"{table}/{name}", "is missing"))
    for table in DIMENSIONS:
        for path in sorted((lake / table).glob("*.parquet")):
            if file_sha256(path) != path.name.partition("-")[0]:
                text = "is not as it was written: its name tells another hash"
                report.findings.append(Finding("file", "unknown hour", f"{table}/{path.name}", text))
        try:
            here = list(active(lake, table))
        except StorageError as e:
            report.findings.append(Finding("file", "unknown hour", table, e.what))
            continue
        if table in newest and here != [newest[table]] and not _newer(lake, table, here, newest[table]):
            text = f"the table's log names {here}, the newest commit names {newest[table]}"
            report.findings.append(Finding("file", "unknown hour", table, text))


def _newer(lake: Path, table: str, here: list[str], named: str) -> bool:
    """Whether the table was written after the newest commit, so that the next one will name it."""
    if len(here) != 1 or not (lake / table / here[0]).exists() or not (lake / table / named).exists():
        return False
    return (lake / table / here[0]).stat().st_mtime_ns > (lake / table / named).stat().st_mtime_ns


def _keys(lake: Path) -> dict[str, list[Any]]:
    """Public keys that gateways have or had, by device, from every version of the registry in the lake."""
    found: dict[str, list[Any]] = {}
    for table in ("vehicles", "warehouses"):
        for path in sorted((lake / table).glob("*.parquet")):
            rows = pq.read_table(path)
            if "public_key" in rows.column_names:
                for row in rows.select(["device", "public_key"]).to_pylist():
                    if row["public_key"]:
                        found.setdefault(row["device"], []).append(public_key(row["public_key"]))
    return found


def _batches(report: Report, lake: Path, now: dict[str, Active], hours: dict[str, str], step: Step) -> None:
    """Frames, each once, their hashes, their signatures where a key is registered, and whether each one's predecessor is there."""
    try:
        keys = _keys(lake)
    except (StorageError, OSError, ValueError) as e:
        report.findings.append(Finding("batch", "unknown hour", "registry", f"its keys cannot be read: {e}"))
        return
    hashes: dict[str, set[bytes]] = {}
    stood_for: set[bytes] = set()  # batches that a thinned one stands for
    wanted: list[tuple[str, bytes]] = []
    for done, path in enumerate(sorted(now), 1):
        step("batches", done, len(now))
        for row in _rows(lake / "batches" / path):
            report.batches += 1
            device, frame = row["device"], row["frame"]
            mine = hashes.setdefault(device, set())
            again = row["frame_sha256"] in mine
            mine.add(row["frame_sha256"])
            stood_for.update(replaced(frame))
            if row["previous_sha256"] is not None:
                wanted.append((device, row["previous_sha256"]))
            what = _does_not_fit(row, frame, keys.get(device, ()))
            if what is None and again:
                what = "the same batch was taken before: it was published again after its start was forgotten, and counts twice"
            if what is None:
                report.signed += row["signature"] is not None and device in keys
                report.without_key += row["signature"] is not None and device not in keys
                continue
            name = f"{device}, boot {row['boot_id']}, readings {row['first_seq']} to {row['first_seq'] + row['n'] - 1}"
            report.findings.append(Finding("batch", hours.get(path, "unknown hour"), f"batches/{path}: {name}", what))
    report.gaps = sum(previous not in hashes[device] and previous not in stood_for for device, previous in wanted)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        file = pq.ParquetFile(path)
        if not set(arrow_schema("batches").names) - set(PARTITIONS["batches"]) <= set(file.schema_arrow.names):
            return  # a flipped bit can rename a column, too
        for batch in file.iter_batches(4_096):
            yield from batch.to_pylist()
    except (OSError, ValueError):
        return  # its hash has been found to differ


def _does_not_fit(row: dict[str, Any], frame: bytes, keys: Sequence[Any]) -> str | None:
    if len(frame) < HEADER.size or batch_hash(frame) != row["frame_sha256"]:
        return "its hash is not that of its frame"
    try:
        sealed = envelope(frame)
    except (ValueError, IndexError):
        return "its header cannot be read"
    if row["signature"] != sealed.signature or row["previous_sha256"] != sealed.previous:
        return "its signature, or the batch it follows, is not the one in its frame"
    if sealed.signature is None or not keys:
        return None
    message = signed_message(frame, row["tenant"], sealed.signature_at)
    return (
        None
        if any(_signed_by(key, sealed.signature, message) for key in keys)
        else "its signature is by no key that is registered"
    )


def _signed_by(key: Any, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def verify(lake: Path, *, trusted: str | None = None, published: str | None = None, step: Step = silent) -> Report:
    """Check the lake at ``lake``. ``trusted`` is the server's public key in hex: every root must then be signed by it.

    ``published`` is a root (hex) that somebody was given: it must be in the chain, which shows that the lake's end was not cut off.

    Safe beside a writer: what is committed meanwhile is looked at as far as its line was there at the start.
    """
    report = Report([])
    newest = Ledger(lake / "ledger", Disk())
    newest.load()
    try:
        settled = decode(newest.newest, lake / "ledger").n if newest.newest else 0
    except StorageError:
        settled = 0  # the chain will tell
    now: dict[str, dict[str, Active]] = {}
    for table in KEPT:
        try:
            now[table] = active(lake, table)
        except StorageError as e:
            report.findings.append(Finding("file", "unknown hour", table, e.what))
    step("chain", 0, 1)
    changes: list[tuple[Change, bytes]] = _chain(report, lake / "ledger" / CHANGES, Change, "change")
    commits: list[tuple[Record, bytes]] = _chain(report, lake / "ledger", Record, "commit")
    report.commits, report.changes = len(commits), len(changes)
    _roots(report, lake, commits, changes, trusted, published)
    step("chain", 1, 1)
    hours = {f.path: hour_text(r.time_ns) for r, _ in commits for f in r.files}
    hours |= {c.made.path: hour_text(c.time_ns) for c, _ in changes if c.made is not None}
    found = expected([r for r, _ in commits], [c for c, _ in changes], now, settled)
    _files(report, lake, found, now, hours, step)
    _state(report, lake, commits)
    _dimensions(report, lake, commits)
    _batches(report, lake, now.get("batches", {}), hours, step)
    return report
