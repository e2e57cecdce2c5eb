"""CelebA: the aligned pictures with their attributes, official parts, identities and landmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mien.core.labels import CELEBA_ATTRIBUTES
from mien.data.convert.layout import (
    BadRow,
    Layout,
    Row,
    WrongLayout,
    first_of,
    lines_of,
    one_of,
    picture_row,
    whole,
)

_SPLITS = ("train", "valid", "test")


def read(path: Path) -> Layout:
    """Recognise the layout: the release's folders Img, Anno and Eval, or all files in one folder.

    Raises:
        WrongLayout: the pictures, the attributes or the parts are missing, or the attributes are others.
    """
    pictures = one_of(path, "Img/img_align_celeba", "img_align_celeba")
    # Archives unpack into a folder of the same name, once more.
    pictures = first_of(pictures, "img_align_celeba") or pictures
    parts = _values(one_of(path, "Eval/list_eval_partition.txt", "list_eval_partition.txt"), 0, int)
    table = one_of(path, "Anno/list_attr_celeba.txt", "list_attr_celeba.txt")
    header = lines_of(table)[1:2]
    if tuple(header[0].split() if header else ()) != CELEBA_ATTRIBUTES:
        raise WrongLayout(table, "its second line is not the forty names of attributes")
    attributes = _values(table, 2, int)
    identities = _optional(path, "identity_CelebA.txt", 0, int)
    landmarks = _optional(path, "list_landmarks_align_celeba.txt", 2, float)
    lacks = {"identity"} if identities is None else set()
    lacks |= {"landmarks"} if landmarks is None else set()
    rows = _rows(pictures, parts, attributes, identities, landmarks)
    return Layout(rows, len(parts), frozenset(lacks))


def _optional(path: Path, name: str, head: int, kind: Callable[[str], Any]) -> dict[str, list[Any]] | None:
    file = first_of(path, f"Anno/{name}", name)
    return None if file is None else _values(file, head, kind)


def _values(file: Path, head: int, kind: Callable[[str], Any]) -> dict[str, list[Any]]:
    """Read lines of a picture's name and numbers; what is no number makes no entry: its row is bad."""
    found = {}
    for line in lines_of(file)[head:]:
        name, *values = line.split()
        try:
            found[name] = [kind(value) for value in values]
        except ValueError:
            continue
    return found


def _rows(
    pictures: Path,
    parts: dict[str, list[int]],
    attributes: dict[str, list[int]],
    identities: dict[str, list[int]] | None,
    landmarks: dict[str, list[float]] | None,
) -> Iterator[Row | BadRow]:
    for name, part in parts.items():
        try:
            split = _SPLITS[whole(str(part[0]), range(3))]
            signs = _of(attributes, name, len(CELEBA_ATTRIBUTES), "attributes")
            if not set(signs) <= {-1, 1}:
                raise ValueError("an attribute is neither 1 nor -1")
            present = (int(sign > 0) for sign in signs)
            labels: dict[str, Any] = dict(zip(CELEBA_ATTRIBUTES, present, strict=True))
            if identities is not None:
                labels["identity"] = _of(identities, name, 1, "identity")[0]
            if landmarks is not None:
                labels["landmarks"] = _of(landmarks, name, 10, "landmarks")
        except (ValueError, IndexError) as error:
            yield BadRow(name, str(error))
            continue
        yield picture_row(pictures / name, split, labels)


def _of(table: dict[str, list[Any]], name: str, count: int, what: str) -> list[Any]:
    values = table.get(name, [])
    if len(values) != count:
        raise ValueError(f"{len(values)} of {count} {what}")
    return values
