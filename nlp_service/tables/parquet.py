"""Parquet, through pyarrow, in record batches.

Parquet to Parquet copies the source columns with their types. From other formats a column gets the type that all its
values share, else string. Times in nanoseconds are cut to microseconds where they become Python values.
"""

import datetime as dt
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from nlp_service.tables.table import Added, Row, Table, Values, as_text, clean, extra, invalid, reading

BATCH_ROWS = 4_096


def open_file(path: Path) -> Table:
    """Read the footer: columns, types, number of rows."""
    pq = extra("pyarrow.parquet")
    with _arrow_faults(path), pq.ParquetFile(path) as file:
        schema, count = file.schema_arrow, file.metadata.num_rows
    if len(set(schema.names)) < len(schema.names):
        raise invalid(path, "has two columns of the same name; rename one")

    def read(only: Collection[str] | None) -> Iterator[Row]:
        for batch in _batches(path, only):
            with _arrow_faults(path):
                rows = _whole_microseconds(batch).to_pylist()
            yield from map(Row, rows)

    return Table(path, tuple(schema.names), count, read, schema=schema)


def write_file(path: Path, table: Table, added: Added, values: Values) -> None:
    """Write one row group a batch."""
    pa, pq = extra("pyarrow"), extra("pyarrow.parquet")
    source = table.schema if table.schema is not None else pa.schema(_inferred(table))
    kinds = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
    ours = {name: pa.field(name, kinds[kind]) for name, kind in added.items()}
    position = {name: index for index, name in enumerate(table.columns)}
    columns = table.columns_with(added)
    # pandas' own notes on types would no longer fit a column that was replaced.
    metadata = None if set(table.columns) & set(ours) else source.metadata
    schema = pa.schema([ours.get(name) or source.field(position[name]) for name in columns], metadata=metadata)
    answers = iter(values)
    with pq.ParquetWriter(path, schema) as writer:
        for batch in _batches(table.path) if table.schema is not None else _converted(table, source):
            part = list(islice(answers, batch.num_rows))
            new = {name: [_holdable(answer[index]) for answer in part] for index, name in enumerate(added)}
            arrays = [pa.array(new[n], ours[n].type) if n in new else batch.column(position[n]) for n in columns]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
    if next(answers, None) is not None:
        raise ValueError(f"more values than the {table.count} rows of {table.path}")


def _holdable(value: object) -> object:
    return clean(value) if isinstance(value, str) else value


def check_installed(path: Path, table: Table, added: Added) -> None:
    """Raises PetitionError MISSING_EXTRA if pyarrow is missing."""
    extra("pyarrow.parquet")


@contextmanager
def _arrow_faults(path: Path) -> Iterator[None]:
    pa = extra("pyarrow")
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the file's
        raise invalid(path, f"is not a readable Parquet file ({' '.join(str(error).split())})") from error


def _batches(path: Path, only: Collection[str] | None = None) -> Iterator[Any]:
    pq = extra("pyarrow.parquet")
    with reading(path), _arrow_faults(path), pq.ParquetFile(path) as file:
        names = None if only is None else [name for name in file.schema_arrow.names if name in only]
        yield from file.iter_batches(batch_size=BATCH_ROWS, columns=names, use_threads=False)


def _whole_microseconds(batch: Any) -> Any:
    pa = extra("pyarrow")
    for position, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            column = batch.column(position).cast(pa.timestamp("us", field.type.tz), safe=False)
            batch = batch.set_column(position, field.name, column)
    return batch


def _inferred(table: Table) -> list[tuple[str, Any]]:
    pa = extra("pyarrow")
    kinds: dict[str, set[type]] = {name: set() for name in table.columns}
    for row in table.rows():
        for name, value in row.cells.items():
            if value is not None:
                inexact = isinstance(value, int) and abs(value) >= 2**53
                kinds[name].add(str if inexact else type(value))
    arrow_types = {
        frozenset({bool}): pa.bool_(),
        frozenset({int}): pa.int64(),
        frozenset({float}): pa.float64(),
        frozenset({int, float}): pa.float64(),
        frozenset({dt.date}): pa.date32(),
        frozenset({dt.datetime}): pa.timestamp("us"),
        frozenset({dt.time}): pa.time64("us"),
        frozenset({dt.timedelta}): pa.duration("us"),
    }
    return [(clean(name), arrow_types.get(frozenset(found), pa.string())) for name, found in kinds.items()]


def _converted(table: Table, schema: Any) -> Iterator[Any]:
    pa = extra("pyarrow")
    rows = table.rows()
    while part := list(islice(rows, BATCH_ROWS)):
        arrays = []
        for name, field in zip(table.columns, schema, strict=True):
            cells = [row.cells.get(name) for row in part]
            if field.type == pa.string():
                cells = [None if cell is None else clean(as_text(cell)) for cell in cells]
            arrays.append(pa.array(cells, field.type))
        yield pa.record_batch(arrays, schema=schema)
