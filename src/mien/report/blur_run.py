"""Blurs many photos and videos: where copies go, what may be overwritten, what is done, a row for each."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from mien.core.errors import MienError, UnknownField, UnwritableOutput, printable
from mien.core.fingerprint import fingerprint
from mien.core.picture import EXTENSIONS
from mien.report.blur import Cover
from mien.report.blur_photo import Blurred, blur_photo, is_same_file
from mien.report.journal import Journal
from mien.runtime.pipeline import Options, Pipeline, ready
from mien.runtime.stream import available_cores, ordered, walk
from mien.runtime.video import EXTENSIONS as VIDEO_EXTENSIONS
from mien.runtime.video import is_video

# Height in px of the smallest face looked for, and the share of the detector's own threshold at which it
# counts: a face too many costs nothing here, one that is missed stays to be seen.
_SMALLEST, _EAGER = 20.0, 0.7
# Faults of the whole disk: the next file would meet them too.
_FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_SUFFIX = "-blurred"
# What a killed run may leave behind beside its outputs (`mien.core.atomic`).
_UNFINISHED = ".mien-"
# The part of a file's record that says that its copy is being made.
_BEGUN = "begun"


@dataclass(frozen=True)
class Settings:
    """What to do with each file.

    Attributes:
        cover: how to cover faces.
        strip: take out the metadata.
        in_place: the original itself is to be overwritten.
        overwrite: other files may be overwritten.
    """

    cover: Cover = field(default_factory=Cover)
    strip: bool = False
    in_place: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Job:
    """A file and where its blurred copy goes."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Row:
    """What became of one file.

    Attributes:
        source: its path, printable.
        output: where the copy is; empty when there is none.
        kind: "photo" or "video".
        state: "blurred", "copied" (there was no face), "kept" (an earlier run made it) or "failed".
        faces: number of faces covered; in a video, of their tracks.
        frames: number of frames or pages.
        style: the style used in the end: "solid" where the one asked for left a face to be found.
        remaining: where the check still finds a face.
        note: what else should be known.
        error: what is wrong; a damaged video may be blurred as far as it could be read.
    """

    source: str
    output: str
    kind: str
    state: str
    faces: int = 0
    frames: int = 0
    style: str = ""
    remaining: tuple[str, ...] = ()
    note: str = ""
    error: str | None = None

    @property
    def good(self) -> bool:
        """Whether there is a copy in which no face is found."""
        return self.error is None and not self.remaining

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**asdict(self), "remaining": list(self.remaining)}


def finder(options: Options) -> Pipeline:
    """Return a pipeline that finds more faces than others do, with their meshes where that model is here.

    Args:
        options: `want` does not count; of `search`, what is not set is set to look harder.

    Raises:
        ModelMissing: there is no detector on this machine.
    """
    boxes = ready(replace(options, want=("boxes",), threads=1))
    detector = boxes.models()[0].card.detector
    least = options.search.score
    if least is None and detector is not None:
        least = _EAGER * detector.score
    search = replace(options.search, score=least, smallest=options.search.smallest or _SMALLEST)
    harder = replace(options, threads=1, search=search)
    try:
        return ready(replace(harder, want=("boxes", "mesh", "presence")))
    except UnknownField:
        return ready(replace(harder, want=("boxes",)))


def jobs(inputs: Iterable[Path], output: Path | None, *, in_place: bool = False) -> list[Job]:
    """Return the photos and videos that are meant, each once, and where their copies go.

    Copies that this command made beside their originals, and what lies in the output folder, are no inputs.

    Args:
        inputs: files and folders.
        output: a folder that mirrors the inputs' folders, or the file for a single input; None: beside each
            original, NAME-blurred.
        in_place: the original is the target.
    """
    given = list(inputs)
    found: dict[str, Job] = {}
    single = len(given) == 1 and not is_folder(given[0])
    to_file = output is not None and single and not is_folder(output) and output.suffix != ""
    for start in given:
        for path in _files(start, output):
            key = os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow links and fail on loops
            if key in found:
                continue
            if in_place:
                target = Path(os.path.realpath(path))
            elif output is None:
                target = path.with_name(f"{path.stem}{_SUFFIX}{path.suffix}")
            elif to_file:
                target = output
            else:
                target = output / _below(start, path, several=len(given) > 1)
            found[key] = Job(path, target)
    return list(found.values())


