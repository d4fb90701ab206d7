"""Hourly Merkle roots over the ledger: one line per hour in ``ledger/roots``, signed, each naming the hash of the one before.

Leaves of an hour are the lines of its commits, then those of its changes: a line names the hashes of its files, so one path
proves a commit and each of its files. Made by the process that compacts, so that landing does not wait for it.

The signature is Ed25519 over ``fleetco2 root 1\\n`` and the line with an empty ``signature``. Without a key a root is unsigned.
"""

import base64
import os
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from storage import merkle
from storage.adoption import offers
from storage.disk import Disk, fault
from storage.errors import StorageError
from storage.ledger import CHANGES, Change, Ledger, Record, chain, decode_as, digest, encode, lines

HOUR_NS: Final = 3_600_000_000_000
GRACE_NS: Final = (
    10_000_000_000  # a commit takes its time before its line is written; one that is later goes under the next root
)
CONTEXT: Final = b"fleetco2 root 1\n"
KEY_VARIABLE: Final = "FLEETCO2_LEDGER_KEY"


class Root(msgspec.Struct, frozen=True):
    """One hour. Commits ``first`` to ``last`` and changes ``first_change`` to ``last_change`` (last < first: none) lie under it.

    ``hour_ns`` is the hour's start, ``head`` the hash of the last commit's line. ``factor_set`` and ``dimensions`` held at its end;
    ``switches`` are commits at which one of both changed, or that follow those which a rebuild reached to. ``days`` tells how many
    files of each day (a partition) the lines under this root name, so that a period's files cannot be left out. ``root``, keys,
    hashes and signature are in hex.
    """

    n: int
    hour_ns: int
    time_ns: int
    first: int
    last: int
    first_change: int
    last_change: int
    leaves: int
    root: str
    head: str
    factor_set: str
    dimensions: dict[str, str]
    switches: tuple[int, ...]
    days: dict[str, int]
    previous: str
    public_key: str
    signature: str
    format: int = 1


@dataclass(frozen=True, slots=True)
class Epochs:
    """Commits between which no file may be merged: each number begins an hour, or another registry or factor set."""

    starts: tuple[int, ...]

    def of(self, first: int, last: int) -> int | None:
        """The epoch that holds commits ``first`` to ``last``; None where they lie in two."""
        epoch = bisect_right(self.starts, first)
        return epoch if bisect_right(self.starts, last) == epoch else None


@dataclass(frozen=True, slots=True)
class _Tail:
    """Lines that no root covers yet, and the newest root."""

    newest: Root | None
    newest_line: bytes
    commits: list[tuple[Record, bytes]]
    changes: list[tuple[Change, bytes]]


def make_key(path: Path) -> str:
    """Make an Ed25519 key in the new file ``path``, readable by its owner only; gives its public half in hex. Raises OSError."""
    key = Ed25519PrivateKey.generate()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        os.fsync(fd)
    return key.public_key().public_bytes_raw().hex()


def load_key(path: Path) -> Ed25519PrivateKey:
    """The key in ``path``. Raises StorageError where it holds none, or where others may read it."""
    try:
        if path.stat().st_mode & 0o077:
            raise StorageError(path, "others may read this key; chmod 600 it")
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as e:
        raise fault(path, e) from e
    except (ValueError, TypeError) as e:
        raise StorageError(path, f"holds no key: {e}; python -m storage key --out FILE makes one") from e
    if not isinstance(key, Ed25519PrivateKey):
        raise StorageError(path, "holds no Ed25519 key; python -m storage key --out FILE makes one")
    return key


def public_key(text: str) -> Ed25519PublicKey:
    """A public key of 32 bytes, in hex or base64. Raises ValueError."""
    try:
        raw = bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text, validate=True)
        return Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        raise ValueError(f"{text!r} is no Ed25519 public key: 64 hex digits or 44 of base64") from None


def signed_bytes(root: Root) -> bytes:
    """What the signature of a root is over."""
    return CONTEXT + encode(msgspec.structs.replace(root, signature=""))


def signature_fits(root: Root) -> bool:
    """Whether the root's signature is by the key that it names. Raises ValueError for a root without one."""
    try:
        public_key(root.public_key).verify(bytes.fromhex(root.signature), signed_bytes(root))
    except InvalidSignature:
        return False
    return True


def roots(lake: Path) -> Iterator[tuple[Root, bytes]]:
    """All roots and their lines, oldest first, the chain checked. Raises StorageError."""
    return chain(lake / "ledger" / "roots", Root, "root")


def leaves_of(lake: Path, root: Root) -> list[bytes]:
    """Lines under ``root``, in the order of the leaves. Raises StorageError where some are missing."""
    found: list[bytes] = []
    folder = lake / "ledger"
    for where, first, last in (
        (folder, root.first, root.last),
        (folder / CHANGES, root.first_change, root.last_change),
    ):
        count = last - first + 1
        taken = [line for _, (_, line) in zip(range(count), lines(where, first), strict=False)] if count > 0 else []
        if len(taken) < count:
            raise StorageError(where, f"lines {first + len(taken)} to {last} are missing, which root {root.n} covers")
        found += taken
    return found


