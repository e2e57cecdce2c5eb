"""Templates of groups are drawn, read and compared as VGGFace2's protocol has it."""

from __future__ import annotations

import numpy as np
import pytest

from mien.evaluate.probing import drawn, listed, similarity_matrix

GROUPS = ("near", "far")


def people(seed: int = 0, count: int = 6, each: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings of unit length whose second group is turned towards a direction that all people share."""
    random = np.random.default_rng(seed)
    person, group = np.repeat(np.arange(count), each), np.tile(np.arange(each) % 2, count)
    vectors = np.eye(count + 1)[person] + 0.1 * random.normal(size=(count * each, count + 1))
    vectors[group == 1, -1] += 1
    return person, group, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_templates_are_of_one_person_in_one_group_and_share_no_picture() -> None:
    person, group, _ = people()
    probe = drawn(person, group, GROUPS, pictures=5)
    assert len(probe) == 6 * 2 * 2
    assert (person[probe.rows] == probe.person[:, None]).all()
    assert (group[probe.rows] == probe.group[:, None]).all()
    assert len(np.unique(probe.rows)) == probe.rows.size
    assert (np.unique(probe.person * 2 + probe.group, return_counts=True)[1] == 2).all()


def test_people_without_pictures_enough_in_every_group_are_left_out() -> None:
    person, group, _ = people()
    group[np.flatnonzero((person == 2) & (group == 1))[:3]] = -1
    assert set(drawn(person, group, GROUPS, pictures=5).person.tolist()) == {0, 1, 3, 4, 5}
    with pytest.raises(ValueError, match="0 people have pictures enough"):
        drawn(person, group, GROUPS, pictures=7)


def test_pairs_are_all_of_two_groups_and_none_is_of_a_template_with_itself() -> None:
    person, group, _ = people(count=3)
    probe = drawn(person, group, GROUPS, pictures=5)
    first, second = probe.compared(0, 0)
    assert len(first) == 6 * 5 / 2
    assert (first < second).all()
    first, second = probe.compared(0, 1)
    assert len(first) == 36
    assert (probe.person[first] == probe.person[second]).sum() == 3 * 2 * 2


def test_listed_templates_are_those_of_the_columns() -> None:
    person = np.array([7, 7, 7, 7, 8, 8, 8, 8, 9, 9])
    template = np.array([3, 0, 1, 2, 0, 1, 2, 3, 0, 1])
    probe = listed(person, template, GROUPS)
    assert probe.rows.tolist() == [[1], [2], [3], [0], [4], [5], [6], [7]]
    assert probe.person.tolist() == [7] * 4 + [8] * 4
    assert probe.group.tolist() == [0, 0, 1, 1] * 2
    with pytest.raises(ValueError, match="different sizes: 1, 2 pictures"):
        listed(np.append(person, 8), np.append(template, 3), GROUPS)


def test_the_matrix_equals_a_slow_one() -> None:
    person, group, vectors = people()
    probe = drawn(person, group, GROUPS, pictures=3)
    own, others = similarity_matrix(probe, vectors)
    means = []
    for rows in probe.rows:
        mean = sum(vectors[row] for row in rows) / 3
        means.append(mean / np.sqrt((mean**2).sum()))
    for one in range(2):
        for other in range(2):
            same: list[float] = []
            apart: list[float] = []
            for a in range(len(probe)):
                for b in range(len(probe)):
                    if a != b and (probe.group[a], probe.group[b]) == (one, other):
                        kind = same if probe.person[a] == probe.person[b] else apart
                        kind.append(float(means[a] @ means[b]))
            assert own[one, other] == pytest.approx(np.mean(same))
            assert others[one, other] == pytest.approx(np.mean(apart))
    assert own[0, 1] < min(own[0, 0], own[1, 1])
    assert others[1, 1] > others[0, 0]
