"""Masked face recognition: when masks come, what is judged, and that tests are the same again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.systems.recognition.masked_face import RECIPES, Config, MaskedFace
from mien.train.recognition import TEST_PAIRS, PairRows


@pytest.fixture(scope="module")
def lab(shared_data: Path) -> Iterator[MaskedFace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIEN_DATA", str(shared_data))
        yield MaskedFace(RECIPES["tiny"])


@pytest.mark.parametrize(("round_", "share"), [(0, 0.0), (1, 0.5)])
def test_masks_come_with_fine_tuning(
    lab: MaskedFace, monkeypatch: pytest.MonkeyPatch, round_: int, share: float
) -> None:
    monkeypatch.setattr(MaskedFace, "current_epoch", round_)
    monkeypatch.setattr("mien.train.recognition.RecognitionLab.augmented", lambda _, pixels: pixels.float())
    torch.manual_seed(0)
    faces = torch.rand(200, 3, 32, 32) * 255
    worn = ((lab.augmented(faces) - faces).abs() > 1).flatten(1).any(dim=1)
    assert worn.float().mean().item() == pytest.approx(share, abs=0.1)


def test_the_second_faces_of_the_first_test_are_masked_and_no_others(lab: MaskedFace) -> None:
    covered, bare = lab.test_parts()
    assert isinstance(covered.rows, PairRows)
    assert isinstance(bare.rows, PairRows)
    assert len(covered.rows) == len(bare.rows) == TEST_PAIRS
    assert covered.used.split != bare.used.split
    assert covered.units is not None
    assert bare.units is not None
    np.testing.assert_array_equal(covered.units, bare.units)
    for index in range(0, TEST_PAIRS, 500):
        first, second, same = covered.rows[index]
        known, probe, _ = bare.rows[index]
        assert torch.equal(first, known)
        assert not torch.equal(second, probe)
        # of the upper third nothing is drawn over
        assert torch.equal(second[:, :11], probe[:, :11])
        assert int(same) == int(covered.units[index, 0] == covered.units[index, 1])


def test_tests_and_validation_are_the_same_again(lab: MaskedFace) -> None:
    again = MaskedFace(replace(lab.config, kinds=("surgical",)), 1)
    one, other = lab.test_parts()[0].rows, again.test_parts()[0].rows
    assert isinstance(one, PairRows)
    assert isinstance(other, PairRows)
    assert torch.equal(one.pixels, other.pixels)
    valid = lab.valid_rows()
    assert len(valid) == 4000  # type: ignore[arg-type]
    half = [valid[2000 + index][1] for index in (0, 999)]
    assert not any(torch.equal(mask, valid[index][1]) for mask, index in zip(half, (0, 999), strict=True))


def test_the_papers_network_is_inception_resnet() -> None:
    from mien.nn.inception_resnet import InceptionResNet

    config = RECIPES["paper"]
    assert config.network == "inception-resnet"
    assert config.size == 160
    with torch.device("meta"):
        count = sum(p.numel() for p in InceptionResNet(config.embedding).parameters())
    assert count == 23_482_624


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="leave none to fine-tune in"):
        Config(rounds=3, bare=3)
    with pytest.raises(ValueError, match="75 px or more"):
        Config(size=64)
    with pytest.raises(ValueError, match=r"share 1\.5"):
        Config(masked=1.5)
