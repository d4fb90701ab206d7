"""One Delta table: its log kept by delta-rs, its files written and synced by us.

Three things delta-rs leaves to the caller are done here. It never syncs: each new log entry is. A handle reads every log entry
since the checkpoint it was opened at, for each commit again: it is opened anew after a checkpoint. A torn log entry stops a
table from opening: an entry that was never synced, so never acknowledged, is removed first.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from deltalake import DeltaTable, Field, Schema
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, CommitProperties, PostCommitHookProperties, RemoveAction, Transaction

from storage.disk import Disk
from storage.errors import StorageError
from storage.ledger import FileEntry

APP: Final = "fleetco2"
MIXED: Final = "fleetco2.mixed"  # table property: columns were added since the first files
# Own commits. Each log entry since the checkpoint costs a commit 0.2 ms, a checkpoint costs 30 ms in the background.
CHECKPOINT_EVERY: Final = 20
MAX_RETRIES: Final = 100  # of an append that meets a compaction; each takes about 10 ms
_NO_HOOKS: Final = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)  # they do not sync
CONFIGURATION: Final = {
    "delta.checkpointInterval": str(CHECKPOINT_EVERY),
    # Every commit lists the log: 2 ms more per 1,000 entries. The ledger keeps what is cleaned here.
    "delta.logRetentionDuration": "interval 15 minutes",
    "delta.deletedFileRetentionDuration": "interval 1 hours",  # as KEEP_HOURS of a compaction
    "delta.enableExpiredLogCleanup": "false",  # only by us, after the ledger is synced
}
DELTA_FAULTS: Final = (DeltaError, OSError)


def log_entry(table: Path, version: int) -> Path:
    """The log file of ``version``."""
    return table / "_delta_log" / f"{version:020d}.json"


def add_action(entry: FileEntry, modified_ms: int, *, data_change: bool = True) -> AddAction:
    """``entry`` as Delta's add action, with row count and ranges as statistics."""
    stats = {
        "numRecords": entry.rows,
        "minValues": {k: low for k, (low, _) in entry.ranges.items()},
        "maxValues": {k: high for k, (_, high) in entry.ranges.items()},
        "nullCount": dict.fromkeys(entry.ranges, 0),
    }
    return AddAction(entry.path, entry.bytes, entry.partition, modified_ms, data_change, json.dumps(stats))


def remove_action(path: str, size: int, partition: Mapping[str, str], now_ms: int) -> RemoveAction:
    """Delta's remove action of a file that another one replaces, or that nobody keeps."""
    return RemoveAction(path, False, now_ms, size, dict(partition))


