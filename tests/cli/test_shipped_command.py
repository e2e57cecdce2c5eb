"""Models that ship, as people meet them: lists, one line about their terms, tables, formats, plots."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import shipping
from films import film, pasted
from mien.core.labels import FERPLUS_EXPRESSIONS
from mien.report.tables import read_rows

Pixels = npt.NDArray[np.uint8]
Run = Callable[..., subprocess.CompletedProcess[str]]
WANT = ("--want", "expression,age,age_interval,gender")
NOTICE = (
    "not for commercial use: expression 1 (expression); age-gender 1 (age, age interval, gender). "
    "--terms permissive leaves these models out"
)


@pytest.fixture(scope="module")
def mien(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return what runs the command of a mien that ships two stand-ins."""
    whole = shipping.package(
        tmp_path_factory.mktemp("package"), shipping.expression_card(), shipping.age_card()
    )

    def run(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", "from mien.cli.app import main; main()", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(whole.parent)},
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, (done.stdout[-1000:], done.stderr[-2000:])
        return done

    return run


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, astronaut: Pixels) -> Path:
    """Return a folder of two photos of one face, one of them darker."""
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(astronaut[:320, :400]).save(folder / "a.png")
    Image.fromarray(astronaut[:320, :400] // 3).save(folder / "b.png")
    return folder


def test_they_are_listed_shown_verified_found_and_stay(mien: Run) -> None:
    rows = {row["name"]: row for row in json.loads(mien("models", "--json").stdout)}
    for name in ("expression", "age-gender"):
        assert (rows[name]["state"], rows[name]["default"], rows[name]["commercial"]) == (
            "shipped",
            True,
            False,
        )
    permissive = json.loads(mien("models", "--json", "--terms", "permissive").stdout)
    assert not {"expression", "age-gender"} & {row["name"] for row in permissive}
    assert json.loads(mien("models", "show", "expression").stdout)["limits"] == shipping.LIMITS
    assert mien("models", "verify", "expression").stdout == "expression: intact\n"
    assert Path(mien("models", "path", "expression").stdout.strip()).is_file()
    mien("models", "get", "expression")
    said = mien("models", "remove", "expression", code=2).stderr
    assert "a part of mien and stays" in said
    assert "expression" in mien("models").stdout


def test_terms_are_told_once_in_one_line_on_standard_error(mien: Run, photos: Path, tmp_path: Path) -> None:
    done = mien("analyze", photos, "-t", "2")
    assert done.stderr.splitlines() == [NOTICE]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 2
    done = mien("analyze", photos, "-o", tmp_path / "faces.csv", "--json")
    assert done.stderr.splitlines() == [NOTICE]
    summary = json.loads(done.stdout)
    assert summary["not_for_commercial_use"] == ["expression 1", "age-gender 1"]
    assert mien("analyze", photos, "--quiet").stderr == ""
    assert mien("analyze", photos, "--want", "landmarks").stderr == ""
    assert mien("analyze", photos, "--want", "expression").stderr.count("\n") == 1


def test_permissive_terms_leave_them_out_and_say_which(mien: Run, photos: Path) -> None:
    done = mien("analyze", photos, "--terms", "permissive")
    assert done.stderr.splitlines() == [
        "left out by --terms permissive: expression 1 (expression); age-gender 1 (age, age interval, gender)"
    ]
    row = json.loads(done.stdout.splitlines()[0])
    assert not [key for key in row if key.startswith(("expression", "age", "gender"))]
    said = mien("analyze", photos, "--terms", "permissive", "--want", "age", code=2).stderr
    assert said.startswith("mien: cannot make 'age'")
    assert "age-gender 1 would, but not for commercial use" in said


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_hold_every_class_the_age_its_interval_and_gender(
    mien: Run, photos: Path, tmp_path: Path, ending: str
) -> None:
    output = tmp_path / f"faces.{ending}"
    mien("analyze", photos, *WANT, "-o", output)
    rows = list(read_rows(output))
    assert len(rows) == 2
    for row in rows:
        shares = [row[f"expression.{label}"] for label in FERPLUS_EXPRESSIONS]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert row["gender.female"] + row["gender.male"] == pytest.approx(1, abs=1e-5)
        assert row["age_interval.low"] < row["age"] < row["age_interval.high"]
    assert rows[0]["age"] > rows[1]["age"] + 5, "the stand-in takes light for years"


def test_other_programs_files_carry_them(mien: Run, photos: Path, tmp_path: Path) -> None:
    def written(form: str, ending: str) -> Any:
        output = tmp_path / f"{form}.{ending}"
        mien("analyze", photos, *WANT, "--format", form, "-o", output)
        return json.loads(output.read_text()) if ending == "json" else list(read_rows(output))

    (ours, _) = (json.loads(line) for line in mien("analyze", photos, *WANT).stdout.splitlines())
    (theirs,) = written("deepface", "json")[str(photos / "a.png")]
    known = {label: ours[f"expression.{label}"] for label in FERPLUS_EXPRESSIONS if label != "contempt"}
    happy = known["happiness"] / sum(known.values())
    assert theirs["emotion"]["happy"] == pytest.approx(100 * happy, abs=1e-3)
    assert theirs["age"] == int(ours["age"])
    assert theirs["gender"]["Woman"] == pytest.approx(100 * ours["gender.female"], abs=1e-3)
    (answer,) = written("compreface", "json")[str(photos / "a.png")]["result"]
    assert answer["age"] == {
        "probability": 0.9,
        "low": round(ours["age_interval.low"]),
        "high": int(np.ceil(ours["age_interval.high"])),
    }
    assert answer["gender"]["probability"] == pytest.approx(max(ours["gender.female"], ours["gender.male"]))
    row = written("pyfeat", "csv")[0]
    assert row["happiness"] == pytest.approx(happy, abs=1e-5)


def test_a_video_is_drawn_while_its_table_stays_as_it_was_found(
    mien: Run, photos: Path, tmp_path: Path
) -> None:
    face = np.asarray(Image.open(photos / "a.png"))[0:260, 90:350]
    background = np.full((176, 240, 3), 120, np.uint8)
    bright, dark = face, (face * 0.4).astype(np.uint8)
    frames = [pasted(background, (bright, dark)[i % 2], 30 + 2 * i, 15, 140) for i in range(10)]
    clip, table, plot = film(tmp_path / "clip.mp4", frames), tmp_path / "clip.csv", tmp_path / "moods.svg"
    want = ("--want", "expression", "--threads", "1")
    done = mien("video", clip, "-o", table, "--plot", plot, *want)
    assert done.stderr.count("not for commercial use: expression 1 (expression).") == 1
    seen = [row["expression.neutral"] for row in read_rows(table)]
    assert len(seen) == 10
    assert min(abs(a - b) for a, b in pairwise(seen)) > 0.05, "light and dark by turns"
    plain = tmp_path / "plain.csv"
    mien("video", clip, "-o", plain, *want)
    assert plain.read_bytes() == table.read_bytes()
    drawn = ElementTree.parse(plot).getroot()
    bands = [path for path in drawn.iter("{http://www.w3.org/2000/svg}path") if path.get("class") == "band"]
    assert len(bands) == 8
    assert mien("video", clip, "--plot", plot, "--json", "--quiet", *want).stderr == ""
    report = tmp_path / "report"
    mien("video", clip, "-o", report, *want)
    assert "Expressions over time" in (report / "index.html").read_text("utf-8")
    ElementTree.parse(report / "expressions.svg")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--plot", "plot.png"), "its ending must be .svg"),
        (("--plot", "plot.svg", "--want", "boxes"), "add expression to --want"),
        (("--plot", "plot.svg", "--terms", "permissive"), "expression 1 would, but not for commercial use"),
    ],
)
def test_a_plot_that_cannot_be_drawn_is_refused_before_the_work(
    arguments: tuple[str, ...], said: str, mien: Run, tmp_path: Path
) -> None:
    assert said in mien("video", tmp_path / "no.mp4", *arguments, code=2).stderr
