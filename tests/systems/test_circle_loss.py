"""Circle loss against its formula written out, pytorch-metric-learning's, its kin and its circle."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import CircleLoss as Independent
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor
from torch.nn import functional

from mien.nn.ir50 import IR50
from mien.nn.margins import MarginSoftmax, cosines
from mien.systems.recognition.circle_loss import (
    RECIPES,
    circle,
    decision,
    draw_boundary,
    triplet,
    unified,
)


def batch(seed: int = 0, people: int = 5, pictures: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return embeddings and persons of a batch, and which pairs are of one person and of two."""
    generator = torch.Generator().manual_seed(seed)
    persons = torch.arange(people).repeat_interleave(pictures)
    middle = torch.randn(people, 8, generator=generator)[persons]
    embeddings = (middle + torch.randn(len(persons), 8, generator=generator)).requires_grad_()
    other = persons[:, None] != persons
    return embeddings, persons, ~other & ~torch.eye(len(persons), dtype=torch.bool), other


def literally(similar: Tensor, same: Tensor, other: Tensor, m: float, gamma: float) -> float:
    """Return Eq. 4 to 8, term by term."""
    losses = []
    for s, is_same, is_other in zip(similar.tolist(), same.tolist(), other.tolist(), strict=True):
        near = [value for value, yes in zip(s, is_other, strict=True) if yes]
        far = [value for value, yes in zip(s, is_same, strict=True) if yes]
        first = sum(math.exp(gamma * max(0.0, value + m) * (value - m)) for value in near)
        second = sum(math.exp(-gamma * max(0.0, 1 + m - value) * (value - 1 + m)) for value in far)
        losses.append(math.log(1 + first * second))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("margin", "scale"), [(0.25, 16.0), (0.4, 8.0), (0.0, 4.0)])
def test_the_loss_is_the_papers_formula(margin: float, scale: float) -> None:
    embeddings, persons, same, other = batch()
    pairs = cosines(embeddings, embeddings).detach()
    assert float(circle(pairs, same, other, margin, scale)) == pytest.approx(
        literally(pairs, same, other, margin, scale), rel=1e-4
    )
    centres = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    classes = cosines(embeddings, centres).detach()
    right = functional.one_hot(persons, 5).bool()
    assert float(circle(classes, right, ~right, margin, scale)) == pytest.approx(
        literally(classes, right, ~right, margin, scale), rel=1e-4
    )


@pytest.mark.parametrize(("margin", "scale"), [(0.4, 80.0), (0.25, 256.0)])
def test_values_and_gradients_of_pairs_are_those_of_an_independent_library(
    margin: float, scale: float
) -> None:
    embeddings, persons, same, other = batch()
    ours = circle(cosines(embeddings, embeddings), same, other, margin, scale)
    theirs = Independent(m=margin, gamma=scale, reducer=MeanReducer())(embeddings, persons)
    torch.testing.assert_close(ours, theirs)
    (mine,), (its,) = (torch.autograd.grad(value, embeddings) for value in (ours, theirs))
    torch.testing.assert_close(mine, its)


def test_the_pull_on_a_similarity_grows_with_its_distance_from_its_goal() -> None:
    # Of one pair, d loss / d s_p = -gamma alpha_p Z and d loss / d s_n = gamma alpha_n Z (Eq. 10 and 11).
    similar = torch.tensor([[0.9, 0.4], [0.3, 0.4], [0.9, 0.8]], requires_grad=True)
    same = torch.tensor([[True, False]]).expand(3, 2)
    circle(similar, same, ~same, 0.25, 8.0).backward()  # type: ignore[no-untyped-call]
    assert similar.grad is not None
    ratio = (similar.grad[:, 1] / -similar.grad[:, 0]).tolist()
    assert ratio == pytest.approx([(s_n + 0.25) / (1.25 - s_p) for s_p, s_n in similar.tolist()], rel=1e-4)


