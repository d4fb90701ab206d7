"""The lake of a simulated server: a model of what a commit may do, or the real one on a disk that fails."""

import errno
import random
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from deltalake import DeltaTable

from storage.errors import LakeInDoubtError, StorageError
from storage.lake import Commit, Lake
from tests.lake_data import Crash, FaultyDisk
from tests.system.vopr.disk import KilledError

NOWHERE = Path("/made/up/lake")
CALLS = 30  # of the disk in one commit, about


class LakeWorld(Protocol):
    """Outlives the server's processes. ``faulty`` tells what the next commit will meet."""

    def recover(self) -> list[bytes]:
        """A new process takes the lake: the parts of the newest commit's state."""
        ...

    def commit(self, data: Commit) -> int:
        """As ``storage.lake.Lake.commit``, or KilledError."""
        ...

    def process_died(self) -> None:
        """What was in memory is gone."""
        ...


class ModelLake:
    """A commit is atomic: it stands, or it does not, or whoever made it cannot tell. ``stood`` is called when one stands."""

    def __init__(self, rng: random.Random, step: Callable[[], None], stood: Callable[[Commit], None]) -> None:
        self._rng = rng
        self._step = step
        self._stood = stood
        self._state: list[bytes] = []
        self._in_doubt = False
        self.n = 0
        self.refuses = False
        self.doubtful = False

    def recover(self) -> list[bytes]:
        self._in_doubt = False
        return list(self._state)

    def commit(self, data: Commit) -> int:
        if self._in_doubt:
            raise LakeInDoubtError(NOWHERE, "made up: open the lake again")
        self._step()
        if self.refuses:
            raise StorageError(NOWHERE, "made up: no space left")
        if self.doubtful:
            self.doubtful, self._in_doubt = False, True
            if self._rng.random() < 0.5:
                self._stand(data)
            raise LakeInDoubtError(NOWHERE, "made up: it cannot be told whether it stands")
        self._stand(data)
        self._step()
        return self.n

    def _stand(self, data: Commit) -> None:
        self.n += 1
        part = data.part()
        if part.blocks:
            content = b"".join(part.blocks)  # a copy: the blocks are the state's own memory
            self._state = [content] if part.begins and part.ends else [*self._state, content]
        self._stood(data)

    def process_died(self) -> None:
        """Nothing of the model is in memory."""


class RealLake:
    """``storage.lake`` in a folder. Its disk fails or its process dies at any call; what stands is what the next one finds."""

    def __init__(
        self,
        folder: Path,
        rng: random.Random,
        step: Callable[[], None],
        stood: Callable[[Commit], None],
        now_ns: Callable[[], int],
    ) -> None:
        self._folder = folder
        self._rng = rng
        self._step = step
        self._stood = stood
        self._now_ns = now_ns
        self._disk = FaultyDisk()
        self._lake: Lake | None = None
        self._pending: Commit | None = None
        self.n = 0
        self.refuses = False
        self.doubtful = False
        self.dies = False

    def recover(self) -> list[bytes]:
        self._disk.arm(None, Crash())
        self._lake = Lake.open(self._folder, create=True, disk=self._disk, now_ns=self._now_ns)
        n, state = self._lake.recover()
        if self._pending is not None and n > self.n:
            self._stood(self._pending)
        self._pending = None
        assert n in (self.n, self.n + 1)
        self.n = n
        return [bytes(part) for part in state]

    def commit(self, data: Commit) -> int:
        assert self._lake is not None
        self._step()
        if self.refuses:
            self._disk.arm(self._rng.randrange(CALLS), OSError(errno.ENOSPC, "made up"), once=False)
        elif self.doubtful:
            self.doubtful = False
            self._disk.arm(self._rng.randrange(CALLS), OSError(errno.EIO, "made up"), once=True)
        elif self.dies:
            self.dies = False
            self._disk.arm(self._rng.randrange(CALLS), Crash(), once=False)
        else:
            self._disk.arm(None, Crash())
        self._pending = data
        try:
            self.n = self._lake.commit(data)
        except LakeInDoubtError:
            raise
        except StorageError:
            self._pending = None
            raise
        except Crash:
            raise KilledError from None
        self._pending = None
        self._stood(data)
        self._step()
        return self.n

    def rows(self) -> int:
        """Readings that another reader finds."""
        table = DeltaTable(str(self._folder / "readings")).to_pyarrow_table(columns=["seq"])
        return int(table.num_rows)

    def process_died(self) -> None:
        if self._lake is not None:
            self._disk.arm(None, Crash())
            self._lake.close()
            self._lake = None
