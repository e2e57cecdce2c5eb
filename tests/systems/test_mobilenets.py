"""MobileNets' students learn what one teacher says of their own faces, and no label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

from mien.data.attributes import attributed, attributes
from mien.nn.cost import cost
from mien.systems.recognition.mobilenets import RECIPES, MobileNets, network, teacher_of

TINY = replace(RECIPES["tiny"], learn="teacher", rows=96)


@pytest.fixture(autouse=True)
def places(shared_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    monkeypatch.setenv("MIEN_RUNS", str(tmp_path))


def test_students_learn_the_outputs_of_one_teacher(tmp_path: Path) -> None:
    student = MobileNets(TINY, 1)
    rows = student.train_rows()
    assert isinstance(rows, TensorDataset)
    (folder,) = (tmp_path / "mobilenets").iterdir()
    begun = (folder / "run.json").stat().st_mtime_ns
    teacher = MobileNets(teacher_of(TINY), 1)
    best = next((folder / "checkpoints").glob("best-*.ckpt"))
    teacher.load_state_dict(torch.load(best, weights_only=True)["state_dict"])
    with torch.no_grad():
        said = teacher.eval().net(rows.tensors[0].float()).sigmoid()
    torch.testing.assert_close(rows.tensors[1], said)
    assert ((rows.tensors[1] > 0) & (rows.tensors[1] < 1)).all()
    # Another student, of other pictures, takes the same teacher up and is told the same of the same faces.
    other = MobileNets(replace(TINY, width=0.25, size=48), 1).train_rows()
    assert isinstance(other, TensorDataset)
    assert other.tensors[0].shape[-1] == 48
    assert torch.equal(other.tensors[1], rows.tensors[1])
    assert (folder / "run.json").stat().st_mtime_ns == begun
    assert len(list((tmp_path / "mobilenets").iterdir())) == 1


def test_a_student_is_judged_by_the_labels() -> None:
    student = MobileNets(TINY)
    (part,) = student.test_parts()
    labels = torch.as_tensor(attributes(attributed("test", 32)))
    assert part.used.rows == len(labels)
    assert part.units is not None
    assert len(set(part.units.tolist())) > 500
    got = torch.stack([part.rows[index][1] for index in range(len(labels))])
    assert torch.equal(got, labels)


def test_the_cpu_teacher_is_the_arm_of_that_name() -> None:
    # Otherwise two teachers would be trained.
    assert teacher_of(RECIPES["cpu"]) == replace(RECIPES["cpu"], learn="labels", full=True)


def test_the_papers_network_at_its_size() -> None:
    counted = cost(network(RECIPES["paper"], 1000), 3, 224, 224)
    assert round(counted.multiply_adds / 1e6) == 569


def test_the_teacher_costs_more_than_its_students() -> None:
    cpu = RECIPES["cpu"]
    spent = [
        cost(network(config, 40), 3, config.size, config.size).multiply_adds
        for config in (teacher_of(cpu), cpu, replace(cpu, width=0.125), replace(cpu, width=0.0625))
    ]
    assert spent == sorted(spent, reverse=True)
    assert spent[0] > 7 * spent[1]
    # As in Section 4.5.
    assert spent[-1] / spent[0] == pytest.approx(0.01, abs=0.003)
