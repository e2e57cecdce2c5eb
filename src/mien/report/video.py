"""A run over a video that can be resumed: frames in a journal, from which rows and best shots are made."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mien.core.atomic import writing
from mien.core.errors import UnreadablePicture, printable
from mien.core.faces import Faces
from mien.core.fields import FIELDS, Kind
from mien.core.fingerprint import fingerprint
from mien.core.picture import Picture
from mien.report.html import Run, write_page
from mien.report.journal import Journal
from mien.report.pictures import write_picture
from mien.report.tables import Row, results_of, rows_of
from mien.report.timeline import Timeline, write_plot
from mien.runtime.footage import tracker_for, watch
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.stream import Result, result_of
from mien.runtime.tracks import Shot, Tracker
from mien.runtime.video import Frame, frames

# A best shot shows this many sides of the face's box.
_SIDES = 1.8


@dataclass
class Sighting:
    """When a track is visible.

    Attributes:
        track: its number.
        first: time stamp of its first frame, seconds.
        last: time stamp of its last frame, seconds.
        frames: in how many of the frames it was found.
        seconds: for how long these frames are shown.
    """

    track: int
    first: float
    last: float
    frames: int = 0
    seconds: float = 0.0


class Sightings:
    """What was seen in one video, counted result by result.

    Attributes:
        path: the video.
        tracker: what follows its faces and knows their best shots.
        frames: number of frames so far.
        faces: number of faces in them.
        error: why the video could not be read to its end; None when it could.
        timeline: what its faces expressed, where that is known.
    """

    def __init__(self, path: Path, tracker: Tracker) -> None:
        """Begin without frames."""
        self.path = path
        self.tracker = tracker
        self.frames = 0
        self.faces = 0
        self.error: str | None = None
        self.timeline = Timeline()
        self._of: dict[int, Sighting] = {}
        self._last: tuple[float, tuple[int, ...]] | None = None
        self._step = 0.0

    def note(self, result: Result) -> None:
        """Take the next frame of the video, its tracks known, or the error at its end."""
        if result.error is not None:
            self.error = result.error.reason
        if result.seconds is None or result.track is None:
            return
        self.timeline.note(result)
        if self._last is not None:
            before, visible = self._last
            self._step = max(result.seconds - before, 0.0)
            for number in visible:
                self._of[number].seconds += self._step
        for number in result.track:
            sighting = self._of.setdefault(number, Sighting(number, result.seconds, result.seconds))
            sighting.last = result.seconds
            sighting.frames += 1
        self.frames += 1
        self.faces += len(result.track)
        self._last = (result.seconds, result.track)

    def tracks(self) -> list[Sighting]:
        """Return what is known of each track, by number; the newest frame lasts as long as the one before."""
        visible = self._last[1] if self._last else ()
        return [
            replace(sighting, seconds=sighting.seconds + self._step * (number in visible))
            for number, sighting in sorted(self._of.items())
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values, each track with its best shot."""
        shots = [
            {
                "frame": shot.frame,
                "seconds": shot.seconds,
                "face": shot.face,
                "box": [round(value, 2) for value in shot.faces.boxes[0].tolist()],
                "value": shot.value,
            }
            for shot in self.tracker.best_shots()
        ]
        tracks = zip(self.tracks(), shots, strict=True)
        return {
            "source": printable(self.path),
            "frames": self.frames,
            "faces": self.faces,
            "error": self.error,
            "tracks": [{**asdict(sighting), "best_shot": shot} for sighting, shot in tracks],
        }


class VideoRun:
    """One video in a run: finished frames are in the journal and are not analyzed again.

    Tracks are always made from all frames in order, so that they are those of a run that was never stopped.
    """

    def __init__(self, path: Path, journal: Journal, pipeline: Pipeline, *, every: int = 1) -> None:
        """Take up a video where an earlier run left it.

        Args:
            path: the video.
            journal: of a run with the pipeline's contract.
            pipeline: what finds and describes faces.
            every: take frames 0, `every`, 2 `every` ...
        """
        self.path = path
        self.every = every
        self._journal = journal
        self._pipeline = pipeline
        self._end = f"end of every {every}"

    def finished(self) -> bool:
        """Tell whether all of the video's frames are in the journal."""
        return self._journal.has(self.path, self._end)

    def analyze(self, options: Options) -> Iterator[Result]:
        """Analyze the frames that are not in the journal, and write them down one by one.

        Args:
            options: of the workers.

        Yields:
            The result of every frame, the known ones too.

        Raises:
            UnwritableOutput: full disk; what was written down before stays good.
        """
        mark = fingerprint(self.path)
        last, errors = -1, list[Row]()
        results = watch(self.path, options, every=self.every, pipeline=self._pipeline, recall=self._recall)
        for frame, result in results:
            if frame is None:
                errors = rows_of(result)
            else:
                last = frame.index
                if not self._journal.has(self.path, str(last)):
                    self._journal.add(self.path, rows_of(result), mark, str(last))
            yield result
        self._journal.add(self.path, [{"last": last}, *errors], mark, self._end)

    def _recall(self, frame: int) -> Faces | None:
        if not self._journal.has(self.path, str(frame)):
            return None
        return self._result(frame).faces

    def _result(self, frame: int) -> Result:
        return next(results_of(self._journal.entry(self.path, str(frame)) or []))

    def sightings(self) -> Sightings:
        """Return what `rows` fills."""
        return Sightings(self.path, tracker_for(self._pipeline))

    def rows(self, sightings: Sightings) -> Iterator[Row]:
        """Yield the rows of a finished video.

        Args:
            sightings: a new one; it knows all of the video after the last row.
        """
        for result in self.results(sightings.tracker):
            sightings.note(result)
            yield from rows_of(result)

    def results(self, tracker: Tracker) -> Iterator[Result]:
        """Yield the results of a finished video, as `mien.runtime.footage.analyze_video` does.

        Args:
            tracker: a new one, which follows the faces.
        """
        last, *errors = self._journal.entry(self.path, self._end) or [{"last": -1}]
        for number in range(0, last["last"] + 1, self.every):
            result = self._result(number)
            track = tracker.update(number, result.seconds or 0.0, result.faces)
            yield replace(result, track=track)
        yield from results_of(errors)


