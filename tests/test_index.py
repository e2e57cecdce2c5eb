"""The index reads rows without importing, lists absent papers too, and tells stale evidence."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mien import index
from mien.core.system import Arm, DataUsed, Evidence, EvidenceError

ROW = '''"""A paper that runs nothing when it is read."""

SYSTEM = System(
    id="gin",
    title="How Powerful are Graph Neural Networks?",
    year=2019,
    room="metanets",
    makes=(),
    claims=(
        Claim(
            text="sums tell apart what means "
            "cannot",
            protocol="pairs of graphs",
            metric="accuracy",
            paper_value=None,
            where="Section 5",
        ),
    ),
)
'''
TRAINED = ROW + "RECIPES = {}\nREPRODUCE = ()\nraise RuntimeError('imported')\n"


def code(source: str) -> str:
    """Return the digest of a file that is built from no network of mien's."""
    return hashlib.sha256(f"\0{len(source)}\0{source}".encode()).hexdigest()


EVIDENCE = Evidence(
    evidence=1,
    system="gin",
    claim="sums tell apart what means cannot",
    metric="accuracy",
    data=(DataUsed("graphs", "test", 100, "0" * 64),),
    seeds=(0, 1, 2),
    arms=(Arm("sum", (0.9, 1.0, 0.95)), Arm("mean", (0.5, 0.5, 0.5))),
    difference=0.45,
    interval=(0.4, 0.5),
    holds="yes",
    test="paired bootstrap",
    paper_value=None,
    code=code(TRAINED),
    version="0.1.0",
    packages=("torch 2.13.0",),
    machine="two cores",
    seconds=1.0,
    finished="2026-11-25T00:00:00+00:00",
)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty package folder that the index looks into, with the real table of papers."""
    package = tmp_path / "src" / "mien"
    (package / "systems" / "metanets").mkdir(parents=True)
    (package / "systems" / "papers.toml").write_bytes(
        (index._package() / "systems" / "papers.toml").read_bytes()
    )
    monkeypatch.setattr(index, "_package", lambda: package)
    return package


def write(house: Path, source: str, evidence: Evidence | None = None) -> None:
    (house / "systems" / "metanets" / "gin.py").write_text(source)
    if evidence:
        folder = house.parents[1] / "results" / "gin"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(evidence.to_json())


def test_all_119_papers_are_listed_once_in_order() -> None:
    entries = index.entries()
    assert [entry.number for entry in entries] == list(range(1, 120))
    assert len({entry.id for entry in entries}) == 119
    assert all(entry.title and entry.room for entry in entries)


def test_a_paper_without_a_file_is_absent(house: Path) -> None:
    assert index.find("gin").level == 0
    assert index.find("gin").to_dict()["evidence"] == []


def test_a_row_is_read_without_running_the_file(house: Path) -> None:
    write(house, TRAINED)
    entry = index.find("gin")
    assert entry.system is not None
    assert entry.system.claims[0].text == EVIDENCE.claim
    assert entry.level == 2


def test_recipes_and_commands_are_told_without_running_the_file(house: Path) -> None:
    write(
        house, TRAINED.replace("RECIPES = {}", 'RECIPES = MappingProxyType({"cpu": 1, "ship": Config({})})')
    )
    entry = index.find("gin")
    assert entry.recipes == ("cpu", "ship")
    assert entry.commands == (
        "mien reproduce gin",
        "mien train gin --recipe cpu",
        "mien train gin --recipe ship",
        "mien export gin gin.onnx",
        "mien evaluate gin",
    )
    assert entry.about == "A paper that runs nothing when it is read."


def test_a_row_alone_is_built_and_no_more(house: Path) -> None:
    write(house, ROW)
    assert index.find("gin").level == 1


def test_fresh_evidence_for_every_claim_shows_and_a_command_serves(house: Path) -> None:
    write(house, TRAINED, EVIDENCE)
    assert index.find("gin").level == 3
    served = TRAINED.replace("    makes=(),", "    makes=(),\n    serves='mien analyze',")
    write(house, served)
    assert index.find("gin").level == 2  # the file has changed since
    (house.parents[1] / "results" / "gin" / "run.json").write_text(
        replace(EVIDENCE, code=code(served)).to_json()
    )
    assert index.find("gin").level == 4


def test_evidence_is_stale_when_the_file_changed_since(house: Path) -> None:
    write(house, TRAINED + "# changed\n", EVIDENCE)
    entry = index.find("gin")
    assert [run.stale for run in entry.runs] == [True]
    assert entry.level == 2
    assert "(stale)" in index.table()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "no row"),
        (ROW.replace("year=2019", 'year="2019"'), "year"),
        (ROW.replace("year=2019", "year=1999 + 20"), "malformed|literal"),
        (ROW.replace('id="gin"', 'id="other"'), "table of papers"),
        (ROW.replace("    makes=(),\n", ""), "'makes' is missing"),
        ('SYSTEM = System("gin")', "keywords only"),
    ],
)
def test_a_bad_row_is_refused_with_its_file_and_reason(house: Path, source: str, said: str) -> None:
    write(house, source)
    with pytest.raises(index.BadRow, match=said) as caught:
        index.find("gin")
    assert "gin.py" in str(caught.value)


def test_damaged_evidence_is_refused_by_name(house: Path) -> None:
    write(house, TRAINED, EVIDENCE)
    path = house.parents[1] / "results" / "gin" / "run.json"
    path.write_text(path.read_text().replace('"yes"', '"perhaps"'))
    with pytest.raises(EvidenceError, match=r"run\.json.*perhaps"):
        index.find("gin")


def test_evidence_survives_a_round_trip_and_states_its_spread() -> None:
    assert Evidence.from_json(EVIDENCE.to_json(), "run") == EVIDENCE
    assert EVIDENCE.arms[0].mean == pytest.approx(0.95)
    assert EVIDENCE.arms[0].deviation == pytest.approx(0.05)


def test_json_for_programs_holds_what_it_promises() -> None:
    rows = json.loads(index.to_json())
    assert len(rows) == 119
    assert all({"number", "id", "room", "level", "claims", "evidence"} <= set(row) for row in rows)
