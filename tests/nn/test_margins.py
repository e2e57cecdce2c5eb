"""The margins against pytorch-metric-learning's and against the papers' equations written out."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss, NormalizedSoftmaxLoss
from torch.nn import functional

from mien.nn.embedder import Embedder
from mien.nn.margins import Margin, MarginSoftmax


def case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(12, 16) * 3, torch.randint(0, 5, (12,))


@pytest.mark.parametrize("margin", ["softmax", "cosface", "arcface"])
@pytest.mark.parametrize("seed", range(3))
def test_losses_are_those_of_an_independent_library(margin: Margin, seed: int) -> None:
    embeddings, labels = case(seed)
    head = MarginSoftmax(16, 5, margin, 0.3, scale=20.0)
    if margin == "softmax":
        theirs = NormalizedSoftmaxLoss(5, 16, temperature=1 / 20)
        theirs.W.data = functional.normalize(head.centres.data).T
    elif margin == "cosface":
        theirs = CosFaceLoss(5, 16, margin=0.3, scale=20)
        theirs.W.data = head.centres.data.T
    else:
        theirs = ArcFaceLoss(5, 16, margin=math.degrees(0.3), scale=20)
        theirs.W.data = head.centres.data.T
    torch.testing.assert_close(head(embeddings, labels), theirs(embeddings, labels), rtol=1e-4, atol=1e-4)


def test_arcface_keeps_falling_behind_the_pole() -> None:
    head = MarginSoftmax(2, 2, "arcface", 0.5, scale=1.0)
    head.centres.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    angles = torch.linspace(0.0, math.pi, 200)
    around = torch.stack([angles.cos(), angles.sin()], dim=1)
    made = head.logits(around, torch.zeros(200, dtype=torch.int64))[:, 0]
    assert (made.diff() < 1e-5).all()
    torch.testing.assert_close(made[40], (angles[40] + 0.5).cos())


def test_adafaces_margin_is_written_out() -> None:
    embeddings, labels = case()
    head = MarginSoftmax(16, 5, "adaface", 0.4, scale=1.0)
    lengths = embeddings.norm(dim=1)
    mean = 0.99 * 20 + 0.01 * lengths.mean()
    deviation = 0.99 * 100 + 0.01 * lengths.std()
    logits = head.logits(embeddings, labels)
    plain = functional.normalize(embeddings) @ functional.normalize(head.centres.data).T
    for row in range(12):
        quality = ((lengths[row] - mean) / (deviation + 1e-3) * 0.333).clamp(-1, 1)
        for column in range(5):
            expected = plain[row, column]
            if column == labels[row]:
                expected = (expected.acos() - 0.4 * quality).cos() - (0.4 * quality + 0.4)
            torch.testing.assert_close(logits[row, column], expected, rtol=1e-4, atol=1e-4)


def test_adafaces_statistics_rest_while_it_is_judged() -> None:
    embeddings, labels = case()
    head = MarginSoftmax(16, 5, "adaface").eval()
    head(embeddings, labels)
    assert float(head.mean) == 20.0


def test_embeddings_of_a_batch_have_no_mean_and_one_deviation() -> None:
    torch.manual_seed(0)
    made = Embedder(8)(torch.rand(16, 3, 48, 48) * 255)
    torch.testing.assert_close(made.mean(dim=0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(made.std(dim=0, unbiased=False), torch.ones(8), atol=1e-2, rtol=0)
