"""A table's log followed entry by entry says what the whole log says."""

from pathlib import Path

from deltalake import DeltaTable

from storage import table_log
from storage.compact import compact
from storage.delta import log_entry
from storage.lake import Lake
from storage.schema import arrow_schema
from storage.table_log import NONE, is_newer, newest
from tests.lake_data import Clock, commit

COLUMNS = arrow_schema("rollups", partitions=True).names


def test_followed_and_read_whole_are_the_same(tmp_path: Path) -> None:
    clock, lake_path = Clock(), tmp_path / "a b"
    table = lake_path / "rollups"
    with Lake.open(lake_path, create=True, now_ns=clock) as lake:
        known = newest(table, NONE, COLUMNS)
        assert known.files == {}
        for i in range(6):
            for _ in range(1 + i % 2):
                lake.commit(commit(50, seed=i))
            if i in (2, 5):
                list(compact(lake_path, now_ns=clock))
            assert is_newer(table, known.number)
            known = newest(table, known, COLUMNS)
            assert known == newest(table, NONE, COLUMNS)
            assert sorted(known.files) == sorted(f"{table}/{Path(p).relative_to(table)}" for p in _files(table))
            assert not is_newer(table, known.number)
        assert sum(f.rows or 0 for f in known.files.values()) > 0
        assert all(f.bytes == Path(path).stat().st_size for path, f in known.files.items())


def _files(table: Path) -> list[str]:
    return [uri.replace("%20", " ") for uri in DeltaTable(str(table)).file_uris()]


def test_an_entry_that_cannot_be_read_is_no_answer(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(commit(50))
        table = tmp_path / "rollups"
        known = newest(table, NONE, COLUMNS)
        lake.commit(commit(50, seed=2))
        entry = log_entry(table, known.number + 1)
        whole = entry.read_bytes()
        entry.write_bytes(whole[:-20])
        assert table_log._followed(table, known) is None
        entry.write_bytes(whole + b'{"metaData":{}}\n')
        assert table_log._followed(table, known) is None
        entry.write_bytes(whole)
        assert table_log._followed(table, known) == newest(table, NONE, COLUMNS)