def test_unified_with_class_labels_is_am_softmax() -> None:
    embeddings, persons, _, _ = batch()
    head = MarginSoftmax(8, 5, "cosface", 0.35, 30.0)
    similar = cosines(embeddings, head.centres)
    right = functional.one_hot(persons, 5).bool()
    torch.testing.assert_close(unified(similar, right, ~right, 0.35, 30.0), head(embeddings, persons))


def test_unified_with_pair_labels_becomes_the_hardest_triplet_as_gamma_grows() -> None:
    embeddings, persons, same, other = batch()
    similar = cosines(embeddings, embeddings).detach()
    hardest = triplet(similar, same, other, 0.1)
    limit = unified(similar.double(), same, other, 0.1, 1e5) / 1e5
    assert float(limit) == pytest.approx(float(hardest), abs=1e-4)
    distance = CosineSimilarity()
    mined = BatchHardMiner(distance=distance)(embeddings, persons)
    theirs = TripletMarginLoss(margin=0.1, distance=distance, reducer=MeanReducer())
    torch.testing.assert_close(hardest, theirs(embeddings, persons, mined).detach())


@pytest.mark.parametrize("compute", [circle, unified])
def test_pictures_without_a_partner_do_not_count_and_leave_gradients_finite(compute: object) -> None:
    embeddings, _, same, other = batch()
    assert callable(compute)
    alone = same.clone()
    alone[0] = False
    similar = cosines(embeddings, embeddings)
    value = compute(similar, alone, other, 0.25, 256.0)
    torch.testing.assert_close(value, compute(similar[1:], same[1:], other[1:], 0.25, 256.0))
    none = compute(similar, torch.zeros_like(same), other, 0.25, 256.0)
    assert float(none.detach()) == 0.0
    (slope,) = torch.autograd.grad(value + none, embeddings)
    assert slope.isfinite().all()


@pytest.mark.parametrize("margin", [0.1, 0.25, 0.4])
def test_the_boundary_is_a_circle(margin: float) -> None:
    angle = torch.linspace(0, 2 * math.pi, 50, dtype=torch.float64)
    radius = math.sqrt(2) * margin
    # Eq. 9: (s_n - 0)^2 + (s_p - 1)^2 = 2 m^2, where both weights are above zero
    near, far = radius * angle.cos(), 1 + radius * angle.sin()
    both = (near > -margin) & (far < 1 + margin)
    assert decision(near, far, margin, "circle")[both].abs().max() < 1e-12
    inside, outside = (
        decision(0.9 * near, 1 + 0.9 * (far - 1), margin, "circle"),
        decision(1.1 * near, 1 + 1.1 * (far - 1), margin, "circle"),
    )
    assert (inside[both] < 0).all()
    assert (outside[both & (1.1 * near > -margin) & (1.1 * (far - 1) < margin)] > 0).all()
    line = decision(near, near + margin, margin, "unified")
    assert line.abs().max() < 1e-12


def test_the_plot_is_the_same_again() -> None:
    plot = draw_boundary()
    assert plot == draw_boundary()
    assert all(name in plot.decode() for name in ("AM-Softmax", "Circle loss", "s_n", "s_p"))


def test_the_papers_sizes() -> None:
    paper = RECIPES["paper"]
    assert (paper.size, paper.embedding, paper.margin, paper.scale) == (112, 512, 0.25, 256)
    with torch.device("meta"):
        net = IR50(paper.size, paper.embedding, depths=(3, 13, 30, 3))
    count = sum(p.numel() for p in net.parameters())
    # InsightFace's ResNet-100, which has a third norm in each block, is known for its 65.15 million.
    norms = 2 * sum(width * depth for width, depth in zip((64, 128, 256, 512), (3, 13, 30, 3), strict=True))
    assert round((count + norms) / 1e6, 2) == 65.15


def test_pairs_need_partners() -> None:
    with pytest.raises(ValueError, match="pairs need two pictures"):
        replace(RECIPES["cpu"], labels="pair")
