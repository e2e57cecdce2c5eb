"""ResEmoteNet against the authors' pass written out, and what the audit of its figure rests on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.data.overlap import shared
from mien.evaluate.metrics import accuracy
from mien.systems.expression.resemotenet import (
    RECIPES,
    SEEN,
    TESTED,
    Config,
    Network,
    ResEmoteNet,
    least_elsewhere,
)
from mien.train.run import Trained, train

TINY = RECIPES["tiny"]


def count_by_hand() -> int:
    """Return the parameters of the paper's network, layer by layer."""
    convolutions = [(3, 64, 3), (64, 128, 3), (128, 256, 3)]
    for before, after in pairwise((256, 512, 1024, 2048)):
        convolutions += [(before, after, 3), (after, after, 3), (before, after, 1)]
    # weights, a bias, and the two of the norm behind it
    total = sum(before * after * side**2 + 3 * after for before, after, side in convolutions)
    total += 2 * 256 * (256 // 16)
    return total + sum((before + 1) * after for before, after in pairwise((2048, 1024, 512, 256, 7)))


def test_the_papers_network_has_the_parameters_of_the_authors_code() -> None:
    with torch.device("meta"):
        whole = Network(RECIPES["paper"])
        without = Network(replace(RECIPES["paper"], excitation=False))
    count = sum(p.numel() for p in whole.parameters())
    assert count == count_by_hand() == 80_238_599
    assert count - sum(p.numel() for p in without.parameters()) == 8192


def stir(net: nn.Module) -> None:
    """Give layers what they might have learned: fresh ones hardly change what passes, nor do fresh gates."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values, low, high in (
                (layer.running_mean, -1.0, 1.0),
                (layer.running_var, 0.5, 2.0),
                (layer.weight.data, 0.5, 1.5),
                (layer.bias.data, -0.5, 0.5),
            ):
                assert values is not None
                values.uniform_(low, high)
        elif isinstance(layer, nn.Linear):
            layer.weight.data *= 3


def by_hand(net: Network, grey: Tensor, *, excitation: bool) -> Tensor:
    """Return the authors' pass over a grey batch, from the network's numbers in the order of its layers."""
    numbers = iter([value for name, value in net.state_dict().items() if "num_batches" not in name])

    def convolved(x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
        return functional.conv2d(x, next(numbers), next(numbers), stride, padding)

    def normed(x: Tensor) -> Tensor:
        weight, bias, mean, variance = (next(numbers)[:, None, None] for _ in range(4))
        scaled: Tensor = (x - mean) / (variance + 1e-5).sqrt() * weight + bias
        return scaled

    x = torch.cat([(grey / 255 - m) / d for m, d in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))], dim=1)
    for _ in range(3):
        x = functional.max_pool2d(normed(convolved(x)).clamp(min=0), 2)
    if excitation:
        first, second = next(numbers), next(numbers)
        for picture in x:
            z = torch.stack([channel.sum() / channel.numel() for channel in picture])  # Eq. 2
            s = 1 / (1 + torch.exp(-(second @ (first @ z).clamp(min=0))))  # Eq. 3 to 5
            for scale, channel in zip(s, picture, strict=True):
                channel *= scale  # Eq. 6
    for _ in range(3):
        h = normed(convolved(x, stride=2)).clamp(min=0)
        h = normed(convolved(h))
        x = (h + normed(convolved(x, stride=2, padding=0))).clamp(min=0)  # Eq. 7
    x = x.mean(dim=(2, 3))  # Eq. 8
    for last in (False, False, False, True):
        x = x @ next(numbers).T + next(numbers)
        x = x if last else x.clamp(min=0)
    assert next(numbers, None) is None
    return x


@pytest.mark.parametrize("excitation", [True, False])
@torch.no_grad()
def test_forward_is_the_authors_pass_written_out(excitation: bool) -> None:
    torch.manual_seed(0)
    net = Network(Config(width=8, reduction=4, excitation=excitation)).double().eval()
    stir(net)
    # not 64 x 64, of which the last block leaves one place, whose mean is nothing to test
    grey = torch.rand(3, 1, 96, 64, dtype=torch.float64) * 255
    torch.testing.assert_close(net(grey), by_hand(net, grey, excitation=excitation), atol=1e-6, rtol=1e-6)


def test_dropout_is_where_the_authors_have_it() -> None:
    net = Network(Config(width=4, reduction=4))
    assert [layer.p for layer in net.features if isinstance(layer, nn.Dropout)] == [0.2, 0.2]
    assert [layer.p for layer in net.head if isinstance(layer, nn.Dropout)] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_gives_a_logit_for_each_emotion(name: str) -> None:
    config = replace(RECIPES[name], width=4)
    logits = Network(config).eval()(torch.rand(2, 1, config.size, config.size) * 255)
    assert logits.shape == (2, 7)


@pytest.fixture
def data(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the data, and one thread as reproductions have: where others work, several wait for each other."""
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(choose: Literal["valid", "test"], folder: Path) -> Trained:
    config = replace(TINY, rounds=3, learning_rate=0.02, choose=choose)
    return train("resemotenet", lambda: ResEmoteNet(config, 0), folder=folder / choose, progress=False)


@pytest.mark.usefixtures("data")
def test_both_arms_of_the_audit_learn_the_same_weights_and_keep_the_round_that_their_rows_like_best(
    tmp_path: Path,
) -> None:
    honest, mistaken = run("valid", tmp_path), run("test", tmp_path)
    last = [
        torch.load(one.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for one in (honest, mistaken)
    ]
    assert all(torch.equal(last[0][name], last[1][name]) for name in last[0])
    official = mistaken.lab.test_parts()[0]
    scores = {}
    for name, one in (("honest", honest), ("mistaken", mistaken)):
        targets, predictions = one.lab.predictions(official.rows)
        scores[name] = accuracy(targets, predictions.argmax(axis=1))
    assert mistaken.score == pytest.approx(scores["mistaken"], abs=1e-5)
    assert scores["mistaken"] >= scores["honest"]
    targets, predictions = honest.lab.predictions(honest.lab.valid_rows())
    assert honest.score == pytest.approx(accuracy(targets, predictions.argmax(axis=1)), abs=1e-5)


@pytest.mark.usefixtures("data")
def test_the_seen_test_faces_are_counted_rightly_and_told_apart() -> None:
    lab = ResEmoteNet(TINY, 0)
    test, learned = lab.images("test"), lab.images("train")
    assert (len(test), int(shared(test, learned).sum())) == (TESTED, SEEN)
    every, unseen = lab.test_parts()
    assert every.used.rows == TESTED
    assert unseen.used.rows <= TESTED - SEEN
    honest = lab.valid_rows()
    assert len(honest) < len(lab.images("valid"))  # type: ignore[arg-type]


def test_what_a_figure_implies_for_rows_not_seen_adds_up_to_it() -> None:
    least = least_elsewhere(0.7979, TESTED, SEEN)
    right = np.concatenate([np.ones(SEEN), np.full(TESTED - SEEN, least)])
    assert right.mean() == pytest.approx(0.7979)
    assert f"{least:.1%}" == "78.1%"
