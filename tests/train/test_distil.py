"""What a teacher said is stored and taken up after a stop, and those whom LFW has are left out."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from mien.data.reader import Images
from mien.data.unlabelled import Crowd, Views
from mien.train import distil
from mien.train.distil import NoTeacher, Taught, Teacher, answers, apart_from_lfw


class Means:
    """A teacher that tells faces by the means of their quarters."""

    name = "means"
    sha256 = "0" * 64

    def __init__(self) -> None:
        self.seen = 0

    def embed(self, faces: Tensor) -> npt.NDArray[np.float32]:
        self.seen += len(faces)
        made = torch.nn.functional.adaptive_avg_pool2d(faces.mean(dim=1, keepdim=True), 4).flatten(1) - 127.5
        return torch.nn.functional.normalize(made).numpy()


def images(pixels: npt.NDArray[np.uint8], name: str = "faces") -> Images:
    hashes = np.array([f"{name}{row}".ljust(32, "0").encode() for row in range(len(pixels))])
    return Images(name, "train", pixels, MappingProxyType({}), hashes)


def drawn(count: int, seed: int) -> npt.NDArray[np.uint8]:
    small = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) * 255
    large = torch.nn.functional.interpolate(small, size=112, mode="bicubic").clamp(0, 255)
    return large.byte().permute(0, 2, 3, 1).numpy()


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(distil, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(distil, "_CHUNK", 2)
    return Means()


@pytest.fixture
def faces() -> Crowd:
    return Crowd((images(drawn(20, 0)),), (np.eye(2, 3),), np.arange(20))


def test_answers_are_those_of_the_blocks_and_are_given_once(teacher: Any, faces: Crowd) -> None:
    views = Views(faces, 112, passes=2, block=4)
    said = answers(teacher, views)
    assert said.shape == (10, 4, 16)
    np.testing.assert_allclose(said[7], teacher.embed(views[7]), atol=1e-3)
    seen = teacher.seen
    np.testing.assert_array_equal(answers(teacher, views), said)
    assert teacher.seen == seen


def test_more_passes_go_on_where_fewer_ended(teacher: Any, faces: Crowd) -> None:
    few = answers(teacher, Views(faces, 112, passes=1, block=4))
    more = answers(teacher, Views(faces, 112, passes=2, block=4))
    assert len(more) == 2 * len(few) == 10
    np.testing.assert_array_equal(more[:5], few)
    # Two chunks of two blocks were known, the fifth block was seen again with its neighbour.
    assert teacher.seen == 4 * (5 + 6)


def test_a_stop_loses_one_chunk(teacher: Any, faces: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    views = Views(faces, 112, passes=1, block=4)
    whole = Means.embed

    def killed(self: Means, shown: Tensor) -> npt.NDArray[np.float32]:
        if self.seen >= 12:
            raise KeyboardInterrupt
        return whole(self, shown)

    monkeypatch.setattr(Means, "embed", killed)
    with pytest.raises(KeyboardInterrupt):
        answers(teacher, views)
    monkeypatch.setattr(Means, "embed", whole)
    again = Means()
    said = answers(again, views)  # type: ignore[arg-type]
    assert again.seen == 20 - 8
    np.testing.assert_allclose(said[0], again.embed(views[0]), atol=1e-3)


def test_faces_that_lfw_has_are_left_out_and_told(
    teacher: Any, faces: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = drawn(20, 0)
    judged = np.concatenate([known[2:3], drawn(6, 9)])
    monkeypatch.setattr(distil, "crowd", lambda: faces)
    monkeypatch.setattr(distil, "load", lambda *_, **__: images(judged, "lfw"))
    monkeypatch.setattr(distil, "SAME_PERSON", 0.97)
    left, removed = apart_from_lfw(teacher)
    assert removed.near_duplicate == {"faces": 1}
    assert faces.hashes[2] not in left.hashes
    assert len(left) == 19 - removed.same_person["faces"]
    seen = teacher.seen
    assert len(apart_from_lfw(teacher)[0]) == len(left)
    assert teacher.seen == seen


def test_each_round_gives_the_blocks_of_its_pass(
    teacher: Any, faces: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        distil, "apart_from_lfw", lambda _: (faces, SimpleNamespace(near_duplicate={}, same_person={}))
    )
    taught = Taught(teacher, 112, passes=2, block=4)
    assert len(taught) == 5
    first, said = taught[3]
    np.testing.assert_allclose(said.numpy(), teacher.embed(first), atol=1e-3)
    taught.a_pass = 1
    second, later = taught[3]
    assert not torch.equal(first, second)
    np.testing.assert_allclose(later.numpy(), teacher.embed(second), atol=1e-3)


def test_a_teacher_that_is_not_here_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_DATA", str(tmp_path))
    with pytest.raises(NoTeacher, match=r"weights/mobilefacenet_foamliu.onnx is in no folder"):
        Teacher("mobilefacenet_foamliu")
    with pytest.raises(NoTeacher, match="no teacher 'oracle'"):
        Teacher("oracle")


def test_the_teacher_tells_people_apart(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.data.people import drawn_pairs, people

    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    held = people("test", 112)
    pairs = drawn_pairs(held.columns["person"], 40)
    rows = np.concatenate([pairs.first, pairs.second])
    shown = torch.as_tensor(np.asarray(held.pixels)[rows].transpose(0, 3, 1, 2)).float()
    first, second = np.split(Teacher("mobilefacenet_foamliu").embed(shown), 2)
    cosines = (first * second).sum(axis=1)
    assert cosines[pairs.same].mean() > 0.5
    assert cosines[~pairs.same].mean() < 0.15
