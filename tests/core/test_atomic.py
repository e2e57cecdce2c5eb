"""What is written is complete or absent, and nothing else is left lying about."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mien.core.atomic import replacing, try_lock, writing
from mien.core.errors import UnwritableOutput


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_error_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def parts() -> Iterator[str]:
        yield "half of the new"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), writing(tmp_path / "a.txt", text=True) as file:
        file.writelines(parts())
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == {"a.txt"}


def test_the_file_is_as_readable_as_any_new_file(tmp_path: Path) -> None:
    with writing(tmp_path / "deep" / "a.txt", text=True) as file:
        file.write("x\ny\udcff")
    (tmp_path / "plain").touch()
    assert (tmp_path / "deep" / "a.txt").read_bytes() == b"x\ny\\udcff"
    assert (tmp_path / "deep" / "a.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def _killed_while_writing(target: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from mien.core.atomic import writing\n"
        "with writing(sys.argv[1]) as file:\n"
        "    file.write(b'half'); file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_leftovers_of_killed_writers_do_not_pile_up(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    for _ in range(3):
        _killed_while_writing(target)
    assert not target.exists()
    assert len(names(tmp_path)) == 1
    with writing(target) as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == {"a.bin"}


def test_two_writers_at_once_do_not_mix(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first"
    assert names(tmp_path) == {"a"}


def test_many_threads_write_one_file_whole(tmp_path: Path) -> None:
    def write(number: int) -> None:
        with writing(tmp_path / "a") as file:
            file.write(bytes([number]) * 50_000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(60)))
    assert len(set((tmp_path / "a").read_bytes())) == 1
    assert (tmp_path / "a").stat().st_size == 50_000
    assert names(tmp_path) == {"a"}


def test_what_cannot_be_written_is_one_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "folder.csv", tmp_path / "file" / "a.csv", Path("/proc/mien/a.csv")):
        with pytest.raises(UnwritableOutput, match=path.name), writing(path):
            pass
    assert names(tmp_path) == {"folder.csv", "file"}


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    code = (
        "import resource, sys\n"
        "from mien.core.atomic import writing\n"
        "from mien.core.errors import UnwritableOutput\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    with writing(sys.argv[1]) as file:\n"
        "        file.write(bytes(100_000))\n"
        "except UnwritableOutput as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a")], check=True, capture_output=True, text=True
    )
    assert f"cannot write {tmp_path / 'a'}: " in done.stdout
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == {"a"}


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    with replacing(tmp_path / "a") as temporary:
        name = temporary.name
    (tmp_path / name).symlink_to(victim)
    with writing(tmp_path / "a") as file:
        file.write(b"new")
    assert victim.read_text() == "precious"
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_lock_is_held_once_and_let_go_with_the_file(tmp_path: Path) -> None:
    first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    assert try_lock(first)
    assert not try_lock(second)
    os.close(first)
    assert try_lock(second)
    os.close(second)
