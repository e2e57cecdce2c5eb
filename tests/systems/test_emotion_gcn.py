"""Emotion-GCN's graph against loops over nodes, another library's rank correlations, published sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import madesets
from mien.core.labels import FERPLUS_VOTES
from mien.evaluate.metrics import ccc
from mien.systems.expression.emotion_gcn import (
    NODES,
    RECIPES,
    Config,
    EmotionGcn,
    GraphHead,
    Network,
    concordance,
    dependencies,
    loss,
    normalised,
)
from mien.train.run import train
from mien.train.settings import override


def labels(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return classes, some rare, and values that depend on some of them."""
    random = np.random.default_rng(seed)
    expression = random.choice(7, count, p=[0.3, 0.3, 0.15, 0.1, 0.1, 0.005, 0.045])
    valence = np.where(expression == 1, 0.8, -0.1) + random.normal(0, 0.2, count)
    arousal = np.where(expression == 3, 0.6, 0.0) + random.normal(0, 0.2, count)
    return expression, np.stack([valence, arousal], axis=1)


@pytest.mark.parametrize("seed", range(4))
def test_dependencies_are_thresholded_rank_correlations(seed: int) -> None:
    expression, affect = labels(600, seed)
    made = dependencies(expression, affect, edge=0.1, self_weight=0.5)
    columns = [(expression == c).astype(float) for c in range(7)] + [affect[:, 0], affect[:, 1]]
    for i in range(9):
        neighbours = [
            j
            for j in range(9)
            if j != i and max(i, j) >= 7 and abs(spearmanr(columns[i], columns[j]).statistic) >= 0.1
        ]
        expected = [0.5 if j == i else 0.5 / len(neighbours) if j in neighbours else 0.0 for j in range(9)]
        assert made[i] == pytest.approx(expected)
    assert made[1, 7] > 0  # happiness and valence depend on each other in these rows


def test_a_label_without_rows_depends_on_nothing() -> None:
    expression, affect = labels(300, 0)
    expression[expression == 5] = 0
    made = dependencies(expression, affect)
    assert made[5].tolist() == [0, 0, 0, 0, 0, 0.5, 0, 0, 0]
    assert torch.isfinite(normalised(torch.as_tensor(made))).all()


def test_the_head_is_its_formula_node_by_node() -> None:
    torch.manual_seed(0)
    head = GraphHead(features=6, words=5, hidden=4)
    expression, affect = labels(500, 1)
    graph = torch.as_tensor(dependencies(expression, affect))
    head.dependencies.copy_(graph)
    degrees = [float(graph[i].sum()) for i in range(9)]

    def convolved(nodes: list[torch.Tensor], weight: torch.Tensor) -> list[torch.Tensor]:
        made = []
        for i in range(9):
            gathered = torch.zeros_like(nodes[0])
            for j in range(9):
                gathered = gathered + float(graph[j, i]) / (degrees[i] * degrees[j]) ** 0.5 * nodes[j]
            made.append(torch.stack([(gathered * weight[:, k]).sum() for k in range(weight.shape[1])]))
        return made

    hidden = convolved(list(head.embeddings), head.first.weight)
    hidden = [torch.where(node > 0, node, 0.2 * node) for node in hidden]
    expected = torch.stack(convolved(hidden, head.second.weight))
    assert torch.allclose(head.weights(), expected, atol=1e-6)
    features = torch.randn(3, 6)
    assert torch.allclose(head(features)[2, 8], (features[2] * expected[8]).sum(), atol=1e-6)


def test_an_edge_lets_the_loss_of_values_move_a_classifier() -> None:
    torch.manual_seed(0)
    head = GraphHead(features=6, words=5, hidden=4)

    def influence() -> float:
        """Return how much the regressor of valence depends on the embedding of happiness."""
        embeddings = head.embeddings.clone().requires_grad_()
        head.embeddings = embeddings
        (gradient,) = torch.autograd.grad(head.weights()[7].sum(), embeddings)
        head.embeddings = embeddings.detach()
        return float(gradient[1].abs().sum())

    assert influence() == 0  # the identity joins nothing
    head.dependencies.copy_(torch.as_tensor(dependencies(*labels(500, 1))))
    assert influence() > 0