class Table:
    """The rows of several finished videos: may be gone through more than once, holds one frame at a time.

    Attributes:
        found: what was seen in each video, after the last row.
    """

    def __init__(self, runs: Sequence[VideoRun]) -> None:
        """Take the videos in order."""
        self.found: list[Sightings] = []
        self._runs = runs

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows of all videos."""
        self.found = []
        for run in self._runs:
            sightings = run.sightings()
            yield from run.rows(sightings)
            self.found.append(sightings)


def best_shots(sightings: Sightings, every: int = 1) -> Iterator[tuple[Shot, Picture]]:
    """Yield the best shot of each track with a picture of it, read from the video again.

    Args:
        sightings: of the whole video.
        every: as in the run that they come from.

    Yields:
        The shot, its `faces` in pixels of the picture, which shows the face and a little around it.
    """
    wanted: dict[int, list[Shot]] = {}
    for shot in sightings.tracker.best_shots():
        wanted.setdefault(shot.frame, []).append(shot)
    if not wanted:
        return
    for frame in frames(sightings.path, every=every):
        for shot in wanted.pop(frame.index, ()):
            yield _cut_out(shot, frame)
        if not wanted:
            return


def _cut_out(shot: Shot, frame: Frame) -> tuple[Shot, Picture]:
    height, width = frame.pixels.shape[:2]
    x1, y1, x2, y2 = shot.faces.boxes[0].tolist()
    reach = _SIDES * max(x2 - x1, y2 - y1) / 2
    across, down = (x1 + x2) / 2, (y1 + y2) / 2
    left, top = max(0, math.floor(across - reach)), max(0, math.floor(down - reach))
    right, bottom = min(width, math.ceil(across + reach)), min(height, math.ceil(down + reach))
    pixels = frame.pixels[top:bottom, left:right]
    size = (pixels.shape[1], pixels.shape[0])
    offsets = {2: (left, top), 3: (left, top, 0), 4: (left, top, left, top)}
    moved = {
        name: getattr(shot.faces, name) - np.array(offsets[getattr(shot.faces, name).shape[-1]])
        for name in shot.faces.known()
        if FIELDS[name].kind in (Kind.BOX, Kind.POINTS)
    }
    faces = replace(shot.faces, picture_size=size, **moved)
    return replace(shot, faces=faces), Picture(pixels, faces.source, size, tagged=True)


def save_best_shots(folder: Path, found: Sequence[Sightings], every: int = 1) -> list[Path]:
    """Write the best shot of each track as a JPEG, `NAME-TRACK.jpg` with the video's name.

    Raises:
        UnwritableOutput: it cannot be written.
    """
    saved = []
    for sightings, name in zip(found, _names(found), strict=True):
        for shot, picture in best_shots(sightings, every):
            target = folder / f"{name}-{shot.track:04d}.jpg"
            with writing(target) as file:
                picture.image().save(file, "JPEG", quality=92)
            saved.append(target)
    return saved


def plot_expressions(path: Path, found: Sequence[Sightings]) -> None:
    """Draw how the expression of each track changes, as one SVG over all videos.

    Raises:
        UnwritableOutput: it cannot be written.
    """
    videos = zip(_names(found), found, strict=True)
    write_plot(path, [(name, sightings.timeline) for name, sightings in videos])


def write_report(folder: Path, found: Sequence[Sightings], run: Run, every: int = 1) -> None:
    """Write a report's page about videos: best shots, expressions over time, and what could not be read.

    Args:
        folder: where the page and its pictures go.
        found: what was seen in each video.
        run: what to say of the run; all pictures are new in it.
        every: as in the run.

    Raises:
        UnwritableOutput: it cannot be written.
    """
    pictures: list[Path] = []
    rows: list[Row] = []
    for sightings, name in zip(found, _names(found), strict=True):
        for shot, picture in best_shots(sightings, every):
            page_name = Path(f"{name}, track {shot.track}")
            write_picture(folder, page_name, picture, shot.faces)
            pictures.append(page_name)
            rows += rows_of(replace(result_of(shot.faces), source=str(page_name)))
        if sightings.error:
            pictures.append(sightings.path)
            rows += rows_of(result_of(UnreadablePicture(sightings.path, sightings.error)))
    videos = [(name, one.timeline) for name, one in zip(_names(found), found, strict=True)]
    if any(timeline.tracks() for _, timeline in videos):
        write_plot(folder / "expressions.svg", videos)
    write_page(folder, pictures, rows, replace(run, new=len(pictures)), videos)


def _names(found: Sequence[Sightings]) -> list[str]:
    """Return a name for each video that no other has: its own, numbered where that is taken."""
    taken: Counter[str] = Counter()
    names = []
    for sightings in found:
        name = printable(sightings.path.name)
        taken[name] += 1
        names.append(name if taken[name] == 1 else f"{name}-{taken[name]}")
    return names
