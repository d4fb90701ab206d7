"""The lake: one atomic, durable commit over several Delta tables and the pipeline's state.

A commit of number n goes in three steps. (1) Parquet files and the state file are written and synced (``landing``). (2) One
Delta commit on ``readings`` carries txn n and the record of the whole commit: all new files of all tables with their hashes, the
state file, the hash of the record before. Once its log entry is synced, n stands. (3) The other tables take up their files of n.
A crash after (2) leaves (3) to ``recover``, which reads the record; a crash before it leaves files that nothing names.
"""

import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from storage import snapshot
from storage.adoption import offers, withdraw
from storage.delta import DELTA_FAULTS, DeltaLog, add_action
from storage.disk import Disk, check_folder, fault, lock
from storage.errors import LakeInDoubtError, LakeMissingError, StorageError
from storage.landing import Commit, StatePart, discard, land, side_by_side
from storage.ledger import FileEntry, Ledger, Record, decode, digest, encode, lines
from storage.schema import LANDED, PARTITIONS, arrow_schema, check

__all__ = ["Commit", "Lake", "StatePart"]

RAW: Final = LANDED[0]
RECORD_KEY: Final = "fleetco2.record"
WRITER_THREADS: Final = 3  # raw, results and state side by side; more would only queue for two cores
STATES_KEPT: Final = 2  # at least: the newest, and the one before it, for who has just read the newest record but one


def own(entry: FileEntry, record: Record) -> bool:
    """Whether a commit has written this file itself, not taken it up."""
    return Path(entry.path).name.startswith(f"{record.n:012d}-{record.attempt}")


