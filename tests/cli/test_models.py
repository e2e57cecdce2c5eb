"""`mien models` as installed: what it prints, exit codes, two processes at once, never a fetch unasked."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner

import corpus
from mien.cli.app import app
from mien.runtime import assets, recognisers

SHIPPED = [name for name, asset in assets.table().items() if asset.shipped]
MIEN = str(Path(sys.executable).with_name("mien"))


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a mirror folder with the original files of two models."""
    folder = tmp_path_factory.mktemp("mirror")
    (folder / "iris_landmark.tflite").write_bytes(assets.source_bytes("iris"))
    (folder / "centerface.onnx").write_bytes(assets.source_bytes("centerface"))
    return folder


@pytest.fixture
def env(mirror: Path, tmp_path: Path) -> dict[str, str]:
    """Return an environment with an empty model folder, the mirror and no network for pip."""
    return {
        **os.environ,
        "MIEN_MODELS": str(tmp_path / "models"),
        "MIEN_MIRROR": str(mirror),
        "PIP_NO_INDEX": "1",
    }


def mien(env: dict[str, str], *arguments: str | Path, expected: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [MIEN, *arguments], env=env, check=False, capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    assert done.returncode == expected, (done.stdout[-1000:], done.stderr[-1000:])
    return done


def states(env: dict[str, str]) -> dict[str, str]:
    return {row["name"]: row["state"] for row in json.loads(mien(env, "models", "list", "--json").stdout)}


def verified(env: dict[str, str]) -> set[str]:
    """Return which models `mien models verify` finds intact, but for those that are a part of mien."""
    lines = mien(env, "models", "verify").stdout.splitlines()
    assert all(line.endswith(": intact") for line in lines)
    return {line.removesuffix(": intact") for line in lines} - set(SHIPPED)


def test_a_model_comes_is_checked_found_and_goes(env: dict[str, str], tmp_path: Path) -> None:
    assert states(env)["iris"] == "absent"
    mien(env, "models", "verify", "iris", expected=2)
    assert "ready: iris" in mien(env, "models", "get", "iris").stderr
    assert states(env)["iris"] == "ready"
    path = Path(mien(env, "models", "path", "iris").stdout.strip())
    assert path == tmp_path / "models" / "iris.onnx"
    assert verified(env) == {"iris"}
    before = path.stat().st_mtime_ns
    mien(env, "models", "get", "iris")
    assert path.stat().st_mtime_ns == before, "a model that is here is not made again"
    mien(env, "models", "remove", "iris")
    assert states(env)["iris"] == "absent"
    assert [
        entry.name for entry in (tmp_path / "models").iterdir() if entry.suffix in (".json", ".onnx")
    ] == []


def test_json_lists_what_a_program_needs(env: dict[str, str]) -> None:
    rows = json.loads(mien(env, "models", "--json").stdout)
    assert {"name", "makes", "state", "licence", "commercial", "default"} <= set(rows[0])
    free = json.loads(mien(env, "models", "--json", "--terms", "permissive").stdout)
    assert free == [row for row in rows if row["commercial"]]
    assert 0 < len(free) < len(rows)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["get"], 2, "name the models, or say --all"),
        (["get", "nothing"], 2, "knows no such model"),
        (["get", "yunet"], 2, "mien models add FILE --card yunet"),
        (["get", "genderage", "--terms", "permissive"], 2, "not permissive"),
        (["get", "--from-bundle", "nothing.tar"], 2, "nothing.tar"),
        (["path", "iris"], 2, "mien models get iris"),
        (["remove", "iris"], 2, "mien models get iris"),
        (["bundle", "all.tar", "iris"], 2, "mien models get iris"),
        (["add", "nothing.onnx", "--card", "yunet"], 2, "nothing.onnx"),
        (["add", "nothing.onnx", "--card", "nothing.json"], 2, "neither a card"),
        (["fetch"], 2, "No such command"),
    ],
)
def test_what_cannot_be_done_is_said_with_exit_code_2(
    arguments: list[str], code: int, said: str, env: dict[str, str]
) -> None:
    text = mien(env, "models", *arguments, expected=code).stderr
    assert said in " ".join(text.replace("│", " ").split())


