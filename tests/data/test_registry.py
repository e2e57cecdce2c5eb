"""The table of sets is complete and means what it says."""

from __future__ import annotations

import pytest

from mien.core import labels
from mien.data import registry
from mien.data.registry import Column

ALL = list(registry.table().values())


def test_the_sets_are_those_that_the_lab_works_on() -> None:
    assert [row.name for row in ALL] == [
        "fer2013",
        "utkface",
        "affectnet",
        "rafdb",
        "celeba",
        "celeba10k",
        "identities",
        "vggface2",
        "lfw_pairs",
    ]


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
def test_a_row_is_consistent(row: registry.Set) -> None:
    names = [name for column in row.columns for name in column.all_names]
    assert len(set(names)) == len(names)
    assert not {"image", "path"} & set(names)
    splits = {split.name for split in row.splits}
    assert all({overlap.split, overlap.other} <= splits for overlap in row.overlaps)
    for column in row.columns:
        assert column.type == "int8" or not column.classes
        assert column.unknown is None or column.unknown not in range(len(column.classes))
    assert row.terms
    assert not row.commercial
    assert row.defects


def test_the_same_expression_has_the_same_name_in_every_set() -> None:
    basic = set(labels.RAFDB_EXPRESSIONS)
    assert len(basic) == 7
    assert set(labels.FER2013_EXPRESSIONS) == basic
    assert set(labels.FERPLUS_EXPRESSIONS) == basic | {"contempt"} == set(labels.AFFECTNET_EXPRESSIONS)


def test_overlap_is_known_whichever_split_was_trained_on() -> None:
    row = registry.known("fer2013")
    assert row.known_overlap("test", "train")
    assert row.known_overlap("train", "test")
    assert not row.known_overlap("train", "train")
    assert not registry.known("utkface").known_overlap("test", "train")


def test_columns_are_found_by_name_and_say_their_classes() -> None:
    for name, column, order in (
        ("fer2013", "emotion", labels.FER2013_EXPRESSIONS),
        ("utkface", "gender", labels.UTKFACE_GENDERS),
        ("utkface", "race", labels.UTKFACE_RACES),
        ("affectnet", "expression", labels.AFFECTNET_LABELS),
        ("rafdb", "expression", labels.RAFDB_EXPRESSIONS),
        ("rafdb", "age_group", labels.RAFDB_AGES),
    ):
        assert registry.known(name).column(column).classes == order
    assert registry.known("celeba").column("Young").about == "0 absent, 1 present"
    with pytest.raises(KeyError):
        registry.known("celeba").column("Old")


def test_a_column_has_one_name_or_a_list_of_them() -> None:
    for name, names in (("", ""), ("a", "FERPLUS_VOTES")):
        with pytest.raises(ValueError, match="either"):
            Column("int8", "x", name=name, names=names)
