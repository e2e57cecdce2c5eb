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
        candidates: list[list[tuple[Ids, Floats]]] = [[] for _ in queries]
        for ids, vectors in self._parts:
            chosen = None if among is None else _places(ids, among)
            total = len(ids) if chosen is None else len(chosen)
            for start in range(0, total, _BLOCK):
                place = slice(start, start + _BLOCK) if chosen is None else chosen[start : start + _BLOCK]
                close = queries @ vectors[place].T
                for row, found in enumerate(_top(close, k)):
                    candidates[row].append((ids[place][found], close[row, found]))
        count = min(k, sum(len(found) for found, _ in candidates[0])) if candidates else 0
        best_ids, best = (
            np.zeros((len(queries), count), np.int64),
            np.zeros((len(queries), count), np.float32),
        )
        for row, parts in enumerate(candidates):
            if count:
                found, near = (np.concatenate(part) for part in zip(*parts, strict=True))
                order = np.lexsort((found, -near))[:count]
                best_ids[row], best[row] = found[order], near[order]
        return best_ids, best


def _places(ids: Ids, among: Ids) -> npt.NDArray[np.intp]:
    """Return where in `ids` those of `among` stand that are there; both rise."""
    place = np.searchsorted(ids, among)
    inside = place < len(ids)
    place, among = place[inside], among[inside]
    return np.asarray(place[ids[place] == among])


def _top(close: Floats, k: int) -> list[npt.NDArray[np.intp]]:
    """Return for each row the places of its k nearest and of all that are as near as the last of them."""
    count = close.shape[1]
    if k <= 0:
        return [np.zeros(0, np.intp)] * len(close)
    if count <= k:
        return [np.arange(count)] * len(close)
    edge = np.partition(close, count - k, axis=1)[:, count - k]
    return [np.flatnonzero(row >= limit) for row, limit in zip(close, edge, strict=True)]


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
