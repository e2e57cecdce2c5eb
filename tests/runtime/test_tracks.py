"""A number for each person as long as they stay in the picture, and the best view of each."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from mien.core.errors import MissingExtra
from mien.core.faces import Faces
from mien.core.fields import QUALITY, Floats
from mien.runtime.tracks import Tracker, assign, shot_values

Array = npt.NDArray[np.float64]
RATE = 25
# As dlib's network has them: two pictures of a person 0.93 and more, of two persons less.
SAME = 0.93


def box(x: float, y: float = 100, side: float = 100) -> list[float]:
    """Return the box around a centre."""
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def faces(boxes: Sequence[Sequence[float]], looks: Sequence[Array] | None = None) -> Faces:
    found = Faces(
        np.asarray(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9, np.float32), source="film"
    )
    return (
        found
        if looks is None
        else found.with_fields(embeddings=np.reshape(looks, (-1, 128)).astype(np.float32))
    )


class Person:
    """Somebody with a face of their own, that looks a little different in each frame."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        # what all faces share makes strangers alike to 0.8, noise makes a person alike to 0.97
        shared = np.random.default_rng(0).normal(size=128)
        own = self._random.normal(size=128)
        own -= shared * (own @ shared) / (shared @ shared)
        self._own = 2 * shared / np.linalg.norm(shared) + own / np.linalg.norm(own)

    def look(self, noise: float = 0.12) -> Array:
        moved = self._own / np.linalg.norm(self._own) + self._random.normal(size=128) * noise / np.sqrt(128)
        return np.asarray(moved / np.linalg.norm(moved))


def follow(
    tracker: Tracker, frames: Iterable[tuple[float, dict[str, list[float]]]], looks: bool = True
) -> dict[str, set[int]]:
    """Feed frames of named boxes and return the tracks that each name was given."""
    who = {"ann": Person(1), "ben": Person(2)}
    seen: dict[str, set[int]] = {"ann": set(), "ben": set()}
    for index, (seconds, shown) in enumerate(frames):
        # the detector's order of faces says nothing
        names = list(shown)[:: -1 if index % 3 == 0 else 1]
        embeddings = [who[name].look() for name in names] if looks else None
        given = tracker.update(index, seconds, faces([shown[name] for name in names], embeddings))
        assert len(given) == len(set(given)) == len(names)
        for name, number in zip(names, given, strict=True):
            seen[name].add(number)
    return seen


def crossing(hidden: range = range(0)) -> list[tuple[float, dict[str, list[float]]]]:
    """Return two faces that pass each other in front of the camera, Ben behind Ann."""
    frames = []
    for index in range(60):
        shown = {"ann": box(100 + 10 * index), "ben": box(690 - 10 * index, 110)}
        if index in hidden:
            del shown["ben"]
        frames.append((index / RATE, shown))
    return frames


@pytest.mark.parametrize("looks", [True, False])
def test_crossing_faces_keep_their_tracks(looks: bool) -> None:
    seen = follow(Tracker(same=SAME if looks else None), crossing(), looks)
    assert seen == {"ann": {1}, "ben": {2}} or seen == {"ann": {2}, "ben": {1}}


@pytest.mark.parametrize("looks", [True, False])
def test_face_hidden_behind_another_keeps_its_track(looks: bool) -> None:
    seen = follow(Tracker(same=SAME if looks else None), crossing(range(26, 34)), looks)
    assert len(seen["ann"]) == len(seen["ben"]) == 1
    assert seen["ann"] != seen["ben"]


@pytest.mark.parametrize("looks", [True, False])
def test_side_by_side_are_two_tracks_whatever_the_order_of_the_faces(looks: bool) -> None:
    random = np.random.default_rng(5)
    frames = [
        (i / RATE, {"ann": box(200 + random.normal() * 4), "ben": box(310 + random.normal() * 4)})
        for i in range(100)
    ]
    seen = follow(Tracker(same=SAME if looks else None), frames, looks)
    assert len(seen["ann"]) == len(seen["ben"]) == 1
    assert seen["ann"] != seen["ben"]


def test_short_gap_is_bridged_and_a_long_one_begins_a_new_track() -> None:
    def with_gap(seconds: float) -> dict[str, set[int]]:
        before = [(i / RATE, {"ann": box(100 + i)}) for i in range(25)]
        gone: list[tuple[float, dict[str, list[float]]]] = [
            (1 + i / RATE, {}) for i in range(round(seconds * RATE))
        ]
        after = [(1 + seconds + i / RATE, {"ann": box(180)}) for i in range(10)]
        return follow(Tracker(same=SAME), [*before, *gone, *after])

    assert with_gap(0.8)["ann"] == {1}
    assert with_gap(2.0)["ann"] == {1, 2}


