"""Keeping train and test apart: no picture that a system has seen may pass as one that it has not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mien.core.errors import MienError
from mien.data.reader import Images
from mien.data.registry import table


class SharedPictures(MienError):
    """Pictures that are in the train rows and in others.

    Attributes:
        rows: how many of the other's rows are meant.
    """

    def __init__(self, text: str, rows: int) -> None:
        super().__init__(text)
        self.rows = rows

    def __reduce__(self) -> tuple[type[SharedPictures], tuple[str, int]]:
        return SharedPictures, (str(self), self.rows)


def shared(test: Images, *others: Images) -> npt.NDArray[np.bool_]:
    """Tell which rows' pictures also occur in other rows, by their content at full size.

    Equal means equal in every pixel: another crop, size or compression of the same photo is not found.

    Returns:
        (n,) for the rows of `test`.
    """
    seen = np.concatenate([other.hashes for other in others]) if others else test.hashes[:0]
    found: npt.NDArray[np.bool_] = np.isin(test.hashes, seen)
    return found


def without(test: Images, *others: Images) -> Images:
    """Return the rows whose pictures do not occur in the other rows, under a name that says so."""
    left_out = shared(test, *others)
    if not left_out.any():
        return test
    names = " and ".join(
        other.split if other.name == test.name else f"{other.name}/{other.split}" for other in others
    )
    return test.take(~left_out, f"{test.split} without {names}")


def reported(test: Images, *seen: Images) -> tuple[Images, ...]:
    """Return the rows that every figure is to be reported on.

    They are the official test rows and, where some of their pictures occur in what the system has seen, the
    test rows without those. The first figure is the one that papers give, the second is the one to believe.

    Args:
        test: the official rows.
        seen: all rows that the system was fitted or chosen on.
    """
    strict = without(test, *seen)
    return (test,) if strict is test else (test, strict)


def disjoint(train: Images, *others: Images, known: bool = False) -> None:
    """Refuse train rows that share pictures with others.

    Args:
        train: what a system is fitted on.
        others: what it is chosen and measured on.
        known: let pass those splits of one set of which the table of sets says that they share pictures: for
            a system that reports its figures on all of `reported`.

    Raises:
        SharedPictures: names the splits, counts their rows and gives examples.
    """
    for other in others:
        both = shared(other, train)
        rows = int(both.sum())
        if not rows:
            continue
        row = table().get(train.name) if train.name == other.name else None
        is_known = row is not None and row.known_overlap(other.split, train.split)
        if is_known and known:
            continue
        examples = ", ".join(_twins(train, other, np.flatnonzero(both)[:3]))
        advice = "leave them out with `without(test, train)`"
        if is_known:
            advice += ", or say `known=True` and report figures on all of `reported(test, train)`"
        raise SharedPictures(
            f"{rows} of {len(other)} pictures of {other.name}/{other.split} are also in"
            f" {train.name}/{train.split} ({examples}): {advice}",
            rows,
        )


def _twins(train: Images, other: Images, rows: npt.NDArray[np.int64]) -> list[str]:
    return [
        f"{_name(other, int(row))} = {_name(train, int(np.argmax(train.hashes == other.hashes[row])))}"
        for row in rows
    ]


def _name(images: Images, row: int) -> str:
    return str(images.columns["path"][row]) if "path" in images.columns else f"row {row}"
