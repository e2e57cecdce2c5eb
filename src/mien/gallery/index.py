"""Which embeddings are nearest: the index beside a gallery's store, and its file.

The store is the truth. An index holds nothing that is not there, so it is thrown away and made again whenever
there is a doubt about it.
"""

from __future__ import annotations

import json
import mmap
import os
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mien.core.atomic import leftover, replacing
from mien.core.fields import Floats

Ids = npt.NDArray[np.int64]

_MAGIC = b"mien-index 1\n"
# The head of the file; its numbers follow from a page's boundary on, as the processor likes it.
_HEAD = 4096
# Embeddings that are compared at once: 32 MB of 128 numbers each, whatever the gallery's size.
_BLOCK = 65536


class Index(Protocol):
    """What finds the nearest embeddings; one that does not compare with all may be quicker and miss some."""

    def __len__(self) -> int:
        """Return how many embeddings it holds."""

    def add(self, ids: Ids, vectors: Floats) -> None:
        """Add embeddings.

        Args:
            ids: (n,) numbers of faces, rising and higher than those it has.
            vectors: (n, d) of unit length.
        """

    def search(self, queries: Floats, k: int, among: Ids | None = None) -> tuple[Ids, Floats]:
        """Find the nearest embeddings.

        Args:
            queries: (m, d) of unit length.
            k: how many.
            among: only these faces, rising; None: all.

        Returns:
            (m, j) numbers of faces and (m, j) cosines, best first, j = min(k, how many there are).
        """


class ExactIndex:
    """Compares each query with every embedding, by products of matrices; misses nothing."""

    def __init__(self, ids: Ids, vectors: Floats) -> None:
        """Hold embeddings.

        Args:
            ids: (n,) numbers of faces, rising.
            vectors: (n, d) of unit length; it may be mapped from a file and is not changed.
        """
        self._parts: list[tuple[Ids, Floats]] = [(ids, vectors)]

    def __len__(self) -> int:
        return sum(len(ids) for ids, _ in self._parts)

    @property
    def ids(self) -> Ids:
        """The (n,) numbers of its faces, rising."""
        return np.concatenate([ids for ids, _ in self._parts])

    @property
    def vectors(self) -> Floats:
        """Its (n, d) embeddings."""
        full = [vectors for _, vectors in self._parts if len(vectors)]
        return np.concatenate(full) if full else self._parts[0][1]

    def add(self, ids: Ids, vectors: Floats) -> None:
        """Add embeddings, as `Index.add`; searches that run at the time do not see them."""
        if not len(ids):
            return
        first, *rest = self._parts
        rest.append((ids, vectors))
        # Few parts: each search asks them all. The first one stays as it is, for it may be large and mapped.
        if len(rest) > 8:
            rest = [(np.concatenate([i for i, _ in rest]), np.concatenate([v for _, v in rest]))]
        self._parts = [first, *rest]

    def search(self, queries: Floats, k: int, among: Ids | None = None) -> tuple[Ids, Floats]:
        """Find the nearest embeddings, as `Index.search`; of equal ones the lower numbers come first."""
        best_ids = np.zeros((len(queries), 0), np.int64)
        best = np.zeros((len(queries), 0), np.float32)
        for ids, vectors in self._parts:
            chosen = None if among is None else np.flatnonzero(np.isin(ids, among, assume_unique=True))
            total = len(ids) if chosen is None else len(chosen)
            for start in range(0, total, _BLOCK):
                place = slice(start, start + _BLOCK) if chosen is None else chosen[start : start + _BLOCK]
                close = queries @ vectors[place].T
                best_ids = np.concatenate([best_ids, np.broadcast_to(ids[place], close.shape)], axis=1)
                best_ids, best = _top(best_ids, np.concatenate([best, close], axis=1), k)
        order = np.lexsort((best_ids, -best), axis=1)
        return np.take_along_axis(best_ids, order, 1), np.take_along_axis(best, order, 1)


