"""What holds for every command: help, exit codes, JSON for programs, closed and full outputs, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import typer
from PIL import Image
from typer.main import get_command

import corpus
import mien
from mien.cli import common
from mien.cli.app import app
from mien.core.errors import FetchError, UnwritableOutput

MIEN = str(Path(sys.executable).with_name("mien"))
COMMANDS = sorted(getattr(get_command(app), "commands"))  # noqa: B009 - typer's type does not say it is a group

# What a pipe does of itself, whatever the shell that runs the tests asks for.
BUFFERED = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}


def run(*arguments: str | Path, expected: int, **how: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(  # type: ignore[call-overload]
        [MIEN, *arguments], check=False, capture_output=True, text=True, timeout=120, **how
    )
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    assert done.returncode == expected, done.stderr[-1000:]
    return done  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory, astronaut: npt.NDArray[np.uint8]) -> Path:
    path = tmp_path_factory.mktemp("photo") / "a.png"
    corpus.face(Image.fromarray(astronaut)).save(path)
    return path


@pytest.fixture(scope="module")
def folder(photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of many small pictures."""
    made = tmp_path_factory.mktemp("folder")
    for index in range(60):
        (made / f"{index:02}.png").write_bytes(photo.read_bytes())
    return made


def test_help_names_every_command() -> None:
    text = run("--help", expected=0).stdout
    for name in COMMANDS:
        assert f" {name} " in text
    assert {"analyze", "blur", "calibrate", "doctor", "models", "tag", "verify", "video"} <= set(COMMANDS)
    assert "Usage: mien" in run(expected=2).stderr or "Usage: mien" in run(expected=2).stdout
    assert run("--version", expected=0).stdout == f"{mien.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_its_options(name: str) -> None:
    command = getattr(get_command(app), "commands")[name]  # noqa: B009
    assert command.help
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert parameter.help, f"{name} {parameter.opts[0]}"


def test_wrong_calls_are_exit_code_2(photo: Path) -> None:
    wrong_calls: list[list[str | Path]] = [
        ["nothing"],
        ["analyze"],
        ["analyze", photo, "--nothing"],
        ["analyze", photo, "-t", "-1"],
    ]
    for call in wrong_calls:
        run(*call, expected=2)
    refused: list[tuple[list[str | Path], str]] = [
        (["analyze", photo, "--terms", "some"], "--terms 'some': use 'any' or 'permissive'"),
        (["analyze", photo, "--want", "beauty"], "cannot make 'beauty': no such field"),
        (["analyze", photo, "-o", "faces.xyz"], "-o faces.xyz: use an ending of"),
        (["analyze", photo, "--model", "nothing"], "the model 'nothing' is not here"),
    ]
    for arguments, said in refused:
        done = run(*arguments, expected=2)
        assert done.stdout == ""
        assert done.stderr.startswith("mien: ")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


def test_exit_codes_of_analyze(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    (tmp_path / "empty").mkdir()
    run("analyze", photo, "--want", "boxes", expected=0)
    run("analyze", photo, tmp_path / "bad.jpg", "--want", "boxes", expected=1)
    run("analyze", tmp_path / "none.jpg", "--want", "boxes", expected=1)
    assert "no pictures in" in run("analyze", tmp_path / "empty", expected=2).stderr
    run("verify", photo, photo, expected=0)
    run("verify", photo, tmp_path / "bad.jpg", expected=1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["doctor"],
        ["models"],
        ["verify", "PHOTO", "PHOTO"],
        ["analyze", "PHOTO"],
        ["tag", "PHOTO", "--dry-run"],
    ],
)
def test_json_is_all_that_standard_output_holds(arguments: list[str], photo: Path) -> None:
    done = run(*(str(photo) if part == "PHOTO" else part for part in arguments), "--json", expected=0)
    assert json.loads(done.stdout)


def test_a_reader_that_leaves_early_is_no_error(folder: Path) -> None:
    """`mien analyze folder | head -1`."""
    command: list[str | Path] = [MIEN, "analyze", folder, "--want", "boxes", "-t", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED) as process:
        assert process.stdout
        assert process.stderr
        assert json.loads(process.stdout.readline())["face"] == 0, (
            "the first row comes before the last is done"
        )
        assert process.poll() is None
        process.stdout.close()
        said = process.stderr.read()
    assert said == b""
    assert process.returncode == 0


@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"], ["models", "path", "iris"]])
def test_a_full_standard_output_is_one_line_and_exit_code_1(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [MIEN, *arguments],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env=BUFFERED,
        )
    assert done.stderr == "mien: cannot write the output: No space left on device\n"
    assert done.returncode == 1


def test_control_c_while_printing_is_one_line_and_exit_code_130(folder: Path) -> None:
    command: list[str | Path] = [MIEN, "analyze", folder, "--want", "boxes", "-t", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rows, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.startswith("mien: stopped")
    assert said.count("\n") == 1
    for line in rows.splitlines():
        json.loads(line)


def test_names_that_are_no_text_are_printed_escaped(photo: Path, tmp_path: Path) -> None:
    name = Path(os.fsdecode(os.fsencode(tmp_path) + b"/f\xe9.png"))
    name.write_bytes(photo.read_bytes())
    for encoding in ("utf-8", "ascii"):
        env = {**os.environ, "PYTHONIOENCODING": encoding}
        row = json.loads(run("analyze", name, "--want", "boxes", expected=0, env=env).stdout)
        assert row["source"] == f"{tmp_path}/f\\udce9.png"


def test_errors_inside_a_command_become_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def code_of(error: BaseException) -> tuple[int, str]:
        @common.guarded
        def command() -> None:
            raise error

        with pytest.raises(typer.Exit) as caught:
            command()
        return caught.value.exit_code, capsys.readouterr().err

    assert code_of(UnwritableOutput("a.csv", "full")) == (1, "mien: cannot write a.csv: full\n")
    assert code_of(FetchError("x", "gone")) == (2, "mien: cannot fetch x: gone\n")
    assert code_of(PermissionError(13, "Permission denied", "b.csv"))[0] == 1
    assert code_of(KeyboardInterrupt())[0] == 130


def test_faults_of_our_own_are_not_hidden() -> None:
    @common.guarded
    def command() -> None:
        raise FileNotFoundError(2, "No such file or directory", "of our own")

    with pytest.raises(FileNotFoundError):
        command()
