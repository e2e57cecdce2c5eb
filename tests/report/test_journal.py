"""The journal loses no finished picture, however the run ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mien.core.errors import UnwritableOutput
from mien.core.fingerprint import fingerprint
from mien.report.journal import Journal


def pictures(folder: Path, count: int = 4) -> list[Path]:
    paths = [folder / f"{index}.jpg" for index in range(count)]
    for path in paths:
        path.write_bytes(b"x" * 10)
    return paths


def filled(output: Path, paths: list[Path], contract: str = "a") -> None:
    with Journal(output, contract) as journal:
        for index, path in enumerate(paths):
            journal.add(path, [{"face": index, "error": None}], fingerprint(path))


@pytest.mark.parametrize("lost", range(1, 120, 7))
def test_a_journal_cut_at_any_byte_keeps_every_whole_line(tmp_path: Path, lost: int) -> None:
    paths = pictures(tmp_path)
    output = tmp_path / "o.csv"
    filled(output, paths)
    file = tmp_path / "o.csv.journal"
    data = file.read_bytes()[:-lost]
    file.write_bytes(data)
    whole = data.count(b"\n") - 1
    with Journal(output, "a") as journal:
        assert [journal.has(path) for path in paths] == [index < whole for index in range(4)]
        journal.add(paths[3], [{"face": 9}], fingerprint(paths[3]))
    with Journal(output, "a") as journal:
        assert [row["face"] for row in journal.rows(iter(paths))][-1] == 9


def test_a_changed_picture_is_not_finished(tmp_path: Path) -> None:
    paths = pictures(tmp_path)
    filled(tmp_path / "o.csv", paths)
    paths[1].write_bytes(b"changed")
    with Journal(tmp_path / "o.csv", "a") as journal:
        assert [journal.has(path) for path in paths] == [True, False, True, True]


def test_another_contract_begins_anew(tmp_path: Path) -> None:
    paths = pictures(tmp_path)
    filled(tmp_path / "o.csv", paths)
    with Journal(tmp_path / "o.csv", "b") as journal:
        assert len(journal) == 0


def test_a_full_disk_is_one_clear_error_and_keeps_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = pictures(tmp_path)
    filled(tmp_path / "o.csv", paths[:2])
    with Journal(tmp_path / "o.csv", "a") as journal:

        def full(file: int, data: object) -> int:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(UnwritableOutput, match="No space left"):
                journal.add(paths[2], [{}], (0, 0))
    with Journal(tmp_path / "o.csv", "a") as journal:
        assert len(journal) == 2


def test_a_picture_that_could_not_be_read_is_tried_again(tmp_path: Path) -> None:
    paths = pictures(tmp_path)
    with Journal(tmp_path / "o.csv", "a") as journal:
        journal.add(paths[0], [{"face": None, "error": "permission denied"}], fingerprint(paths[0]))
        assert not journal.has(paths[0])
    with Journal(tmp_path / "o.csv", "a") as journal:
        assert not journal.has(paths[0])
        assert journal.failed(iter(paths)) == 1
        journal.add(paths[0], [{"face": 0, "error": None}], fingerprint(paths[0]))
        assert journal.has(paths[0])
    with Journal(tmp_path / "o.csv", "a") as journal:
        assert journal.has(paths[0])
        assert list(journal.rows(iter(paths))) == [{"face": 0, "error": None}]


def test_names_that_print_alike_stay_two(tmp_path: Path) -> None:
    paths = [
        tmp_path / "a\nb.jpg",
        tmp_path / r"a\nb.jpg",
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")),
    ]
    for path in paths:
        path.write_bytes(b"x")
    filled(tmp_path / "o.csv", paths)
    with Journal(tmp_path / "o.csv", "a") as journal:
        assert len(journal) == 3
        assert [row["face"] for row in journal.rows(iter(paths))] == [0, 1, 2]


def test_one_process_at_a_time_holds_a_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "o.csv", "a"), pytest.raises(UnwritableOutput, match="another process"):
        Journal(tmp_path / "o.csv", "a")
    Journal(tmp_path / "o.csv", "a").close()


@pytest.mark.parametrize("written", ["whole", "half"])
def test_an_interrupt_behind_the_write_does_not_hide_a_finished_picture(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = pictures(tmp_path, 1)
    write = os.write

    def interrupted(file: int, data: bytes) -> int:
        write(file, data if written == "whole" else bytes(data)[:10])
        raise KeyboardInterrupt

    with Journal(tmp_path / "out.csv", "a") as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                journal.add(path, [{"face": 0}], fingerprint(path))
        told = journal.has(path)
    with Journal(tmp_path / "out.csv", "a") as again:
        assert again.has(path) == told == (written == "whole")