def test_two_processes_may_get_the_same_model_at_once(env: dict[str, str], tmp_path: Path) -> None:
    command = [MIEN, "models", "get", "iris"]
    both = [subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert verified(env) == {"iris"}
    there = {path.name for path in (tmp_path / "models").iterdir()}
    assert there - {"downloads"} == {"iris.onnx", "iris.json", ".iris.lock"}, "nothing is left over"


def test_wrong_bytes_are_refused_with_both_sums_and_nothing_is_installed(
    env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "iris_landmark.tflite").write_bytes(b"wrong bytes")
    said = mien(env | {"MIEN_MIRROR": str(tmp_path / "wrong")}, "models", "get", "iris", expected=2).stderr
    assert assets.table()["iris"].sha256 in said
    assert hashlib.sha256(b"wrong bytes").hexdigest() in said
    assert states(env)["iris"] == "absent"


_NO_NETWORK = """
import os, sys
def watch(event, arguments):
    if event in ("socket.__new__", "socket.getaddrinfo", "subprocess.Popen", "os.posix_spawn", "os.fork"):
        os.write(2, f"TRIED {event}".encode())
        os._exit(99)
sys.addaudithook(watch)
from mien.cli.app import main
main()
"""


def offline(env: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command where every socket and every program it would start ends it with code 99."""
    return subprocess.run(
        [sys.executable, "-c", _NO_NETWORK, *arguments],
        env=env,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory, astronaut: npt.NDArray[np.uint8]) -> Path:
    path = tmp_path_factory.mktemp("photo") / "a.png"
    corpus.face(Image.fromarray(astronaut)).save(path)
    return path


def test_nothing_is_fetched_at_analyse_time(env: dict[str, str], photo: Path) -> None:
    assert offline(env, "models", "get", "dlib-resnet").returncode == 99, "the watch works"
    done = offline(env, "analyze", photo)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "mien: the model 'centerface' is not here: run `mien models get --all`\n"
    here = {**env, "MIEN_MODELS": str(assets.folder())}
    done = offline(here, "analyze", photo, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["face"] == 0
    done = offline({**env, "MIEN_MODELS": str(assets.folder())}, "analyze", photo, "--model", "yunet2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "yunet2" in done.stderr


def test_a_bundle_makes_an_offline_machine_work(env: dict[str, str], photo: Path, tmp_path: Path) -> None:
    here = {**env, "MIEN_MODELS": str(assets.folder())}
    names = ["centerface", "face-mesh"]
    mien(here, "models", "bundle", tmp_path / "all.tar", *names)
    done = offline(env, "models", "get", "--from-bundle", tmp_path / "all.tar")
    assert done.returncode == 0, done.stderr
    found = offline(env, "analyze", photo, "--want", "landmarks")
    assert found.returncode == 0, found.stderr
    assert found.stdout == offline(here, "analyze", photo, "--want", "landmarks").stdout
    assert verified(env) == {"centerface", "face-mesh"}


@pytest.mark.parametrize("damage", ["changed", "cut", "empty"])
def test_a_damaged_model_is_found_named_and_mended(
    damage: str, env: dict[str, str], photo: Path, tmp_path: Path
) -> None:
    mien(env, "models", "get", "centerface")
    file = tmp_path / "models" / "centerface.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes({"changed": bytes(data), "cut": bytes(data[:5000]), "empty": b""}[damage])
    assert states(env)["centerface"] == "damaged"
    assert "is damaged" in mien(env, "models", "verify", expected=1).stdout
    done = mien(env, "analyze", photo, "--want", "boxes", expected=2)
    assert done.stdout == ""
    assert "the model 'centerface' is damaged" in done.stderr
    assert "run `mien models get centerface`" in done.stderr
    mien(env, "models", "get", "centerface")
    mien(env, "models", "verify")


def test_recognisers_are_compared_from_packed_figures_with_what_is_not_known(
    env: dict[str, str], tmp_path: Path
) -> None:
    rows = json.loads(mien(env, "models", "compare", "--json").stdout)
    known = {name: asset for name, asset in assets.table().items() if "embeddings" in asset.card.fields}
    assert {row["name"] for row in rows} == set(known)
    accuracies = [row["lfw"]["accuracy"] if row["lfw"] else 0 for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    (default,) = (row for row in rows if row["default"])
    figures = recognisers.figures()[known[default["name"]].card.maker]
    assert default["lfw"] == {"accuracy": figures.lfw, "standard_error": figures.lfw_error}
    for row in rows:
        time = recognisers.figures().get(known[row["name"]].card.maker, recognisers.Figures()).time
        assert row["whole_ms"] == (time.whole_ms if time else None)
        assert (row["fruits"] is None) == (time is None)
    free = json.loads(mien(env, "models", "compare", "--json", "--terms", "permissive").stdout)
    assert free == [row for row in rows if row["commercial"]]
    assert 0 < len(free) < len(rows)
    wide = mien(env | {"COLUMNS": "200"}, "models", "compare").stdout
    assert figures.lfw is not None
    assert f"{100 * figures.lfw:.2f}" in next(line for line in wide.splitlines() if default["name"] in line)
    unknown = next(row["name"] for row in rows if row["lfw"] is None)
    assert "not measured" in next(line for line in wide.splitlines() if unknown in line)


def test_times_and_classes_of_recognisers_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIEN_MODELS", str(tmp_path))
    time = recognisers.Time(7.26, 151.4, 500, 4.0, "2026-11-25, a machine")
    figures = {assets.table()["mobilefacenet"].card.maker: recognisers.Figures(0.9953, 0.0011, time)}
    monkeypatch.setattr(recognisers, "figures", lambda: figures)
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(app, ["models", "compare"]).stdout
    line = next(line for line in shown.splitlines() if "mobilefacenet" in line)
    assert line.split()[1:] == ["99.53", "±", "0.11", "7.3", "151.4", "4.0", "500", "ms", "Apache-2.0"]
    assert "Times: 2026-11-25, a machine" in shown
    told = json.loads(CliRunner().invoke(app, ["models", "compare", "--json"]).stdout)
    (row,) = (row for row in told if row["name"] == "mobilefacenet")
    assert row["fruits"] == {"100": False, "500": True, "1000": True}
    assert (row["network_ms"], row["whole_ms"], row["times_measured"]) == (
        7.26,
        151.4,
        "2026-11-25, a machine",
    )


def test_a_recogniser_of_the_users_own_is_compared_with_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = replace(assets.table()["mobilefacenet"].card, name="mine", version="9")
    file = tmp_path / "mine.onnx"
    file.write_bytes(b"0" * 3_000_000)
    monkeypatch.setattr(assets, "installed", lambda: [assets.Installed(card, file, False)])
    (row,) = (row for row in recognisers.compare() if row.card.name == "mine")
    assert row.megabytes == 3.0
    assert row.figures == recognisers.Figures()
    elsewhere = recognisers.Figures(time=recognisers.Time(1.0, 2.0, 100, 4.0, "elsewhere"))
    monkeypatch.setattr(recognisers, "figures", lambda: {"mine 9": elsewhere, "mobilefacenet 1": elsewhere})
    sizes = {row.card.name: row.megabytes for row in recognisers.compare()}
    assert sizes["mine"] == 3.0
    assert sizes["mobilefacenet"] == 4.0, "as measured, where the file is not here"
