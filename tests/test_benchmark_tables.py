"""The tables in README.md and docs/ are those of the result files."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mien.core import strict
from mien.runtime import assets, recognisers

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import tables

    return tables


def test_the_documentation_shows_the_numbers_of_the_result_files(tables: ModuleType) -> None:
    old = [
        str(page.relative_to(ROOT))
        for page in tables.pages()
        if tables.filled(page.read_text("utf-8")) != page.read_text("utf-8")
    ]
    assert not old, f"run `python benchmarks/tables.py`: {', '.join(old)}"


def test_every_block_in_a_page_has_a_table_and_an_end(tables: ModuleType) -> None:
    shown = set()
    for page in tables.pages():
        text = page.read_text("utf-8")
        names = re.findall(r"<!-- table: (.*?) -->", text)
        assert len(names) == text.count("<!-- /table -->"), page.name
        assert set(names) <= set(tables.TABLES), page.name
        shown |= set(names)
    assert shown == set(tables.TABLES)


def test_every_result_file_is_shown(tables: ModuleType) -> None:
    files = {path.stem for path in tables.RESULTS.glob("*.json")}
    source = (ROOT / "benchmarks" / "tables.py").read_text("utf-8")
    assert files == {name for name in files if f'result("{name}")' in source}


def test_a_changed_number_makes_a_page_out_of_date(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = {"median": 2.0, "low": 1.0, "high": 3.0}
    part = {"stages_ms": {"decoding": value}, "total_ms": value}
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    page = "a\n\n<!-- table: speed-stages -->\n<!-- /table -->\n\nb\n"
    assert tables.filled(page) == page  # not measured yet: nothing to show
    file = tmp_path / "speed.json"
    file.write_text(json.dumps({"one_picture": {"threads_1": part, "threads_2": part}}))
    full = tables.filled(page)
    assert "| decoding | 2.00 (1.00-3.00) | 2.00 (1.00-3.00) |" in full
    assert full.startswith("a\n")
    assert full.endswith("\nb\n")
    assert tables.filled(full) == full
    file.write_text(file.read_text().replace("2.0", "2.5"))
    assert tables.filled(full) != full


MACHINE = {**dict.fromkeys(("command", "date", "commit", "cpu", "python"), "x"), "cores": 1, "packages": {}}


def _recogniser(name: str, whole: float, limit: int | None) -> dict[str, Any]:
    """Return a row of fruits.json of which every part is measured."""
    spread = {"median": whole, "low": whole - 1, "high": whole + 1}
    stages = ("decode", "detect", "landmarks", "align and the rest", "embed", "whole")
    rates = {f"{rate}{end}": 0.02 for rate in ("fnmr", "fnir") for end in ("", "_low", "_high")}
    search = {
        "pictures": 1,
        "rank_rates": {"1": {"rate": 0.9}},
        "points": [{"wanted_fpir": 0.1, **rates}, {"wanted_fpir": 0.01, **rates, "fnir": 0.25}],
    }
    return {
        "name": name,
        "way": {
            "machine": MACHINE,
            "megabytes": 4.0,
            "terms": "MIT",
            "commercial": limit is not None,
            "stages_ms": {**dict.fromkeys(stages, spread), "embed": {**spread, "median": 7.0}},
            "class_ms": limit,
        },
        "lfw": {
            "accuracy": 0.99,
            "standard_error": 0.001,
            "points": [{"wanted_fmr": 0.01, **rates}, {"wanted_fmr": 0.001, **rates, "fnmr": 0.125}],
        },
        "identification": {"enrolled_from": [search]},
    }


def _write_recognisers(folder: Path, *rows: dict[str, Any]) -> None:
    (folder / "fruits.json").write_text(json.dumps({"recognisers": rows, "absent": ["other"]}))


def _write_lfw(folder: Path, recogniser: str) -> None:
    points = [{"fmr": fmr, "fnmr": fnmr} for fmr, fnmr in ((0.01, 0.01), (0.0011, 0.03))]
    one = {"accuracy": 0.985, "standard_error": 0.002, "operating_points": points}
    (folder / "lfw.json").write_text(json.dumps({"recogniser": recogniser, "lfw": {"one pass": one}}))


def test_recognisers_are_listed_by_their_time_with_the_class_that_they_keep_to(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    late = _recogniser("late 1", 900.0, 1000)
    del late["lfw"], late["identification"]
    _write_recognisers(tmp_path, _recogniser("slow 1", 2000.0, None), late, _recogniser("quick 1", 60.0, 100))
    made = tables.fruits().splitlines()
    assert made[2].startswith("| quick 1 | 100 ms | 60.0 (59.0-61.0) |")
    assert "| 99.00 % ± 0.10 | 12.50 % | 90.0 % | 25.00 % (2.00-2.00) | 4.0 | MIT |" in made[2]
    assert made[3].startswith("| late 1 | 1,000 ms |")
    assert "| not measured | not measured | not measured | not measured | 4.0 |" in made[3]
    assert made[4].startswith("| slow 1 | none |")
    assert made[4].endswith("| MIT (not commercial) |")
    assert "not measured: other." in made[6]


def test_lfw_is_told_of_a_recogniser_by_one_result_file(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    default = assets.table()["dlib-resnet"].card.maker
    _write_lfw(tmp_path, default)
    row = _recogniser(default, 60.0, 100)
    _write_recognisers(tmp_path, row, _recogniser("other 1", 70.0, 100))
    assert tables.lfw_of(row) == {"accuracy": 0.985, "standard_error": 0.002, "fnmr": 0.03}
    made = tables.fruits().splitlines()
    assert "| 98.50 % ± 0.20 | 3.00 % |" in made[2]
    assert "| 99.00 % ± 0.10 | 12.50 % |" in made[3]


def test_what_an_installed_mien_tells_of_recognisers_is_in_the_result_files(tables: ModuleType) -> None:
    assert tables.PACKED.read_text("utf-8") == tables.packed(), "run `python benchmarks/tables.py`"


def test_figures_are_packed_as_far_as_they_were_measured(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert tables.packed() == "{}\n"
    default = assets.table()["dlib-resnet"].card.maker
    _write_lfw(tmp_path, default)
    assert json.loads(tables.packed()) == {default: {"lfw": 0.985, "lfw_error": 0.002}}
    timed = _recogniser("mobilefacenet 1", 60.0, 100)
    del timed["lfw"]
    _write_recognisers(tmp_path, timed)
    time = {"network_ms": 7.0, "whole_ms": 60.0, "class_ms": 100, "megabytes": 4.0, "measured": "x, x"}
    assert json.loads(tables.packed())["mobilefacenet 1"] == {"time": time}
    lines = tables.recognisers().splitlines()
    assert "| dlib-resnet (default) | 98.50 % ± 0.20 | not measured | not measured | not measured |" in (
        "\n".join(lines)
    )
    assert any(
        line.startswith("| mobilefacenet | not measured | 7.0 | 60.0 | 4.0 | 100 ms |") for line in lines
    )
    monkeypatch.setattr(assets, "package", lambda: tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "recognisers.json").write_text(tables.packed())
    assert recognisers.figures()["mobilefacenet 1"].time == strict.read(recognisers.Time, time, "")
    assert recognisers.figures()[default].time is None


def test_partial_fc_is_shown_beside_the_full_softmax_with_its_plan(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread = {"median": 20.0, "low": 19.0, "high": 21.0}
    point = {
        "plan": {"classes": 1000, "ranks": 2},
        "step_ms": spread,
        "planned_ms": 25.0,
        "kept_bytes": [2e9, 1e9],
        "peak_bytes": [4e9, 3e9],
        "planned_peak_bytes": 5e9,
    }
    compared = {"classes": 1000, "full": point, "partial": point, "times_faster": spread}
    plan = dict.fromkeys(("kept_bytes", "step_bytes", "full_bytes", "copied_traffic_bytes"), 30e9)
    made = {
        "machine": {
            **dict.fromkeys(("command", "date", "commit", "cpu", "python"), "x"),
            "cores": 2,
            "packages": {},
        },
        "features": 512,
        "batch": 64,
        "sample": 0.1,
        "constants": dict.fromkeys(("arithmetic", "reused", "fresh", "drawing", "network"), 2e9),
        "compared": [{**compared, "times_less_memory": 3.0}],
        "ranks": [point],
        "plans": [
            {"classes": 10**7, "ranks": 8, "batch": 512, **plan, "traffic_bytes": 3e6}
            | {"seconds": 1.5, "full_seconds": 15.0}
        ],
    }
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    (tmp_path / "partial_fc.json").write_text(json.dumps(made))
    full, partial = tables.partial_fc().splitlines()[2:4]
    assert full == "| 1,000, full softmax | 20.0 (19.0-21.0) | 25.0 | 2.00 | 4.00 | 5.00 |  |  |"
    assert partial.endswith("| 5.00 | 20.0 (19.0-21.0) | 3.0 |")
    assert "| 1,000 on 2 | 20.0 (19.0-21.0) | 25.0 | 2.00 | 3.00 | 4.00 | 7.00 |" in tables.partial_fc_ranks()
    row = "| 10,000,000 on 8 | 512 | 30 | 30 | 30 | 3.0 | 30,000 | 1.5 | 15.0 |"
    assert row in tables.partial_fc_plan()


@pytest.fixture
def fruits(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import fruits

    return fruits


def test_a_stopped_measurement_goes_on_where_it_was(
    fruits: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = assets.Installed(assets.table()["mobilefacenet"].card, tmp_path / "m.onnx", False)
    entry.path.write_bytes(b"0" * 2_000_000)
    monkeypatch.setattr(fruits.assets, "installed", lambda: [entry])
    asked: list[str] = []

    def way(name: str, repeats: int) -> dict[str, Any]:
        asked.append("way")
        return {"stages_ms": {"whole": {"median": 1.0}}, "class_ms": 100}

    def judged(maker: str, name: str, protocol: str) -> dict[str, Any]:
        asked.append(protocol)
        if protocol == "identification" and asked.count(protocol) == 1:
            raise KeyboardInterrupt
        return {"accuracy": len(asked)}

    monkeypatch.setattr(fruits, "way", way)
    monkeypatch.setattr(fruits, "judged", judged)
    out = tmp_path / "fruits.json"
    kept = [{"name": "elsewhere 1", "way": {}}, {"name": "mobilefacenet 0", "way": {}}]
    out.write_text(json.dumps({"recognisers": kept, "absent": []}))
    monkeypatch.setattr("sys.argv", ["fruits.py", "--out", str(out)])
    with pytest.raises(KeyboardInterrupt):
        fruits.main()
    fruits.main()
    assert asked == ["way", "lfw", "identification", "identification"]
    data = json.loads(out.read_text())
    rows = {row["name"]: row for row in data["recognisers"]}
    assert list(rows) == ["elsewhere 1", "mobilefacenet 1"], (
        "another version's figures go, other models' stay"
    )
    assert rows["mobilefacenet 1"]["lfw"] == {"accuracy": 2}
    assert rows["mobilefacenet 1"]["way"]["megabytes"] == 2.0
    assert "mobilefacenet" not in data["absent"]
    assert "dlib-resnet" in data["absent"]
    monkeypatch.setattr("sys.argv", ["fruits.py", "--out", str(out), "--again", "--protocols"])
    fruits.main()
    assert asked[4:] == ["way"]
    monkeypatch.setattr("sys.argv", ["fruits.py", "--out", str(out), "--models", "mobilefacenet", "nothing"])
    with pytest.raises(SystemExit):
        fruits.main()
    exported = replace(entry.card, name="ours")
    monkeypatch.setattr(fruits.Model, "load", lambda file, threads: SimpleNamespace(card=exported))
    file = str(entry.path)
    monkeypatch.setattr("sys.argv", ["fruits.py", "--out", str(out), "--models", file, "--protocols"])
    monkeypatch.setattr(fruits.assets, "installed", list)
    fruits.main()
    assert json.loads(out.read_text())["recognisers"][-1]["name"] == "ours 1", "a file that is not installed"


def test_lfw_is_not_judged_again_where_its_own_benchmark_has_told_it(
    fruits: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fruits.machine, "RESULTS", tmp_path)
    assert not fruits.measured_elsewhere("dlib-resnet 3")
    _write_lfw(tmp_path, "dlib-resnet 3")
    assert fruits.measured_elsewhere("dlib-resnet 3")
    assert not fruits.measured_elsewhere("dlib-resnet 4")
