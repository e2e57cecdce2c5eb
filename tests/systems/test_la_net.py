"""LA-Net's parts against their formulas written out, and its network by the authors' counts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.data.landmarks import landmarks
from mien.data.reader import Images
from mien.data.votes import votes_of
from mien.systems.expression import la_net
from mien.systems.expression.la_net import (
    LANDMARKS,
    PARTNERS,
    RECIPES,
    Contrasted,
    LabelDistribution,
    LaNet,
    Queue,
    TwoBranches,
)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_network_at_inference_is_a_resnet18() -> None:
    def branch(net: TwoBranches) -> int:
        return count(net.stem) + count(net.expression) + count(net.classifier)

    # torchvision's published count, and the same with the seven classes of the authors' code
    assert branch(TwoBranches(RECIPES["paper"], channels=3, classes=1000)) == 11_689_512
    assert branch(TwoBranches(RECIPES["paper"], channels=3, classes=7)) == 11_180_103


def test_what_is_trained_has_the_parameters_of_the_authors_code() -> None:
    config = RECIPES["paper"]
    estimate = LabelDistribution(torch.zeros(3, dtype=torch.int64), 7, 512, 64, 8, 0.9)
    assert count(TwoBranches(config, channels=3, classes=7)) == 22_261_767
    assert count(estimate) == 433_940


@pytest.mark.parametrize("name", RECIPES)
def test_maps_of_landmarks_have_the_side_that_the_stem_leaves(name: str) -> None:
    config = RECIPES[name]
    net = TwoBranches(config).eval()
    faces = torch.rand(2, 1, config.size, config.size) * 255
    side = config.size // (4 if config.stem == 7 else 2)
    assert net.points(net.landmark_features(net.shared(faces))).shape == (2, 19, side, side)
    assert net(faces).shape == (2, 8)


def estimated(estimate: LabelDistribution, spaces: list[Tensor], logits: Tensor) -> Tensor:
    """Return (n, c) t_i: all pairs of the batch, face by face."""
    total = len(logits)
    made = torch.zeros_like(logits)
    for features, contribution in zip(spaces, (estimate.expression, estimate.landmark), strict=True):
        mapped = contribution.roles(features)
        half = features.shape[1] // 2
        for i in range(total):
            cosine = [
                -2.0 if j == i else float(functional.cosine_similarity(features[i], features[j], dim=0))
                for j in range(total)
            ]
            near = sorted(range(total), key=lambda j: -cosine[j])[: estimate.neighbours]
            pairs = [torch.cat([mapped[i, :half], mapped[j, half:]]) for j in near]
            scores = [contribution.score(pair).softmax(dim=0)[0] for pair in pairs]
            opinions = [s * logits[j].softmax(dim=0) for s, j in zip(scores, near, strict=True)]
            made[i] = made[i] + 0.5 * sum(opinions) / sum(scores)
    return made


def test_distributions_are_averages_over_rounds_of_what_neighbours_are_taken_for() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([2, 0, 1, 3, 3, 1, 0, 2, 1, 0, 2])
    estimate = LabelDistribution(labels, 4, 8, 4, neighbours=3, memory=0.7)
    kept = functional.one_hot(labels, 4).float()
    for rows in (torch.tensor([1, 4, 9, 0, 7, 10]), torch.tensor([9, 2, 3, 1, 5, 8])):
        spaces, logits = [torch.randn(6, 8), torch.randn(6, 4)], torch.randn(6, 4)
        made = estimate(*spaces, logits, rows)
        kept[rows] = 0.7 * kept[rows] + 0.3 * estimated(estimate, spaces, logits).detach()
        torch.testing.assert_close(made, kept[rows])
        torch.testing.assert_close(estimate.bank, kept)
    torch.testing.assert_close(estimate.bank.sum(dim=1), torch.ones(11))


def test_what_neighbours_contribute_is_learned() -> None:
    torch.manual_seed(0)
    estimate = LabelDistribution(torch.zeros(6, dtype=torch.int64), 4, 8, 4, 3, 0.7)
    logits = torch.randn(6, 4, requires_grad=True)
    made = estimate(torch.randn(6, 8), torch.randn(6, 4), logits, torch.arange(6))
    functional.kl_div(logits.log_softmax(dim=1), made, reduction="batchmean").backward()  # type: ignore[no-untyped-call]
    for contribution in (estimate.expression, estimate.landmark):
        assert all(p.grad is not None and bool(p.grad.any()) for p in contribution.parameters())
    assert not estimate.bank.requires_grad


def unit(*shape: int) -> Tensor:
    return functional.normalize(torch.randn(*shape), dim=-1)


def test_the_contrastive_loss_is_its_formula() -> None:
    torch.manual_seed(0)
    queries, keys, bank = unit(5, 6), unit(5, 6), unit(9, 6)
    marks = torch.tensor([1, 1, -4, 0, 1])
    bank_marks = torch.tensor([0, 1, 1, 2, -4, 0, -7, 1, 2])
    value = 0.0
    for i in range(5):
        against = sum(
            math.exp(float(queries[i] @ bank[b]) / 0.1) for b in range(9) if bank_marks[b] != marks[i]
        )
        losses = []
        for j in range(5):
            if marks[j] == marks[i]:
                wanted = math.exp(float(queries[i] @ keys[j]) / 0.1)
                losses.append(-math.log(wanted / (wanted + against)))
        value += sum(losses) / len(losses) / 5
    assert float(la_net.contrast(queries, keys, marks, bank, bank_marks, 0.1)) == pytest.approx(value, 1e-4)


def test_the_contrastive_loss_has_a_gradient_where_all_keys_are_of_one_expression() -> None:
    queries = unit(3, 4).requires_grad_()
    marks = torch.zeros(3, dtype=torch.int64)
    value = la_net.contrast(queries, unit(3, 4), marks, unit(5, 4), torch.zeros(5, dtype=torch.int64), 0.1)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == 0
    assert queries.grad is not None
    assert bool(queries.grad.isfinite().all())


def test_a_face_of_unsure_expression_is_like_no_other() -> None:
    made = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9], [0.5, 0.5]])
    marks = la_net.marks_of(made, torch.tensor([5, 0, 7, 1]), 0.7)
    assert marks.tolist() == [0, -1, 1, -2]


def test_the_queue_forgets_the_oldest() -> None:
    queue = Queue(5, 2)
    keys = torch.arange(12.0).reshape(6, 2)
    for first in (0, 2, 4):
        part = keys[first : first + 2]
        queue.add(part, -part, torch.tensor([first, first + 1]))
    assert queue.marks.tolist() == [5, 1, 2, 3, 4]
    assert torch.equal(queue.expression, keys[[5, 1, 2, 3, 4]])
    assert torch.equal(queue.landmark, -queue.expression)


def test_the_twin_follows_slowly() -> None:
    config = RECIPES["tiny"]
    fast, slow = (Contrasted(TwoBranches(config), config) for _ in range(2))
    before = [p.detach().clone() for p in slow.parameters()]
    fast.net.stem[1].running_mean.fill_(3.0)  # type: ignore[operator]
    slow.follow(fast, 0.9)
    for old, new, aim in zip(before, slow.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), 0.9 * old + 0.1 * aim.detach())
    assert torch.equal(slow.net.stem[1].running_mean, fast.net.stem[1].running_mean)  # type: ignore[arg-type]


def wing(y: float, q: float) -> float:
    """Return the Adaptive Wing loss of one place, by the paper's equations 2 and 3."""
    alpha, omega, epsilon, theta = 2.1, 14.0, 1.0, 0.5
    ratio = theta / epsilon
    slope = omega / (1 + math.pow(ratio, alpha - y)) * (alpha - y) * math.pow(ratio, alpha - y - 1) / epsilon
    offset = theta * slope - omega * math.log(1 + math.pow(ratio, alpha - y))
    if abs(y - q) < theta:
        return omega * math.log(1 + math.pow(abs(y - q) / epsilon, alpha - y))
    return slope * abs(y - q) - offset


