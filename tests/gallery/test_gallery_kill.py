"""Whenever a gallery's process is killed, every acknowledged face is there and the index agrees."""

from __future__ import annotations

import json
import multiprocessing
import os
import select
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import under_load

from mien import Gallery

# The whole promise is 200 (MIEN_KILLS=200); so many are tried each time.
KILLS = int(os.environ.get("MIEN_KILLS", "20"))


@dataclass
class Witness:
    """What the killed processes have told.

    Attributes:
        there: by face the number of its embedding: acknowledged, and nobody has begun to remove it.
        gone: faces whose removal was acknowledged.
        doubtful: by face the number of its embedding: being removed when the process was killed.
        forgotten: the numbers of the embeddings of people who were, as was acknowledged, forgotten.
    """

    there: dict[int, int] = field(default_factory=dict)
    gone: dict[int, int] = field(default_factory=dict)
    doubtful: dict[int, int] = field(default_factory=dict)
    forgotten: list[int] = field(default_factory=list)

    def hear(self, line: bytes) -> None:
        told = json.loads(line)
        for number, face in told.get("added", {}).items():
            self.there[face] = int(number)
        for face in told.get("removing", ()):
            if face in self.there:
                self.doubtful[face] = self.there.pop(face)
        for face in told.get("removed", ()):
            if face in self.doubtful:
                self.gone[face] = self.doubtful.pop(face)
        if told.get("forgotten"):
            self.forgotten += [self.gone[face] for face in told["removed"]]


def _heard(pipe: int, seconds: float, buffer: bytes = b"") -> bytes:
    """Read what comes within some seconds, or until the other end is closed."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([pipe], [], [], left)[0]:
            data = os.read(pipe, 1 << 16)
            if not data:
                break
            buffer += data
    return buffer


def test_acknowledged_faces_survive_kill(tmp_path: Path) -> None:
    path = tmp_path / "people.mien"
    context = multiprocessing.get_context("fork")
    witness, random = Witness(), np.random.default_rng(int(os.environ.get("MIEN_KILLS_SEED", "0")))
    Gallery(path).close()
    for kill in range(KILLS):
        reading, writing = os.pipe()
        child = context.Process(
            target=under_load.work, args=(str(path), writing, 100_000 * kill, kill), daemon=True
        )
        child.start()
        os.close(writing)
        buffer = b""
        while b"\n" not in buffer:  # it has opened the gallery, and finished what its predecessor could not
            data = os.read(reading, 1 << 16)
            assert data, "the child could not open the gallery"
            buffer += data
        buffer = _heard(reading, float(random.uniform(0, 0.25)), buffer)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        buffer = _heard(reading, 10, buffer)
        child.join()
        os.close(reading)
        for line in buffer.split(b"\n")[:-1]:
            witness.hear(line)
        _check(path, witness)
    assert len(witness.there) > 5 * KILLS
    assert len(witness.gone) > KILLS
    assert len(witness.forgotten) > KILLS / 10


def _check(path: Path, witness: Witness) -> None:
    with Gallery(path) as gallery:
        _, ids, vectors = gallery.store.vectors()
        found = dict(zip(ids.tolist(), vectors, strict=True))
        for face, number in witness.there.items():
            np.testing.assert_array_equal(found[face], under_load.vector(number))
        assert not set(witness.gone) & set(found)
        for face, number in list(witness.doubtful.items()):
            # Either done or not, for all later times.
            (witness.there if face in found else witness.gone)[face] = number
            del witness.doubtful[face]
        assert gallery.store.faults() == []
        for stored in gallery.store.faces(ids.tolist()):
            assert stored.faces.landmarks is not None
            # Written, but killed before it could say so: from now on it has to stay.
            witness.there.setdefault(stored.id, int(stored.paths[0][1:]))
        built = gallery._searcher.index()
        np.testing.assert_array_equal(built.ids, ids)
        np.testing.assert_array_equal(built.vectors.reshape(vectors.shape), vectors)
        assert not gallery.store.unswept()
    blobs = [under_load.vector(number).tobytes() for number in witness.forgotten[-50:]]
    for file in path.parent.iterdir():
        data = file.read_bytes()
        assert not any(blob in data for blob in blobs), file
