"""Figures as rows: CSV, Parquet, Arrow. Columns and types come from the struct, so an answer without rows has them too."""

import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

MEDIA_TYPES: Final[Mapping[str, str]] = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
_ARROW: Final[Mapping[Any, pa.DataType]] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _inner(kind: Any) -> Any:
    """The type inside Annotated, and inside ``X | None``."""
    if get_origin(kind) is Annotated:
        return _inner(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        options = [a for a in get_args(kind) if a is not type(None)]
        return _inner(options[0])
    return kind


def schema_of(kind: type[msgspec.Struct], before: str = "") -> pa.Schema:
    """Columns of a struct: those of a struct inside it carry its name in front, lists become text joined by '; '."""
    fields: list[pa.Field] = []
    for f in msgspec.structs.fields(kind):
        inner = _inner(f.type)
        name = before + f.encode_name
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            fields += list(schema_of(inner, f"{name}_"))
        elif get_origin(inner) is Literal:
            fields.append(pa.field(name, pa.string()))
        else:
            fields.append(pa.field(name, _ARROW.get(inner, pa.string())))
    return pa.schema(fields)


def flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The values of one struct, as builtins, under the names of ``schema_of``."""
    out: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            out |= flat(value, f"{before}{name}_")
        else:
            out[before + name] = "; ".join(map(str, value)) if isinstance(value, list | tuple) else value
    return out


def table_of(items: Sequence[msgspec.Struct], kind: type[msgspec.Struct], head: Mapping[str, str]) -> pa.Table:
    """One row per item, with the constant columns ``head`` in front."""
    schema = pa.schema([*(pa.field(name, pa.string()) for name in head), *schema_of(kind)])
    return pa.Table.from_pylist([{**head, **flat(msgspec.to_builtins(i))} for i in items], schema=schema)


def _guarded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Text that a spreadsheet would run as a formula gets an apostrophe in front."""
    columns = []
    for column in batch.columns:
        if pa.types.is_string(column.type):
            runs = pc.match_substring_regex(column, "^[=+@\\t\\r-]")
            column = pc.if_else(runs, pc.binary_join_element_wise("'", column, ""), column)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


class _Sink:
    """A file that hands out what was written to it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._at = 0
        self.closed = False

    def write(self, data: Any) -> int:
        """Keep ``data`` until it is taken."""
        part = bytes(data)
        self._parts.append(part)
        self._at += len(part)
        return len(part)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._at

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """No more is written."""
        self.closed = True

    def seekable(self) -> bool:
        """Only forward."""
        return False

    def readable(self) -> bool:
        """Not a file to read."""
        return False

    def writable(self) -> bool:
        """A file to write."""
        return True

    def take(self) -> bytes:
        """What was written since the last call."""
        out = b"".join(self._parts)
        self._parts.clear()
        return out


def stream(form: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """The rows in ``form``, chunk by chunk: never more than one batch is held."""
    sink = _Sink()
    make: Callable[..., Any] = {"arrow": pa.ipc.new_stream, "parquet": pq.ParquetWriter, "csv": pa.csv.CSVWriter}[form]
    with make(pa.PythonFile(sink, "w"), schema) as writer:
        for batch in batches:
            writer.write_batch(_guarded(batch) if form == "csv" else batch)
            if part := sink.take():
                yield part
    if part := sink.take():
        yield part


def encode(form: str, table: pa.Table) -> bytes:
    """A whole table in ``form``."""
    return b"".join(stream(form, table.schema, table.to_batches()))