def test_short_gap_is_bridged_by_place_alone() -> None:
    frames = [(i / RATE, {} if 10 <= i < 16 else {"ann": box(100 + 5 * i)}) for i in range(30)]
    assert follow(Tracker(), frames, looks=False)["ann"] == {1}


def test_cut_to_another_person_in_the_same_place_begins_a_new_track() -> None:
    frames = [(i / RATE, {"ann" if i < 20 else "ben": box(300)}) for i in range(40)]
    assert follow(Tracker(same=SAME), frames) == {"ann": {1}, "ben": {2}}


def test_cut_to_the_same_person_elsewhere_is_bridged_only_within_reach() -> None:
    def after_cut(place: float) -> set[int]:
        frames = [(i / RATE, {"ann": box(300 if i < 20 else place)}) for i in range(40)]
        return follow(Tracker(same=SAME), frames)["ann"]

    assert after_cut(500) == {1}
    assert after_cut(900) == {1, 2}


def test_cut_and_cut_back_finds_the_first_track_again() -> None:
    frames = [(i / RATE, {"ben" if 20 <= i < 35 else "ann": box(300)}) for i in range(50)]
    assert follow(Tracker(same=SAME), frames) == {"ann": {1}, "ben": {2}}


def test_who_enters_gets_a_new_number_and_no_number_comes_back() -> None:
    frames: list[tuple[float, dict[str, list[float]]]] = []
    for index in range(200):
        shown = {"ann": box(200)}
        if index < 40 or index >= 120:
            shown["ben"] = box(600)
        frames.append((index / RATE, shown))
    tracker = Tracker(same=SAME)
    seen = follow(tracker, frames)
    assert len(seen["ann"]) == 1
    assert len(seen["ben"]) == 2
    assert seen["ann"] | seen["ben"] == {1, 2, 3}
    assert tracker.count == 3


def test_uneven_time_steps_change_nothing_for_a_face_that_moves_evenly() -> None:
    random = np.random.default_rng(3)
    times = np.cumsum(random.choice([0.01, 0.04, 0.1, 0.3, 0.45], 80))
    frames = [(t, {"ann": box(100 + 200 * t), "ben": box(20_000 - 200 * t)}) for t in times.tolist()]
    seen = follow(Tracker(), frames, looks=False)
    assert len(seen["ann"]) == len(seen["ben"]) == 1


def test_frames_far_apart_in_time_still_belong_together() -> None:
    frames = [(5.0 * i, {} if i == 4 else {"ann": box(300 + 4 * i)}) for i in range(10)]
    assert follow(Tracker(same=SAME), frames)["ann"] == {1}


def test_time_that_stands_still_or_runs_back_does_no_harm() -> None:
    frames = [(t, {"ann": box(300 + i)}) for i, t in enumerate([0, 0, 0, 1, 0.5, 0.5, 2, 1.9, 2.0])]
    assert follow(Tracker(), frames, looks=False)["ann"] == {1}


def test_jump_too_far_and_too_large_is_another_face_without_embeddings() -> None:
    frames = [(i / RATE, {"ann": box(100) if i < 10 else box(400, 100, 300)}) for i in range(20)]
    assert follow(Tracker(), frames, looks=False)["ann"] == {1, 2}


def test_blurred_moment_in_the_same_place_keeps_the_track() -> None:
    tracker = Tracker(same=SAME)
    ann = Person(1)
    numbers: list[int] = []
    for index in range(20):
        look = ann.look(0.45 if index == 10 else 0.12)
        numbers += tracker.update(index, index / RATE, faces([box(300 + 2 * index)], [look]))
    assert set(numbers) == {1}


def test_doubtful_face_after_a_gap_is_another_one() -> None:
    ann = Person(1)
    tracker = Tracker(same=SAME)
    for index in range(10):
        tracker.update(index, index / RATE, faces([box(300)], [ann.look()]))
    tracker.update(10, 10 / RATE, Faces.empty())
    assert tracker.update(11, 11 / RATE, faces([box(300)], [ann.look(0.45)])) == (2,)


def test_face_that_changes_little_by_little_keeps_its_track() -> None:
    tracker = Tracker(same=SAME)
    start, end = np.eye(128)[:2]
    turns = np.linspace(0, np.pi / 2, 25).tolist()
    numbers: list[int] = []
    for index, turn in enumerate(turns):
        look = np.cos(turn) * start + np.sin(turn) * end
        numbers += tracker.update(index, index / RATE, faces([box(300)], [look]))
    assert set(numbers) == {1}


def test_movement_is_not_carried_on_for_ever() -> None:
    walk = [(i / RATE, {"ann": box(100 + 6 * i)}) for i in range(26)]
    frames = [*walk, (1.9, {"ann": box(310)})]
    assert follow(Tracker(), frames, looks=False)["ann"] == {1}


