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
