"""A gateway's outbox in a process that is killed: ``python -m tests.system.outbox_child FOLDER BOOT``; says what is durable."""

import os
import sys
from pathlib import Path

from devices.disk import FolderDisk
from tests.disk_world import Bench

SECONDS = 70


def main() -> None:
    """A reading a second, on virtual time; after each the number of readings that are on the disk."""
    bench = Bench(FolderDisk(Path(sys.argv[1]), 5, 4096), int(sys.argv[2]))
    for _ in range(SECONDS):
        bench.give(1)
        os.write(1, b"%d\n" % bench.core.durable_seq)


if __name__ == "__main__":
    main()
