"""SymFace's split by its geometry, its penalty by a library and by what it does to a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.data import TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from landmarked import with_landmarks
from mien.systems.recognition.symface import (
    POINTS,
    RECIPES,
    Config,
    SymFace,
    disparity,
    frontness,
    halves,
    middles,
    network,
)


@pytest.fixture(scope="module")
def lab(shared_data: Path) -> Iterator[SymFace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIEN_DATA", str(shared_data))
        made = SymFace(RECIPES["tiny"])
        with_landmarks(made.chosen())
        yield made


def test_frontness_is_one_for_a_nose_in_the_middle_and_none_beside_an_eye() -> None:
    noses = np.array([0.5, 0.55, 0.45, 0.7, 0.3, 0.9])
    points = np.zeros((6, 3, 2), np.float32)
    points[:, 0, 0], points[:, 1, 0], points[:, 2, 0] = 0.3, 0.7, noses
    np.testing.assert_allclose(frontness(points), [1, 0.75, 0.75, 0, 0, 0], atol=1e-6)
    # nearer faces and other places in the picture are as frontal
    np.testing.assert_allclose(frontness(points * 1.3 - 0.2), [1, 0.75, 0.75, 0, 0, 0], atol=1e-6)


def test_a_split_in_the_middle_is_the_pixels_of_both_sides() -> None:
    faces = torch.rand(3, 3, 5, 8) * 255
    left, right = halves(faces, torch.full((3,), 0.5))
    torch.testing.assert_close(left[..., :4], faces[..., :4], rtol=0, atol=1e-3)
    torch.testing.assert_close(right[..., :4], faces.flip(-1)[..., :4], rtol=0, atol=1e-3)
    for half in (left, right):
        assert (half[..., 4:] == 127.5).all()


@pytest.mark.parametrize("shift", [-2, -1, 1, 3])
def test_halves_of_a_symmetric_face_are_equal_wherever_its_middle_is(shift: int) -> None:
    width = 16
    side = torch.rand(1, 3, 6, width) * 255
    face = torch.cat([side, side.flip(-1)], dim=-1)
    start = width // 2 - shift
    seen = face[..., start : start + width]
    left, right = halves(seen, torch.tensor([0.5 + shift / width]))
    inside = width // 2 - abs(shift)
    kept = slice(width // 2 - inside, width // 2)
    torch.testing.assert_close(left[..., kept], right[..., kept], rtol=0, atol=1e-2)
    aside, beside = halves(seen, torch.tensor([0.5]))
    assert (aside[..., kept] - beside[..., kept]).abs().max() > 10


def test_a_mirrored_face_swaps_its_halves() -> None:
    faces, middle = torch.rand(4, 3, 10, 10) * 255, torch.tensor([0.42, 0.5, 0.55, 0.61])
    left, right = halves(faces, middle)
    other_left, other_right = halves(faces.flip(-1), 1 - middle)
    torch.testing.assert_close(left, other_right, rtol=0, atol=1e-2)
    torch.testing.assert_close(right, other_left, rtol=0, atol=1e-2)


def test_the_middle_follows_the_points_of_a_jittered_face() -> None:
    points = torch.tensor([[[0.3, 0.4], [0.7, 0.4], [0.52, 0.6]]])
    assert middles(points).item() == pytest.approx(0.51)
    torch.testing.assert_close(middles(points + torch.tensor([0.03, 0.0])), middles(points) + 0.03)


def test_the_penalty_is_two_minus_twice_the_cosine_and_of_no_faces_nothing() -> None:
    torch.manual_seed(0)
    left, right = torch.randn(7, 12) * 3, torch.randn(7, 12)
    expected = (2 - 2 * functional.cosine_similarity(left, right)).mean()
    torch.testing.assert_close(disparity(left, right), expected)
    torch.testing.assert_close(disparity(left, 5 * left), torch.tensor(0.0))
    torch.testing.assert_close(disparity(left, -left), torch.tensor(4.0))
    empty = torch.zeros(0, 12, requires_grad=True)
    none = disparity(empty, empty)
    none.backward()  # type: ignore[no-untyped-call]
    assert none.item() == 0


def test_frontal_faces_alone_are_split_and_unsure_ones_are_not(lab: SymFace) -> None:
    rows = lab.train_rows()
    assert isinstance(rows, TensorDataset)
    _, _, points, frontal = rows.tensors
    # ArcFace's template has the eyes at 0.34 and 0.66 of the width
    typical = points.mean(dim=0)
    assert typical[0, 0].item() == pytest.approx(0.34, abs=0.03)
    assert typical[1, 0].item() == pytest.approx(0.66, abs=0.03)
    assert 0.3 < frontal.float().mean().item() < 0.8
    assert frontness(points[frontal].numpy()).min() >= lab.config.frontal
    assert len(POINTS) == points.shape[1]


def test_learning_by_the_penalty_brings_the_halves_of_faces_together(
    lab: SymFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    rows = lab.train_rows()
    assert isinstance(rows, TensorDataset)
    pixels, persons, points, frontal = (column[:32] for column in rows.tensors)
    left, right = halves(pixels[frontal].float(), middles(points[frontal]))

    def apart(weight: float) -> float:
        torch.manual_seed(0)
        one = SymFace(replace(lab.config, symmetry=weight))
        monkeypatch.setattr(one, "log_dict", lambda *_: None)
        monkeypatch.setattr(one, "log", lambda *_: None)
        optimiser = torch.optim.SGD(one.parameters(), 0.05, momentum=0.9)
        batch = (pixels, persons, points, frontal) if weight else (pixels, persons)
        for _ in range(8):
            optimiser.zero_grad()
            one.training_step(batch, 0).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        one.train()
        with torch.no_grad():
            made = one.embed(torch.cat([pixels.float(), left, right]))
        return disparity(made[32 : 32 + len(left)], made[32 + len(left) :]).item()

    assert apart(20.0) < 0.6 * apart(0.0)


def test_both_arms_draw_the_same_jitter(lab: SymFace) -> None:
    rows = lab.train_rows()
    assert isinstance(rows, TensorDataset)
    pixels, _, points, _ = (column[:8] for column in rows.tensors)
    torch.manual_seed(3)
    alone = lab.augmented(pixels)
    torch.manual_seed(3)
    together, _ = lab.jitter.together(pixels, points, (1, 0, 2))
    torch.testing.assert_close(alone, together)


def test_the_papers_network_has_mobilefacenets_published_size() -> None:
    with torch.device("meta"):
        net = network(RECIPES["paper"]).eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, 112, 112))
    # MobileFaceNet, Table 2: 0.99 million parameters, 221 million multiply-adds
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(0.99, abs=0.02)
    assert counter.get_total_flops() / 2e6 == pytest.approx(221, rel=0.02)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="symmetry -1"):
        Config(symmetry=-1)
    with pytest.raises(ValueError, match="set by set"):
        Config(many=True)
    assert Config(many=True, symmetry=0).many
