"""Tables of results: JSON Lines, CSV and Parquet, complete or absent."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mien.core import columns
from mien.core.atomic import replacing, writing
from mien.core.errors import MissingExtra, UnreadablePicture, UnwritableOutput
from mien.runtime.stream import Result

Row = dict[str, Any]

# Rows in memory at once while a Parquet file is written.
_GROUP = 2000


def spelled(source: str | os.PathLike[str]) -> str:
    """Return a picture's name as rows hold it: as it is, but bytes that are no UTF-8 are escaped."""
    return os.fspath(source).encode("utf-8", "backslashreplace").decode()


def rows_of(result: Result) -> list[Row]:
    """Return the rows of one picture or frame: one a face; `face` is None when there is none or it failed.

    Rows are plain JSON values; floats that are no numbers become None. The rows of a frame also hold its
    number, its time stamp and each face's track.
    """
    source = spelled(result.source)
    rows = columns.records(result.faces)
    if not rows:
        width, height = result.faces.picture_size
        rows = [{"source": source, "face": None, "picture_width": width, "picture_height": height}]
    extra: list[Row] = [{} for _ in rows]
    if result.frame is not None:
        tracks = result.track or [None] * len(rows)
        extra = [{"frame": result.frame, "seconds": result.seconds, "track": track} for track in tracks]
    error = result.error.reason if result.error else None
    return [
        {
            key: plain(value)
            for key, value in ({"source": source, **more} | row | {"source": source, "error": error}).items()
        }
        for row, more in zip(rows, extra, strict=True)
    ]


def results_of(rows: Iterable[Mapping[str, Any]]) -> Iterator[Result]:
    """Yield the results that rows came from, in order: the inverse of `rows_of`, `makers` left empty.

    Args:
        rows: of pictures or frames one after the other, each with its faces in order, as `rows_of`, a
            journal or `read_rows` give them. One result is in memory at a time.

    Raises:
        ValueError: a row is no row of a face.
    """
    group: list[Mapping[str, Any]] = []
    for row in rows:
        if group and not _goes_on(group[-1], row):
            yield _result_of(group)
            group = []
        group.append(row)
    if group:
        yield _result_of(group)


def _goes_on(last: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    same = all(last.get(key) == row.get(key) for key in ("source", "frame"))
    return same and None not in (last["face"], row["face"]) and int(row["face"]) > int(last["face"])


def _result_of(rows: Sequence[Mapping[str, Any]]) -> Result:
    first = rows[0]
    source = str(first.get("source") or "")
    frame, seconds = first.get("frame"), first.get("seconds")
    tracks = tuple(int(row["track"]) for row in rows if row.get("track") is not None)
    return Result(
        source,
        columns.from_records(rows),
        UnreadablePicture(source, str(first["error"])) if first.get("error") else None,
        None if frame is None else int(frame),
        None if seconds is None else float(seconds),
        None if frame is None else tracks,
    )


def plain(value: Any) -> Any:
    """Return a JSON value without numbers that JSON lacks: NaN and infinities become None, however deep."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_rows(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as the file's ending says: .jsonl, .csv or .parquet.

    Args:
        path: the file; it is complete or absent.
        rows: of one kind of result. Their columns are the union, so that all but JSON Lines go through the
            rows twice: an iterator is kept in memory for that, what can be gone through again is not.

    Raises:
        UnwritableOutput: another ending, a full disk, a read-only folder.
        MissingExtra: Parquet without pyarrow.
    """
    ending = Path(path).suffix.lower()
    if ending not in WRITERS:
        raise UnwritableOutput(path, f"its ending must be one of {', '.join(WRITERS)}")
    WRITERS[ending](path, rows)


def _write_jsonl(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with writing(path, text=True) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_csv(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Lists become JSON in their cell: a spreadsheet keeps them whole and every language reads them back."""
    header, kept = _columns(rows)
    with writing(path, text=True) as file:
        writer = csv.DictWriter(file, header, restval="", lineterminator="\n")
        writer.writeheader()
        for row in kept:
            writer.writerow({key: json.dumps(v) if isinstance(v, list) else v for key, v in row.items()})


def _write_parquet(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "tables") from error
    header, kept = _columns(rows)
    schema = pyarrow.schema([(name, _arrow_type(pyarrow, name, sample)) for name, sample in header.items()])
    iterator = iter(kept)
    with replacing(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        while part := list(islice(iterator, _GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(part, schema=schema))


def _columns(rows: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], Iterable[Mapping[str, Any]]]:
    """Return every column with its first value, and the rows: the union is only known after the last row."""
    kept = list(rows) if isinstance(rows, Iterator) else rows
    header: dict[str, Any] = {}
    for row in kept:
        for key, value in row.items():
            if header.get(key) is None:
                header[key] = value
    header.setdefault("source", None)
    header["error"] = header.pop("error", None)
    return header, kept


def _arrow_type(pyarrow: Any, name: str, sample: Any) -> Any:
    if isinstance(sample, list):
        return pyarrow.list_(pyarrow.float32())
    if name in ("face", "picture_width", "picture_height", "frame", "track"):
        return pyarrow.int32()
    if name in ("source", "error") or isinstance(sample, str):
        return pyarrow.string()
    return pyarrow.float64() if name == "seconds" else pyarrow.float32()


WRITERS: Mapping[str, Callable[[str | os.PathLike[str], Iterable[Mapping[str, Any]]], None]] = (
    MappingProxyType({".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet})
)
"""The writers by the ending of the file."""


def read_rows(path: str | os.PathLike[str]) -> Iterator[Row]:
    """Yield the rows of a table that `write_rows` wrote, with the values that were written.

    In a CSV numbers and lists are JSON; what is empty there comes back as None.
    """
    ending = Path(path).suffix.lower()
    if ending == ".parquet":
        from pyarrow import parquet

        for part in parquet.ParquetFile(path).iter_batches(_GROUP):
            yield from part.to_pylist()
        return
    with Path(path).open(encoding="utf-8", newline="") as file:
        if ending == ".csv":
            for row in csv.DictReader(file):
                yield {name: _from_cell(name, text) for name, text in row.items()}
        else:
            yield from map(json.loads, file)


def _from_cell(name: str, text: str) -> Any:
    if not text:
        return None
    if name in ("source", "error"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