def is_folder(path: Path) -> bool:
    """Tell whether there is a folder of that name; what cannot be asked is none."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises for names that are too long


def _files(start: Path, output: Path | None) -> Iterator[Path]:
    if not is_folder(start):
        yield start
        return
    inside = None if output is None else os.path.abspath(output)  # noqa: PTH100
    if inside == os.path.abspath(start):  # noqa: PTH100
        inside = None
    for path in walk(start, EXTENSIONS | VIDEO_EXTENSIONS):
        if path.name.startswith(_UNFINISHED):
            continue
        if inside is not None and Path(os.path.abspath(path)).is_relative_to(inside):  # noqa: PTH100
            continue
        original = path.with_name(path.stem.removesuffix(_SUFFIX) + path.suffix)
        if output is None and original != path and os.path.lexists(original):
            continue
        yield path


def _below(start: Path, path: Path, *, several: bool) -> Path:
    if path == start and not is_folder(start):
        return Path(path.name)
    relative = path.relative_to(start)
    return Path(os.path.basename(os.path.abspath(start))) / relative if several else relative  # noqa: PTH100, PTH119


def contract_of(pipeline: Pipeline, settings: Settings) -> str:
    """Return a digest of all that decides what the copies look like."""
    facts = [1, pipeline.contract, asdict(settings.cover), settings.strip]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def run(
    work: Iterable[Job],
    pipeline: Pipeline,
    settings: Settings,
    *,
    threads: int = 0,
    journal: Journal | None = None,
    tick: Callable[[float], None] | None = None,
) -> Iterator[Row]:
    """Blur files, photos side by side and videos one after the other.

    Args:
        work: files and targets, as `jobs` gives them.
        pipeline: finds the faces, as `finder` gives it.
        settings: what to do.
        threads: number of workers; 0 takes all cores.
        journal: what earlier runs did; copies made then are kept, or finished.
        tick: is told how much of the video at hand is done, 0..1.

    Yields:
        One row a file, in order.

    Raises:
        UnwritableOutput: the disk is full or read-only; what is done stays.
    """
    workers = threads or available_cores()
    taken: dict[str, Path] = {}

    def begun() -> Iterator[tuple[Job, Row | None]]:
        for job in work:
            row = _settled(job, settings, journal, taken)
            if row is None and journal is not None:
                # A copy that is there without its row is then known to be ours.
                journal.add(job.source, [{"output": printable(job.target)}], (0, 0), _BEGUN)
            yield job, row

    def photo(item: tuple[Job, Row | None]) -> tuple[Job, Row, tuple[int, int]]:
        job, row = item
        mark = fingerprint(job.source)
        return job, row or _row(job, lambda: blur_photo(*_paths(job), **options)), mark

    def video(item: tuple[Job, Row | None]) -> tuple[Job, Row, tuple[int, int]]:
        from mien.report.blur_video import blur_video

        job, row = item
        mark = fingerprint(job.source)
        found = replace(pipeline.options, threads=workers)
        made = row or _row(
            job, lambda: blur_video(*_paths(job), **options, options=found, tick=tick), kind="video"
        )
        return job, made, mark

    options: dict[str, Any] = {"pipeline": pipeline, "cover": settings.cover, "strip": settings.strip}
    for films, group in groupby(begun(), lambda item: is_video(item[0].source)):
        done = map(video, group) if films else ordered(photo, group, workers)  # noqa: B031 - one of both
        for job, row, mark in done:
            if journal is not None and row.state in ("blurred", "copied"):
                entry = {**row.to_dict(), "made": list(fingerprint(job.target))}
                journal.add(job.source, [entry], mark)
            yield row


def _paths(job: Job) -> tuple[Path, Path]:
    return job.source, job.target


def _settled(job: Job, settings: Settings, journal: Journal | None, taken: dict[str, Path]) -> Row | None:
    """Return the row of a file for which nothing is to be done or can be; None when there is work."""
    kind = "video" if is_video(job.source) else "photo"
    place = os.path.abspath(job.target)  # noqa: PTH100

    def refused(reason: str) -> Row:
        return Row(printable(job.source), "", kind, "failed", error=f"{printable(job.target)} {reason}")

    if place in taken:
        return refused(
            f"is where the copy of {printable(taken[place])} goes; blur them into folders of their own"
        )
    taken[place] = job.source
    entry = journal.entry(job.source) if journal is not None and journal.has(job.source) else None
    if entry and not settings.overwrite and entry[0]["made"] == list(fingerprint(job.target)):
        facts = {key: value for key, value in entry[0].items() if key != "made"}
        return Row(**{**facts, "state": "kept", "remaining": tuple(facts["remaining"])})
    if settings.in_place or not os.path.lexists(job.target):
        return None
    if is_same_file(job.source, job.target):
        return refused("is the original; --in-place overwrites it")
    if is_folder(job.target):
        return refused("is a folder")
    begun = journal.entry(job.source, _BEGUN) if journal is not None else None
    if settings.overwrite or (begun and begun[0]["output"] == printable(job.target)):
        return None
    newer = fingerprint(job.target)[1] >= fingerprint(job.source)[1]
    if journal is None and newer and job.target.stem == job.source.stem + _SUFFIX:
        return Row(printable(job.source), printable(job.target), kind, "kept")
    return refused("is there already; --overwrite writes over it")


def _row(job: Job, blur: Callable[[], Blurred], kind: str = "photo") -> Row:
    source = printable(job.source)
    try:
        made = blur()
    except UnwritableOutput as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _FATAL:
            raise
        return Row(source, "", kind, "failed", error=str(error))
    except MienError as error:
        reason = str(error).removeprefix(f"{source}: ")
        return Row(source, "", kind, "failed", error=reason)
    except Exception as error:  # one file must not stop the others, whatever is wrong with it
        text = printable(" ".join(str(error).split()))[:160]
        return Row(source, "", kind, "failed", error=f"cannot be blurred ({type(error).__name__}: {text})")
    return Row(
        source,
        printable(job.target),
        kind,
        "copied" if made.copied else "blurred",
        made.faces,
        made.frames,
        made.style,
        made.remaining,
        made.note,
        f"damaged, blurred as far as it could be read: {made.damage}" if made.damage else None,
    )
