"""Blurs the faces of one picture file: same format, size, orientation; nothing in it still shows them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, features

from mien.core.atomic import writing
from mien.core.errors import UnreadablePicture, printable
from mien.core.faces import Faces
from mien.core.geometry import overlap_of_smaller
from mien.core.picture import Picture, as_stored
from mien.report import blur_metadata as metadata
from mien.report.blur import PRESENT, Cover, extents, hide
from mien.report.blur_formats import indexed, settings_like, writable
from mien.report.blur_tracks import Sighting, cover_frames
from mien.runtime.footage import tracker_for
from mien.runtime.pipeline import Pipeline

Table = npt.NDArray[np.float64]

# Formats that are written back, and which of them may hold frames that belong together in time.
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "DIB", "AVIF", "JPEG2000", "PPM")
_ANIMATIONS = ("GIF", "WEBP", "PNG", "AVIF")
# An animation with more pixels than this, over all frames, would fill the memory.
_MOST_PIXELS = 400_000_000
# Two boxes are one face when this part of the smaller one lies in the other.
_SAME_FACE = 0.5


@dataclass(frozen=True)
class Blurred:
    """What became of a file.

    Attributes:
        faces: number of faces that were covered: in a video and an animation the number of tracks.
        frames: number of frames or pages.
        copied: there was no face; the file was copied.
        style: the style that was used in the end.
        remaining: where a face is still found, in words; empty when the check found none.
        note: what else should be known of it.
        damage: why the source could not be read to its end; the copy holds what came before.
    """

    faces: int
    frames: int = 1
    copied: bool = False
    style: str = ""
    remaining: tuple[str, ...] = ()
    note: str = ""
    damage: str = ""


def blur_photo(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    pipeline: Pipeline,
    cover: Cover | None = None,
    *,
    strip: bool = False,
) -> Blurred:
    """Write a copy of a picture whose faces cannot be recognised, and look whether one is still found.

    Format, size, orientation, colour profile and, for JPEG, the tables of quantisation are those of the
    source. Thumbnails, previews, and second pictures behind a JPEG are never kept: they show the face. Where
    the check finds a covered face again, or one that was missed, it is painted over.

    Args:
        source: the picture.
        target: the file to write; it may be the source. It is complete or absent.
        pipeline: finds the faces.
        cover: how to cover them; None blurs ellipses.
        strip: take out all metadata but the colour profile and the orientation.

    Raises:
        UnreadablePicture: the source cannot be read, or cannot be written back as it is.
        UnwritableOutput: the target cannot be written.
    """
    cover = cover or Cover()
    name = os.fspath(source)
    faces = pipeline.analyze(source)
    file = _File.read(name, pipeline)
    pages = file.faces(faces, pipeline)
    if not any(map(len, pages)):
        data = file.data
        if strip:
            data = metadata.stripped(data, file.orientation) or file.encoded(pages, pages, cover, strip=True)
        if data is not file.data or not is_same_file(source, target):
            _write(target, data)
        return Blurred(0, len(pages), copied=True)
    solid: list[Table] = [np.zeros((0, 4)) for _ in pages]
    data = file.encoded(pages, solid, cover, strip=strip)
    found = file.check(data, pipeline)
    if any(map(len, found)):
        # What is still found is painted over: faces that shine through, and faces that were missed before.
        solid = [_touched(boxes, again) for boxes, again in zip(pages, found, strict=True)]
        data = file.encoded(pages, solid, cover, strip=strip)
        found = file.check(data, pipeline)
    _write(target, data)
    remaining = tuple(
        f"{f'frame {index}, ' if len(found) > 1 else ''}{', '.join(f'{v:.0f}' for v in box)}"
        for index, boxes in enumerate(found)
        for box in boxes
    )
    style = cover.solid.style if any(map(len, solid)) else cover.style
    return Blurred(file.count, len(pages), style=style, remaining=remaining, note=file.note)


def _touched(boxes: Table, again: Table) -> Table:
    """Return the covered faces that were found again, and the found ones that were not covered."""
    if not len(again) or not len(boxes):
        return again
    same = overlap_of_smaller(boxes, again) >= _SAME_FACE
    return np.concatenate([boxes[same.any(axis=1)], again])


def is_same_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> bool:
    """Tell whether two names, existing or not, are one file: by links too."""
    try:
        return os.path.samefile(source, target)  # noqa: PTH121 - works for names that are no UTF-8
    except OSError:
        return False


def _write(target: str | os.PathLike[str], data: bytes) -> None:
    with writing(target) as file:
        file.write(data)


@dataclass
class _File:
    """A picture file, opened: its bytes, its frames, and what its format can do."""

    name: str
    data: bytes
    image: Any
    orientation: int
    animated: bool
    count: int = 0
    note: str = ""
    durations: list[float] = field(default_factory=list)

    @classmethod
    def read(cls, name: str, pipeline: Pipeline) -> _File:
        try:
            # of it only the orientation is wanted
            picture = Picture.read(name, least_side=1, limits=pipeline.options.limits)
            with open(name, "rb") as file:  # noqa: PTH123 - works for names that are no UTF-8
                data = file.read()
            image = _open(data)
        except Exception as error:
            raise _unreadable(name, error) from error
        # Pillow turns TIFFs upright as it loads them, and so they are written.
        opened = cls(name, data, image, 1 if image.format == "TIFF" else picture.orientation, False)
        opened._refuse()
        if image.format == "MPO":
            opened.note = "only the first of its pictures is kept"
        opened.animated = image.format in _ANIMATIONS and opened._more()
        return opened

    def _refuse(self) -> None:
        """Refuse what Pillow reads but cannot write back.

        Raises:
            UnreadablePicture: and the face stays as it is, so this has to be said.
        """
        form, mode = self.image.format, self.image.mode
        depths = [str(entry[3]) for entry in self.image.tile]
        if not mode.startswith("I") and any(";16" in depth for depth in depths):
            raise UnreadablePicture(
                self.name, "colours of 16 bits cannot be written back; make it a picture of 8 bits first"
            )
        if mode in ("LAB", "HSV"):
            raise UnreadablePicture(self.name, f"{mode} colours cannot be written back; make it RGB first")
        if form == "AVIF" and not features.check("avif"):
            raise UnreadablePicture(self.name, "this Pillow cannot write AVIF")

    def _more(self) -> bool:
        try:
            return bool(getattr(self.image, "is_animated", False)) and self.image.format != "MPO"
        except Exception as error:
            raise _unreadable(self.name, error) from error

    def frames(self) -> Iterator[Any]:
        """Yield the frames or pages as Pillow images; they are one object that changes."""
        index = 0
        try:
            pixels = 0
            while True:
                self.image.seek(index)
                pixels += self.image.width * self.image.height
                if index and pixels > _MOST_PIXELS:
                    raise UnreadablePicture(self.name, f"more than {index} frames of this size are too many")
                self.image.load()
                if not (index and self._is_preview()):
                    yield self.image
                index += 1
                if not self._more():
                    return
        except EOFError:
            if not index:
                raise
        except UnreadablePicture:
            raise
        except Exception as error:  # Pillow's decoders raise anything at all on broken files
            raise _unreadable(self.name, error) from error

    def _is_preview(self) -> bool:
        """Tell whether a page of a TIFF is a smaller version of another one."""
        return self.image.format == "TIFF" and bool(int(self.image.tag_v2.get(254, 0)) & 1)

    def faces(self, first: Faces, pipeline: Pipeline) -> list[Table]:
        """Return the boxes of what is to be covered in each frame or page, px of the picture as stored."""
        if not self._more():
            self.count = len(first)
            return [_stored(extents(first), first.picture_size, self.orientation)]
        found: list[Table] = []
        sightings: list[Sighting] = []
        seconds: list[float] = []
        tracker = tracker_for(pipeline)
        clock = 0.0
        for index, image in enumerate(self.frames()):
            picture = Picture.read(image, limits=pipeline.options.limits)
            faces = pipeline.analyze(picture)
            boxes = _stored(extents(faces), picture.size, picture.orientation)
            found.append(boxes)
            seconds.append(clock)
            if self.animated:
                tracks = tracker.update(index, clock, faces)
                sightings += [Sighting(index, track, box) for track, box in zip(tracks, boxes, strict=True)]
            clock += max(float(image.info.get("duration", 0) or 0), 10.0) / 1000
        if not self.animated:
            self.count = sum(map(len, found))
            return found
        covered = cover_frames(seconds, sightings)
        self.count = len({track for frame in covered for track in frame.tracks.tolist()})
        return [frame.boxes for frame in covered]

    def check(self, data: bytes, pipeline: Pipeline) -> list[Table]:
        """Return where faces are found in each frame or page of what was written, px as stored."""
        if not self._more():
            faces = faces_left(pipeline, pipeline.analyze(data))
            return [_stored(faces.boxes, faces.picture_size, self.orientation)]
        written = _File(
            self.name, data, Image.open(io.BytesIO(data), formats=_FORMATS), self.orientation, False
        )
        found = []
        for image in written.frames():
            picture = Picture.read(image, limits=pipeline.options.limits)
            faces = faces_left(pipeline, pipeline.analyze(picture))
            found.append(_stored(faces.boxes, picture.size, picture.orientation))
        # Pillow leaves out a frame that is equal to the one before
        return found + [np.zeros((0, 4))] * (len(self.durations) - len(found))

    def encoded(self, pages: Sequence[Table], solid: Sequence[Table], cover: Cover, *, strip: bool) -> bytes:
        """Return the file with faces covered, those in `solid` painted over."""
        images: list[Image.Image] = []
        self.durations = []
        for index, image in enumerate(self.frames()):
            self.durations.append(image.info.get("duration", 0) or 0)
            images.append(self._covered(image, pages[index], solid[index], cover))
        self.image.seek(0)
        settings = settings_like(self.image, self.data, self.orientation, strip=strip)
        if len(images) > 1:
            settings |= {"save_all": True, "append_images": images[1:]}
            if self.animated:
                settings |= {"duration": self.durations, "loop": self.image.info.get("loop", 1)}
        if self.image.format == "GIF" and "loop" not in self.image.info:
            settings.pop("loop", None)
        form = "JPEG" if self.image.format == "MPO" else self.image.format
        file = io.BytesIO()
        try:
            images[0].save(file, form, **settings)
        except Exception as error:
            raise UnreadablePicture(
                self.name, f"cannot be written back as {form} ({' '.join(str(error).split())[:120]})"
            ) from error
        return file.getvalue()

    def _covered(self, image: Any, boxes: Table, solid: Table, cover: Cover) -> Image.Image:
        shown = writable(image)
        pixels = np.array(shown)
        colours = pixels[..., : {"LA": 1, "RGBA": 3}.get(shown.mode, 4)] if pixels.ndim == 3 else pixels
        black = (0, 0, 0, 255) if shown.mode == "CMYK" else 0
        before = pixels.copy()
        hide(colours, boxes, cover, black)
        hide(colours, solid, cover.solid, black)
        if image.format == "GIF":
            return indexed(pixels, (before != pixels).any(axis=2))
        return Image.frombytes(shown.mode, shown.size, pixels.tobytes())


def _open(data: bytes) -> Any:
    # HEIF is there when reading it before has registered it; MPO is opened as JPEG
    return Image.open(io.BytesIO(data), formats=[*_FORMATS, *(("HEIF",) if "HEIF" in Image.OPEN else ())])


def _stored(boxes: npt.NDArray[Any], size: tuple[int, int], orientation: int) -> Table:
    corners = as_stored(boxes.reshape(-1, 2, 2), size, orientation)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def faces_left(pipeline: Pipeline, faces: Faces) -> Faces:
    """Return the faces of a written picture that the detector (by its card) or the mesh model is sure of."""
    detector = pipeline.models()[0].card.detector
    sure = faces.scores >= (detector.score if detector else 0.0)
    return faces[sure if faces.presence is None else sure | (faces.presence >= PRESENT)]


def _unreadable(name: str, error: Exception) -> UnreadablePicture:
    if isinstance(error, UnreadablePicture):
        return error
    if isinstance(error, MemoryError):
        return UnreadablePicture(name, "not enough memory to decode it")
    if isinstance(error, OSError) and error.strerror:
        return UnreadablePicture(name, error.strerror)
    return UnreadablePicture(name, f"damaged ({printable(' '.join(str(error).split()))[:120]})")