def test_many_walk_about_and_nobody_takes_anothers_track() -> None:
    random = np.random.default_rng(11)
    people = [Person(seed) for seed in range(20, 26)]
    places, speeds = random.uniform(100, 1100, (6, 2)), random.normal(size=(6, 2)) * 60
    tracker = Tracker(same=SAME)
    owners: dict[int, set[int]] = {}
    for index in range(250):
        speeds += random.normal(size=(6, 2)) * 12
        places += speeds / RATE
        shown = [who for who in random.permutation(6) if random.random() > 0.1]
        boxes = [box(*(places[who] + random.normal(size=2) * 2)) for who in shown]
        given = tracker.update(index, index / RATE, faces(boxes, [people[who].look() for who in shown]))
        for who, number in zip(shown, given, strict=True):
            owners.setdefault(number, set()).add(int(who))
    assert all(len(names) == 1 for names in owners.values())
    assert tracker.count == 6


def test_same_frames_give_the_same_tracks() -> None:
    ann, ben = Person(1), Person(2)
    frames = [(i / RATE, faces([box(100 + i), box(300 - i)], [ann.look(), ben.look()])) for i in range(30)]
    first, second = Tracker(same=SAME), Tracker(same=SAME)
    for index, (seconds, found) in enumerate(frames):
        assert first.update(index, seconds, found) == second.update(
            index, seconds, Faces.from_dict(found.to_dict())
        )


def test_frames_without_faces_are_taken() -> None:
    tracker = Tracker(same=SAME)
    assert tracker.update(0, 0.0, Faces.empty()) == ()
    assert tracker.update(1, 0.1, faces([box(100)], [Person(1).look()])) == (1,)
    assert tracker.update(2, 0.2, Faces.empty()) == ()
    assert tracker.best_shots()[0].frame == 1


def quality(score: float) -> Floats:
    row = np.zeros((1, len(QUALITY)), np.float32)
    row[0, QUALITY.index("UnifiedQualityScore")] = score
    return row


def view(side: float, sharp: float, yaw: float) -> Faces:
    return faces([box(300, 300, side)]).with_fields(
        quality=quality(sharp), pose=np.array([[yaw, 0, 0]], np.float32)
    )


def test_best_shot_is_the_sharp_frontal_large_one() -> None:
    # one track for all: each overlaps the others enough
    views = [view(150, 80, 50), view(180, 80, 5), view(180, 20, 5), view(160, 80, 0), view(110, 90, 0)]
    for order in itertools.permutations(range(5)):
        tracker = Tracker()
        for place, index in enumerate(order):
            assert tracker.update(place, place / RATE, views[index]) == (1,)
        shot = tracker.best_shot(1)
        assert order[shot.frame] == 1
        assert shot.seconds == shot.frame / RATE
        assert shot.faces == views[1]
        assert shot.value == pytest.approx(0.8 * 0.9 * np.cos(np.radians(5)), abs=1e-5)


def test_best_shots_are_those_of_each_track() -> None:
    tracker = Tracker()
    for index, (left, right) in enumerate([(80, 150), (120, 110), (90, 100)]):
        tracker.update(index, index / RATE, faces([box(200, 200, left), box(600, 200, right)]))
    assert [(shot.track, shot.frame, shot.face) for shot in tracker.best_shots()] == [(1, 1, 0), (2, 0, 1)]


def test_values_of_shots_are_finite_and_between_0_and_1() -> None:
    odd = faces([[0, 0, 0, 0], [10, 10, 5, 5], box(100)]).with_fields(
        quality=np.full((3, len(QUALITY)), np.nan, np.float32), pose=np.array([[200, 0, 0]] * 3, np.float32)
    )
    values = shot_values(odd)
    assert ((values >= 0) & (values <= 1)).all()
    assert shot_values(Faces.empty()).shape == (0,)


def test_assignment_is_the_best_of_all() -> None:
    random = np.random.default_rng(2)
    for rows, columns in itertools.product(range(4), range(4)):
        worth = np.where(random.random((rows, columns)) < 0.3, 0.0, random.random((rows, columns)))
        pairs = assign(worth)
        assert all(worth[pair] > 0 for pair in pairs)
        assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
        wide = worth if rows <= columns else worth.T
        best = max(
            (
                sum(wide[i, j] for i, j in enumerate(order))
                for order in itertools.permutations(range(max(wide.shape, default=0)), len(wide))
            ),
            default=0.0,
        )
        assert sum(worth[pair] for pair in pairs) == pytest.approx(best)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    tracker = Tracker()
    tracker.update(0, 0.0, faces([box(100)]))
    with pytest.raises(MissingExtra, match=r"mien\[video\]"):
        tracker.update(1, 0.1, faces([box(100)]))
