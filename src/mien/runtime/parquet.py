"""Pictures that lie as bytes in the rows of Parquet files, in the Hugging Face layout or a plain one."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mien.core.errors import MissingExtra, UnreadablePicture

NAMES = ("path", "file_name", "filename", "name", "source", "id", "key")
"""Columns that name a picture whose bytes are in a column of their own, in order of preference."""


@dataclass(frozen=True)
class Row:
    """A picture in a Parquet file: a handle that costs nothing until its bytes are read.

    Attributes:
        file: the Parquet file.
        name: the file and the picture's own name in it, or its number where it has none.
        group: the row group that it lies in.
        place: its place in the group.
        column: where the bytes are: a column, or a struct's column and member, "image.bytes".
        changed: when the file was last changed as its rows were listed, ns.
    """

    file: str
    name: str
    group: int
    place: int
    column: str
    changed: int

    def __str__(self) -> str:
        return self.name

    def read_bytes(self) -> bytes:
        """Return the picture's bytes.

        Raises:
            UnreadablePicture: the row is empty, or the file is damaged there.
        """
        try:
            value = _group(self.file, self.changed, self.group, self.column)[self.place].as_py()
        except (OSError, ValueError, IndexError) as error:
            raise UnreadablePicture(self.name, f"cannot read this row: {error}") from error
        if value is None:
            raise UnreadablePicture(self.name, "the row holds no bytes")
        return bytes(value)


@dataclass(frozen=True)
class Damaged:
    """A Parquet file that cannot be listed; reading it says why, so that it stops no batch."""

    file: str
    reason: str

    def __str__(self) -> str:
        return self.file

    def read_bytes(self) -> bytes:
        """Say what is wrong with the file.

        Raises:
            UnreadablePicture: always.
        """
        raise UnreadablePicture(self.file, self.reason)


def is_parquet(given: Any) -> bool:
    """Tell whether a path with Parquet's ending is meant."""
    return isinstance(given, (str, os.PathLike)) and os.fsdecode(given).lower().endswith(".parquet")


def rows(path: str | os.PathLike[str]) -> Iterator[Row | Damaged]:
    """Yield a handle for each picture of a Parquet file, in order; only the names are read.

    Pictures are bytes of picture files: a struct column {bytes, path} (Hugging Face's `image`), or a binary
    column, with their names in one of `NAMES` where there is one.

    Args:
        path: the file. One that cannot be read is yielded as `Damaged`.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    file = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - another worker's current folder may differ
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "tables") from error
    try:
        changed = os.stat(file).st_mtime_ns  # noqa: PTH116 - names that are no UTF-8
        with parquet.ParquetFile(file) as opened:
            column, naming = _columns(opened.schema_arrow)
            if column is None:
                yield Damaged(file, "no column of pictures: image {bytes, path}, or a column of bytes")
                return
            number = 0
            for group in range(opened.num_row_groups):
                count = opened.metadata.row_group(group).num_rows
                names: list[Any] = [None] * count
                if naming:
                    names = _flat(opened.read_row_group(group, columns=[naming]), naming).to_pylist()
                for place, name in enumerate(names):
                    name = number if name is None else name
                    yield Row(file, f"{file}#{name}", group, place, column, changed)
                    number += 1
    except (OSError, ValueError) as error:
        yield Damaged(file, " ".join(str(error).split())[:200])


def _columns(schema: Any) -> tuple[str | None, str | None]:
    """Return where the bytes are and where the names are, as column or column.member; None where nowhere."""
    from pyarrow import types

    def is_bytes(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    for field in schema:
        if types.is_struct(field.type):
            members = {
                field.type.field(i).name: field.type.field(i).type for i in range(field.type.num_fields)
            }
            if "bytes" in members and is_bytes(members["bytes"]):
                return f"{field.name}.bytes", f"{field.name}.path" if "path" in members else None
    binary = next((field.name for field in schema if is_bytes(field.type)), None)
    return binary, next((name for name in NAMES if name in schema.names and name != binary), None)


def _flat(table: Any, column: str) -> Any:
    """Return the values of a column, or of a struct's member, of a table that holds nothing else."""
    from pyarrow import compute

    values = table.column(0)
    _, _, member = column.partition(".")
    return compute.struct_field(values, member) if member else values


# Neighbouring rows share their group: it is kept while workers go through it, and the next one beside it.
@functools.lru_cache(maxsize=2)
def _group(file: str, changed: int, group: int, column: str) -> Any:
    from pyarrow import parquet

    with parquet.ParquetFile(file) as opened:
        return _flat(opened.read_row_group(group, columns=[column]), column)
