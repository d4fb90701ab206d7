"""A lake from before a column was added: readers and the writer go on, what was never stored is null."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from storage.compact import compact
from storage.errors import StorageError
from storage.lake import Lake
from storage.query import connect, refresh
from tests.lake_data import T0, commit, nothing, recovered, rollup_rows

ADDED = ("co2_biogenic_ug", "kernel_version")


def older(lake: Path) -> None:
    """Make the rollups look as a program wrote them that did not know the columns of ``ADDED``."""
    log = lake / "rollups" / "_delta_log" / f"{0:020d}.json"
    lines = []
    for line in log.read_text().splitlines():
        action = json.loads(line)
        if "metaData" in action:
            schema = json.loads(action["metaData"]["schemaString"])
            schema["fields"] = [f for f in schema["fields"] if f["name"] not in ADDED]
            action["metaData"]["schemaString"] = json.dumps(schema)
        lines.append(json.dumps(action))
    log.write_text("\n".join(lines))
    for uri in DeltaTable(str(lake / "rollups")).file_uris():
        rows = pq.read_table(uri, partitioning=None).drop_columns(list(ADDED))
        pq.write_table(rows, uri)


def test_a_column_is_added_and_null_where_it_was_not_stored(tmp_path: Path) -> None:
    row = {"minute_ns": T0, "observed_us": 5, "co2e_ttw_ug": 7, "co2_biogenic_ug": 3, "kernel_version": 2}
    rows = rollup_rows(row)
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(replace(nothing(), rollups=rows))
        lake.commit(replace(nothing(), rollups=rows))
    older(tmp_path)
    con = connect(tmp_path)
    old = "SELECT co2e_ttw_ug, co2_biogenic_ug, kernel_version FROM rollups ORDER BY ALL"
    assert con.execute(old).fetchall() == [(7, None, None)] * 2
    with Lake.open(tmp_path, create=False) as lake:
        lake.commit(replace(nothing(), rollups=rows))
        lake.commit(replace(nothing(), rollups=rows))
    assert refresh(con)
    both = [(7, 3, 2)] * 2 + [(7, None, None)] * 2
    assert con.execute(old).fetchall() == both
    assert connect(tmp_path).execute(old).fetchall() == both
    assert [(m.files, m.rows_after) for m in compact(tmp_path)] == [(2, 1)]
    refresh(con)
    assert con.execute(old).fetchall() == [(7, None, None)] * 2 + [(14, 6, 2)]
    total = "SELECT sum(co2e_ttw_ug), sum(co2_biogenic_ug) FROM rollups"
    assert con.execute(total).fetchall() == [(28, 6)]
    with Lake.open(tmp_path, create=False) as lake:
        assert recovered(lake) == (4, b"state")


def test_a_newer_lake_is_refused_by_an_older_program(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(commit(5))
    table = DeltaTable(str(tmp_path / "emissions"))
    field = json.loads('{"name": "tomorrow_ug", "type": "long", "nullable": true, "metadata": {}}')
    table.alter.add_columns([type(table.schema().fields[0]).from_json(json.dumps(field))])
    with pytest.raises(StorageError, match=r"emissions: has a column tomorrow_ug .* written by a newer program"):
        Lake.open(tmp_path, create=False)
    assert connect(tmp_path).execute("SELECT count(*) FROM emissions").fetchall() == [(5,)]
