"""The triplet network's loss, towers and neighbours against slow versions, its network by its count."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.nn.embedder import Embedder
from mien.systems.recognition.triplet_network import (
    RECIPES,
    Convolutions,
    Towers,
    TripletNetwork,
    by_neighbours,
    contrastive_loss,
    drawn,
    triplet_loss,
)


def test_the_loss_of_triplets_is_the_papers_formula() -> None:
    near, far = torch.tensor([0.3, 2.0, 5.0]), torch.tensor([1.0, 2.0, 1.0])
    shares = [
        math.exp(a) / (math.exp(a) + math.exp(b)) for a, b in zip(near.tolist(), far.tolist(), strict=True)
    ]
    # |(d+, d- - 1)|^2 over two numbers
    literal = [(share**2 + ((1 - share) - 1) ** 2) / 2 for share in shares]
    assert float(triplet_loss(near, far)) == pytest.approx(sum(literal) / 3, rel=1e-6)
    assert float(triplet_loss(near, far)) == pytest.approx(sum(share**2 for share in shares) / 3, rel=1e-6)


def test_triplets_pull_the_same_nearer_and_push_others_away_and_only_the_difference_counts() -> None:
    near, far = torch.tensor([1.0, 3.0]).requires_grad_(), torch.tensor([2.0, 2.0]).requires_grad_()
    triplet_loss(near, far).backward()  # type: ignore[no-untyped-call]
    assert near.grad is not None
    assert far.grad is not None
    assert (near.grad > 0).all()
    torch.testing.assert_close(far.grad, -near.grad)
    torch.testing.assert_close(triplet_loss(near + 7, far + 7), triplet_loss(near, far))


def test_the_contrastive_loss_is_hadsells_formula() -> None:
    near, far = torch.tensor([0.5, 2.0]), torch.tensor([1.0, 9.0])
    pairs = [(0, 0.5), (0, 2.0), (1, 1.0), (1, 9.0)]
    # Eq. 4 with Y = 1 for pairs of two classes
    literal = [(1 - y) * d**2 / 2 + y * max(0.0, 4.0 - d) ** 2 / 2 for y, d in pairs]
    assert float(contrastive_loss(near, far, 4.0)) == pytest.approx(sum(literal) / 4)


def test_draws_are_another_picture_of_the_person_and_one_of_somebody_else() -> None:
    torch.manual_seed(0)
    persons = torch.tensor([3, 3, 5, 5, 5, 8, 8])
    seen = set()
    for _ in range(200):
        positive, negative = drawn(persons)
        assert (persons[positive] == persons).all()
        assert (positive != torch.arange(7)).all()
        assert (persons[negative] != persons).all()
        seen |= {(2, int(positive[2])), (2, 10 + int(negative[2]))}
    assert seen == {(2, place) for place in (3, 4, 10, 11, 15, 16)}
    for alone in (torch.tensor([1, 1, 2]), torch.tensor([1, 1, 1])):
        with pytest.raises(ValueError, match="two pictures of each person"):
            drawn(alone)


def test_towers_are_three_passes_through_one_network() -> None:
    torch.manual_seed(0)
    pixels, persons = torch.rand(6, 3, 32, 32) * 255, torch.tensor([0, 0, 1, 1, 2, 2])
    net = Embedder(8, widths=(4, 8), depths=(1, 1)).eval()
    positive, negative = drawn(persons)
    near, far = Towers(net)(pixels, positive, negative)
    triplet_loss(near, far).backward()  # type: ignore[no-untyped-call]
    shared = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    x, plus, minus = net(pixels), net(pixels[positive]), net(pixels[negative])
    torch.testing.assert_close(near, (x - plus).norm(dim=1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(far, (x - minus).norm(dim=1), atol=1e-4, rtol=1e-4)
    triplet_loss((x - plus).norm(dim=1), (x - minus).norm(dim=1)).backward()  # type: ignore[no-untyped-call]
    apart = [p.grad for p in net.parameters() if p.grad is not None]
    assert len(shared) == len(apart) > 10
    for one, other in zip(shared, apart, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


def test_neighbours_vote_without_the_picture_itself() -> None:
    random = np.random.default_rng(0)
    persons = random.integers(0, 4, 40)
    embeddings = random.normal(size=(40, 3)) + persons[:, None] * 0.7
    told = []
    for row in range(40):
        gaps = np.linalg.norm(embeddings - embeddings[row], axis=1)
        gaps[row] = np.inf
        votes = persons[np.argsort(gaps)[:5]].tolist()
        told.append(max(votes, key=lambda vote: (votes.count(vote), -votes.index(vote))))
    assert by_neighbours(embeddings, persons, 5).tolist() == told
    # with itself among them, everybody's one neighbour would be right
    assert (by_neighbours(random.normal(size=(40, 3)), persons, 1) == persons).mean() < 0.6


def test_the_papers_network_has_the_parameters_of_its_layers() -> None:
    net = Convolutions()
    layers = ((3, 64, 5), (64, 128, 3), (128, 256, 3), (256, 128, 2))
    count = sum(inputs * outputs * side**2 + outputs for inputs, outputs, side in layers)
    assert sum(p.numel() for p in net.parameters()) == count == 505_088
    assert net(torch.rand(2, 3, 32, 32) * 255).shape == (2, RECIPES["paper"].embedding)


def test_figures_are_of_faces_of_people_who_were_not_trained_on(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    lab = TripletNetwork(RECIPES["tiny"])
    (part,) = lab.test_parts()
    persons, told = lab.predictions(part.rows)
    assert len(np.unique(persons)) == 40
    assert set(told.tolist()) <= set(persons.tolist())
    assert part.units is not None
    np.testing.assert_array_equal(np.unique(part.units, return_inverse=True)[1], persons)
    with pytest.raises(ValueError, match="triplets need two pictures"):
        replace(RECIPES["tiny"], pictures=0)
