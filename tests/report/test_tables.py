"""Tables hold every row whole, and are complete or absent."""

from __future__ import annotations

import csv
import errno
import json
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from pyarrow import parquet

from mien.core.errors import UnreadablePicture, UnwritableOutput
from mien.core.faces import Faces
from mien.report.tables import WRITERS, read_rows, results_of, rows_of, write_rows
from mien.runtime.stream import Result

ENDINGS = sorted(WRITERS)


def faces_of(source: str, count: int = 2) -> Faces:
    random = np.random.default_rng(count)
    return Faces(
        boxes=random.uniform(0, 50, (count, 4)).astype(np.float32),
        scores=random.uniform(0, 1, count).astype(np.float32),
        landmarks=random.uniform(0, 50, (count, 5, 2)).astype(np.float32),
        pose=random.uniform(-90, 90, (count, 3)).astype(np.float32),
        embeddings=random.normal(size=(count, 4)).astype(np.float32),
        expression=random.uniform(0, 1, (count, 2)).astype(np.float32),
        label_names={"expression": ("sad", 'so, "happy"')},
        picture_size=(100, 80),
        source=source,
    )


def some_results() -> list[Result]:
    """Return pictures with faces, without, and one that could not be read, with fields that differ."""
    aged = faces_of("c\nd.jpg", 1).with_fields(age=np.array([31.5], np.float32))
    return [
        Result("a.jpg", faces_of("a.jpg", 3)),
        Result("b.jpg", Faces.empty((40, 30), "b.jpg")),
        Result("123", Faces.empty(source="123"), UnreadablePicture("123", "truncated")),
        Result("c\nd.jpg", aged),
    ]


def rows_of_all(results: list[Result]) -> list[dict[str, Any]]:
    return [row for result in results for row in rows_of(result)]


def same(found: Result, expected: Result) -> bool:
    told = (found.source, found.frame, found.seconds, found.track, str(found.error))
    return found.faces == expected.faces and told == (
        expected.source,
        expected.frame,
        expected.seconds,
        expected.track,
        str(expected.error),
    )


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_table_gives_the_results_back(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"faces{ending}"
    write_rows(path, rows_of_all(some_results()))
    found = list(results_of(read_rows(path)))
    assert len(found) == len(some_results())
    assert all(map(same, found, some_results()))


@pytest.mark.parametrize("ending", ENDINGS)
def test_frames_keep_their_number_time_and_tracks(tmp_path: Path, ending: str) -> None:
    error = UnreadablePicture("v.mp4", "damaged from frame 3 on")
    frames = [
        Result("v.mp4", faces_of("v.mp4", 2), None, 0, 0.0, (4, 7)),
        Result("v.mp4", faces_of("v.mp4", 1), None, 1, 1 / 3, (7,)),
        Result("v.mp4", Faces.empty((100, 80), "v.mp4"), None, 2, 0.7, ()),
        Result("v.mp4", Faces.empty(source="v.mp4"), error),
    ]
    path = tmp_path / f"faces{ending}"
    write_rows(path, rows_of_all(frames))
    assert all(map(same, results_of(read_rows(path)), frames))
    assert len(list(results_of(read_rows(path)))) == 4


def test_the_same_picture_twice_is_two_results() -> None:
    twice = [Result("a.jpg", faces_of("a.jpg", 2))] * 2
    assert [len(result.faces) for result in results_of(rows_of_all(twice))] == [2, 2]


def test_rows_are_strict_json_even_where_numbers_are_missing() -> None:
    holed = faces_of("a.jpg", 1)
    embeddings = np.array([[np.nan, 1, np.inf, 0]], np.float32)
    row = rows_of(Result("a.jpg", holed.with_fields(embeddings=embeddings)))[0]
    assert row["embeddings"] == [None, 1, None, 0]
    json.dumps(row, allow_nan=False)


@pytest.mark.parametrize("ending", ENDINGS)
def test_names_that_are_no_utf8_are_written_escaped(tmp_path: Path, ending: str) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    path = tmp_path / f"faces{ending}"
    write_rows(path, rows_of(Result(name, faces_of(name, 1))))
    assert [row["source"] for row in read_rows(path)] == ["caf\\udce9.jpg"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_rows_make_a_readable_empty_table(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"faces{ending}"
    write_rows(path, [])
    assert path.exists()
    assert list(read_rows(path)) == []


def test_csv_opens_with_other_readers_and_has_the_union_of_columns(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    write_rows(path, rows_of_all(some_results()))
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert [row["age"] for row in rows] == ["", "", "", "", "", "31.5"]
    assert len(json.loads(rows[0]["embeddings"])) == 4
    frame = pandas.read_csv(path)
    assert list(frame.columns) == list(rows[0])
    assert frame["age"].notna().tolist() == [False] * 5 + [True]
    assert frame["error"].dropna().tolist() == ["truncated"]
    assert (frame.columns[0], frame.columns[-1]) == ("source", "error")


def test_parquet_opens_in_pandas_with_typed_columns(tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    write_rows(path, rows_of_all(some_results()))
    frame = pandas.read_parquet(path)
    assert frame["age"].dtype == np.float32
    assert len(frame["embeddings"][0]) == 4
    assert str(parquet.read_schema(path).field("face").type) == "int32"
    assert str(parquet.read_schema(path).field("error").type) == "string"


def test_a_table_of_failures_alone_has_typed_columns(tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    write_rows(path, rows_of_all(some_results()[2:3]))
    assert str(parquet.read_schema(path).field("face").type) == "int32"
    assert pandas.read_parquet(path)["error"].tolist() == ["truncated"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_failure_half_way_leaves_what_was_there(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"faces{ending}"
    path.write_bytes(b"before")

    def rows() -> Any:
        yield from rows_of_all(some_results())
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises((UnwritableOutput, OSError), match="No space left"):
        write_rows(path, rows())
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_disk_that_takes_no_more_leaves_what_was_there_and_says_so(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"faces{ending}"
    path.write_bytes(b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(UnwritableOutput, match=rf"cannot write .*faces\{ending}: "):
            write_rows(path, rows_of_all(some_results()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_an_unknown_ending_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnwritableOutput, match=r"\.jsonl, \.csv, \.parquet"):
        write_rows(tmp_path / "faces.xlsx", [])