class DeltaLog:
    """The log of one table. Methods raise DeltaError or OSError; the caller says what that means for the lake."""

    def __init__(self, path: Path, schema: pa.Schema, partitions: Sequence[str], disk: Disk) -> None:
        self.path = path
        self._schema = Schema.from_arrow(schema)
        self._partitions = list(partitions)
        self._disk = disk
        self._since_checkpoint = 0
        self._synced = -1  # newest log entry known to be on the disk
        self._handle: DeltaTable | None = None

    def open(self) -> None:
        """Read the log, mended where a power cut tore its end and synced where a killed writer did not; make a new table if none."""
        folder = self.path / "_delta_log"
        self._disk.make_dir(folder)
        self._mend(folder)
        if not DeltaTable.is_deltatable(str(self.path)):
            DeltaTable.create(
                str(self.path), self._schema, partition_by=self._partitions, configuration=dict(CONFIGURATION)
            )
        self.reopen()
        self._add_columns()
        self._synced = max((_version(p) for p in folder.glob("*.checkpoint.parquet")), default=-1)
        self.sync()

    def _add_columns(self) -> None:
        """Give an older table the columns that came since; its older files have none, so theirs are null.

        Raises StorageError for a table with columns that this program does not know, or knows as something else.
        """
        have = {f.name: f for f in self.handle.schema().fields}
        wanted = {f.name: f for f in self._schema.fields}
        for name, f in have.items():
            if name not in wanted or wanted[name].type != f.type:
                raise StorageError(
                    self.path,
                    f"has a column {name} ({f.type}) that this program does not know: written by a newer program",
                )
        new = [Field(f.name, f.type, nullable=True, metadata=f.metadata) for f in wanted.values() if f.name not in have]
        if new:
            self.handle.alter.set_table_properties(
                {MIXED: "true"}, raise_if_not_exists=False
            )  # first: a crash may follow
            self.reopen()
            self.handle.alter.add_columns(new, post_commithook_properties=_NO_HOOKS)
            self.reopen()

    def mixed(self) -> bool:
        """Whether some files may lack columns of the schema."""
        return mixed(self.handle, [f.name for f in self._schema.fields])

    def attach(self) -> None:
        """Read the log of a table that another process writes: nothing is mended, and what is there counts as synced."""
        self.reopen()
        self._synced = self.handle.version()

    @property
    def handle(self) -> DeltaTable:
        """The table as last read."""
        if self._handle is None:
            raise RuntimeError("open() comes first")
        return self._handle

    def _mend(self, folder: Path) -> None:
        """Remove what a power cut tore: a checkpoint, its pointer or the newest log entry. None of these was ever synced."""
        torn = [p for p in sorted(folder.glob("*.checkpoint.parquet"))[-1:] if not _is_parquet(p)]
        pointer = folder / "_last_checkpoint"
        if torn or (pointer.exists() and _is_torn(pointer)):
            torn.append(pointer)
        entries = sorted(folder.glob("*.json"))
        torn += [p for p in entries[-1:] if _is_torn(p)]
        newest = _version(entries[-1]) if entries else -1
        torn += [p for p in folder.glob("*.json#*") if _version(p) <= newest]  # left where delta-rs was killed
        for path in torn:
            self._disk.remove(path)
        if torn:
            self._disk.sync(folder)

    def transaction(self) -> int:
        """Number of the newest of our commits that this table has; 0 for none."""
        return self.handle.transaction_version(APP) or 0

    def commit(
        self,
        actions: Sequence[AddAction | RemoveAction],
        n: int | None,
        metadata: Mapping[str, str],
        *,
        retries: int = MAX_RETRIES,
    ) -> None:
        """Commit ``actions`` as one step, as our commit ``n`` where that is given. ``refresh`` must follow before the next."""
        self.handle.create_write_transaction(
            list(actions),
            "append",
            self._schema,
            self._partitions,
            commit_properties=CommitProperties(
                custom_metadata=dict(metadata),
                max_commit_retries=retries,
                app_transactions=[] if n is None else [Transaction(APP, n)],
            ),
            post_commithook_properties=_NO_HOOKS,
        )

    def replace(self, actions: Sequence[AddAction], metadata: Mapping[str, str]) -> None:
        """Put the files of ``actions`` in the place of all files of the table."""
        self.handle.create_write_transaction(
            list(actions),
            "overwrite",
            self._schema,
            self._partitions,
            commit_properties=CommitProperties(custom_metadata=dict(metadata)),
            post_commithook_properties=_NO_HOOKS,
        )

    def sync(self) -> None:
        """Bring the log entries onto the disk that are not known to be there."""
        while (entry := log_entry(self.path, self._synced + 1)).exists():
            self._disk.sync(entry)
            self._synced += 1
        self._disk.sync(self.path / "_delta_log")

    @property
    def checkpoint_due(self) -> bool:
        """Whether ``refresh`` will write a checkpoint and clean the log."""
        return self._since_checkpoint + 1 >= CHECKPOINT_EVERY

    def refresh(self) -> None:
        """Read what is new in the log; every ``CHECKPOINT_EVERY`` commits write a checkpoint, sync it and clean the log."""
        self.handle.update_incremental()
        if self.checkpoint_due:
            self.checkpoint()
        else:
            self._since_checkpoint += 1

    def checkpoint(self) -> None:
        """Checkpoint at the handle's version. The log is cleaned only after the checkpoint is on the disk."""
        self.handle.create_checkpoint()
        folder = self.path / "_delta_log"
        self._disk.sync(folder / f"{self.handle.version():020d}.checkpoint.parquet")
        self._disk.sync(folder / "_last_checkpoint")
        self._disk.sync(folder)
        self.handle.cleanup_metadata()
        self.reopen()
        self._since_checkpoint = 0

    def reopen(self) -> None:
        """Read the log from its newest checkpoint on."""
        self._handle = DeltaTable(str(self.path))

    def commit_infos(self) -> Iterator[dict[str, Any]]:
        """Commit information of the log entries that are still there, newest first. Raises StorageError for a damaged one."""
        for path in sorted((self.path / "_delta_log").glob("*.json"), reverse=True):
            for line in path.read_bytes().splitlines():
                try:
                    action = json.loads(line)
                except ValueError as e:
                    raise StorageError(path, f"damaged log entry: {e}") from e
                if "commitInfo" in action:
                    yield action["commitInfo"]


def mixed(handle: DeltaTable, wanted: Sequence[str]) -> bool:
    """Whether some files of a table may lack one of the columns ``wanted``."""
    return MIXED in handle.metadata().configuration or not {f.name for f in handle.schema().fields}.issuperset(wanted)


def _version(path: Path) -> int:
    return int(path.name.partition(".")[0])


def _is_torn(path: Path) -> bool:
    """Empty, only the zeros that some file systems leave, or cut off in the last line."""
    lines = path.read_bytes().strip(b"\0").splitlines()
    try:
        return not [json.loads(line) for line in lines]
    except ValueError:
        return True


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4)
        size = file.seek(0, 2)
        file.seek(max(0, size - 4))
        return size > 8 and head == b"PAR1" and file.read(4) == b"PAR1"
