"""Augmentation moves pictures by what it was told, and no further."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mien.data.augment import Jitter, zoomed


def pictures(count: int = 16, size: int = 48) -> Tensor:
    """Return (count, 1, size, size) smooth random pictures, 0..255."""
    generator = torch.Generator().manual_seed(1)
    small = torch.rand(count, 1, 6, 6, generator=generator) * 255
    return torch.nn.functional.interpolate(small, size=size, mode="bicubic", align_corners=False).clamp(
        0, 255
    )


def test_nothing_asked_for_changes_nothing() -> None:
    pixels = pictures()
    torch.testing.assert_close(Jitter()(pixels), pixels, atol=1e-3, rtol=0)


def test_half_of_the_pictures_are_mirrored_and_nothing_else() -> None:
    torch.manual_seed(0)
    pixels = pictures(200)
    made = Jitter(mirror=True)(pixels)
    same = torch.tensor([torch.allclose(a, b, atol=1e-2) for a, b in zip(made, pixels, strict=True)])
    flipped = torch.tensor(
        [torch.allclose(a, b.flip(-1), atol=1e-2) for a, b in zip(made, pixels, strict=True)]
    )
    assert bool((same ^ flipped).all())
    assert 70 < int(flipped.sum()) < 130


@pytest.mark.parametrize("degrees", [20.0])
def test_a_turn_is_pillows_turn(degrees: float) -> None:
    torch.manual_seed(3)
    pixels = pictures(1)
    angle = float((2 * torch.rand(1) - 1) * degrees)
    torch.manual_seed(3)
    made = Jitter(turn=degrees)(pixels)[0, 0].numpy()
    image = Image.fromarray(pixels[0, 0].numpy())
    turned = np.asarray(image.rotate(angle, Image.Resampling.BILINEAR))
    middle = slice(12, 36)
    assert np.abs(made[middle, middle] - turned[middle, middle]).max() < 2
    assert np.abs(made[middle, middle] - pixels[0, 0, middle, middle].numpy()).max() > 5


def test_a_move_stays_within_its_part_of_the_side() -> None:
    torch.manual_seed(0)
    pixels = torch.zeros(64, 1, 40, 40)
    pixels[:, :, 19:21, 19:21] = 255.0
    made = Jitter(move=0.1)(pixels)
    weights = made.sum(dim=(1, 2, 3))
    across = (made.sum(dim=2).squeeze(1) * (torch.arange(40) + 0.5)).sum(dim=1) / weights - 20
    assert 3 < float(across.abs().max()) <= 4.01


def test_light_keeps_the_range_and_shifts_the_mean_by_at_most_its_part() -> None:
    torch.manual_seed(0)
    pixels = 0.4 * pictures(64) + 60
    made = Jitter(contrast=0.3, brightness=0.1)(pixels)
    assert float(made.min()) >= 0
    assert float(made.max()) <= 255
    change = (made.mean(dim=(1, 2, 3)) - pixels.mean(dim=(1, 2, 3))).abs()
    assert 15 < float(change.max()) <= 25.6


def test_colours_fade_and_grow_around_the_same_grey() -> None:
    torch.manual_seed(0)
    pixels = torch.cat([pictures(64)] * 3, dim=1)
    pixels = 90 + 0.3 * pixels * torch.tensor([1.0, 0.8, 0.5])[:, None, None]
    made = Jitter(colour=0.6)(pixels)
    grey = [
        np.asarray(Image.fromarray(p.byte().permute(1, 2, 0).numpy()).convert("L")) for p in (*pixels, *made)
    ]
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(grey[:64], grey[64:], strict=True)) <= 1
    gain = (made[:, 0] - made[:, 2]).mean(dim=(1, 2)) / (pixels[:, 0] - pixels[:, 2]).mean(dim=(1, 2))
    assert 0.4 <= float(gain.min()) < 0.5
    assert 1.5 < float(gain.max()) <= 1.6 + 1e-3
    one = pictures(3)
    torch.testing.assert_close(Jitter(colour=0.6)(one), one, atol=1e-3, rtol=0)


def test_the_part_asked_for_is_shown_at_half_its_size() -> None:
    torch.manual_seed(0)
    pixels = torch.cat([torch.ones(1, 1, 32, 16), torch.zeros(1, 1, 32, 16)], dim=3).roll(1, dims=3) * 255
    made = Jitter(coarse=0.25)(pixels.repeat(400, 1, 1, 1))
    changed = (made - pixels).abs().amax(dim=(1, 2, 3)) > 1
    assert 70 < int(changed.sum()) < 130
    coarse = made[changed]
    # Edges have grown soft, and lie where they lay.
    assert float((coarse[..., 1:] - coarse[..., :-1]).abs().max()) < 130
    torch.testing.assert_close(coarse.mean(), pixels.mean(), atol=1.0, rtol=0)


def test_erasing_hides_a_square_of_at_most_its_side() -> None:
    torch.manual_seed(0)
    made = Jitter(erase=0.5)(torch.zeros(256, 3, 40, 40))
    hidden = (made[:, 0] == 127.5).sum(dim=(1, 2))
    assert int(hidden.max()) <= 20 * 20
    assert int(hidden.max()) > 15 * 15
    assert bool(((made == 0) | (made == 127.5)).all())
    assert torch.equal(made[:, 0], made[:, 2])


def test_each_picture_is_changed_in_its_own_way_and_the_same_again_from_the_same_state() -> None:
    jitter = Jitter(turn=10, zoom=0.1, move=0.1, mirror=True, contrast=0.2, brightness=0.1, erase=0.4)
    pixels = pictures(1).repeat(4, 1, 1, 1)
    torch.manual_seed(5)
    first = jitter(pixels)
    torch.manual_seed(5)
    assert torch.equal(first, jitter(pixels))
    assert not torch.allclose(first[0], first[1])


def test_points_move_with_what_they_mark() -> None:
    torch.manual_seed(3)
    size, count = 64, 60
    middles = torch.rand(count, 3, 2) * 0.4 + 0.3
    grid = (torch.arange(size) + 0.5) / size
    pixels = torch.zeros(count, 3, size, size)  # each channel has the spot of one point
    for channel in range(3):
        x, y = middles[:, channel, 0, None, None], middles[:, channel, 1, None, None]
        pixels[:, channel] = 255 * torch.exp(-((grid - x) ** 2 + (grid[:, None] - y) ** 2) / 0.002)
    made, points = Jitter(turn=20, zoom=0.2, move=0.1, mirror=True).together(pixels, middles, (1, 0, 2))
    share = made / made.sum(dim=(2, 3), keepdim=True)
    found = torch.stack([(share.sum(dim=2) * grid).sum(dim=2), (share.sum(dim=3) * grid).sum(dim=2)], dim=2)
    torch.testing.assert_close(points[:, 2], found[:, 2], atol=2e-3, rtol=0)
    mirrored = (points[:, 0] - found[:, 1]).abs().amax(dim=1) < 2e-3
    kept = (points[:, 0] - found[:, 0]).abs().amax(dim=1) < 2e-3
    assert bool((mirrored ^ kept).all())
    assert 15 < int(mirrored.sum()) < 45


def test_pictures_come_out_alike_with_points_or_without() -> None:
    jitter = Jitter(turn=20, zoom=0.2, move=0.1, mirror=True, contrast=0.3, erase=0.4)
    pixels, points = pictures(), torch.rand(16, 2, 2)
    torch.manual_seed(0)
    alone = jitter(pixels)
    torch.manual_seed(0)
    assert torch.equal(jitter.together(pixels, points, (1, 0))[0], alone)


def test_blur_takes_detail_from_its_part_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    pixels = torch.rand(200, 3, 24, 24) * 255
    made = Jitter(blur=0.3)(pixels)
    changed = ~torch.isclose(made, pixels, atol=0.1).flatten(1).all(dim=1)
    assert 40 < int(changed.sum()) < 80
    assert (made[changed].std(dim=(1, 2, 3)) < pixels[changed].std(dim=(1, 2, 3))).all()
    torch.testing.assert_close(made.mean(dim=(2, 3)), pixels.mean(dim=(2, 3)), atol=8, rtol=0)
    assert float(made.std(dim=(1, 2, 3)).min()) < 0.35 * float(pixels.std())


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_changes_its_part_by_what_compression_does(channels: int) -> None:
    torch.manual_seed(0)
    pixels = pictures(60).repeat(1, channels, 1, 1)
    made = Jitter(jpeg=0.5)(pixels)
    away = (made - pixels).abs().flatten(1)
    changed = away.amax(dim=1) > 0.6
    assert 18 < int(changed.sum()) < 42
    assert 0.3 < float(away[changed].mean()) < 6
    assert float(made.min()) >= 0
    assert float(made.max()) <= 255


def test_zoomed_by_two_shows_the_middle_half() -> None:
    pixels = pictures(4, 48)
    larger = torch.nn.functional.interpolate(
        pixels[:, :, 12:36, 12:36], size=48, mode="bilinear", align_corners=False
    )
    made = zoomed(pixels, 2.0)
    torch.testing.assert_close(made[:, :, 2:-2, 2:-2], larger[:, :, 2:-2, 2:-2], atol=0.5, rtol=0)
    assert torch.equal(zoomed(pixels, 1.0), pixels)
