"""FER+'s schemes against the authors' procedure written out, and the paper's network by its count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from mien.core.labels import FERPLUS_EXPRESSIONS, FERPLUS_VOTES
from mien.systems.expression import ferplus
from mien.systems.expression.ferplus import RECIPES, Config, vgg13

UNKNOWN = 8


def draw_votes(count: int, seed: int) -> np.ndarray:
    """Return (count, 10) votes of ten people, from clear to hopeless."""
    random = np.random.default_rng(seed)
    sharpness = random.choice([0.1, 0.3, 1.0, 5.0], count)
    return np.stack([random.multinomial(10, random.dirichlet(np.full(10, s))) for s in sharpness])


def by_hand(raw: list[int], mode: str) -> list[float]:
    """Return the authors' procedure, step by step on one face's ten counts."""
    votes = [0 if v <= 1 else v for v in raw]
    total = sum(votes)
    unknown = [0.0] * 10
    unknown[UNKNOWN] = 1.0
    taken = [0.0] * 10
    if mode == "majority":
        if max(votes) > 0.5 * total:
            taken[votes.index(max(votes))] = 1.0
            return taken
        return unknown
    if mode == "multi-label":
        for i in range(10):
            if votes[i] >= 0.3 * total:
                taken[i] = votes[i]
                if i >= 8 and votes[i] > 0:
                    return unknown
        if sum(taken) <= 0.5 * total:
            return unknown
    else:
        part, count, going = 0.0, 0, True
        while part < 0.75 * total and count < 3 and going:
            most = max(votes)
            for i in range(10):
                if votes[i] == most:
                    taken[i] = most
                    votes[i] = 0
                    part += most
                    count += 1
                    if i >= 8:
                        going = False
                        if sum(taken) > most:
                            taken[i] = 0
                            count -= 1
                        break
        if sum(taken) <= 0.5 * total or count > 3:
            return unknown
    return [v / sum(taken) for v in taken]


@pytest.mark.parametrize("seed", range(3))
def test_labels_are_those_of_the_authors_procedure(seed: int) -> None:
    votes = draw_votes(400, seed)
    expected = np.array([by_hand(row.tolist(), "majority") for row in votes]).argmax(axis=1)
    np.testing.assert_array_equal(ferplus.majority(votes), expected)
    for mode, made in (
        ("multi-label", ferplus.multi_label(votes)),
        ("distribution", ferplus.distribution(votes)),
    ):
        np.testing.assert_allclose(made, [by_hand(row.tolist(), mode) for row in votes])


def test_labels_of_plain_cases() -> None:
    votes = np.zeros((4, 10), int)
    votes[0, [0, 1]] = 9, 1  # a slip
    votes[1, [0, 4]] = 5, 5  # no majority
    votes[2, [UNKNOWN]] = 10
    votes[3, [1, 2]] = 6, 4
    assert ferplus.majority(votes).tolist() == [0, UNKNOWN, UNKNOWN, 1]
    assert ferplus.distribution(votes)[3, [1, 2]].tolist() == [0.6, 0.4]
    assert ferplus.multi_label(votes)[0, 0] == 1.0
    use, shares = ferplus.learned(votes, "drawing")
    assert use.tolist() == [True, True, False, True]
    np.testing.assert_allclose(shares.sum(axis=1)[use], 1)


def test_the_papers_network_has_its_number_of_parameters() -> None:
    # 64 px, four blocks of 64, 128, 256, 256 channels, two layers of 1024, eight classes: "8.75 million"
    assert sum(p.numel() for p in vgg13(Config()).parameters()) == 8_757_704


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_gives_a_logit_for_each_expression(name: str) -> None:
    config = RECIPES[name]
    logits = vgg13(config).eval()(torch.rand(2, 1, config.size, config.size) * 255)
    assert logits.shape == (2, len(FERPLUS_EXPRESSIONS))


def test_losses_are_the_papers_equations() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 8)
    shares = torch.rand(6, 8).softmax(dim=1)
    q = logits.softmax(dim=1)
    literal = -(shares * q.log()).sum(dim=1).mean()
    assert torch.allclose(ferplus.loss(logits, shares, "distribution"), literal)
    allowed = shares * (shares > shares.median())
    best = torch.stack([max((q[i, k] for k in range(8) if allowed[i, k] > 0), key=float) for i in range(6)])
    assert torch.allclose(ferplus.loss(logits, allowed, "multi-label"), -best.log().mean())
    sure = torch.eye(8)[[0, 1, 2, 3, 4, 5]]
    for scheme in ("majority", "drawing", "distribution", "multi-label"):
        assert torch.allclose(
            ferplus.loss(logits, sure, scheme),
            functional.cross_entropy(logits, torch.arange(6)),
        )


def test_drawn_labels_follow_the_votes() -> None:
    torch.manual_seed(0)
    shares = torch.tensor([[0.7, 0.3, 0, 0, 0, 0, 0, 0]]).repeat(4000, 1)
    logits = torch.zeros(4000, 8)
    logits[:, 0] = 50.0  # the loss is 0 for the first label and 50 for the second
    drawn = float(ferplus.loss(logits, shares, "drawing"))
    assert drawn == pytest.approx(50 * 0.3, abs=1.5)


def test_votes_have_the_order_of_the_file() -> None:
    assert FERPLUS_VOTES.index("unknown") == UNKNOWN
    assert FERPLUS_VOTES[:8] == FERPLUS_EXPRESSIONS
