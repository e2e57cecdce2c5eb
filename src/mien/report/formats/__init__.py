"""Results as the files of other face programs: their columns, their box order, their units.

What a program's file has and mien does not know is left empty or left out, as that file allows; the modules
say what and why. Pictures that could not be read have no place in most of these files and are left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mien.core.errors import UnknownFormat, UnwritableOutput
from mien.report import tables
from mien.report.formats import coco, compreface, deepface, openface, pyfeat
from mien.runtime.stream import Result

Writer = Callable[[str | os.PathLike[str], Iterable[Result]], None]


@dataclass(frozen=True)
class Format:
    """A file format of another program.

    Attributes:
        about: one line for people.
        ending: of the file's name.
        write: writes results into a file, complete or absent.
    """

    about: str
    ending: str
    write: Writer


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "openface": Format("OpenFace 2's CSV", ".csv", openface.write),
        "pyfeat": Format("py-feat's Fex CSV", ".csv", pyfeat.write),
        "coco": Format("COCO keypoints JSON", ".json", coco.write),
        "compreface": Format("CompreFace's responses as JSON", ".json", compreface.write),
        "deepface": Format("deepface's dictionaries as JSON", ".json", deepface.write),
    }
)
"""The formats by name."""


def check(name: str, path: str | os.PathLike[str]) -> Format:
    """Return a format, after a look at the name of the file that it is to be written into.

    Raises:
        UnknownFormat: there is none of that name.
        UnwritableOutput: the file's name ends otherwise than the format's files do.
    """
    if name not in FORMATS:
        raise UnknownFormat(name, FORMATS)
    found = FORMATS[name]
    if Path(path).suffix.lower() != found.ending:
        raise UnwritableOutput(path, f"{found.about} goes into a file whose name ends in {found.ending}")
    return found


def write(name: str, path: str | os.PathLike[str], results: Iterable[Result]) -> None:
    """Write results as another program would.

    Args:
        name: one of `FORMATS`.
        path: the file; it is complete or absent.
        results: of pictures, or of the frames of a video.

    Raises:
        UnknownFormat: there is none of that name.
        UnwritableOutput: the file's name does not fit the format, full disk, read-only folder.
    """
    check(name, path).write(path, results)


def write_rows(name: str, path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the rows of results in a format, or with no name as mien's own table.

    Raises:
        UnknownFormat: as `write`.
        UnwritableOutput: as `write` and `mien.report.tables.write_rows`.
    """
    if name:
        write(name, path, tables.results_of(rows))
    else:
        tables.write_rows(path, rows)
