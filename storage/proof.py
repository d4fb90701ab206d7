"""For the feed: which root covers what, the proof that it does, and which commits a time range is."""

from bisect import bisect_left
from pathlib import Path

import msgspec

from storage import merkle
from storage.disk import Disk
from storage.errors import StorageError
from storage.file_names import commits_of
from storage.ledger import CHANGES, Change, Ledger, Record, decode, decode_as, find, line_of, lines, segments_of
from storage.roots import Root, leaves_of, roots


class Proof(msgspec.Struct, frozen=True):
    """``line`` is leaf ``index`` of the ``leaves`` under ``root``; ``path`` leads from its hash to the root's, from the leaf up, in hex.

    A commit's or change's line names the SHA-256 of each of its files: the proof of a file is that of the line that made it.
    """

    line: str
    index: int
    leaves: int
    path: tuple[str, ...]
    root: Root


def latest_root(lake: Path) -> Root | None:
    """The newest root of the lake at ``lake``; None where no hour has ended yet. Raises StorageError."""
    ledger = Ledger(lake / "ledger" / "roots", Disk())
    ledger.load()
    return decode_as(Root, ledger.newest, lake / "ledger" / "roots") if ledger.newest else None


def inclusion(lake: Path, what: int | str) -> Proof | None:
    """The proof of a commit by its number, or of a file by its path (or the end of it) as a table names it.

    None where its hour has not been sealed yet. Raises StorageError where there is no such commit or file.
    """
    record = _record(lake, what)
    for root, _ in roots(lake):
        number, first, last = record.n, root.first, root.last
        if isinstance(record, Change):
            first, last = root.first_change, root.last_change
        if first <= number <= last:
            found = leaves_of(lake, root)
            index = number - first + (root.last - root.first + 1 if isinstance(record, Change) else 0)
            hashes = [merkle.leaf_hash(line) for line in found]
            steps = tuple(step.hex() for step in merkle.path(hashes, index))
            return Proof(found[index].decode(), index, root.leaves, steps, root)
    return None


def proves(proof: Proof) -> bool:
    """Whether the path of ``proof`` leads from its line to its root."""
    leaf = merkle.leaf_hash(proof.line.encode())
    found = merkle.root_from(leaf, proof.index, proof.leaves, [bytes.fromhex(step) for step in proof.path])
    return found is not None and found.hex() == proof.root.root and proof.leaves == proof.root.leaves


def _record(lake: Path, what: int | str) -> Record | Change:
    folder = lake / "ledger"
    if isinstance(what, str):
        own = commits_of(what)
        line = line_of(folder, own[0]) if own and own[0] == own[1] else None
        if line is not None and what.encode() in line:
            return decode(line, folder)
        changed = find(folder / CHANGES, f'"path":"{what}"') or find(folder / CHANGES, f'{what}"')
        if changed is not None and (change := decode_as(Change, changed, folder / CHANGES)).made is not None:
            return change
        line = find(folder, what)
    else:
        line = line_of(folder, what)
    if line is None:
        raise StorageError(folder, f"names no {'file' if isinstance(what, str) else 'commit'} {what}")
    return decode(line, folder)


def commit_range(lake: Path, from_ns: int, to_ns: int) -> tuple[int, int] | None:
    """(first, last) commit made from ``from_ns`` (inclusive) to ``to_ns`` (exclusive) by the server's clock; None where there is none."""
    first, last = commit_at(lake, from_ns) + 1, commit_at(lake, to_ns)
    return (first, last) if first <= last else None


def commit_at(lake: Path, time_ns: int) -> int:
    """The newest commit made before ``time_ns``; 0 where there is none. Raises StorageError."""
    folder = lake / "ledger"
    segments = segments_of(folder)
    starts = []
    for path in segments:
        with path.open("rb") as file:
            line = file.readline()
        starts.append(decode(line, path).time_ns if line.endswith(b"\n") else time_ns)
    at = max(0, bisect_left(starts, time_ns) - 1)
    if not segments:
        return 0
    found = 0
    for path, line in lines(folder, max(1, int(segments[at].stem))):
        if path != segments[at]:
            break
        record = decode(line, path)
        if record.time_ns < time_ns:
            found = record.n
    return found
