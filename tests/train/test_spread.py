"""A classifier that is spread over one, two and three processes of gloo is the plain one."""

from __future__ import annotations

from pathlib import Path

import pytest
import spread
import torch
from safetensors import safe_open
from spread import CASES, CLASSES, FEATURES, RANKS, STEPS, Case
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from mien.nn.margins import MarginSoftmax
from mien.nn.partial import Shard
from mien.train.shards import load_shards, save_shards


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which three processes left what they found."""
    folder = tmp_path_factory.mktemp("spread")
    spawn(spread.work, (str(folder),), nprocs=max(RANKS))  # type: ignore[no-untyped-call]
    return folder


def parts(folder: Path, case: Case, ranks: int) -> list[dict[str, Tensor]]:
    return [torch.load(folder / f"{case.name}-{ranks}-{rank}.pt") for rank in range(ranks)]


def plain(case: Case, centres: Tensor) -> MarginSoftmax:
    made = MarginSoftmax(FEATURES, len(centres), case.margin, 0.3, 20.0)
    made.centres.data = centres.clone()
    return made


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_loss_and_gradients_are_those_of_a_plain_softmax_over_all_taken_classes(
    worked: Path, case: Case, ranks: int
) -> None:
    found = parts(worked, case, ranks)
    classes = torch.cat([part["taken"] for part in found])
    assert len(classes) == (CLASSES if case.sample > 0.9 else sum(len(part["taken"]) for part in found))
    assert bool(found[0]["sparse"]) == (case.sample < 1)
    embeddings, labels = spread.faces()
    embeddings.requires_grad_()
    one = plain(case, found[0]["first"][classes])
    loss = one(embeddings, torch.stack([(classes == label).nonzero()[0, 0] for label in labels]))
    loss.backward()
    gradient = torch.zeros(CLASSES, FEATURES)
    assert one.centres.grad is not None
    gradient[classes] = one.centres.grad
    assert embeddings.grad is not None
    for part in found:
        torch.testing.assert_close(part["loss"], loss.detach(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(part["centres"], gradient, rtol=1e-4, atol=1e-4)
    # The mean over processes of their weights' gradients takes what is too much away again.
    gathered = torch.cat([part["embeddings"] for part in found]) / ranks
    torch.testing.assert_close(gathered, embeddings.grad, rtol=1e-4, atol=1e-7)


def test_the_first_centres_do_not_depend_on_the_number_of_processes(worked: Path) -> None:
    one, two, three = (parts(worked, CASES[0], ranks)[0]["first"] for ranks in (1, 2, 3))
    assert torch.equal(one, two)
    assert torch.equal(one, three)
    assert one.unique(dim=0).shape[0] == CLASSES  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("ranks", RANKS)
def test_another_number_of_processes_goes_on_where_three_stopped(worked: Path, ranks: int) -> None:
    case = CASES[1]
    undisturbed = plain(case, parts(worked, CASES[0], 1)[0]["first"])
    by = torch.optim.SGD(undisturbed.parameters(), lr=0.5, momentum=0.9, nesterov=True, weight_decay=0.01)
    for number in range(2 * STEPS):
        # The margin's statistics of lengths are the network's to keep: they begin anew at the stop.
        if number == STEPS:
            undisturbed.mean.fill_(20.0)
            undisturbed.deviation.fill_(100.0)
        embeddings, labels = spread.faces(number)
        by.zero_grad()
        undisturbed(embeddings, labels).backward()
        by.step()
    for rank in range(ranks):
        end = torch.load(worked / f"end-{ranks}-{rank}.pt")
        torch.testing.assert_close(end, undisturbed.centres.detach(), rtol=1e-3, atol=1e-3)


def test_each_process_keeps_its_own_rows_on_disk(worked: Path) -> None:
    files = sorted((worked / "stopped").glob("*.safetensors"))
    assert len(files) == 3
    rows = []
    for file in files:
        with safe_open(file, "pt") as tables:
            assert set(tables.keys()) == {"centres", "momentum"}
            rows.append(tables.get_slice("centres").get_shape()[0])
    assert rows == [17, 17, 16]
    assert not (worked / "stopped.part").exists()


@pytest.fixture
def table() -> Tensor:
    return torch.arange(24.0).reshape(6, 4)


def test_one_process_alone_keeps_and_takes_up_a_table(tmp_path: Path, table: Tensor) -> None:
    save_shards(tmp_path / "kept", {"table": table}, Shard(6))
    taken = torch.zeros(6, 4)
    load_shards(tmp_path / "kept", {"table": taken}, Shard(6))
    assert torch.equal(taken, table)
    with pytest.raises(FileExistsError, match="is there already"):
        save_shards(tmp_path / "kept", {"table": table}, Shard(6))
