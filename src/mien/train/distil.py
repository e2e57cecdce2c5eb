"""A teacher's embeddings of many faces, computed once and stored: what another recogniser learns from."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.data import Dataset

from mien.core.atomic import writing
from mien.core.errors import MienError
from mien.core.places import cache_folder
from mien.data import registry
from mien.data.reader import load
from mien.data.unlabelled import Crowd, Views, crowd, near_duplicates

_log = logging.getLogger("mien")

_SIDE = 112
_CHUNK = 50
# A cosine of the teacher from which a face may be of somebody in LFW: one stranger in some ten thousand
# reaches it, and one of LFW's 7,700 pictures may be the one that does. Too many faces go rather than too few.
SAME_PERSON = 0.55
# Of 64 bits of a difference hash. Faces placed alike share many: of pairs of strangers one in some ten
# thousand is nearer than this.
_NEAR = 6
# Why a face goes.
_LOOKS_ALIKE, _SAME = 1, 2


@dataclass(frozen=True)
class Preparation:
    """What a teacher wants pixels as: (pixels / 255 - mean) / deviation, RGB.

    Attributes:
        mean: of red, green and blue.
        deviation: of them.
    """

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


TEACHERS = {
    # foamliu/MobileFaceNet, Apache-2.0: ImageNet's numbers.
    "mobilefacenet_foamliu": Preparation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Teachers by the names of their files: ONNX networks of 112 px whose weights are free to use."""


class NoTeacher(MienError):
    """A teacher that is unknown or not on this machine."""


class Teacher:
    """A trained recogniser in onnxruntime.

    Args:
        name: one of `TEACHERS`; its file lies in a folder `weights` beside the sets.

    Attributes:
        sha256: of its file.

    Raises:
        NoTeacher: it is unknown or not here.
    """

    def __init__(self, name: str) -> None:
        if name not in TEACHERS:
            raise NoTeacher(f"no teacher {name!r}; there are: {', '.join(TEACHERS)}")
        places = [folder / "weights" / f"{name}.onnx" for folder in registry.folders()]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise NoTeacher(f"weights/{name}.onnx is in no folder that {registry.DATA} names")
        self.name, self.preparation = name, TEACHERS[name]
        data = found.read_bytes()
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._session = _session(data)

    def embed(self, faces: Tensor) -> npt.NDArray[np.float32]:
        """Return (n, d) embeddings of length 1 of (n, 3, 112, 112) faces, 0..255."""
        mean, deviation = (
            torch.tensor(values)[:, None, None]
            for values in (self.preparation.mean, self.preparation.deviation)
        )
        prepared = ((faces / 255 - mean) / deviation).numpy()
        name = self._session.get_inputs()[0].name
        # One at a time: the file takes batches of one.
        made = np.concatenate([self._session.run(None, {name: one[None]})[0] for one in prepared])
        return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def _session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class Removed:
    """Faces that were left out because of LFW, by set, and why.

    Attributes:
        near_duplicate: pictures that look like one of LFW's.
        same_person: faces that the teacher takes for somebody in LFW.
    """

    near_duplicate: dict[str, int]
    same_person: dict[str, int]


def apart_from_lfw(teacher: Teacher) -> tuple[Crowd, Removed]:
    """Return all faces to learn on but those that are, or may be, in LFW, which recognisers are judged by.

    The names of people are not known for any set but LFW, so people are told by the teacher: whoever is
    nearer than `SAME_PERSON` to any of LFW's pictures goes.
    """
    everybody = crowd()
    judged = load("lfw_pairs", "images", size=_SIDE)
    key = hashlib.sha256(
        f"{teacher.sha256} {everybody.sha256} {judged.sha256} {SAME_PERSON} {_NEAR}".encode()
    ).hexdigest()[:16]
    why = kept(f"apart-{key}", lambda: _searched(teacher, everybody, np.asarray(judged.pixels)))
    bounds = np.cumsum([0, *(len(part) for part in everybody.parts)])
    inside = np.searchsorted(bounds, everybody.rows, side="right") - 1
    near, same = (
        {
            part.name: int(((why == reason) & (inside == place)).sum())
            for place, part in enumerate(everybody.parts)
        }
        for reason in (_LOOKS_ALIKE, _SAME)
    )
    return everybody.without(why > 0), Removed(near, same)


