"""Figures as rows: names, types, and nothing that a spreadsheet would run."""

import csv
import io
from collections.abc import Iterator

import pyarrow as pa

from dashboards.feed.progress import Figure, hidden
from dashboards.feed.tables import encode, schema_of, stream, table_of


def test_a_hidden_figure_is_a_row_of_nulls_in_the_same_columns() -> None:
    table = table_of([hidden("operator", "acme", "acme")], Figure, {"from": "x"})
    assert table.schema.names[:5] == ["from", "tenant", "by", "name", "hidden"]
    assert table.schema.field("co2e_kg_wtw").type == pa.float64()
    assert table.schema.field("vehicles").type == pa.int64()
    [row] = table.to_pylist()
    assert row["hidden"] is True
    assert row["co2e_kg_wtw"] is None
    assert table.schema.names[1:] == schema_of(Figure).names


def test_csv_runs_nothing_and_quotes_what_needs_it() -> None:
    names = ["=cmd()", "+1", "-2", "@x", 'a"b,c', "plain", None]
    rows = list(csv.reader(io.StringIO(encode("csv", pa.table({"name": names, "n": range(7)})).decode())))
    assert [r[0] for r in rows] == ["name", "'=cmd()", "'+1", "'-2", "'@x", 'a"b,c', "plain", ""]
    assert [r[1] for r in rows[1:]] == [str(n) for n in range(7)]


def test_a_stream_comes_batch_by_batch() -> None:
    """Each part is handed out before the next batch is asked for."""
    asked = []

    def batches() -> Iterator[pa.RecordBatch]:
        for i in range(3):
            asked.append(i)
            yield pa.record_batch({"n": list(range(50_000))})

    seen = [(len(asked), len(part)) for part in stream("arrow", pa.schema([("n", pa.int64())]), batches())]
    assert [n for n, _ in seen][:3] == [1, 2, 3]
    assert all(size < 3 * 400_000 for _, size in seen)
