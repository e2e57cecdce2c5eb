"""`mien explain`: where a trained system looks in the faces of a photo or of a video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from mien.cli import common
from mien.cli.lab import Recipe, Seed, paper_of
from mien.core.crops import Crop, batch, cut
from mien.core.errors import MissingExtra, UnreadablePicture, printable

if TYPE_CHECKING:
    from PIL import Image

    from mien.core.faces import Faces
    from mien.core.picture import Pixels
    from mien.evaluate.attribution import Explainable, Floats, Method
    from mien.runtime.stream import Result


@common.guarded
def explain(
    path: Annotated[Path, typer.Argument(help="The photo or the video.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The .png to write; of a video, a video, such as out.mp4.")
    ],
    system: Annotated[str, typer.Option("--system", help="A trained system.")] = "gimefive",
    recipe: Recipe = "cpu",
    seed: Seed = 0,
    method: Annotated[
        str, typer.Option("--method", help="grad-cam: at the places of a layer; saliency: at the pixels.")
    ] = "grad-cam",
    threads: common.Threads = 0,
    quiet: common.Quiet = False,
) -> None:
    """Draw what speaks for each expression in each face, its probability, and the activations.

    Of a video: on every frame what speaks for the most probable expression of each face, whose mean
    probabilities over the frames are printed.
    """
    from mien.runtime.video import EXTENSIONS, is_video

    endings = EXTENSIONS if is_video(path) else frozenset({".png"})
    if output.suffix.lower() not in endings:
        wanted = "an ending of videos, such as .mp4" if is_video(path) else "the ending .png"
        common.fail(f"-o {printable(output)}: use {wanted}")
    look = _trained(system, recipe, seed, method)
    if is_video(path):
        raise typer.Exit(_video(path, output, look, threads, quiet=quiet))
    _photo(path, output, look)


@dataclass(frozen=True)
class _Look:
    """A trained system, and how its heat is found."""

    lab: Explainable
    crop: Crop
    method: Method

    def crops(self, pixels: Pixels, faces: Faces) -> tuple[npt.NDArray[np.float64], Floats]:
        """Return the (n, 2, 3) maps from picture to crop, and the (n, 1, H, W) grey crops."""
        size = (pixels.shape[1], pixels.shape[0])
        matrices = self.crop.matrices({"boxes": faces.boxes}, size)[:, 0]
        width, height = self.crop.width, self.crop.height
        crops = [cut(pixels, matrix, width, height, "edge") for matrix in matrices]
        return matrices, np.asarray(batch(crops, grey=True), np.float32)


def _photo(path: Path, output: Path, look: _Look) -> None:
    from mien.core.atomic import writing
    from mien.core.picture import Picture
    from mien.evaluate import attribution
    from mien.runtime.api import analyze

    picture = Picture.read(path)
    faces = analyze(picture, want=("boxes",))
    if not len(faces):
        common.fail(f"{printable(path)}: no face found")
    made = attribution.explain(look.lab, look.crops(picture.pixels, faces)[1], look.method)
    names = [f"face {index}" for index in range(len(faces))]
    with writing(output) as file:
        attribution.sheet(made, names).save(file, "PNG")
    for name, shares in zip(names, made.probabilities, strict=True):
        common.out(_told(name, look, shares))


@dataclass
class _Heated:
    """Draws on frames what speaks for the most probable class of each face.

    Attributes:
        look: by which system and method.
        sums: of each track, the sum of its (c,) probabilities, and of how many frames.
    """

    look: _Look
    sums: dict[int, tuple[Any, int]] = field(default_factory=dict)

    def __call__(self, pixels: Pixels, result: Result) -> Image.Image:
        from PIL import Image

        from mien.core.drawing import draw
        from mien.evaluate import attribution

        matrices, crops = self.look.crops(pixels, result.faces)
        made = attribution.strongest(self.look.lab, crops, self.look.method)
        captions = []
        for track, shares in zip(result.track or (), made.probabilities, strict=True):
            total, count = self.sums.get(track, (0.0, 0))
            self.sums[track] = (total + shares, count + 1)
            best = int(shares.argmax())
            captions.append(f"#{track} {self.look.lab.classes[best]} {shares[best]:.0%}")
        image = Image.fromarray(attribution.lay(pixels, made.heat, matrices))
        return draw(image, result.faces, captions=captions)


def _video(path: Path, output: Path, look: _Look, threads: int, *, quiet: bool) -> int:
    from mien.report.annotate_video import annotate_video
    from mien.runtime.footage import analyze_video
    from mien.runtime.pipeline import Options
    from mien.runtime.video import inspect

    heated = _Heated(look)
    results = analyze_video(path, Options(want=("boxes",), threads=threads))
    try:
        with common.progress(quiet=quiet) as bar:
            task = bar.add_task(printable(path.name), total=inspect(path).frames)

            def counted() -> Iterator[Result]:
                for result in results:
                    bar.advance(task)
                    yield result

            made = annotate_video(path, output, counted(), heated)
    except UnreadablePicture as error:
        common.fail(str(error), common.SOME_FAILED)
    for track, (total, count) in sorted(heated.sums.items()):
        common.out(f"{_told(f'track {track}', look, total / count)} over {count} frames")
    if not made.tracks:
        common.say(f"{printable(path)}: no face found")
    if made.damage:
        common.say(f"{printable(path)}: {made.damage}")
    return common.SOME_FAILED if made.damage else common.OK


def _told(name: str, look: _Look, shares: Floats) -> str:
    best = int(shares.argmax())
    return f"{name}: {look.lab.classes[best]} {shares[best]:.2f}"


def _trained(system: str, recipe: str, seed: int, method: str) -> _Look:
    """Return a finished run of a system, and how to look at it."""
    entry, paper = paper_of(system, "explained")
    try:
        from mien.evaluate.attribution import METHODS, Explainable
    except ImportError as error:
        raise MissingExtra(error.name or "captum", "lab") from error
    from mien.train.run import folder_of, train

    chosen = next((known for known in METHODS if known == method), None)
    if chosen is None:
        common.fail(f"--method {printable(method)}: use {' or '.join(METHODS)}")
    settings = paper.settings(recipe)
    lab = paper.make(settings, seed)
    if not isinstance(lab, Explainable):
        common.fail(f"{entry.id} does not say which layer explains it; gimefive and fer-cnn do")
    if not (folder_of(entry.id, lab) / "run.json").is_file():
        common.fail(f"train it first: mien train {entry.id} --recipe {recipe} --seed {seed}")
    trained = train(entry.id, lambda: paper.make(settings, seed), progress=False).lab
    assert isinstance(trained, Explainable)
    size = int(settings.size)  # type: ignore[attr-defined]
    # FER2013's faces, looked for by our detector: their side is 1.08 of its box, a little above its middle
    crop = Crop("box", size, size, scale=1.08, shift=(0.0, -0.03), fill="edge")
    return _Look(trained, crop, chosen)
