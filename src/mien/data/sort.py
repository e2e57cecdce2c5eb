"""A set of any size sorted into shards by person, so that one person's pictures lie together."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow
from pyarrow import compute, ipc, parquet

from mien.core.atomic import writing
from mien.core.errors import UnreadablePicture, UnwritableOutput, printable
from mien.core.picture import Picture
from mien.data.cache import Progress, hash_of
from mien.data.convert.layout import BadRow
from mien.data.registry import DamagedSet

INDEX = "people.json"
"""The file beside the shards that tells how many people each row group has."""

VERSION = 1
"""Of that file."""

SHARD_BYTES = 256_000_000
"""About how large a shard becomes."""

GROUP = 512
"""Rows of a row group, or as many more as its last person has: what is read at once."""

_BATCH = 256
_EXAMPLES = 20

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Shards:
    """Shards whose every row group holds all pictures of some people, as `sort` makes them.

    It keeps 20 bytes for each row group, whatever those hold: 10 MB for 260 million pictures.

    Attributes:
        folder: where they are.
        files: their names.
        column: of the person in them.
        rows: how many pictures they hold in all.
        file: (b,) which file each row group is in.
        group: (b,) its number in that file.
        count: (b,) how many people it holds.
    """

    folder: Path
    files: tuple[str, ...]
    column: str
    rows: int
    file: npt.NDArray[np.int32]
    group: npt.NDArray[np.int32]
    count: npt.NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of row groups."""
        return len(self.count)

    @cached_property
    def first(self) -> Ints:
        """(b,) the number of each row group's first person; people are numbered from 0 as they lie."""
        return np.cumsum(self.count, dtype=np.int64) - self.count

    @cached_property
    def people(self) -> int:
        """How many people there are."""
        return int(self.count.sum(dtype=np.int64))

    @classmethod
    def open(cls, folder: Path) -> Shards:
        """Find shards that `sort` has made.

        Raises:
            DamagedSet: there are none, or their index is not as it was written.
        """
        try:
            index = json.loads((folder / INDEX).read_text("utf-8"))
            if index["version"] != VERSION:
                raise DamagedSet(f"{printable(folder)}: sorted by another version of mien; sort it again")
            counts = [np.array(shard["people"], np.int32) for shard in index["shards"]]
            return cls(
                folder=folder,
                files=tuple(str(shard["file"]) for shard in index["shards"]),
                column=str(index["column"]),
                rows=int(index["rows"]),
                file=np.repeat(np.arange(len(counts), dtype=np.int32), [len(count) for count in counts]),
                group=np.concatenate([np.arange(len(count), dtype=np.int32) for count in counts]),
                count=np.concatenate(counts),
            )
        except OSError as error:
            raise DamagedSet(
                f"{printable(folder)}: has no {INDEX} ({error.strerror}); sort the set with `mien data sort`"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedSet(f"{printable(folder / INDEX)}: is not as `mien data sort` writes it") from error

    def read(self, block: int) -> tuple[list[Ints], Any]:
        """Read a row group.

        Returns:
            the rows of each of its people, in order, and the Arrow array of its pictures {bytes, path}.

        Raises:
            DamagedSet: the file cannot be read, or holds other people than the index says.
        """
        path = self.folder / self.files[self.file[block]]
        with _damage(path), parquet.ParquetFile(path) as opened:
            table = opened.read_row_group(int(self.group[block]), columns=["image", self.column])
        people = _people(table.column(self.column))
        if len(people) != self.count[block]:
            raise DamagedSet(
                f"{printable(path)}: row group {self.group[block]} has {len(people)} people, and"
                f" {self.count[block]} when it was sorted"
            )
        return people, table.column("image").combine_chunks()


@dataclass(frozen=True)
class Made:
    """What sorting made.

    Attributes:
        shards: the shards.
        unreadable: how many pictures were left out as they cannot be read.
        examples: the first of them.
        shared: how many were left out as they occur elsewhere.
    """

    shards: Shards
    unreadable: int
    examples: tuple[BadRow, ...]
    shared: int


def sort(
    files: Sequence[Path],
    folder: Path,
    column: str,
    *,
    split: str = "train",
    without: Collection[bytes] = (),
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> Made:
    """Sort a set, in Parquet files of the Hugging Face layout, into shards by person.

    Rows go to one of n buckets by a hash of their person, and each bucket, which fits into memory, is sorted.
    So memory is bounded by a row group of the files and by the largest shard, whatever the set's size; the
    disk holds the set once more meanwhile. pyarrow reads and sorts; `datasets`, which reads ahead, and
    `write_dataset`, which has rows waiting, took more memory for more files. The order depends on the files
    and their order alone.

    Every picture is decoded once: one that cannot be read would stop a training after hours.

    Args:
        files: the set, of any number of files.
        folder: for the shards; it must not be there yet. It is complete or absent.
        column: of the person: whole numbers or text.
        split: what the shards are called by, for `datasets.load_dataset(folder)`.
        without: hashes (`mien.data.cache.hash_of`) of pictures to leave out, as those of test sets.
        shard_bytes: about how large shards become.
        progress: is told how many rows are read, and of how many.

    Raises:
        DamagedSet: a file cannot be read, lacks a column, or no row is left.
        UnwritableOutput: the folder is there, or cannot be written.
    """
    if folder.exists():
        raise UnwritableOutput(folder, "it is there already: name another folder, or delete this one")
    buckets = max(1, round(sum(file.stat().st_size for file in files) / shard_bytes))
    reading = _Reading(files, column, buckets, frozenset(without), progress)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}.", dir=folder.parent, ignore_cleanup_errors=True
        ) as temporary:
            parts, made = Path(temporary) / "parts", Path(temporary) / "made"
            made.mkdir()
            _part(reading, parts)
            full = sorted((path for path in parts.iterdir()), key=lambda path: int(path.name))
            if not full:
                raise DamagedSet(f"{printable(files[0])}: no row is left to sort")
            names = [f"{split}-{number:05d}-of-{len(full):05d}.parquet" for number in range(len(full))]
            counts = [
                _write(part, made / name, column, reading.schema)
                for part, name in zip(full, names, strict=True)
            ]
            index = {
                "version": VERSION,
                "column": column,
                "rows": reading.kept,
                "shards": [
                    {"file": name, "people": count} for name, count in zip(names, counts, strict=True)
                ],
            }
            with writing(made / INDEX, text=True) as opened:
                json.dump(index, opened)
            made.rename(folder)
    except OSError as error:
        raise UnwritableOutput(folder, error.strerror or str(error)) from error
    return Made(Shards.open(folder), reading.unreadable, tuple(reading.examples), reading.shared)


