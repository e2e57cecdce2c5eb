"""Max-Feature-Map against sorting, and where its gradients go."""

from __future__ import annotations

import pytest
import torch

from mien.nn.maxfeature import MaxFeatureMap, max_feature_map


@pytest.mark.parametrize("shape", [(5, 12), (2, 12, 3, 4)])
def test_it_passes_on_the_largest_of_two_and_the_two_largest_of_three(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape)
    two = x.reshape(len(x), 2, 6, *shape[2:]).sort(dim=1, descending=True).values
    torch.testing.assert_close(max_feature_map(x, 2), two[:, 0], rtol=0, atol=0)
    three = x.reshape(len(x), 3, 4, *shape[2:]).sort(dim=1, descending=True).values
    torch.testing.assert_close(MaxFeatureMap(3)(x), three[:, :2].flatten(1, 2), rtol=0, atol=0)


@pytest.mark.parametrize(("parts", "winners"), [(2, 6), (3, 8)])
def test_every_place_passes_a_gradient_to_its_winners_alone(parts: int, winners: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(7, 12, requires_grad=True)
    assert parts in (2, 3)
    max_feature_map(x - 10, 2 if parts == 2 else 3).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    # also far below zero, where ReLU would pass none
    assert (x.grad.sum(dim=1) == winners).all()
    assert set(x.grad.flatten().tolist()) == {0.0, 1.0}


def test_the_same_order_of_parts_does_not_matter() -> None:
    first, second, third = torch.randn(3, 4, 5)
    torch.testing.assert_close(
        max_feature_map(torch.cat([first, second, third], dim=1), 3),
        max_feature_map(torch.cat([third, first, second], dim=1), 3),
    )


def test_channels_that_cannot_be_dealt_evenly_are_refused() -> None:
    with pytest.raises(ValueError, match="7 channels cannot compete in 2"):
        max_feature_map(torch.zeros(1, 7))
    with pytest.raises(ValueError, match="8 channels cannot compete in 3"):
        max_feature_map(torch.zeros(1, 8), 3)
