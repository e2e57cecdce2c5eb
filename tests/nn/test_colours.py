"""ImageNet's colours against what they do to plain pictures."""

from __future__ import annotations

import torch

from mien.nn.colours import ImageNetColours


def test_each_colour_is_scaled_by_its_own_mean_and_deviation() -> None:
    pixels = torch.arange(2 * 3 * 2 * 2, dtype=torch.float32).reshape(2, 3, 2, 2) * 10
    made = ImageNetColours()(pixels)
    for channel, (mean, deviation) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        torch.testing.assert_close(made[:, channel], (pixels[:, channel] / 255 - mean) / deviation)


def test_a_grey_picture_is_that_picture_in_three_equal_colours() -> None:
    grey = torch.rand(2, 1, 4, 4) * 255
    torch.testing.assert_close(ImageNetColours()(grey), ImageNetColours()(grey.repeat(1, 3, 1, 1)))


def test_nothing_of_it_is_learned_or_stored() -> None:
    assert not list(ImageNetColours().parameters())
    assert not ImageNetColours().state_dict()
