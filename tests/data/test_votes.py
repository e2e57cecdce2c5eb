"""Majorities, and valence and arousal that follow from votes, against plain arithmetic on single faces."""

from __future__ import annotations

import numpy as np
import pytest

from mien.core.labels import AFFECT, AFFECTNET_EXPRESSIONS, FERPLUS_VOTES
from mien.data.votes import expected_affect, majority


def face(**votes: int) -> list[int]:
    return [votes.get(name, 0) for name in FERPLUS_VOTES]


def test_every_expression_but_contempt_has_a_place() -> None:
    assert set(AFFECT) == set(AFFECTNET_EXPRESSIONS) - {"contempt"}
    assert not any(AFFECT["neutral"])
    assert all(-1 <= value <= 1 for place in AFFECT.values() for value in place)
    # pleasant and unpleasant, calm and excited, as anyone would have them
    assert AFFECT["happiness"][0] > 0 > AFFECT["sadness"][0]
    assert AFFECT["fear"][1] > 0 > AFFECT["sadness"][1]


def test_affect_is_the_expectation_under_the_votes() -> None:
    votes = np.array([face(happiness=7, surprise=3), face(anger=4, contempt=2, NF=1, sadness=2, fear=1)])
    made = expected_affect(votes, FERPLUS_VOTES)
    assert made[0] == pytest.approx([0.7 * 0.81 + 0.3 * 0.40, 0.7 * 0.51 + 0.3 * 0.67])
    # seven of the ten votes have a place
    valence = (4 * -0.51 + 2 * -0.63 - 0.64) / 7
    arousal = (4 * 0.59 + 2 * -0.27 + 0.60) / 7
    assert made[1] == pytest.approx([valence, arousal])


def test_affect_is_unknown_where_half_of_the_votes_have_no_place() -> None:
    votes = np.array([face(fear=5, contempt=5), face(unknown=10), face(fear=6, NF=4)])
    assert np.isnan(expected_affect(votes, FERPLUS_VOTES)).all(axis=1).tolist() == [True, True, False]


def test_two_faces_of_one_majority_differ_by_their_other_votes() -> None:
    votes = np.array([face(neutral=7, sadness=3), face(neutral=7, happiness=3)])
    assert majority(votes).tolist() == [0, 0]
    first, second = expected_affect(votes, FERPLUS_VOTES)
    assert first[0] < 0 < second[0]


def test_a_majority_is_more_than_half_of_what_slips_leave() -> None:
    votes = np.array(
        [
            face(fear=5, surprise=2, anger=1, sadness=1, disgust=1),  # 5 of 7 once single votes are dropped
            face(fear=5, surprise=5),
            face(NF=8, neutral=2),
            face(**dict.fromkeys(FERPLUS_VOTES, 1)),
        ]
    )
    assert majority(votes).tolist() == [FERPLUS_VOTES.index("fear"), -1, FERPLUS_VOTES.index("NF"), -1]
