"""Reads raw tables as they lie: CSV or Parquet, a file, a glob or a folder, local or at any fsspec URI."""

import csv
import difflib
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from components.ingest.config import TableSource
from feature_repo.errors import DataError


@dataclass(frozen=True)
class RawFile:
    """One file's rows.

    Attributes:
        source: the file, as a person would name it.
        table: n rows; of CSV every column, all as text; of Parquet the mapped columns.
        rows: [n] number of each row in the file, from 1, the header not counted.
        malformed: number and text of lines that have too few or too many fields.
    """

    source: str
    table: pa.Table
    rows: pa.Array
    malformed: list[tuple[int, str]] = field(default_factory=list)


def read_files(name: str, source: TableSource, root: str) -> list[RawFile]:
    """Reads all files of a raw table.

    Args:
        name: of the table, for messages.
        source: where it lies and which columns are wanted.
        root: folder or URI that a relative `source.uri` starts from.

    Raises:
        DataError: nothing is there, it cannot be read, it has no rows, or lacks a mapped column.
    """
    uri = _resolve(source.uri, root)
    wanted = sorted({mapping.column for mapping in source.columns.values()})
    # Any storage's client may stand behind the URI, each with errors of its own.
    try:
        filesystem, paths = _list_files(uri)
        contents = [(path, _read(filesystem, path)) for path in paths]
    except FileNotFoundError as error:
        raise DataError(_nothing_at(name, uri)) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{name}: {uri} cannot be read ({type(error).__name__}: {reason}). "
            f"Check `ingest.{name}.uri`, the data root and your access to it."
        ) from error
    if not contents:
        raise DataError(_nothing_at(name, uri))
    files = [
        _parse_csv(name, path, content, source.delimiter, wanted)
        if source.format == "csv"
        else _parse_parquet(name, path, content, wanted)
        for path, content in contents
    ]
    filled = [file for file in files if file.table.num_rows or file.malformed]
    if not filled:
        raise DataError(f"{name}: {uri} has no rows. Check `ingest.{name}.uri` and the export that wrote it.")
    return filled


def _resolve(uri: str, root: str) -> str:
    if "://" in uri or uri.startswith("/"):
        return uri
    return f"{root.rstrip('/')}/{uri}"


def _nothing_at(name: str, uri: str) -> str:
    return f"{name}: there is no file at {uri}. Check `ingest.{name}.uri` and the data root."


def _list_files(uri: str) -> tuple[Any, list[str]]:
    filesystem, path = fsspec.core.url_to_fs(uri)
    if filesystem.isfile(path):
        return filesystem, [path]
    if filesystem.isdir(path):
        found = filesystem.find(path)
        # Writers leave their own files (_SUCCESS, .crc) beside the data.
        start = len(path.rstrip("/")) + 1
        return filesystem, sorted(p for p in found if not any(x[0] in "._" for x in p[start:].split("/")))
    return filesystem, sorted(p for p in filesystem.glob(path) if filesystem.isfile(p))


def _read(filesystem: Any, path: str) -> bytes:
    with filesystem.open(path, "rb", compression="infer") as handle:
        return bytes(handle.read())


def _parse_csv(name: str, path: str, content: bytes, delimiter: str, wanted: list[str]) -> RawFile:
    try:
        first = content.split(b"\n", 1)[0].decode("utf-8-sig").rstrip("\r")
        header = next(csv.reader([first], delimiter=delimiter), [])
        if not header:
            return RawFile(path, pa.table({}), pa.array([], pa.int64()))
        _check_columns(name, path, header, wanted)
        malformed: list[tuple[int, str]] = []

        def set_aside(row: Any) -> str:
            malformed.append((row.number - 1, row.text))
            return "skip"

        table = pa_csv.read_csv(
            io.BytesIO(content),
            # Rows are numbered only when read in order.
            read_options=pa_csv.ReadOptions(use_threads=False),
            parse_options=pa_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=set_aside
            ),
            convert_options=pa_csv.ConvertOptions(column_types={column: pa.string() for column in header}),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{name}: {path} cannot be read as CSV ({reason}). "
            f"Check `ingest.{name}.format` and `delimiter`; the text must be UTF-8."
        ) from error
    numbers = range(1, table.num_rows + len(malformed) + 1)
    bad = {number for number, _ in malformed}
    return RawFile(path, table, pa.array([n for n in numbers if n not in bad] if bad else numbers), malformed)


def _parse_parquet(name: str, path: str, content: bytes, wanted: list[str]) -> RawFile:
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        _check_columns(name, path, file.schema_arrow.names, wanted)
        table = file.read(columns=wanted)
    except pa.ArrowInvalid as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{name}: {path} is not Parquet ({reason}). Check `ingest.{name}.format`.") from error
    return RawFile(path, table, pa.array(range(1, table.num_rows + 1), pa.int64()))


def _check_columns(name: str, path: str, present: list[str], wanted: Iterable[str]) -> None:
    twice = sorted({column for column in present if present.count(column) > 1})
    if twice:
        raise DataError(f"{name}: {path} has the column {twice[0]!r} twice. Rename one of them.")
    for column in wanted:
        if column not in present:
            near = difflib.get_close_matches(column, present, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Mend `ingest.{name}.columns` or `delimiter`."
            listed = ", ".join(repr(column) for column in present)
            raise DataError(f"{name}: {path} has no column {column!r}. It has {listed}. {hint}")
