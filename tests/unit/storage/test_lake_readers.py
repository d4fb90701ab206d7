"""Readers beside the writer: each count they ever see is that of some whole commit."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from storage.lake import Commit, Lake
from storage.schema import DAY_NS, to_arrow
from tests.lake_data import NAMES, T0, columns, commit

COMMITS = 200
READER = """
import json, sys, threading
from pathlib import Path
from storage.query import connect, refresh
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
con, seen = connect(Path(sys.argv[1])), []
print("reading", flush=True)
while True:
    last = ended.is_set()
    refresh(con)
    seen.append([con.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("readings", "emissions", "rollups")])
    if last:
        break
print(json.dumps(seen))
"""


def over_midnight(i: int) -> Commit:
    """A commit of ``i`` rows in each table, on two days where there are two."""
    tables = {}
    for table in ("readings", "emissions", "rollups"):
        batch = columns(table, i, seed=i)
        time = "minute_ns" if table == "rollups" else "time_ns"
        batch[time] = np.where(np.arange(i) % 2 == 0, T0, T0 + DAY_NS)
        tables[table] = to_arrow(table, batch, NAMES)
    return replace(commit(0), **tables)


def test_each_count_is_that_of_a_whole_commit(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        for i in range(1, COMMITS + 1):
            lake.commit(over_midnight(i))
        out, _ = reader.communicate("")
    assert reader.returncode == 0
    seen = json.loads(out)
    whole = {n * (n + 1) // 2 for n in range(COMMITS + 1)}
    assert {count for counts in seen for count in counts} <= whole
    assert seen[-1] == [COMMITS * (COMMITS + 1) // 2] * 3
    assert len({counts[0] for counts in seen}) > 5  # it did read beside the writer
    for table in range(3):
        assert [c[table] for c in seen] == sorted(c[table] for c in seen)