def _top(ids: Ids, close: Floats, k: int) -> tuple[Ids, Floats]:
    """Keep the k nearest of each row, in any order; at the edge, equal ones with lower numbers."""
    if close.shape[1] <= k:
        return ids, close
    if k <= 0:
        return ids[:, :0], close[:, :0]
    edge = -np.partition(-close, k - 1, axis=1)[:, k - 1 : k]
    # Those beyond the edge are all kept; of those on it as many as there is room for, which numbers decide.
    kept = np.empty((len(close), k), np.intp)
    for row, (values, limit) in enumerate(zip(close, edge[:, 0], strict=True)):
        above, on = np.flatnonzero(values > limit), np.flatnonzero(values == limit)
        kept[row] = np.concatenate([above, on[np.argsort(ids[row, on])][: k - len(above)]])
    return np.take_along_axis(ids, kept, 1), np.take_along_axis(close, kept, 1)


def index_path(gallery: Path) -> Path:
    """Return where the index of a gallery's file lies."""
    return gallery.with_name(gallery.name + "-index")


def write(path: Path, ids: Ids, vectors: Floats, *, gallery: str, removals: int) -> None:
    """Write an index's file, complete or not at all.

    Args:
        path: the file.
        ids: (n,) numbers of faces, rising.
        vectors: (n, d) of unit length.
        gallery: which gallery it belongs to.
        removals: of the gallery's state when these were its embeddings.

    Raises:
        UnwritableOutput: full disk, read-only folder.
    """
    first, second = np.ascontiguousarray(ids, "<i8"), np.ascontiguousarray(vectors, "<f4")
    facts = {
        "gallery": gallery,
        "removals": removals,
        "faces": len(ids),
        "size": vectors.shape[1],
        "crc": zlib.crc32(second.data, zlib.crc32(first.data)) if len(ids) else 0,
    }
    head = _MAGIC + json.dumps(facts).encode()
    head += b"\n%08x\n" % zlib.crc32(head)
    with replacing(path) as temporary:
        temporary.chmod(0o600)  # templates of faces
        with temporary.open("wb") as file:
            file.write(head.ljust(_HEAD, b"\0"))
            file.write(first.data)
            file.seek(_vectors_at(len(ids)))
            file.write(second.data)
            file.truncate(_vectors_at(len(ids)) + second.nbytes)


def read(path: Path, *, gallery: str, removals: int) -> ExactIndex | None:
    """Map an index's file.

    Args:
        path: the file.
        gallery: which gallery it must belong to.
        removals: of the gallery's state: a file from before a removal is of no use.

    Returns:
        The index; None where the file is missing, old, another gallery's, or damaged.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            whole = os.fstat(file.fileno()).st_size
            facts = _facts(head)
            if facts is None or (facts["gallery"], facts["removals"]) != (gallery, removals):
                return None
            count, size = int(facts["faces"]), int(facts["size"])
            start = _vectors_at(count)
            if whole != start + 4 * count * size or not count:
                return None
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    ids = np.frombuffer(mapped, "<i8", count, _HEAD)
    vectors = np.frombuffer(mapped, "<f4", count * size, start).reshape(count, size)
    if zlib.crc32(vectors.data, zlib.crc32(ids.data)) != facts["crc"]:
        return None
    return ExactIndex(ids, vectors)


def erase(path: Path) -> None:
    """Overwrite an index's file with zeros and delete it, and what a killed writer of it may have left.

    Who has it mapped finds nobody there. Only to be called while nobody can be writing it.

    Raises:
        OSError: it cannot be written.
    """
    for file in (path, leftover(path)):
        if file.exists():
            _wipe(file)
            file.unlink()


def _wipe(path: Path) -> None:
    with path.open("r+b") as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 20)))
        file.flush()
        os.fsync(file.fileno())


def _vectors_at(count: int) -> int:
    return _HEAD + -(-8 * count // _HEAD) * _HEAD


def _facts(head: bytes) -> dict[str, str | int] | None:
    line, _, rest = head.removeprefix(_MAGIC).partition(b"\n")
    whole = _MAGIC + line
    if not head.startswith(whole) or rest[:9] != b"%08x\n" % zlib.crc32(whole):
        return None
    facts: dict[str, str | int] = json.loads(line)
    return facts
