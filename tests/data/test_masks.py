"""Drawn masks: what they cover and leave free, and that they follow the points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mien.core.crops import TEMPLATES
from mien.data.masks import KINDS, Kind, Masks, frame, masked

SIZE = 112
POINTS = torch.as_tensor(TEMPLATES["arcface"].points, dtype=torch.float32)


def changed(masks: Masks, faces: torch.Tensor, points: torch.Tensor | None = None) -> torch.Tensor:
    """Return (n, H, W) whether each pixel was drawn over."""
    generator = torch.Generator().manual_seed(0)
    return ((masks(faces, points, generator) - faces).abs() > 1).any(dim=1)


def faces(count: int, channels: int = 3, size: int = SIZE) -> torch.Tensor:
    """Return noise, so that no colour of a mask is that of what lies below."""
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1)) * 255


@pytest.mark.parametrize("kind", KINDS)
def test_nose_and_mouth_are_covered_and_eyes_are_free(kind: Kind) -> None:
    drawn = changed(Masks(1.0, (kind,)), faces(40))
    places = (POINTS * SIZE).long()
    for x, y in places[2:].tolist():
        assert drawn[:, y - 1 : y + 2, x - 1 : x + 2].float().mean() > 0.95
    for x, y in places[:2].tolist():
        assert not drawn[:, y - 6 : y + 4, x - 8 : x + 9].any()
    assert not drawn[:, :40].any()
    assert 0.15 < drawn.float().mean() < 0.55


@pytest.mark.parametrize("kind", KINDS)
def test_masks_follow_the_points_of_a_turned_face(kind: Kind) -> None:
    picture = faces(6)
    upright = changed(Masks(1.0, (kind,)), picture, POINTS.expand(6, 5, 2))
    # a quarter turn against the clock takes (x, y) to (y, 1 - x)
    turned = torch.stack([POINTS[:, 1], 1 - POINTS[:, 0]], dim=1).expand(6, 5, 2)
    found = changed(Masks(1.0, (kind,)), picture.rot90(1, (2, 3)), turned)
    assert (found == upright.rot90(1, (1, 2))).float().mean() > 0.999


def test_a_mask_is_where_the_face_is_and_as_large() -> None:
    half = POINTS * 0.5 + torch.tensor([0.1, 0.3])
    large = changed(Masks(1.0, ("surgical",)), faces(10), POINTS.expand(10, 5, 2)).float()
    small = changed(Masks(1.0, ("surgical",)), faces(10), half.expand(10, 5, 2)).float()
    x, y = (half[3:].mean(dim=0) * SIZE).long().tolist()
    assert small[:, y, x].all()
    # the large one's chin is below the picture
    assert 0.2 < (small.mean() / large.mean()).item() < 0.4


def test_the_frame_counts_eyes_as_nought_and_the_mouth_as_one() -> None:
    points = torch.tensor([[[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]]])
    along, across, scale = frame(points, 100, 200)
    assert scale.item() == pytest.approx(40)
    # the pixel whose middle is next to the left eye, and the one next to the mouth's right corner
    assert along[0, 40, 60].item() == pytest.approx(0, abs=0.02)
    assert across[0, 40, 60].item() == pytest.approx(-0.5, abs=0.02)
    assert along[0, 80, 130].item() == pytest.approx(1, abs=0.02)
    assert across[0, 80, 130].item() == pytest.approx(0.375, abs=0.02)
    aside = points.clone()
    aside[:, 2, 0] += 0.04
    assert frame(aside, 100, 200)[1][0, 60, 108].item() == pytest.approx(0, abs=0.02)


def test_as_many_faces_wear_one_as_asked_and_others_stay_as_they_are() -> None:
    picture = faces(400, size=32)
    worn = changed(Masks(0.3), picture).flatten(1).any(dim=1)
    assert worn.float().mean().item() == pytest.approx(0.3, abs=0.06)
    made = Masks(0.3)(picture, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(made[~worn], picture[~worn])
    assert not changed(Masks(0.0), picture).any()


def test_kinds_differ_in_what_they_cover_and_each_in_its_colours() -> None:
    covered = [changed(Masks(1.0, (kind,)), faces(30)).float().mean(dim=0) for kind in KINDS]
    for first in range(len(KINDS)):
        for second in range(first):
            assert (covered[first] - covered[second]).abs().mean() > 0.02
    for kind in KINDS:
        made = Masks(1.0, (kind,))(faces(30), generator=torch.Generator().manual_seed(0))
        x, y = (POINTS[3:].mean(dim=0) * SIZE).long().tolist()
        assert made[:, :, y + 3, x].std(dim=0).min() > 5
        assert made.min() >= 0
        assert made.max() <= 255


def test_grey_faces_get_grey_masks() -> None:
    made = Masks(1.0)(faces(5, channels=1), generator=torch.Generator().manual_seed(0))
    assert made.shape == (5, 1, SIZE, SIZE)
    assert changed(Masks(1.0), faces(5, channels=1)).flatten(1).any(dim=1).all()


def test_masks_of_a_test_are_the_same_again_and_others_by_another_seed() -> None:
    picture = faces(8, size=48).permute(0, 2, 3, 1).to(torch.uint8).numpy()
    made = masked(picture, Masks(1.0), 3)
    assert made.dtype == np.uint8
    assert made.shape == picture.shape
    np.testing.assert_array_equal(made, masked(picture, Masks(1.0), 3))
    assert (made != masked(picture, Masks(1.0), 4)).any()


def test_training_draws_from_the_generator_that_a_step_sets() -> None:
    picture = faces(8, size=32)
    torch.manual_seed(5)
    first = Masks(0.5)(picture)
    torch.manual_seed(5)
    torch.testing.assert_close(Masks(0.5)(picture), first)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match=r"share 1\.5"):
        Masks(1.5)
    with pytest.raises(ValueError, match="scarf"):
        Masks(0.5, ("scarf",))  # type: ignore[arg-type]