class _Reading:
    """The rows of files as they are read, bad ones left out, each with its bucket and number."""

    def __init__(
        self,
        files: Sequence[Path],
        column: str,
        buckets: int,
        without: frozenset[bytes],
        progress: Progress | None,
    ) -> None:
        self.kept = self.unreadable = self.shared = self._seen = 0
        self.examples: list[BadRow] = []
        self._files, self._column, self._buckets = files, column, buckets
        self._without, self._progress = without, progress
        self._total = 0
        for file in files:
            with _damage(file):
                self._total += int(parquet.read_metadata(file).num_rows)
        self.schema = self._schema(files[0])

    def _schema(self, file: Path) -> Any:
        """Return the first file's columns, with what `datasets` wants to know of them."""
        import datasets

        with _damage(file):
            features = datasets.Features.from_arrow_schema(parquet.read_schema(file))
        for name in ("image", self._column):
            if name not in features:
                raise DamagedSet(f"{printable(file)}: has no column {name!r}; it has: {', '.join(features)}")
        return datasets.Features({**features, "image": datasets.Image()}).arrow_schema

    def batches(self) -> Iterator[tuple[Any, Ints]]:
        """Yield Arrow tables of n rows and (n,) their buckets."""
        for file in self._files:
            with _damage(file), parquet.ParquetFile(file) as opened:
                # Threads read ahead, as `datasets` does: memory would follow the disk's speed.
                for batch in opened.iter_batches(_BATCH, columns=self.schema.names, use_threads=False):
                    yield self._kept(file, pyarrow.Table.from_batches([batch]))

    def _kept(self, file: Path, table: Any) -> tuple[Any, Ints]:
        if table.column(self._column).null_count:
            raise DamagedSet(f"{printable(file)}: rows have no {self._column!r}: who is on them?")
        good = [self._is_good(image) for image in table.column("image").to_pylist()]
        table = table.cast(self.schema).filter(pyarrow.array(good, pyarrow.bool_()))
        people = table.column(self._column).to_pylist()
        self.kept += len(people)
        if self._progress is not None:
            self._progress(self._seen, self._total)
        return table, np.array([_bucket(str(who), self._buckets) for who in people], np.int64)

    def _is_good(self, image: dict[str, Any] | None) -> bool:
        self._seen += 1
        image = image or {}
        try:
            picture = Picture.read(image.get("bytes") or b"")
        except UnreadablePicture as error:
            self.unreadable += 1
            if len(self.examples) < _EXAMPLES:
                where = f"row {self._seen - 1} ({printable(image.get('path') or '')})"
                self.examples.append(BadRow(where, error.reason))
            return False
        if self._without and hash_of(picture.pixels) in self._without:
            self.shared += 1
            return False
        return True