def _searched(teacher: Teacher, everybody: Crowd, judged: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    """Return (n,) why each face goes; 0 where it stays."""
    theirs, their_grey = _shown(
        teacher,
        (
            torch.as_tensor(judged[k : k + 64].transpose(0, 3, 1, 2).copy()).float()
            for k in range(0, len(judged), 64)
        ),
    )
    rows = np.arange(len(everybody))
    mine, my_grey = _shown(
        teacher, (everybody.faces(rows[k : k + 64], _SIDE) for k in range(0, len(rows), 64)), len(rows) // 64
    )
    near = near_duplicates(my_grey, their_grey, _NEAR)
    same = np.concatenate(
        [(mine[k : k + 1024] @ theirs.T).max(axis=1) >= SAME_PERSON for k in range(0, len(mine), 1024)]
    )
    return np.where(near, _LOOKS_ALIKE, np.where(same, _SAME, 0)).astype(np.int8)


def _shown(
    teacher: Teacher, batches: Iterator[Tensor], count: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Return (n, d) embeddings of faces in batches, and n small grey crops of them."""
    made, grey = [], []
    for number, faces in enumerate(batches):
        made.append(teacher.embed(faces))
        small = torch.nn.functional.avg_pool2d(faces.mean(dim=1, keepdim=True), 4)
        grey.append(small[:, 0].numpy().astype(np.uint8))
        if count and number % _CHUNK == 0:
            _log.info("faces compared with LFW: %d %%", 100 * number // count)
    return np.concatenate(made), np.concatenate(grey)


def answers(teacher: Teacher, views: Views) -> npt.NDArray[np.float16]:
    """Return (blocks, block, d) a teacher's embeddings of views.

    They are computed once, and stored in the user's cache chunk by chunk: a stop loses the last one.
    """
    # Passes are not counted: more of them go on where fewer ended.
    key = hashlib.sha256(f"{teacher.sha256} {views.sha256}".encode()).hexdigest()[:16]

    count = len(views)

    def said(blocks: range) -> npt.NDArray[np.float16]:
        made = np.stack([teacher.embed(views[number]) for number in blocks]).astype(np.float16)
        _log.info("the teacher has seen %d of %d blocks", blocks.stop, count)
        return made

    chunks = [range(first, min(first + _CHUNK, count)) for first in range(0, count, _CHUNK)]
    # By both ends: the last chunk of fewer passes is shorter than that of more.
    return np.concatenate(
        [
            kept(f"{teacher.name}-{key}/{blocks.start:06d}-{blocks.stop:06d}", partial(said, blocks))
            for blocks in chunks
        ]
    )


def kept(name: str, make: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return an array from the user's cache, made where it is not there yet, by one process at a time."""
    file = cache_folder() / "taught" / f"{name}.npy"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        if not file.is_file():
            made = make()
            with writing(file) as out:
                np.save(out, made, allow_pickle=False)
    stored: npt.NDArray[Any] = np.load(file, allow_pickle=False)
    return stored


class Taught(Dataset[tuple[Tensor, Tensor]]):
    """Blocks of faces with what a teacher said of them: (block, 3, size, size) 0..255 and (block, d).

    Args:
        teacher: that is asked.
        size: side of the faces, px.
        passes: over all faces.
        block: faces of one block.

    Attributes:
        views: that the teacher has seen.
        removed: what was left out because of LFW.
        a_pass: whose blocks are given, 0..passes - 1.
    """

    def __init__(self, teacher: Teacher, size: int, passes: int, block: int) -> None:
        faces, self.removed = apart_from_lfw(teacher)
        self.views = Views(faces, size, passes, block)
        self.a_pass = 0
        self._said = answers(teacher, self.views)

    def __len__(self) -> int:
        return len(self.views) // self.views.passes

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        block = self.a_pass * len(self) + number
        return self.views[block], torch.as_tensor(self._said[block])
