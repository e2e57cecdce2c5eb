"""The tables in README.md and docs/ are those of the result files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import pytest

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


def test_recognisers_are_listed_by_their_time_with_the_class_that_they_keep_to(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row(name: str, whole: float, limit: int | None) -> dict[str, object]:
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
            "megabytes": 4.0,
            "terms": "MIT",
            "commercial": limit is not None,
            "stages_ms": dict.fromkeys(stages, spread),
            "class_ms": limit,
            "lfw": {
                "accuracy": 0.99,
                "standard_error": 0.001,
                "points": [{"wanted_fmr": 0.01, **rates}, {"wanted_fmr": 0.001, **rates, "fnmr": 0.125}],
            },
            "identification": {"enrolled_from": [search]},
        }

    machine = {
        "command": "c",
        "date": "d",
        "commit": "c",
        "cpu": "x",
        "cores": 1,
        "python": "3",
        "packages": {},
    }
    rows = [row("slow 1", 2000.0, None), row("quick 1", 60.0, 100)]
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    (tmp_path / "fruits.json").write_text(
        json.dumps({"machine": machine, "recognisers": rows, "absent": ["other"]})
    )
    made = tables.fruits().splitlines()
    assert made[2].startswith("| quick 1 | 100 ms | 60.0 (59.0-61.0) |")
    assert "| 99.00 % ± 0.10 | 12.50 % (2.00-2.00) | 90.0 % | 25.00 % (2.00-2.00) | 4.0 | MIT |" in made[2]
    assert made[3].startswith("| slow 1 | none |")
    assert made[3].endswith("| MIT (not commercial) |")
    assert "not on that machine: other." in made[5]


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
