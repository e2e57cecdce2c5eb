"""Bad input of every kind goes through the installed commands: a clear row each, neighbours unharmed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import corpus
from mien.core.card import Card
from mien.core.errors import CardError, UnreadablePicture, printable
from mien.core.picture import Limits, Picture
from mien.report.tables import spelled

MIEN = str(Path(sys.executable).with_name("mien"))


@dataclass(frozen=True)
class Folder:
    """The corpus with good pictures between the bad ones."""

    cases: list[corpus.Case]
    good: list[Path]

    @property
    def arguments(self) -> list[Path]:
        """All the files, a good one after every thirtieth."""
        paths = [case.path for case in self.cases]
        for place, path in enumerate(self.good):
            paths.insert(30 * place + 7, path)
        return paths


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, astronaut: npt.NDArray[np.uint8]) -> Folder:
    """Return a folder for tests that only read."""
    return filled(tmp_path_factory.mktemp("corpus"), Image.fromarray(astronaut))


def filled(made: Path, photo: Image.Image) -> Folder:
    good = good_pictures(made, photo)
    return Folder(corpus.make(made / "bad", photo), good)


def good_pictures(made: Path, photo: Image.Image) -> list[Path]:
    made.mkdir(exist_ok=True)
    good = [made / f"good_{side}.png" for side in (180, 200, 220, 240)]
    for path in good:
        corpus.face(photo, int(path.stem.removeprefix("good_"))).save(path)
    return good


def run(folder: Path, *arguments: str | Path, expected: int) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a fresh folder; two minutes are a hang."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [MIEN, *arguments],
        cwd=folder,
        check=False,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    assert done.returncode == expected, done.stderr[-3000:]
    return done


def by_source(text: str) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for line in text.splitlines():
        row = json.loads(line)
        rows.setdefault(row["source"], []).append(row)
    return rows


def test_the_corpus_is_large_and_of_both_kinds(folder: Folder) -> None:
    assert len(folder.cases) >= 60
    assert len({case.path for case in folder.cases}) == len(folder.cases)
    assert sum(bool(case.reason) for case in folder.cases) >= 40
    assert sum(case.reason == "" for case in folder.cases) >= 40


def test_analyze_gives_a_clear_row_for_each_file_and_the_same_rows_for_good_ones(
    folder: Folder, tmp_path: Path
) -> None:
    alone = by_source(run(tmp_path / "alone", "analyze", *folder.good, "--quiet", expected=0).stdout)
    done = run(tmp_path / "all", "analyze", *folder.arguments, "--quiet", expected=1)
    rows = by_source(done.stdout)
    assert done.stderr == "", "what is wrong with a picture belongs into its row"
    assert list(rows) == [spelled(path) for path in folder.arguments], "every file once, in order"
    for path in folder.good:
        assert rows[spelled(path)] == alone[spelled(path)]
        assert alone[spelled(path)][0]["face"] == 0, "the good pictures show a face"
    for case in folder.cases:
        found = rows[spelled(case.path)]
        error = found[0]["error"]
        if case.reason is not None:
            assert bool(error) == bool(case.reason), (case, error)
            assert case.reason in (error or "")
        if error:
            assert len(found) == 1
            assert found[0]["face"] is None
            assert error.isprintable()
            assert len(error) < 200


def test_a_table_of_the_corpus_is_the_same_as_the_printed_rows(folder: Folder, tmp_path: Path) -> None:
    run(tmp_path, "analyze", *folder.arguments, "--want", "landmarks", "-o", "faces.jsonl", expected=1)
    rows = by_source((tmp_path / "faces.jsonl").read_text("utf-8"))
    assert list(rows) == [spelled(path) for path in folder.arguments]
    again = run(
        tmp_path, "analyze", *folder.arguments, "--want", "landmarks", "-o", "faces.jsonl", expected=1
    )
    failed = sum(bool(several[0]["error"]) for several in rows.values())
    total = len(folder.arguments)
    assert f"{total - failed} of {total} pictures are done already" in again.stderr
    assert by_source((tmp_path / "faces.jsonl").read_text("utf-8")) == rows


def assert_one_clear_row_each(folder: Folder, rows: list[dict[str, Any]], not_written: set[str]) -> None:
    """Check the rows of a command that works on files: one each in order, bad ones with the reason."""
    assert [row["source"] for row in rows] == [printable(path) for path in folder.arguments]
    reasons = {case.path: case.reason for case in folder.cases if case.path.name not in not_written}
    for path, row in zip(folder.arguments, rows, strict=True):
        reason = reasons.get(path, "" if path in folder.good else None)
        if reason is not None:
            assert bool(row["error"]) == bool(reason), row
            assert reason in (row["error"] or "")


def contents(folder: Folder) -> dict[Path, bytes]:
    plain = [case.path for case in folder.cases if not case.path.name.startswith(("sparse", "memory"))]
    return {path: path.read_bytes() for path in [*plain, *folder.good] if os.path.isfile(path)}  # noqa: PTH113


def test_blur_gives_a_clear_row_for_each_file_and_the_same_copies_of_good_ones(
    astronaut: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    folder = filled(tmp_path / "corpus", Image.fromarray(astronaut))
    before = contents(folder)
    run(tmp_path, "blur", *folder.good, "-o", tmp_path / "alone", expected=0)
    done = run(tmp_path, "blur", *folder.arguments, "-o", tmp_path / "all", "--json", expected=1)
    rows = json.loads(done.stdout)
    assert_one_clear_row_each(folder, rows, not_written={"icon.ico"})
    for path in folder.good:
        assert (tmp_path / "all" / path.name).read_bytes() == (tmp_path / "alone" / path.name).read_bytes()
    copies = {Path(row["output"]).name for row in rows if not row["error"]}
    there = {printable(path.name) for path in (tmp_path / "all").iterdir() if not path.name.startswith(".")}
    assert copies == there, "no half copy, and none of what could not be read"
    assert contents(folder) == before, "originals are left alone"


def test_tag_gives_a_clear_row_for_each_file_and_the_same_sidecars_of_good_ones(
    astronaut: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    folder = filled(tmp_path / "corpus", Image.fromarray(astronaut))
    before = contents(folder)
    alone = good_pictures(tmp_path / "alone", Image.fromarray(astronaut))
    run(tmp_path, "tag", *alone, expected=0)
    done = run(tmp_path, "tag", *folder.arguments, "--json", expected=1)
    rows = json.loads(done.stdout)
    assert_one_clear_row_each(folder, rows, not_written=set())
    for path, other in zip(folder.good, alone, strict=True):
        assert Path(f"{path}.xmp").read_bytes() == Path(f"{other}.xmp").read_bytes()
    written = {row["output"] for row in rows if row["output"] and row["changed"]}
    assert written == {printable(path) for path in (tmp_path / "corpus").rglob("*.xmp")}
    assert contents(folder) == before, "photos are left alone"


def test_a_folder_that_holds_itself_is_walked_once(folder: Folder, tmp_path: Path) -> None:
    """By way of the link `round`, and with everything that only looks like a picture in it."""
    bad = folder.cases[0].path.parent
    rows = by_source(run(tmp_path, "analyze", bad, "--want", "boxes", expected=1).stdout)
    there = {os.fsdecode(name) for name in os.listdir(os.fsencode(bad))}  # noqa: PTH208 - names as bytes
    assert set(rows) == {spelled(bad / name) for name in there - {"no_ending", "icon.ico", "round"}}
    pipe = rows[spelled(bad / "pipe.jpg")]
    assert [row["error"] for row in pipe] == ["not a regular file"]


def test_a_report_of_the_corpus_shows_every_error(folder: Folder, tmp_path: Path) -> None:
    run(tmp_path, "analyze", *folder.arguments, "--want", "boxes", "-o", "report", expected=1)
    page = (tmp_path / "report" / "index.html").read_text("utf-8")
    assert page.rstrip().endswith("</html>")
    for case in folder.cases:
        if case.reason:
            assert case.reason in page


def test_unreadable_permissions_are_a_row_each(folder: Folder, tmp_path: Path) -> None:
    """Root may read everything, so the command gives its rights away before it looks at the pictures."""
    code = (
        "import os, sys\n"
        "import mien.cli.app, mien.report.tables, mien.runtime.stream, mien.runtime.footage, onnxruntime\n"
        "from PIL import Image\n"
        "from mien.runtime import stream\n"
        "from mien.runtime.pipeline import Options, Pipeline\n"
        "Image.init()\n"
        "pipeline = Pipeline(Options(want=('boxes',), threads=1))\n"
        "os.chdir(sys.argv[1])\n"
        "if os.geteuid() == 0:\n"
        "    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "for result in stream.stream('.', pipeline=pipeline):\n"
        "    print(result.source, len(result.faces), result.error and result.error.reason)\n"
    )
    place = Path("/tmp") / f"mien-rights-{os.getpid()}"
    place.mkdir(mode=0o755)
    try:
        (place / "locked").mkdir()
        for name in ("a.png", "b.png", "locked/c.png"):
            (place / name).write_bytes(folder.good[0].read_bytes())
            (place / name).chmod(0o644)
        (place / "a.png").chmod(0)
        (place / "locked").chmod(0)
        done = subprocess.run(
            [sys.executable, "-c", code, str(place)], check=False, capture_output=True, text=True, timeout=120
        )
    finally:
        (place / "locked").chmod(0o755)
        for path in sorted(place.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        place.rmdir()
    assert done.stdout.splitlines() == [
        "a.png 0 permission denied",
        "b.png 1 None",
        "locked 0 a folder: permission denied",
    ], done.stderr


# The largest resident memory so far, in kB. (`ru_maxrss` would count that of the process that
# started this one.)
PEAK = "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"


def test_bombs_are_refused_before_they_take_memory(folder: Folder) -> None:
    bombs = [case.path for case in folder.cases if case.path.name.startswith(("bomb", "sparse"))]
    assert len(bombs) == 5
    code = PEAK + (
        "import sys\n"
        "from mien.core.errors import UnreadablePicture\n"
        "from mien.core.picture import Picture\n"
        "from PIL import Image\n"
        "Image.init()\n"
        "before = peak()\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        Picture.read(path)\n"
        "    except UnreadablePicture as error:\n"
        "        print(error.reason)\n"
        "print(peak() - before)\n"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, bombs)], check=True, capture_output=True, text=True, timeout=60
    )
    *reasons, grown = done.stdout.splitlines()
    assert len(reasons) == len(bombs)
    assert int(grown) * 1024 < 50e6
    assert time.monotonic() - start < 30


def test_the_reader_takes_a_bounded_number_of_bytes_for_a_pixel(tmp_path: Path) -> None:
    """Whatever the kind of its pixels: a picture at the limit of pixels must fit an ordinary machine."""
    side = 3000
    kinds = {
        "veil.png": Image.new("LA", (side, side), (90, 90)),
        "deep.tif": Image.fromarray(np.full((side, side), 40_000, np.uint16)),
        "float.tif": Image.fromarray(np.full((side, side), -0.5, np.float32)),
        "cmyk.tif": Image.new("CMYK", (side, side)),
    }
    code = PEAK + (
        "import sys\n"
        "from mien.core.picture import Picture\n"
        "Picture.read(sys.argv[1])\n"
        "before = peak()\n"
        "Picture.read(sys.argv[2])\n"
        "print(peak() - before)\n"
    )
    Image.new("RGB", (4, 4)).save(tmp_path / "small.png")
    for name, image in kinds.items():
        image.save(tmp_path / name)
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "small.png"), str(tmp_path / name)],
            check=True,
            capture_output=True,
            text=True,
        )
        assert int(done.stdout) * 1024 / side**2 < 20, name


def test_heic_without_its_package_says_what_to_install(folder: Folder) -> None:
    path = next(case.path for case in folder.cases if case.path.name == "modern.heic")
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from mien.core.picture import Picture\n"
        "try: Picture.read(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == f"UnreadablePicture {path}: HEIC pictures need: pip install 'mien[heic]'"


def test_orientations_of_the_corpus_all_read_upright(folder: Folder) -> None:
    upright = Picture.read(folder.good[1]).pixels.astype(int)
    turned = [case.path for case in folder.cases if case.path.name.startswith("orientation_")]
    assert len(turned) == 8
    for path in turned:
        picture = Picture.read(path)
        assert picture.orientation == int(path.stem[-1])
        assert np.abs(picture.pixels - upright).mean() < 6, path.name


def test_postscript_named_as_a_picture_starts_no_program(folder: Folder, tmp_path: Path) -> None:
    path = next(case.path for case in folder.cases if case.path.name == "script.jpg")
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    code = (
        "import sys\n"
        "from mien.core.picture import Picture\n"
        "try: Picture.read(sys.argv[1])\n"
        "except Exception as error: print(error)\n"
    )
    places = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": places},
    )
    assert "not a picture" in done.stdout
    assert not (tmp_path / "started").exists()


def seeds() -> list[bytes]:
    """Return one small picture of each kind."""
    ramp = Image.linear_gradient("L").resize((24, 16))
    colour = Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.ROTATE_180), ramp))
    kinds = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM", "ICO")
    files = [corpus.encoded(colour, kind) for kind in kinds]
    files += [
        corpus.encoded(colour, kind, save_all=True, append_images=[colour.rotate(90)])
        for kind in ("GIF", "WEBP", "PNG", "TIFF", "MPO")
    ]
    files += [corpus.encoded(colour.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGBA")]
    files += [corpus.encoded(colour.convert(mode), "TIFF") for mode in ("F", "CMYK", "I")]
    return files


SEEDS = seeds()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a picture with some bytes changed, cut out, put in, or cut off."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        how = draw(st.sampled_from(["change", "number", "cut", "insert", "end"]))
        if how == "change":
            data[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif how == "number":
            data[place : place + 4] = draw(
                st.sampled_from([b"\xff\xff\xff\xff", bytes(4), b"\0\0\1\0", b"\x7f\xff\xff\xff"])
            )
        elif how == "cut":
            del data[place : place + draw(st.integers(1, 40))]
        elif how == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=20))
        else:
            del data[place:]
    return bytes(data)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=500, deadline=None, derandomize=True)
@given(damaged(), st.sampled_from([None, 8]))
def test_damaged_pictures_are_read_or_refused(data: bytes, least_side: int | None) -> None:
    start = time.monotonic()
    try:
        picture = Picture.read(data, least_side=least_side, limits=Limits(pixels=1 << 22))
    except UnreadablePicture as error:
        assert error.reason.isprintable()
        assert len(error.reason) < 200
    else:
        assert picture.pixels.ndim == 3
        assert picture.pixels.shape[2] == 3
        assert picture.pixels.size
        assert 0 < picture.scale <= 1
    assert time.monotonic() - start < 5


CARDS: list[Any] = [
    json.loads(entry.read_bytes())
    for entry in sorted(resources.files("mien").joinpath("models", "cards").iterdir(), key=str)
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**400, max_value=10**401)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(
        ["boxes", "scores", "embeddings", "template", "regions", "arcface", "", "\ud800", "x" * 9999]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def places(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value in a JSON tree."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*where, key)
        yield from places(inner, (*where, key))


def parse(text: str | bytes) -> None:
    try:
        card = Card.from_json(text)
    except CardError as error:
        assert error.reason
        assert len(str(error).encode()) < 2000, "and is fit to print"
    else:
        assert Card.from_json(card.to_json().encode()) == card


@settings(max_examples=300, deadline=None, derandomize=True)
@given(VALUES)
def test_any_json_is_a_card_or_a_card_error(value: Any) -> None:
    parse(json.dumps(value))


@settings(max_examples=250, deadline=None, derandomize=True)
@given(st.data())
def test_changed_cards_are_cards_or_card_errors(data: st.DataObject) -> None:
    card = json.loads(json.dumps(data.draw(st.sampled_from(CARDS))))
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.sampled_from(list(places(card)) or [()]))
        if not where:
            break
        inner = card
        for key in where[:-1]:
            inner = inner[key]
        if data.draw(st.booleans()) or isinstance(inner, list):
            inner[where[-1]] = data.draw(VALUES)
        else:
            del inner[where[-1]]
    parse(json.dumps(card))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_text_is_a_card_or_a_card_error(text: str | bytes) -> None:
    parse(text)


def test_cards_nested_without_end_are_card_errors() -> None:
    for depth in (50, 900, 960, 985, 990, 100_000):
        for text in ("[" * depth + "]" * depth, '{"card": ' * depth + "1" + "}" * depth):
            with pytest.raises(CardError):
                Card.from_json(text)
