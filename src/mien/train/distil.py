"""A teacher's embeddings of many faces, computed once and stored: what another recogniser learns from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass

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
    folder = cache_folder() / "taught"
    judged = load("lfw_pairs", "images", size=_SIDE)
    key = hashlib.sha256(
        f"{teacher.sha256} {everybody.sha256} {judged.sha256} {SAME_PERSON} {_NEAR}".encode()
    ).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{key}.lock"):
        done = folder / f"{key}.json"
        if not (done.is_file() and (folder / f"{key}.npy").is_file()):
            gone, removed = _searched(teacher, everybody, np.asarray(judged.pixels))
            np.save(folder / f"{key}.npy", gone, allow_pickle=False)
            with writing(done, text=True) as file:
                json.dump(asdict(removed), file)
    found = np.load(folder / f"{key}.npy", allow_pickle=False)
    return everybody.without(found), Removed(**json.loads(done.read_text()))


def _searched(
    teacher: Teacher, everybody: Crowd, judged: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.bool_], Removed]:
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
    bounds = np.cumsum([0, *(len(part) for part in everybody.parts)])
    inside = np.searchsorted(bounds, everybody.rows, side="right") - 1
    names = [part.name for part in everybody.parts]

    def counted(chosen: npt.NDArray[np.bool_]) -> dict[str, int]:
        return {name: int((chosen & (inside == place)).sum()) for place, name in enumerate(names)}

    return near | same, Removed(counted(near), counted(same & ~near))


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
    folder = cache_folder() / "taught" / f"{teacher.name}-{_named(teacher, views)}"
    folder.mkdir(parents=True, exist_ok=True)
    count = len(views)
    with FileLock(folder / "lock"):
        for first in range(0, count, _CHUNK):
            file = folder / f"{first:06d}.npy"
            if not file.is_file():
                blocks = range(first, min(first + _CHUNK, count))
                made = np.stack([teacher.embed(views[number]) for number in blocks]).astype(np.float16)
                with writing(file) as out:
                    np.save(out, made, allow_pickle=False)
                _log.info("the teacher has seen %d of %d blocks", blocks[-1] + 1, count)
    files = [folder / f"{first:06d}.npy" for first in range(0, count, _CHUNK)]
    return np.concatenate([np.load(file, allow_pickle=False) for file in files])


def _named(teacher: Teacher, views: Views) -> str:
    # Passes are not counted: more of them go on where fewer ended.
    return hashlib.sha256(f"{teacher.sha256} {views.sha256}".encode()).hexdigest()[:16]


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