def test_the_papers_network_has_its_number_of_parameters() -> None:
    net = Network(RECIPES["paper"], 3)
    # DenseNet-121's features and two graph convolutions without a bias, 300 -> 512 -> 1024
    assert sum(p.numel() for p in net.parameters()) == 6_953_856 + 300 * 512 + 512 * 1024


@pytest.mark.parametrize("head", ["gcn", "multi-task", "single-task"])
def test_heads_give_what_they_learn(head: str) -> None:
    config = override(RECIPES["tiny"], [f"head={head}"])
    made = Network(config, 1).eval()(torch.rand(2, 1, 32, 32) * 255)
    assert made.shape == (2, 7 if head == "single-task" else len(NODES))


def test_concordance_is_the_metric() -> None:
    torch.manual_seed(0)
    truth = torch.randn(40, 2)
    values = 0.5 * truth + 0.3 * torch.randn(40, 2) + 0.1
    expected = [ccc(truth[:, k].numpy(), values[:, k].numpy()) for k in range(2)]
    assert concordance(values, truth).tolist() == pytest.approx(expected, abs=1e-5)


def test_the_second_loss_is_there_for_two_tasks_only() -> None:
    torch.manual_seed(0)
    made, expression, affect = torch.randn(20, 9), torch.randint(0, 7, (20,)), torch.rand(20, 2)
    classes, values = loss(made, expression, affect, None)
    p = made[:, :7].softmax(dim=1)
    assert float(classes) == pytest.approx(
        -sum(float(p[n, expression[n]].log()) for n in range(20)) / 20, abs=1e-5
    )
    assert float(values) == pytest.approx(1 - float(concordance(made[:, 7:], affect).mean()))
    alone = loss(made[:, :7], expression, affect, None)
    assert float(alone[0]) == pytest.approx(float(classes))
    assert float(alone[1]) == 0


def test_the_graph_is_of_the_train_rows_and_stored(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    trained = train(
        "emotion-gcn", lambda: EmotionGcn(RECIPES["tiny"], 0), folder=tmp_path, progress=False
    ).lab
    assert isinstance(trained, EmotionGcn)
    assert isinstance(trained.net.head, GraphHead)
    rows = trained.chosen()
    assert len(rows) == RECIPES["tiny"].rows
    expected = dependencies(trained.expression(rows), trained.affect(rows))
    np.testing.assert_allclose(trained.net.head.dependencies, expected)


def test_rows_have_a_majority_of_seven_expressions(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    images = EmotionGcn(RECIPES["tiny"], 0).images("test")
    best = [
        max(FERPLUS_VOTES, key=lambda name, row=row: int(images.columns[name][row]))  # type: ignore[misc]
        for row in range(200)
    ]
    assert [
        EmotionGcn.expressions[c] for c in EmotionGcn(RECIPES["tiny"], 0).expression(images)[:200]
    ] == best


def test_it_learns_from_affectnet_where_that_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    madesets.affectnet(tmp_path / "affectnet")
    monkeypatch.setenv("MIEN_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = Config(
        dataset="affectnet",
        rounds=1,
        batch=8,
        size=32,
        backbone="residual",
        widths=(4, 8),
        words=8,
        hidden=8,
        weighted=True,
    )
    trained = train("emotion-gcn", lambda: EmotionGcn(config), folder=tmp_path / "run", progress=False).lab
    assert isinstance(trained, EmotionGcn)
    assert trained.class_weights.max() == 1
    (part,) = trained.test_parts()
    assert (part.used.name, part.used.split) == ("affectnet", "valid")
    targets, predictions = trained.predictions(part.rows)
    assert predictions.shape == (len(targets), 7)
    assert set(targets.tolist()) == set(range(7))  # contempt is left out
