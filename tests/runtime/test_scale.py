"""`stream` over a local Ray of two workers: the rows of the plain run, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pyarrow
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from mien.cli.app import app
from mien.core.errors import WorkerFault
from mien.report.tables import rows_of
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.stream import Result, stream

OPTIONS = Options(want=("landmarks", "embeddings"), threads=2)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Start one Ray for all tests that do not mind; the one that does runs in a process of its own."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    # the workers know nothing of the tests' own classes
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def photos(demo_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 40 photos and a broken one, enough for five pieces of work."""
    folder = tmp_path_factory.mktemp("photos")
    found = [demo_photos / name for name in ("astronaut.png", "grace_hopper.jpg", "obama.jpg")]
    for number in range(40):
        source = found[number % len(found)]
        (folder / f"{number:02}{source.suffix}").symlink_to(source)
    (folder / "17-broken.jpg").write_bytes(found[1].read_bytes()[:3000])
    return folder


@pytest.fixture(scope="module")
def plain(photos: Path) -> list[dict[str, Any]]:
    return table(stream(photos, OPTIONS))


def table(results: Iterator[Result]) -> list[dict[str, Any]]:
    return [row for result in results for row in rows_of(result)]


class Gated:
    """A photo that tells who reads it, and that cannot be read before a gate is opened."""

    def __init__(self, photo: Path, gate: Path) -> None:
        self.photo, self.gate = photo, gate

    def __str__(self) -> str:
        return str(self.photo)

    def read_bytes(self) -> bytes:
        (self.gate / str(os.getpid())).touch()
        while not (self.gate / "open").exists():
            time.sleep(0.05)
        return self.photo.read_bytes()


def kill_one(gate: Path) -> int:
    """Kill the first worker that stands at the gate, then open it; return the worker's process id."""
    try:
        until = time.monotonic() + 120
        while not (standing := [int(path.name) for path in gate.iterdir()]):
            assert time.monotonic() < until, "no worker came to the gate"
            time.sleep(0.05)
        victim = psutil.Process(standing[0])
        victim.send_signal(signal.SIGKILL)
        victim.wait(10)
        return standing[0]
    finally:
        (gate / "open").touch()


def test_a_worker_killed_half_way_changes_no_row(
    ray: Any, photos: Path, plain: list[dict[str, Any]], tmp_path: Path
) -> None:
    files = sorted(photos.iterdir())
    half = len(files) // 2
    gate = tmp_path / "gate"
    gate.mkdir()
    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill_one, gate)
        rows = table(
            stream([*files[:half], *(Gated(file, gate) for file in files[half:])], OPTIONS, on="ray")
        )
        victim = killed.result()
    assert not psutil.pid_exists(victim)
    # What the dead worker stood at was begun again by another one.
    assert {int(path.name) for path in gate.iterdir() if path.name != "open"} - {victim}
    assert rows == plain
    assert len(rows) == 41
    assert sum(row["error"] is not None for row in rows) == 1


class Deadly:
    """A picture that takes the worker with it, as a fault in a decoder would."""

    def __str__(self) -> str:
        return "deadly.jpg"

    def read_bytes(self) -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b""


def test_a_picture_that_workers_die_of_is_an_error_and_its_neighbours_are_unharmed(
    ray: Any, photos: Path, plain: list[dict[str, Any]]
) -> None:
    good = sorted(photos.iterdir())[:3]
    rows = table(stream([good[0], Deadly(), *good[1:]], OPTIONS, on="ray"))
    assert [row["error"] for row in rows] == [None, "2 workers died of it", None, None]
    assert [rows[0], *rows[2:]] == plain[:3]


def test_paths_and_parquet_give_the_rows_of_the_plain_run(
    ray: Any, photos: Path, plain: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(photos.iterdir())[:6]
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    path = tmp_path / "photos.parquet"
    parquet.write_table(pyarrow.table({"image": images, "label": list(range(6))}), path, row_group_size=2)
    monkeypatch.chdir(photos)
    given = ["00.png", "no-such.jpg", path]
    here = table(stream(given, OPTIONS))
    there = table(stream(given, OPTIONS, on="ray"))
    assert there == here
    assert here[0] == {**plain[0], "source": "00.png"}
    assert here[1]["error"] == "no such file"
    assert [row["source"] for row in here[2:]] == [f"{path}#{file.name}" for file in files]
    assert [row["embeddings"] for row in here[2:]] == [row["embeddings"] for row in plain[:6]]


def test_a_worker_without_a_model_says_which_command_brings_it(ray: Any, photos: Path) -> None:
    with pytest.raises(WorkerFault, match=r"on the worker .*'scrfd-500m' is not here: run `mien models add"):
        list(stream(photos, Options(models=("scrfd-500m",), threads=1), on="ray"))


def test_workers_with_other_models_than_the_caller_s_are_refused(ray: Any, photos: Path) -> None:
    other = Pipeline(Options(want=("pose",), threads=1))
    with pytest.raises(WorkerFault, match="other models"):
        list(stream(photos, Options(want=("landmarks",), threads=1), pipeline=other, on="ray"))


def test_the_command_writes_the_table_of_the_plain_run(ray: Any, photos: Path, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf.parquet"
    parquet.write_table(pyarrow.table({"bytes": [(photos / "02.jpg").read_bytes()], "name": ["02"]}), shelf)
    pictures = [str(path) for path in (photos / "00.png", photos / "17-broken.jpg", shelf)]
    for output, more in (("ray.parquet", ["--on", "ray"]), ("plain.parquet", [])):
        given = ["analyze", *pictures, "-w", "landmarks", "-t", "1", "-o", str(tmp_path / output), *more]
        done = CliRunner().invoke(app, given)
        assert done.exit_code == 1, done.output
    table = parquet.read_table(tmp_path / "ray.parquet")
    assert table.equals(parquet.read_table(tmp_path / "plain.parquet"))
    assert table["source"].to_pylist() == [*pictures[:2], f"{shelf}#02"]


def test_a_video_is_refused() -> None:
    with pytest.raises(ValueError, match=r"film\.mp4: a video's frames follow each other"):
        list(stream(["film.mp4"], OPTIONS, on="ray"))


def test_ray_is_started_quietly_and_ended_and_useless_addresses_are_named(photos: Path) -> None:
    script = f"""
import os, ray
from mien.runtime.pipeline import Options
from mien.core.errors import WorkerFault
from mien.runtime.stream import stream
for address, why in (
    ("127.0.0.1:1", "no Ray cluster answers"),
    ("ray://127.0.0.1:1", "Ray Data does not run"),
):
    try:
        list(stream(["a.jpg"], on=address))
    except WorkerFault as error:
        assert str(error).startswith(f"on {{address}}: {{why}}"), error
    else:
        raise SystemExit(f"{{address}} was taken")
results = stream([{str(photos / "00.png")!r}], Options(want=("landmarks",), threads=1), on="ray")
assert len(next(results).faces) == 1
assert ray.is_initialized() and os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
results.close()
assert not ray.is_initialized()
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if "Set ray log level from environment" not in line]
    assert lines == []
