"""A run that is killed at any moment loses no finished row, does none twice, and leaves no half output."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import children
import corpus
from mien.report.tables import read_rows

MIEN = str(Path(sys.executable).with_name("mien"))
PICTURES = 100


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, astronaut: npt.NDArray[np.uint8]) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    photo = Image.fromarray(astronaut)
    for index in range(PICTURES):
        corpus.face(photo, 90 + index % 20).rotate(index % 7 - 3).save(folder / f"{index:03}.jpg")
    return folder


@pytest.fixture(scope="module")
def undisturbed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the outputs of runs that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for name in ("out.parquet", "out.csv"):
        child = children.start(_arguments(photos, folder / name), folder / "said")
        child.join(120)
        assert child.exitcode == 0, (folder / "said").read_text()
    return folder


def _arguments(photos: Path, output: Path) -> list[str]:
    return ["analyze", str(photos), "--want", "landmarks", "--threads", "1", "-o", str(output)]


@dataclass(frozen=True)
class Moment:
    """When to kill: so many seconds after what is waited for.

    Attributes:
        after: "start"; "rows": the journal has grown by so many; "writing": the output is being written.
        rows: for "rows".
        seconds: to wait then.
    """

    after: str
    seconds: float
    rows: int = 0


def moments(count: int, seed: int) -> Iterator[Moment]:
    """Draw moments: by time and by the journal's size in turn, then half as many while the output is written.

    There is no end of the last kind, for some of them will come too late.
    """
    random = np.random.default_rng(seed)
    for index in range(count):
        if index % 2:
            yield Moment("start", float(random.uniform(0, 0.3)))
        else:
            yield Moment("rows", float(random.uniform(0, 0.02)), int(random.integers(0, 6)))
    for _ in range(5 * count):
        yield Moment("writing", float(random.uniform(0, 0.06)))


def journal_of(output: Path) -> Path:
    return output.with_name(output.name + ".journal")


def whole_lines(journal: Path) -> bytes:
    data = journal.read_bytes() if journal.is_file() else b""
    return data[: data.rfind(b"\n") + 1]


def wait_for(moment: Moment, child: Any, journal: Path) -> None:
    wanted = max(1, whole_lines(journal).count(b"\n")) + moment.rows
    until = time.monotonic() + 60
    while moment.after != "start" and child.is_alive():
        if moment.after == "rows" and whole_lines(journal).count(b"\n") >= wanted:
            break
        if moment.after == "writing" and any(journal.parent.glob(".mien-*")):
            break
        assert time.monotonic() < until
        time.sleep(0.001)
    child.join(moment.seconds)


def killed_once(moment: Moment, arguments: list[str], journal: Path, said: Path) -> tuple[bool, str]:
    """Run until the moment and kill; return whether that was in time, and what the run had said.

    Checks what must hold after every kill: finished rows are taken over, and none of them is lost.
    """
    before = whole_lines(journal)
    done = max(0, before.count(b"\n") - 1)
    said.unlink(missing_ok=True)
    child = children.start(arguments, said)
    wait_for(moment, child, journal)
    child.kill()
    child.join()
    text = said.read_text() if said.exists() else ""
    assert child.exitcode in (0, -signal.SIGKILL), text
    if match := re.search(r"(\d+) of \d+ pictures are done already", text):
        assert int(match[1]) == done, "every finished row counts and is not computed again"
    else:
        assert not done or child.exitcode, f"{done} finished rows were forgotten"
    assert whole_lines(journal).startswith(before), "no finished row is lost"
    return child.exitcode != 0, text


def finished(journal: Path) -> list[str]:
    return [json.loads(line)["key"] for line in whole_lines(journal).splitlines()[1:]]


@pytest.mark.parametrize(("name", "kills", "seed"), [("out.parquet", 28, 1), ("out.csv", 22, 2)])
def test_killed_at_random_moments_the_run_goes_on_where_it_stopped(
    name: str, kills: int, seed: int, photos: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out" / name
    output.parent.mkdir()
    journal = journal_of(output)
    arguments = _arguments(photos, output)
    expected = list(read_rows(undisturbed / name))
    in_time = there = 0
    for moment in moments(kills * 2 // 3, seed):
        if in_time == kills:
            break
        in_time += killed_once(moment, arguments, journal, tmp_path / "said")[0]
        if output.exists():
            there += 1
            assert list(read_rows(output)) == expected, "an output that is there is complete"
        assert len(list(output.parent.glob(".mien-*"))) <= 1
    child = children.start(arguments, tmp_path / "said")
    child.join(120)
    assert child.exitcode == 0, (tmp_path / "said").read_text()
    assert list(read_rows(output)) == expected
    assert len(finished(journal)) == len(set(finished(journal))) == PICTURES, "each picture was finished once"
    assert {path.name for path in output.parent.iterdir()} == {name, journal.name}, "nothing is left over"
    assert in_time == kills, "so many runs were killed before they ended"
    print(f"{name}: {in_time} runs killed under way, the output was there after {there} of all runs")


def test_a_killed_report_is_complete_or_absent(photos: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    arguments = _arguments(photos, report)
    journal = journal_of(report / "faces.csv")
    for moment in islice(moments(6, 3), 9):
        killed_once(moment, arguments, journal, tmp_path / "said")
        for path in report.rglob("*.jpg"):
            if not path.name.startswith("."):
                with Image.open(path) as image:
                    image.load()
        page = report / "index.html"
        assert not page.exists() or page.read_text().rstrip().endswith("</html>")
    child = children.start(arguments, tmp_path / "said")
    child.join(120)
    assert child.exitcode == 0, (tmp_path / "said").read_text()
    assert len({row["source"] for row in read_rows(report / "faces.csv")}) == PICTURES
    assert len(finished(journal)) == len(set(finished(journal))) == PICTURES
    assert [path.name for path in report.rglob(".mien-*")] == []


def test_control_c_says_what_is_kept_and_the_next_run_goes_on(
    photos: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    command = [MIEN, *_arguments(photos, output)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        while child.poll() is None and whole_lines(journal_of(output)).count(b"\n") < 6:
            time.sleep(0.002)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    kept = len(finished(journal_of(output)))
    assert 5 <= kept < PICTURES
    assert f"mien: stopped: {kept} of {PICTURES} pictures are done and kept" in said
    assert "Traceback" not in said
    assert not output.exists()
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert f"{kept} of {PICTURES} pictures are done already" in again.stderr
    assert output.read_bytes() == (undisturbed / "out.csv").read_bytes()
