"""VGGFace2: the networks' sizes, equal sets of unlike depth, grey pictures, templates, the layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import madesets
from landmarked import with_landmarks
from mien.data.convert.write import convert
from mien.data.people import people
from mien.evaluate.probing import similarity_matrix
from mien.nn.cost import cost
from mien.systems.recognition.vggface2 import (
    POSES,
    RECIPES,
    REPRODUCE,
    Recogniser,
    TemplatePairs,
    VggFace2,
    chosen,
    monochrome,
    posed,
)
from mien.train.lab import Lab
from mien.train.settings import override


@pytest.mark.parametrize(("excitation", "parameters"), [(0, 41_192_951), (16, 43_723_943)])
def test_the_papers_networks_have_their_parameters(excitation: int, parameters: int) -> None:
    config = replace(RECIPES["paper"], excitation=excitation)
    with torch.device("meta"):
        net = Recogniser(config, 8631)
    assert cost(net, 3, 224, 224).parameters == parameters
    # Without the classifier: ResNet-50's 23.5 million, as everywhere.
    assert parameters - 8631 * 2049 == 23_508_032 + (2_530_992 if excitation else 0)


def test_a_layer_before_the_classifier_is_the_embedding() -> None:
    net = Recogniser(replace(RECIPES["tiny"], embedding=5), 7).eval()
    faces = torch.rand(2, 3, 32, 32) * 255
    assert net.embed(faces).shape == (2, 5)
    assert net(faces).shape == (2, 7)


def test_deep_and_wide_sets_have_as_many_pictures(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    counts = []
    for _, changes in REPRODUCE[0].arms:
        config = override(RECIPES["cpu"], changes)
        person = people("train", 32).columns["person"]
        taken = person[chosen(person, config.persons, config.each, 0)]
        names, each = np.unique(taken, return_counts=True)
        assert set(each.tolist()) == {config.each}
        counts.append((len(names), len(taken)))
    assert counts == [(62, 1302), (186, 1302)]


def test_people_are_drawn_by_the_seed_and_too_many_are_refused() -> None:
    person = np.repeat(np.arange(9), 4)
    rows = chosen(person, 5, 3, 1)
    np.testing.assert_array_equal(rows, chosen(person, 5, 3, 1))
    assert len(set(rows.tolist())) == 15
    assert set(rows.tolist()) != set(chosen(person, 5, 3, 2).tolist())
    with pytest.raises(ValueError, match="9 people have 4 pictures, not 10"):
        chosen(person, 10, 4, 0)
    with pytest.raises(ValueError, match="go together"):
        replace(RECIPES["tiny"], persons=5)


def test_a_share_of_the_pictures_loses_its_colours_and_keeps_its_light() -> None:
    torch.manual_seed(0)
    pixels = torch.rand(500, 3, 4, 4) * 255
    made = monochrome(pixels, 0.2)
    grey = (made == made[:, :1]).flatten(1).all(dim=1)
    assert grey.float().mean() == pytest.approx(0.2, abs=0.05)
    assert torch.equal(made[~grey], pixels[~grey])
    red, green, blue = pixels[grey].unbind(1)
    torch.testing.assert_close(made[grey][:, 1], 0.299 * red + 0.587 * green + 0.114 * blue)


def test_poses_fall_into_three_groups_to_either_side() -> None:
    yaw = np.array([0.0, -9, 9, 12, -20, 26, -60])
    assert [POSES[number] for number in posed(yaw)] == [
        *["frontal"] * 3,
        *["three-quarter"] * 2,
        *["profile"] * 2,
    ]


def test_templates_embedded_once_say_what_they_say_one_by_one(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    with_landmarks(people("test", 112))
    lab = VggFace2(RECIPES["tiny"]).eval()
    parts = lab.test_parts()
    assert [part.used.split for part in parts] == [
        "pairs of held-out people",
        "templates frontal and frontal",
        "templates frontal and three-quarter",
        "templates frontal and profile",
        "templates three-quarter and three-quarter",
        "templates three-quarter and profile",
        "templates profile and profile",
    ]
    rows = parts[3].rows
    assert isinstance(rows, TemplatePairs)
    targets, cosines = lab.predictions(rows)
    batch = next(iter(DataLoader(rows, 64)))
    with torch.no_grad():
        np.testing.assert_allclose(lab.predict(batch).numpy(), cosines[:64], atol=1e-5)
    np.testing.assert_array_equal(batch[2].numpy(), targets[:64])
    own, others = similarity_matrix(rows.probe, lab.embeddings(rows.images, rows.probe))
    assert own[0, 2] == pytest.approx(cosines[targets == 1].mean(), abs=1e-5)
    assert others[0, 2] == pytest.approx(cosines[targets == 0].mean(), abs=1e-5)
    units = parts[3].units
    assert units is not None
    assert ((units[:, 0] == units[:, 1]) == targets.astype(bool)).all()


def test_the_official_layout_is_trained_on_and_probed_by_its_own_templates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    madesets.vggface2(tmp_path / "given", people=3)
    convert("vggface2", tmp_path / "given", tmp_path / "sets")
    monkeypatch.setenv("MIEN_DATA", str(tmp_path / "sets"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lab = object.__new__(VggFace2)
    Lab.__init__(lab, replace(RECIPES["tiny"], source="vggface2"))
    images = lab.images("test")
    assert sorted(set(images.columns["person"].tolist())) == [1, 2, 3]
    assert images.pixels.shape == (150, 32, 32, 3)
    # Person 100 is a fiftieth: it is kept for choosing.
    assert (len(lab.images("train")), len(lab.images("valid"))) == (0, 2)
    poses, ages = lab.probes(images)
    assert (poses.rows.shape, ages.rows.shape) == ((3 * 6, 5), (3 * 4, 5))
    names = images.columns["path"]
    assert [names[row] for row in poses.rows[2]] == [f"n000001/{i:04d}_01.jpg" for i in range(11, 16)]
    assert [names[row] for row in ages.rows[-1]] == [f"n000003/{i:04d}_01.jpg" for i in range(46, 51)]
    assert len(lab.test_parts()) == 1 + 6 + 3
