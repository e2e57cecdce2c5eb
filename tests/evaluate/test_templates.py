"""Templates by literal sums, and IJB's lists from a made layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mien.data.registry import DamagedSet
from mien.evaluate.templates import pool, read_enrolled, read_listed


def unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def test_media_count_alike_and_templates_have_unit_length() -> None:
    random = np.random.default_rng(0)
    vectors = unit(random.normal(size=(12, 8)))
    template = np.array([7, 7, 7, 7, 7, 2, 2, 2, 9, 9, 7, 2])
    media = np.array([1, 1, 1, 1, 3, 1, 5, 5, 4, 4, 3, 1])
    made = pool(vectors, template, media)
    assert made.names.tolist() == [2, 7, 9]
    for name, row in zip((2, 7, 9), made.vectors, strict=True):
        total = np.zeros(8)
        for medium in sorted(set(media[template == name].tolist())):
            frames = vectors[(template == name) & (media == medium)]
            total += sum(frames) / len(frames)
        assert row == pytest.approx(unit(total))
    assert made.rows(np.array([9, 2, 2])).tolist() == [2, 0, 0]


def test_pictures_without_a_face_do_not_count() -> None:
    vectors = np.array([[1.0, 0], [0, 0], [0, 1], [0, 0]])
    made = pool(vectors, np.array([0, 0, 0, 1]), np.array([0, 0, 1, 2]))
    assert made.vectors[0] == pytest.approx(unit(np.array([1.0, 1])))
    assert not made.vectors[1].any()


def test_without_media_every_picture_counts() -> None:
    vectors = np.eye(3)
    made = pool(vectors, np.array([4, 4, 4]))
    assert made.vectors[0] == pytest.approx(np.full(3, 1 / np.sqrt(3)))


def test_an_unknown_template_is_named() -> None:
    made = pool(np.eye(2), np.array([1, 3]))
    for name in (0, 2, 4):
        with pytest.raises(KeyError, match=str(name)):
            made.rows(np.array([1, name]))


def layout(folder: Path) -> Path:
    meta = folder / "meta"
    meta.mkdir()
    (meta / "ijbc_face_tid_mid.txt").write_text("1.jpg 1 69544\n2.jpg 1 69544\n3.jpg 2 10\n4.jpg 5 11\n")
    (meta / "ijbc_template_pair_label.txt").write_text("1 2 1\n1 5 0\n")
    (meta / "ijbc_1N_gallery_G1.csv").write_text(
        "TEMPLATE_ID,SUBJECT_ID,FILENAME\n5,100,img/4.jpg\n1,7,frames/1.jpg\n1,7,frames/2.jpg\n"
    )
    return meta


def test_the_lists_of_ijb(tmp_path: Path) -> None:
    meta = layout(tmp_path)
    listed = read_listed(meta)
    assert listed.pictures == ("1.jpg", "2.jpg", "3.jpg", "4.jpg")
    assert listed.template.tolist() == [1, 1, 2, 5]
    assert listed.media.tolist() == [69544, 69544, 10, 11]
    assert listed.first.tolist() == [1, 1]
    assert listed.second.tolist() == [2, 5]
    assert listed.same.tolist() == [True, False]
    template, subject = read_enrolled(meta / "ijbc_1N_gallery_G1.csv")
    assert template.tolist() == [1, 5]
    assert subject.tolist() == [7, 100]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("ijbc_face_tid_mid.txt", "1.jpg 1\n", "line 1 has 2 parts"),
        ("ijbc_face_tid_mid.txt", "1.jpg one 2\n", "one"),
        ("ijbc_template_pair_label.txt", "1 99 0\n", "template 99 is compared and has no picture"),
        ("ijbb_face_tid_mid.txt", "1.jpg 1 2\n", "has 2 files"),
    ],
)
def test_what_is_wrong_with_a_list_is_told(tmp_path: Path, name: str, text: str, said: str) -> None:
    meta = layout(tmp_path)
    (meta / name).write_text(text)
    with pytest.raises(DamagedSet, match=said):
        read_listed(meta)


def test_a_gallery_without_its_columns_is_told(tmp_path: Path) -> None:
    (tmp_path / "gallery.csv").write_text("TEMPLATE,SUBJECT\n1,2\n")
    with pytest.raises(DamagedSet, match="TEMPLATE_ID"):
        read_enrolled(tmp_path / "gallery.csv")