def test_the_adaptive_wing_loss_is_its_formula() -> None:
    random = np.random.default_rng(0)
    y, q = random.random(200), random.normal(0.3, 0.8, 200)
    expected = [wing(*pair) for pair in zip(y.tolist(), q.tolist(), strict=True)]
    made = la_net.adaptive_wing(torch.as_tensor(q), torch.as_tensor(y))
    np.testing.assert_allclose(made, expected, rtol=1e-6)


def test_a_spot_lies_on_its_landmark() -> None:
    points = torch.tensor([[[0.5, 0.25], [0.99, 0.0], [1.4, 0.5]]])
    maps, weights = la_net.maps_of(points, 12, 1.5)
    for k, (x, y) in enumerate(((6, 3), (11, 0))):
        assert maps[0, k].argmax() == y * 12 + x
        assert float(maps[0, k, y, x]) == 1
    assert float(maps[0, 0, 3, 8]) == pytest.approx(math.exp(-4 / 4.5))
    assert not maps[0, 2].any()  # outside the picture
    assert float(weights[0, 0, 3, 6]) == 10
    assert float(weights[0, 0, 11, 0]) == 1


def test_landmarks_are_those_of_a_face_and_their_partners_its_other_side(
    faces_with_landmarks: Images,
) -> None:
    points = landmarks(faces_with_landmarks).points(LANDMARKS)
    across, down = points.mean(axis=0).T
    np.testing.assert_allclose(across + across[list(PARTNERS)], 1, atol=0.06)
    np.testing.assert_allclose(down, down[list(PARTNERS)], atol=0.03)
    assert np.all(np.diff(across[:6]) > 0)
    assert np.all(np.diff(across[6:12]) > 0)
    brows, eyes, nose, mouth, chin = (
        down[part].mean() for part in (slice(6), slice(6, 12), slice(12, 15), slice(15, 18), 18)
    )
    assert 0.1 < brows < eyes < nose < mouth < chin < 1