def _tail(lake: Path) -> _Tail:
    ledger = Ledger(lake / "ledger" / "roots", Disk())
    ledger.load()
    newest = decode_as(Root, ledger.newest, lake / "ledger" / "roots") if ledger.newest else None
    first = newest.last + 1 if newest else 1
    first_change = newest.last_change + 1 if newest else 1
    folder = lake / "ledger"
    return _Tail(
        newest,
        ledger.newest or b"",
        [(decode_as(Record, line, path), line) for path, line in lines(folder, first)],
        [(decode_as(Change, line, path), line) for path, line in lines(folder / CHANGES, first_change)],
    )


def days_of(commits: Sequence[Record], changes: Sequence[Change]) -> dict[str, int]:
    """Files of each day that these lines name: landed, made and removed."""
    found: Counter[str] = Counter()
    for record in commits:
        found.update(f.partition["day"] for f in record.files)
    for change in changes:
        found[change.partition["day"]] += len(change.removed) + (change.made is not None)
    return dict(sorted(found.items()))


def _cut(times: Sequence[int], end_ns: int) -> int:
    """How many lines lie under the root of the hour that ends at ``end_ns``: up to the last one written before."""
    return max((i + 1 for i, t in enumerate(times) if t < end_ns), default=0)


def _switches(tail: _Tail, commits: Sequence[tuple[Record, bytes]]) -> tuple[tuple[int, ...], str, dict[str, str]]:
    """Commits where merging must stop within an hour; factor set and dimensions at the end."""
    factor_set = tail.newest.factor_set if tail.newest else ""
    dimensions = tail.newest.dimensions if tail.newest else {}
    found = []
    for record, _ in commits:
        other = record.dimensions or dimensions
        if (record.factor_set, other) != (factor_set, dimensions):
            found.append(record.n)
        found += [upto + 1 for upto in record.adopted.values()]
        factor_set, dimensions = record.factor_set, other
    return tuple(sorted({*found})), factor_set, dimensions


def seal(
    lake: Path, *, key: Ed25519PrivateKey | None, disk: Disk | None = None, now_ns: Callable[[], int] = time.time_ns
) -> list[Root]:
    """Make the roots of all hours that are over. The caller holds ``compact.lock``. Raises StorageError, OSError."""
    disk = disk or Disk()
    folder = lake / "ledger" / "roots"
    disk.make_dir(folder)
    made: list[Root] = []
    while True:
        tail = _tail(lake)
        now = now_ns()
        hour = min((r.time_ns // HOUR_NS for r, _ in tail.commits), default=now // HOUR_NS)
        end_ns = (hour + 1) * HOUR_NS
        if now < end_ns + GRACE_NS:
            return made
        commits = tail.commits[: _cut([r.time_ns for r, _ in tail.commits], end_ns)]
        changes = tail.changes[: _cut([c.time_ns for c, _ in tail.changes], end_ns)]
        switches, factor_set, dimensions = _switches(tail, commits)
        first = tail.newest.last + 1 if tail.newest else 1
        first_change = tail.newest.last_change + 1 if tail.newest else 1
        leaf_lines = [line for _, line in (*commits, *changes)]
        root = Root(
            n=tail.newest.n + 1 if tail.newest else 1,
            hour_ns=hour * HOUR_NS,
            time_ns=now,
            first=first,
            last=first + len(commits) - 1,
            first_change=first_change,
            last_change=first_change + len(changes) - 1,
            leaves=len(leaf_lines),
            root=merkle.root([merkle.leaf_hash(line) for line in leaf_lines]).hex(),
            head=digest(commits[-1][1]),
            factor_set=factor_set,
            dimensions=dimensions,
            switches=switches,
            days=days_of([r for r, _ in commits], [c for c, _ in changes]),
            previous=digest(tail.newest_line) if tail.newest else "",
            public_key=key.public_key().public_bytes_raw().hex() if key else "",
            signature="",
        )
        if key is not None:
            root = msgspec.structs.replace(root, signature=key.sign(signed_bytes(root)).hex())
        ledger = Ledger(folder, disk)
        ledger.load()
        ledger.append(root.n, encode(root))
        ledger.sync()
        made.append(root)


def epochs(lake: Path) -> Epochs:
    """Where merging must stop, for commits under roots and for those that will be. Raises StorageError."""
    starts: set[int] = set()
    for root, _ in roots(lake):
        starts.update((root.first, *root.switches))
    tail = _tail(lake)
    starts.update(_switches(tail, tail.commits)[0])
    starts.update(offered.upto + 1 for offered in offers(lake, frozenset()).values())
    times: list[Any] = [r.time_ns for r, _ in tail.commits]
    if times:
        starts.add(tail.commits[0][0].n)
    for hour in {t // HOUR_NS for t in times}:
        if (cut := _cut(times, (hour + 1) * HOUR_NS)) < len(times):
            starts.add(tail.commits[cut][0].n)
    return Epochs(tuple(sorted(starts)))
