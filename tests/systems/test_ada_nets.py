"""Ada-NETS against its formulas written out with sets and loops, and the authors' layers counted."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.nn import functional

from mien.core.grouping import Neighbours, nearest
from mien.data.embedded import Embedded, Population
from mien.data.people import people
from mien.evaluate.grouping import Setting
from mien.evaluate.metrics import METRICS
from mien.evaluate.reproduce import paper
from mien.systems.matching import ada_nets
from mien.systems.matching.ada_nets import (
    RECIPES,
    AdaNets,
    AdaptiveFilter,
    Config,
    Crowd,
    GraphNetwork,
    best_number,
    expanded,
    graph,
    hinges,
    reciprocal,
    relative_huber,
    structure_space,
)

Ids = npt.NDArray[np.int64]


def faces(seed: int, people: int = 14, spread: float = 0.7) -> tuple[Neighbours, Ids]:
    """Return neighbours of faces of people who are not easy to tell apart, and who they are."""
    random = np.random.default_rng(seed)
    person = random.permutation(np.repeat(np.arange(people), random.integers(1, 12, people)))
    vectors = random.standard_normal((people, 6))[person] + spread * random.standard_normal((len(person), 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return nearest(vectors.astype(np.float32), 10), person


def literal_reciprocal(indices: Ids, k: int) -> list[set[int]]:
    near = [set(row[:k]) for row in indices.tolist()]
    return [{other for other in near[row] if row in near[other]} for row in range(len(near))]


def literal_expanded(indices: Ids, k: int) -> list[set[int]]:
    full, half = literal_reciprocal(indices, k), literal_reciprocal(indices, k // 2)
    sets = []
    for mine in full:
        whole = set(mine)
        for other in mine:
            if len(half[other] & mine) >= len(half[other]) * 2 / 3:
                whole |= half[other]
        sets.append(whole)
    return sets


@pytest.mark.parametrize("seed", range(4))
def test_reciprocal_sets_and_what_they_add_are_those_of_the_definition(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    indices = faces(seed)[0].indices
    for made, wanted in (
        (reciprocal(indices, 10), literal_reciprocal(indices, 10)),
        (reciprocal(indices, 5), literal_reciprocal(indices, 5)),
        (expanded(indices, 10), literal_expanded(indices, 10)),
    ):
        dense = made.toarray()
        assert set(np.unique(dense).tolist()) == {0, 1}
        assert [set(np.flatnonzero(row).tolist()) for row in dense] == wanted
    assert literal_expanded(indices, 10) != literal_reciprocal(indices, 10)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_the_structure_space_sorts_by_overlap_and_cosine(eta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    near, _ = faces(5)
    # Blocks that do not fit the number of faces.
    monkeypatch.setattr(ada_nets._at, "__defaults__", (7,))
    sets = literal_expanded(near.indices, 10)
    made = structure_space(near, eta)
    for row in range(len(near)):
        similar = [
            (1 - eta) * len(sets[row] & sets[other]) / len(sets[row] | sets[other]) + eta * float(cosine)
            for other, cosine in zip(near.indices[row].tolist(), near.cosines[row], strict=True)
        ]
        order = sorted(range(1, 10), key=lambda place: -similar[place])
        assert made[row].tolist() == [row, *near.indices[row][order].tolist()]
    if eta == 1.0:
        assert made.tolist() == near.indices.tolist()
    else:
        assert made.tolist() != near.indices.tolist()


def literal_best(candidates: list[int], row: int, person: Ids, beta: float) -> int:
    total = int((person == person[row]).sum())
    qualities = []
    for j in range(1, len(candidates) + 1):
        right = sum(person[other] == person[row] for other in candidates[:j])
        p, r = right / j, right / total
        qualities.append((1 + beta * beta) * p * r / (beta * beta * p + r))
    return qualities.index(max(qualities)) + 1


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_the_best_number_has_the_best_quality(beta: float) -> None:
    near, person = faces(6)
    made = best_number(near.indices, person, beta)
    assert made.tolist() == [
        literal_best(near.indices[row].tolist(), row, person, beta) for row in range(len(person))
    ]
    assert len(np.unique(made)) > 3


def test_precision_counts_double_in_the_quality() -> None:
    # The second is right, the third wrong, the fourth right.
    person = np.array([0, 0, 1, 0])
    candidates = np.array([[0, 1, 2, 3], [1, 0, 2, 3], [2, 0, 1, 3], [3, 0, 1, 2]])
    assert best_number(candidates, person, 0.5)[0] == 2
    assert best_number(candidates, person, 2.0)[0] == 4


def test_the_graph_is_the_mean_of_each_face_and_whom_it_or_who_keeps_it() -> None:
    near, _ = faces(7)
    random = np.random.default_rng(0)
    numbers = random.integers(1, 11, len(near))
    dense = np.zeros((len(near), len(near)))
    for row in range(len(near)):
        for other in near.indices[row, : numbers[row]]:
            dense[row, other] = dense[other, row] = 1
    assert (np.diag(dense) == 1).all()
    np.testing.assert_allclose(
        graph(near.indices, numbers).toarray(), dense / dense.sum(axis=1, keepdims=True), rtol=1e-6
    )


def test_the_loss_is_the_mean_of_one_persons_pairs_and_the_worst_of_two_peoples() -> None:
    generator = torch.Generator().manual_seed(0)
    features = functional.normalize(torch.randn(3, 6, 5, generator=generator), dim=2)
    person = torch.tensor([[0, 0, 1, 1, 2, 0], [3, 3, 3, 3, 3, 3], [0, 1, 2, 3, 4, 5]])
    losses = []
    for made, who in zip(features, person, strict=True):
        one, two = [], []
        for i in range(6):
            for j in range(6):
                cosine = float(made[i] @ made[j])
                if who[i] == who[j]:
                    one.append(max(0.0, 0.9 - cosine))
                else:
                    two.append(max(0.0, 1.0 + cosine))
        losses.append(sum(one) / len(one) + max(two, default=0.0))
    features.requires_grad_()
    value = hinges(features, person, 0.9, 1.0)
    assert value.item() == pytest.approx(sum(losses) / 3, abs=1e-6)
    # A neighbourhood of one person has no pair of two, and no gradient that is not a number.
    value.backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert features.grad[1].abs().sum() > 0


def test_errors_of_the_filter_count_in_parts_of_the_truth() -> None:
    predicted, truth = torch.tensor([0.1, 0.2, 0.9]), torch.tensor([0.2, 0.2, 0.3])
    # Off by half: 0.5 * 0.25; right; three times as many, off by 2: 1 * (2 - 0.5).
    assert float(relative_huber(predicted, truth)) == pytest.approx((0.125 + 0 + 1.5) / 3)


def count(module: nn.Module) -> int:
    return sum(weights.numel() for weights in module.parameters())


def test_networks_of_the_paper_have_as_many_weights_as_the_authors_layers() -> None:
    config = RECIPES["paper"]
    # AND/net/gcn_v.py with feat_dim 256 and nhid 512.
    d, h = 256, 512
    lstm = 2 * (4 * d * d + 4 * d * d + 2 * 4 * d)
    layers = (d * h + h) + h + (h * d + d) + d
    expected = lstm + (2 * d * d + d) + layers + (d + 1)
    assert count(AdaptiveFilter(256, config.memory, config.depth, config.dropout)) == expected == 1_447_937
    # GCN/net/gat.py: two SAGEConv of the kind "gcn" and a layer with a PReLU.
    assert count(GraphNetwork(256, config.width)) == (d * h + h) + (h * h + h) + (h * h + h) + h == 657_408


def test_the_filter_sees_the_order_of_its_candidates() -> None:
    torch.manual_seed(0)
    network = AdaptiveFilter(6, 4, 8, 0.0).eval()
    candidates = torch.randn(5, 7, 6)
    assert not torch.allclose(network(candidates), network(candidates.flip(1)))


def test_the_graph_network_is_its_formula_on_the_whole_graph_and_on_a_part() -> None:
    near, _ = faces(8)
    random = np.random.default_rng(0)
    edges = graph(near.indices, random.integers(1, 11, len(near)))
    vectors = torch.as_tensor(random.standard_normal((len(near), 6)), dtype=torch.float32)
    torch.manual_seed(0)
    network = GraphNetwork(6, 9)
    dense = torch.as_tensor(edges.toarray())
    first = torch.relu(dense @ vectors @ network.first.weight.T + network.first.bias)
    first = first / first.norm(dim=1, keepdim=True)
    second = torch.relu(dense @ first @ network.second.weight.T + network.second.bias)
    expected = network.last(second)
    expected = expected / expected.norm(dim=1, keepdim=True)
    # Of a method that learns nothing, so that it asks for no faces.
    lab = AdaNets(Config(method="dbscan"))
    lab.network = network
    lab._graph = (edges, dense @ vectors)
    rows = np.array([3, 11, 30])
    torch.testing.assert_close(lab.features_of(rows), expected[rows], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        network(dense @ vectors, ada_nets._tensor(edges)), expected, atol=1e-5, rtol=1e-4
    )


# ---- the whole on real embeddings


@pytest.fixture
def lab(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> AdaNets:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    torch.manual_seed(0)
    return AdaNets(RECIPES["tiny"], 0)


def test_nobody_is_in_two_parts(lab: AdaNets) -> None:
    crowd = lab.test_parts()[0].rows
    assert isinstance(crowd, Crowd)
    seen = [set(part.person.tolist()) for part in (lab.learned, crowd.known, crowd.faces)]
    assert [len(part) for part in seen] == [6, 6, 6]
    assert len(set.union(*seen)) == 18
    for part, kept in zip(("train", "valid", "test"), seen, strict=True):
        assert kept <= set(people(part, 112).columns["person"].tolist())  # type: ignore[arg-type]


def test_settings_are_chosen_without_the_faces_that_are_grouped(
    lab: AdaNets, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = lab.test_parts()[0].rows
    assert isinstance(crowd, Crowd)
    judged = []

    def choose(
        settings: tuple[Setting, ...], group: Callable[[Setting], Ids], who: Ids
    ) -> tuple[Setting, float]:
        judged.append(who.tolist())
        return settings[0], 0.0

    monkeypatch.setattr(ada_nets, "choose", choose)
    lab.predictions(crowd)
    assert judged == [crowd.known.person.tolist()]


def test_fewer_candidates_are_kept_where_the_filter_says_so(lab: AdaNets) -> None:
    crowd = lab.test_parts()[0].rows
    assert isinstance(crowd, Crowd)
    candidates = lab.candidates_of(crowd.faces)
    with torch.no_grad():
        lab.filter.number.weight.zero_()
        lab.filter.number.bias.fill_(3 / 8)
    assert lab.kept(crowd.faces, candidates).tolist() == [3] * len(crowd.faces)
    few, _ = lab.made_graph(crowd.faces, candidates)
    many, _ = lab.made_graph(crowd.faces, candidates, everything=True)
    assert few.nnz < many.nnz
    for value, kept in ((-2.0, 1), (7.0, 8)):
        with torch.no_grad():
            lab.filter.number.bias.fill_(value)
        assert set(lab.kept(crowd.faces, candidates).tolist()) == {kept}


@pytest.mark.parametrize("method", ["dbscan", "hdbscan", "chinese-whispers", "k-means"])
def test_methods_that_learn_nothing_go_through_the_same_engine(
    method: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mien.train.run import train

    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    described = paper("matching", "ada-nets")
    settings = described.settings("tiny", (f"method={method}",))
    trained = train("ada-nets", lambda: described.make(settings, 0), folder=tmp_path, progress=False)
    part = trained.lab.test_parts()[0]
    targets, groups = trained.lab.predictions(part.rows)
    assert len(targets) == len(groups) == part.used.rows
    assert METRICS["B-cubed F"].compute(targets, groups) > 0.5
    assert math.isfinite(trained.score)


def test_what_is_learned_groups_people_who_are_hard_to_tell_apart_better_than_links_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mien.train.run import train

    random = np.random.default_rng(0)
    person = np.repeat(np.arange(60), 12)
    vectors = random.standard_normal((60, 16))[person] + 0.8 * random.standard_normal((720, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    drawn = Embedded("drawn", "train", vectors.astype(np.float32), person)
    population = Population.fit(drawn)
    parts = {
        "train": drawn,
        "valid": population.draw(360, 1, "valid"),
        "test": population.draw(360, 2, "test"),
    }
    monkeypatch.setattr(ada_nets, "embedded", lambda part, many=False, most=0: parts[part])
    config = Config(
        rounds=6,
        batch=32,
        optimiser="adamw",
        learning_rate=3e-3,
        neighbours=16,
        memory=8,
        depth=16,
        width=32,
        dropout=0.0,
        filter_part=1.0,
    )
    scores = []
    for settings in (config, Config(rounds=1, neighbours=16, method="dbscan")):
        trained = train(
            "ada-nets",
            partial(AdaNets, settings),
            folder=tmp_path / settings.method,
            progress=False,
        )
        scores.append(
            METRICS["B-cubed F"].compute(*trained.lab.predictions(trained.lab.test_parts()[0].rows))
        )
    assert scores[0] > scores[1] + 0.03