def test_as_many_train_labels_are_wrong_as_asked_for_and_evenly_so() -> None:
    truth = np.arange(80_000) % 8
    made = la_net.noisy(truth, 0.3, 0)
    wrong = made != truth
    assert wrong.mean() == pytest.approx(0.3, abs=0.01)
    shifts = np.bincount((made - truth)[wrong] % 8, minlength=8)
    assert shifts[0] == 0
    np.testing.assert_allclose(shifts[1:] / wrong.sum(), 1 / 7, atol=0.01)
    assert not np.array_equal(made, la_net.noisy(truth, 0.3, 1))
    np.testing.assert_array_equal(la_net.noisy(truth, 0.0, 0), truth)


def test_only_train_labels_are_wrong_and_both_methods_learn_from_the_same(
    faces_with_landmarks: Images,
) -> None:
    ours = LaNet(RECIPES["tiny"], 0)
    plain = LaNet(replace(RECIPES["tiny"], method="plain"), 0)
    truth = la_net.most_voted(votes_of(faces_with_landmarks))
    given = ours.labels(faces_with_landmarks)
    assert 0.15 < float(np.mean(given[0] != truth)) < 0.45
    np.testing.assert_array_equal(given[0], plain.labels(faces_with_landmarks)[0])
    np.testing.assert_array_equal(given[0], ours.distribution.bank.argmax(dim=1))
    assert given[1].shape == (len(truth), 19, 2)
    others = faces_with_landmarks.take(np.arange(len(truth)), "test")
    np.testing.assert_array_equal(ours.labels(others)[0], truth)