class Lake:
    """The one writer of a lake, made by ``open``. Commits come from one thread at a time. ``n`` is the newest commit, 0 = none."""

    def __init__(self, path: Path, *, disk: Disk, now_ns: Callable[[], int]) -> None:
        self.path = path
        self.disk = disk
        self.n = 0
        self.tables = {
            name: DeltaLog(path / name, arrow_schema(name, partitions=True), PARTITIONS[name], disk) for name in LANDED
        }
        self.now_ns = now_ns
        self.dimensions: dict[str, str] = {}  # dimension table -> its file, told by who writes them
        self._told: dict[str, str] = {}  # those that a record of this handle has named
        self._adopted: frozenset[str] = frozenset()  # offers that commits have taken up
        self._lock = -1
        self._record: Record | None = None
        self._previous = ""
        self._ledger = Ledger(path / "ledger", disk)
        self._unwritten: bytes | None = None  # line of commit n that the ledger lacks
        self._pending: dict[str, list[FileEntry]] = {}  # files of commit n that their tables lack
        self._doubt: LakeInDoubtError | None = None
        self._pool = ThreadPoolExecutor(WRITER_THREADS, thread_name_prefix="lake")
        self._background: list[Future[None]] = []
        self._states: deque[tuple[int, Path]] = deque()  # commits and their state files, oldest first
        self._since = 0  # commit from which on state files are needed
        self._round: int | None = None  # commit that began the round of state parts which is under way

    @classmethod
    def open(
        cls, path: Path, *, create: bool, disk: Disk | None = None, now_ns: Callable[[], int] = time.time_ns
    ) -> "Lake":
        """Take the lake at ``path`` for writing, made where ``create`` allows it.

        Raises LakeMissingError where there is none, LakeBusyError where another process writes to it, StorageError where it is damaged.
        """
        check_folder(path)
        if not create and not (path / RAW / "_delta_log").is_dir():
            raise LakeMissingError(path, "there is no lake here; the consumer makes one when it starts")
        lake = cls(path, disk=disk or Disk(), now_ns=now_ns)
        try:
            lake._open()
        except BaseException as e:
            lake.close()
            if isinstance(e, DELTA_FAULTS):
                raise fault(path, e) from e
            raise
        return lake

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the lake. What was committed stands without this."""
        self._pool.shutdown(wait=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def now_ms(self) -> int:
        """The time that Delta's log takes."""
        return self.now_ns() // 1_000_000

    def _open(self) -> None:
        for folder in (self.path, self.path / "tmp", self.path / "state", self.path / "ledger"):
            self.disk.make_dir(folder)
        self._lock = lock(self.path / "writer.lock", "writes to")
        for left in (self.path / "tmp").iterdir():
            self.disk.remove(left)
        for table in self.tables.values():
            table.open()
        self._load()

    def _load(self) -> None:
        """Find the record of the newest commit, bring the ledger up to it, see which tables lack their part of it."""
        self.n = self.tables[RAW].transaction()
        self._ledger.load()
        known = decode(self._ledger.newest, self.path / "ledger").n if self._ledger.newest is not None else 0
        missing: list[tuple[int, bytes]] = []
        if known < self.n:
            for info in self.tables[RAW].commit_infos():
                if RECORD_KEY not in info:
                    continue
                line = str(info[RECORD_KEY]).encode()
                n = decode(line, self.path / RAW).n
                if n <= known:
                    break
                missing.append((n, line))
        for n, line in reversed(missing):
            self._ledger.append(n, line)
        if self._ledger.newest is None and self.n == 0:
            return
        record = decode(self._ledger.newest or b"", self.path / "ledger")
        if record.n != self.n:
            raise StorageError(self.path / "ledger", f"ends at commit {record.n}, but {RAW} is at commit {self.n}")
        self._stand(record, self._ledger.newest or b"")
        self._pending = {t: files for t, files in self._pending.items() if self.tables[t].transaction() < self.n}

    def _stand(self, record: Record, line: bytes) -> None:
        """From here on ``record`` is the newest commit, and its result tables are still to follow."""
        self.n, self._record, self._previous = record.n, record, digest(line)
        self._pending = {}
        for f in record.files:
            if f.table != RAW:
                self._pending.setdefault(f.table, []).append(f)
        self._adopted |= set(record.adopted)
        self._since = record.state_since or record.n
        if record.state:
            self._states.append((record.n, self.path / record.state))

    def recover(self) -> tuple[int, Iterator[memoryview]]:
        """Finish what a crash left undone. Returns the number of the newest commit and the parts of its state, oldest first; the later
        one counts. (0, nothing) in a new lake.

        Raises StorageError where the disk refuses; the parts raise it where a state file is damaged or another one than its commit names.
        """
        self._ready()
        self._finish()
        if self._record is None:
            return 0, iter(())
        parts = list(self._state_files(self._since))
        for name in self._adopted:
            withdraw(self.path, name, self.disk)
        needed = {path for _, path, _ in parts}
        for old in (self.path / "state").iterdir():
            if old not in needed:
                self.disk.remove(old)
        self._states = deque((n, path) for n, path, _ in parts)
        return self.n, (snapshot.read(path, sha256) for _, path, sha256 in parts)

    def _state_files(self, since: int) -> Iterator[tuple[int, Path, str]]:
        """Commit, path and hash of each state file from commit ``since`` on."""
        for where, line in lines(self.path / "ledger", since):
            record = decode(line, where)
            if record.state:
                yield record.n, self.path / record.state, record.state_sha256

    def commit(self, data: Commit) -> int:
        """Land ``data`` and return its number n. When this returns, n is on the disk and readers see it.

        Raises StorageError where the disk refuses: the lake is then as before and the same commit may be tried again. Raises
        LakeInDoubtError where that cannot be told; then open the lake anew. Raises ValueError for data in other columns.
        """
        for name, table in data.tables():
            check(name, table)
        self._ready()
        self._finish()
        offered = offers(self.path, self._adopted)
        n, attempt = self.n + 1, uuid.uuid4().hex[:12]
        part = data.part()
        begun = n if part.begins else self._round
        landed = land(self.disk, self._pool, self.path, f"{n:012d}-{attempt}", data)
        record = Record(
            n=n,
            attempt=attempt,
            time_ns=self.now_ns(),
            factor_set=data.factor_set,
            state=landed.state,
            state_sha256=landed.state_sha256,
            files=(*landed.files, *(f for o in offered.values() for f in o.files)),
            previous=self._previous,
            dimensions={} if self.dimensions == self._told else dict(self.dimensions),
            adopted={name: o.upto for name, o in offered.items()},
            state_since=begun if part.ends and begun else self._since or n,
        )
        line = encode(record)
        self._commit_raw(record, line)
        self._stand(record, line)
        self._round = None if part.ends else begun
        self._told = record.dimensions or self._told
        for name in offered:
            self._later(partial(withdraw, self.path, name, self.disk))
        self._unwritten = line
        self._later(self._refresh_raw)
        try:
            self._finish()
        except StorageError:
            # n stands: its files are synced and its record names them. The next commit, or recovery, completes the tables.
            return n
        while len(self._states) > STATES_KEPT and self._states[0][0] < self._since:
            self._later(partial(self.disk.remove, self._states.popleft()[1]))
        return n

    def _later(self, call: Callable[[], None]) -> None:
        """Run ``call`` while the caller prepares the next commit."""
        self._background.append(self._pool.submit(call))

    def _ready(self) -> None:
        """Wait for what runs in the background. A fault there costs nothing but a handle that is behind: read the logs anew."""
        errors = [error for done in self._background if (error := done.exception()) is not None]
        self._background = []
        for error in errors:
            if not isinstance(error, DELTA_FAULTS):
                raise error
        if self._doubt is not None:
            raise LakeInDoubtError(self._doubt.path, f"{self._doubt.what}; open the lake again") from self._doubt
        if errors:
            try:
                for table in self.tables.values():
                    table.reopen()
            except DELTA_FAULTS as e:
                raise fault(self.path, e) from e

    def _commit_raw(self, record: Record, line: bytes) -> None:
        """Step 2: the atomic point."""
        raw = self.tables[RAW]
        actions = [add_action(f, record.time_ns // 1_000_000) for f in record.files if f.table == RAW]
        try:
            raw.commit(actions, record.n, {RECORD_KEY: line.decode()})
        except DELTA_FAULTS as e:
            if not self._stands_after_all(record, line, e):
                written = [self.path / f.table / f.path for f in record.files if own(f, record)]
                if record.state:
                    written.append(self.path / record.state)
                discard(self.disk, self.path, written)
                raise fault(raw.path, e) from e
        try:
            raw.sync()
        except OSError as e:
            self._doubt = LakeInDoubtError(raw.path, f"commit {record.n} could not be synced: {e}")
            raise self._doubt from e

    def _stands_after_all(self, record: Record, line: bytes, error: BaseException) -> bool:
        """Whether the commit is in the log although delta-rs raised ``error``. Raises LakeInDoubtError where that cannot be read."""
        raw = self.tables[RAW]
        try:
            raw.reopen()
            if raw.transaction() < record.n:
                return False
            newest = next((info[RECORD_KEY] for info in raw.commit_infos() if RECORD_KEY in info), None)
        except (*DELTA_FAULTS, StorageError) as e:
            self._doubt = LakeInDoubtError(
                raw.path, f"commit {record.n} failed ({error}) and its log cannot be read ({e})"
            )
            raise self._doubt from e
        if newest == line.decode():
            return True
        self._doubt = LakeInDoubtError(raw.path, f"another writer made commit {record.n}")
        raise self._doubt from error

    def _finish(self) -> None:
        """Step 3 and the ledger: whatever is still to follow commit ``n``. Raises StorageError."""
        if self._pending:
            side_by_side(self._pool, [partial(self._take_up, name, files) for name, files in self._pending.items()])
            self._pending = {}
        if self._unwritten is not None:
            try:
                self._ledger.append(self.n, self._unwritten)
            except OSError as e:
                raise fault(self.path / "ledger", e) from e
            self._unwritten = None

    def _take_up(self, name: str, files: list[FileEntry]) -> None:
        """Commit the files of ``name`` that the newest record names, unless the table has them."""
        table = self.tables[name]
        actions = [add_action(f, self.now_ms()) for f in files]
        if table.transaction() < self.n:
            try:
                table.commit(actions, self.n, {"fleetco2.n": str(self.n)})
            except DELTA_FAULTS as e:
                if not self._has_newest(table):
                    raise fault(table.path, e) from e
        try:
            table.sync()
        except OSError as e:
            self._doubt = LakeInDoubtError(table.path, f"commit {self.n} could not be synced: {e}")
            raise self._doubt from e
        self._later(table.refresh)

    def _has_newest(self, table: DeltaLog) -> bool:
        try:
            table.reopen()
        except DELTA_FAULTS as e:
            raise fault(table.path, e) from e
        return table.transaction() >= self.n

    def _refresh_raw(self) -> None:
        raw = self.tables[RAW]
        if raw.checkpoint_due:
            self._ledger.sync()  # the checkpoint lets Delta drop log entries, whose records the ledger then keeps alone
        raw.refresh()
