"""Decades of age have one definition: in the metric, in plots and where figures are told apart."""

from __future__ import annotations

import numpy as np

from mien.core.decades import decade_name, decades
from mien.data.reader import Images
from mien.systems.attributes.age_gender import RECIPES, AgeGender


def test_the_oldest_are_one_decade_with_a_name_of_its_own() -> None:
    ages = np.array([0, 9, 10, 89, 90, 99, 100, 116])
    assert decades(ages).tolist() == [0, 0, 1, 8, 9, 9, 9, 9]
    assert [decade_name(decade) for decade in (0, 1, 8, 9)] == ["0-9", "10-19", "80-89", "90+"]


def test_figures_are_told_apart_by_the_same_decades() -> None:
    ages = np.array([3, 45, 91, 104, 116], np.int16)
    pixels = np.zeros((5, 2, 2, 3), np.uint8)
    images = Images("utkface", "test", pixels, {"age": ages}, np.zeros(5, "S32"))
    groups = AgeGender(RECIPES["tiny"]).groups(images)
    assert groups["age"].tolist() == [decade_name(decade) for decade in decades(ages).tolist()]
    assert groups["age"].tolist() == ["0-9", "40-49", "90+", "90+", "90+"]
