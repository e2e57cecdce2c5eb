"""Writing a set: an official layout goes in, one Parquet file a split comes out, complete or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.core.atomic import replacing, writing
from mien.core.errors import MissingExtra
from mien.data.cache import Progress
from mien.data.convert import affectnet, celeba, fer2013, lfw, rafdb, utkface, vggface2
from mien.data.convert.layout import BadRow, Layout, Row, WrongLayout
from mien.data.registry import Set, UnknownSet, known

READERS: dict[str, Callable[[Path], Layout]] = {
    "fer2013": fer2013.read,
    "utkface": utkface.read,
    "affectnet": affectnet.read,
    "rafdb": rafdb.read,
    "celeba": celeba.read,
    "lfw_pairs": lfw.read,
    "vggface2": vggface2.read,
}
"""What reads each set's official layout."""

_GROUP = 1000
"""Rows that are held in memory, and that a group of the file has."""


@dataclass(frozen=True)
class Converted:
    """What a conversion made.

    Attributes:
        files: the file of each split.
        rows: how many rows each split has.
        bad: the rows that were left out.
    """

    files: dict[str, Path]
    rows: dict[str, int]
    bad: tuple[BadRow, ...]


def convert(name: str, path: Path, folder: Path, progress: Progress | None = None) -> Converted:
    """Make a set from its official layout; what is not readable is left out and named.

    Args:
        name: of the set.
        path: the official layout: see the set's row in the table.
        folder: the files become `folder/NAME/SPLIT.parquet`; those that are there are replaced at the end.
        progress: is told how many rows are done, and of how many.

    Raises:
        UnknownSet: there is no such set, or it has no official layout.
        WrongLayout: the path is something else, or no row of it is good.
        UnwritableOutput: the files cannot be written.
    """
    row = known(name)
    if name not in READERS:
        raise UnknownSet(f"{name!r} has no official layout; those of {', '.join(READERS)} can be converted")
    if not path.exists():
        raise WrongLayout(path, "there is nothing of this name")
    layout = READERS[name](path)
    bad: list[BadRow] = []
    with contextlib.ExitStack() as stack:
        writers: dict[str, _Writer] = {}
        for number, item in enumerate(layout.rows):
            if isinstance(item, BadRow):
                bad.append(item)
            else:
                if item.split not in writers:
                    file = folder / name / f"{item.split}.parquet"
                    writers[item.split] = _Writer.opened(stack, file, _schema(row, layout.lacks))
                writers[item.split].add(item)
            if progress is not None:
                progress(number + 1, layout.count)
        if not writers:
            example = f", such as {bad[0].where}: {bad[0].reason}" if bad else ""
            raise WrongLayout(path, f"none of {len(bad)} rows can be used{example}")
        for writer in writers.values():
            writer.close()
    for beside, text in layout.beside.items():
        with writing(folder / name / beside, text=True) as opened:
            opened.write(text)
    order = [split.name for split in row.splits if split.name in writers]
    return Converted(
        {split: writers[split].file for split in order},
        {split: writers[split].rows for split in order},
        tuple(bad),
    )


def _schema(row: Set, lacks: frozenset[str]) -> Any:
    """Return the Arrow schema of a set's rows, with what `datasets` wants to know of them."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra("datasets", "lab") from error
    features: dict[str, Any] = {"image": datasets.Image()}
    for column in row.columns:
        value = datasets.Value(column.type)
        kind = datasets.Sequence(value, length=column.length) if column.length else value
        features |= {name: kind for name in column.all_names if name not in lacks}
    return datasets.Features(features).arrow_schema


class _Writer:
    """A split's file as it grows, a group of rows at a time."""

    def __init__(self, file: Path, writer: Any, schema: Any) -> None:
        self.file, self.rows = file, 0
        self._writer, self._schema = writer, schema
        self._waiting: list[dict[str, Any]] = []

    @classmethod
    def opened(cls, stack: contextlib.ExitStack, file: Path, schema: Any) -> _Writer:
        from pyarrow import parquet

        temporary = stack.enter_context(replacing(file))
        return cls(file, stack.enter_context(parquet.ParquetWriter(temporary, schema)), schema)

    def add(self, row: Row) -> None:
        self._waiting.append({"image": {"bytes": row.picture, "path": row.path}, **row.labels})
        self.rows += 1
        if len(self._waiting) == _GROUP:
            self._flush()

    def close(self) -> None:
        if self._waiting:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow

        self._writer.write_table(pyarrow.Table.from_pylist(self._waiting, schema=self._schema))
        self._waiting = []