@contextlib.contextmanager
def _damage(file: Path) -> Iterator[None]:
    """Say of errors below that a file is damaged."""
    try:
        yield
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise DamagedSet(
            f"{printable(file)}: cannot read it: {' '.join(str(error).split())[:200]}"
        ) from error


def _bucket(who: str, buckets: int) -> int:
    return int.from_bytes(hashlib.blake2b(who.encode(), digest_size=8).digest(), "big") % buckets


def _part(reading: _Reading, folder: Path) -> None:
    """Write the rows of each bucket into a file of its number: Arrow messages, one behind the other.

    Files are opened for each batch: there may be more of them than a process may have open.
    """
    folder.mkdir()
    for table, buckets in reading.batches():
        for bucket in np.unique(buckets).tolist():
            rows = table.take(pyarrow.array(np.flatnonzero(buckets == bucket)))
            with (folder / str(bucket)).open("ab") as opened:
                for batch in rows.to_batches():
                    opened.write(batch.serialize())


def _write(part: Path, file: Path, column: str, schema: Any) -> list[int]:
    """Write a bucket's rows, sorted, as a shard; return how many people each row group has."""
    batches = []
    with pyarrow.OSFile(str(part)) as opened:
        while opened.tell() < part.stat().st_size:
            batches.append(ipc.read_record_batch(ipc.read_message(opened), schema))
    part.unlink()
    table = pyarrow.Table.from_batches(batches, schema)
    # Stable: a person's pictures stay in the order of the files.
    order = compute.sort_indices(table.column(column))
    ordered = table.column(column).take(order)
    counts = []
    with parquet.ParquetWriter(file, schema) as writer:
        for start, stop, people in _groups(_people(ordered)):
            writer.write_table(table.take(order.slice(start, stop - start)), row_group_size=stop - start)
            counts.append(people)
    return counts


def _groups(people: Sequence[Ints]) -> Iterator[tuple[int, int, int]]:
    """Yield the first row, the one behind the last, and the number of people of each row group."""
    start = 0
    count = 0
    for number, rows in enumerate(people):
        count += 1
        stop = int(rows[-1]) + 1
        if stop - start >= GROUP or number == len(people) - 1:
            yield start, stop, count
            start, count = stop, 0


def _people(column: Any) -> list[Ints]:
    """Return the rows of each person of a column of persons that is sorted."""
    codes = np.asarray(column.combine_chunks().dictionary_encode().indices)
    return np.split(np.arange(len(codes)), np.flatnonzero(codes[1:] != codes[:-1]) + 1)
