"""FaceNet's triplets against an independent miner, its network by the paper's table, its two versions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner, TripletMarginMiner
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from mien.systems.recognition.facenet import (
    NN2,
    RECIPES,
    REPRODUCE,
    FaceNet,
    Inception,
    NormPool,
    mine,
    older,
    squared_distances,
    triplet_loss,
)
from mien.train.run import train

SQUARED = LpDistance(normalize_embeddings=True, p=2, power=2)


def batch(seed: int = 0, people: int = 6, pictures: int = 4) -> tuple[Tensor, Tensor]:
    """Return embeddings of length 1 that are more alike within a person, and the persons."""
    generator = torch.Generator().manual_seed(seed)
    persons = torch.arange(people).repeat_interleave(pictures)
    middle = torch.randn(people, 8, generator=generator)[persons]
    return functional.normalize(middle + torch.randn(len(persons), 8, generator=generator)), persons


def rows(triplets: tuple[Tensor, Tensor, Tensor]) -> set[tuple[int, ...]]:
    """Return triplets as a set of rows."""
    return set(zip(*(part.tolist() for part in triplets), strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_semi_hard_triplets_are_those_of_an_independent_miner(seed: int) -> None:
    embeddings, persons = batch(seed)
    every = rows(TripletMarginMiner(0.2, type_of_triplets="semihard", distance=SQUARED)(embeddings, persons))
    distances = squared_distances(embeddings)
    drawn: set[tuple[int, ...]] = set()
    for _ in range(200):
        triplets = mine(distances, persons, "semi-hard", 0.2)
        found = rows(triplets)
        # one to each pair of anchor and positive that has any
        assert len(found) == len(triplets[0]) == len({triplet[:2] for triplet in every})
        assert found <= every
        drawn |= found
    assert drawn == every


def test_the_hardest_are_the_nearest_of_all_others_and_random_ones_are_any() -> None:
    embeddings, persons = batch()
    distances = squared_distances(embeddings)
    anchors, positives, negatives = mine(distances, persons, "hard", 0.2)
    assert len(anchors) == 6 * 4 * 3
    assert (persons[anchors] == persons[positives]).all()
    assert (anchors != positives).all()
    chosen = dict(zip(anchors.tolist(), negatives.tolist(), strict=True))
    independent = BatchHardMiner(distance=SQUARED)(embeddings, persons)
    assert chosen == dict(zip(independent[0].tolist(), independent[2].tolist(), strict=True))
    seen: dict[int, set[int]] = {row: set() for row in range(24)}
    for _ in range(200):
        anchors, _, negatives = mine(distances, persons, "random", 0.2)
        for anchor, negative in zip(anchors.tolist(), negatives.tolist(), strict=True):
            seen[anchor].add(negative)
    assert all(others == set(range(24)) - {*range(a // 4 * 4, a // 4 * 4 + 4)} for a, others in seen.items())


def test_the_loss_is_the_papers_formula_and_that_of_an_independent_library() -> None:
    embeddings, persons = batch()
    embeddings.requires_grad_()
    distances = squared_distances(embeddings)
    triplets = mine(distances, persons, "random", 0.2)
    ours = triplet_loss(distances, triplets, 0.2)
    literal = [
        max(0.0, float((a - p).square().sum() - (a - n).square().sum()) + 0.2)
        for a, p, n in zip(*(embeddings.detach()[part] for part in triplets), strict=True)
    ]
    assert float(ours.detach()) == pytest.approx(sum(literal) / len(literal), rel=1e-4)
    library = TripletMarginLoss(0.2, distance=SQUARED, reducer=MeanReducer())
    torch.testing.assert_close(ours, library(embeddings, persons, triplets))


def test_a_batch_without_semi_hard_triplets_teaches_nothing() -> None:
    persons = torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]], requires_grad=True)
    distances = squared_distances(apart)
    triplets = mine(distances, persons, "semi-hard", 0.2)
    assert [len(part) for part in triplets] == [0, 0, 0]
    triplet_loss(distances, triplets, 0.2).backward()  # type: ignore[no-untyped-call]
    assert apart.grad is not None
    assert (apart.grad == 0).all()


def test_the_papers_network_has_the_parameters_and_multiply_adds_of_its_table() -> None:
    with torch.device("meta"):
        net = NN2(128).eval()
        convolutions = [layer for layer in net.body if isinstance(layer, torch.nn.Conv2d)]
        blocks = [layer for layer in net.body if isinstance(layer, Inception)]
        weights = [
            sum(part.weight.numel() for part in block.modules() if isinstance(part, torch.nn.Conv2d))
            for block in blocks
        ]
        # Table 2, in thousands: 9, 115 (in two), (3a) to (4e), then 1.6 million twice, and 131
        assert [round(layer.weight.numel() / 1e3) for layer in convolutions] == [9, 4, 111]
        thousands = [round(count / 1e3) for count in weights]
        assert thousands[:8] == pytest.approx([164, 228, 398, 545, 595, 654, 722, 717], abs=1)
        assert [round(count / 1e6, 1) for count in weights[8:]] == [1.6, 1.6]
        assert round(net.head.weight.numel() / 1e3) == 131
        assert sum(p.numel() for p in net.parameters()) == pytest.approx(7.5e6, abs=0.05e6)
        assert [block.outputs for block in blocks] == [256, 320, 640, 640, 640, 640, 640, 1024, 1024, 1024]
        with FlopCounterMode(display=False) as counter:
            assert net(torch.empty(1, 3, 224, 224)).shape == (1, 128)
    assert counter.get_total_flops() / 2 == pytest.approx(1.6e9, abs=0.05e9)


def test_pooling_by_the_norm_is_a_root_of_a_mean_of_squares() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 5, 5)
    assert float(NormPool()(x)[0, 1, 2, 3]) == pytest.approx(float(x[0, 1, 1:4, 2:5].norm() / 3), rel=1e-5)
    (slope,) = torch.autograd.grad(
        NormPool()(zero := torch.zeros(1, 1, 3, 3, requires_grad=True)).sum(), zero
    )
    assert slope.isfinite().all()


@pytest.fixture
def runs(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    monkeypatch.setenv("MIEN_RUNS", str(tmp_path))
    return tmp_path


def test_the_new_version_learns_beside_the_old_one_which_stays_as_it_was_trained(runs: Path) -> None:
    tiny = RECIPES["tiny"]
    both = replace(tiny, across=True, harmonic=True, rounds=3)
    made = train("facenet", lambda: FaceNet(both), progress=False).lab
    assert isinstance(made, FaceNet)
    v1 = train("facenet", lambda: FaceNet(older(tiny)), progress=False).lab
    v2 = train("facenet", lambda: FaceNet(tiny), progress=False).lab
    # the two that it began from, taken up and not trained again, and its own
    assert len(list((runs / "facenet").iterdir())) == 3
    assert isinstance(v1, FaceNet)
    assert isinstance(v2, FaceNet)
    for key, value in v1.net.state_dict().items():
        torch.testing.assert_close(made.older.state_dict()[key], value, rtol=0, atol=0)
    own, alone = (dict(lab.net.named_parameters())["head.0.weight"] for lab in (made, v2))
    assert not torch.allclose(own, alone, atol=1e-3)
    pixels = torch.rand(4, 3, 32, 32) * 255
    one, other = made.pair((pixels, pixels, torch.ones(4)))
    torch.testing.assert_close(other, v1.embed(pixels))
    torch.testing.assert_close(one, made.embed(pixels))


def test_versions_that_are_only_compared_stay_as_they_were_trained(runs: Path) -> None:
    tiny = RECIPES["tiny"]
    made = train("facenet", lambda: FaceNet(replace(tiny, across=True)), progress=False).lab
    v2 = train("facenet", lambda: FaceNet(tiny), progress=False).lab
    assert isinstance(made, FaceNet)
    assert isinstance(v2, FaceNet)
    for key, value in v2.net.state_dict().items():
        torch.testing.assert_close(made.net.state_dict()[key], value, rtol=0, atol=0)


def test_at_first_only_the_last_layer_learns_and_from_both_versions(runs: Path) -> None:
    lab = FaceNet(replace(RECIPES["tiny"], across=True, harmonic=True, rounds=3))
    lab.log = lambda *given: None  # type: ignore[method-assign]
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8)
    persons = torch.arange(4).repeat_interleave(4)
    value = lab.training_step((pixels, persons), 0)
    assert value is not None
    value.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None for p in (*lab.net.body.parameters(), *lab.older.parameters()))
    assert all(p.grad is not None for p in lab.net.head.parameters())
    assert lab.train().older.training is False


def test_coded_faces_are_compared_by_bytes_of_the_same_weights(runs: Path) -> None:
    torch.manual_seed(0)
    plain = FaceNet(RECIPES["tiny"])
    coded = FaceNet(replace(RECIPES["tiny"], coded=True))
    coded.load_state_dict(plain.state_dict())
    pairs = plain.valid_rows()
    targets, floats = plain.predictions(pairs)
    same, bytes_ = coded.predictions(pairs)
    np.testing.assert_array_equal(targets, same)
    assert 0 < np.abs(floats - bytes_).max() < 0.02
    # validation is in floats for both, so that the same round's weights are kept
    first = next(iter(plain.val_dataloader()))
    torch.testing.assert_close(plain.predict(first), coded.predict(first))


def test_arms_share_the_runs_that_they_compare() -> None:
    cpu = RECIPES["cpu"]
    assert cpu.alone == cpu.rounds
    assert REPRODUCE[1].tolerance == 0.001
    with pytest.raises(ValueError, match="compared across versions"):
        replace(cpu, harmonic=True)
    with pytest.raises(ValueError, match="two pictures"):
        replace(cpu, pictures=1)
