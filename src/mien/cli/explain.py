"""`mien explain`: where a trained system looks in the faces of a photo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from mien.cli import common
from mien.cli.lab import Recipe, Seed, paper_of
from mien.core.crops import Crop, batch, cut
from mien.core.errors import MissingExtra, printable

if TYPE_CHECKING:
    from mien.evaluate.attribution import Explainable


@common.guarded
def explain(
    photo: Annotated[Path, typer.Argument(help="The photo.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .png to write.")],
    system: Annotated[str, typer.Option("--system", help="A trained system.")] = "gimefive",
    recipe: Recipe = "cpu",
    seed: Seed = 0,
    method: Annotated[
        str, typer.Option("--method", help="grad-cam: at the places of a layer; saliency: at the pixels.")
    ] = "grad-cam",
) -> None:
    """Draw what speaks for each expression in each face, its probability, and the activations."""
    from mien.core.atomic import writing
    from mien.core.picture import Picture
    from mien.runtime.api import analyze

    if output.suffix.lower() != ".png":
        common.fail(f"-o {printable(output)}: use the ending .png")
    lab, size = _trained(system, recipe, seed)
    from mien.evaluate import attribution

    chosen = next((known for known in attribution.METHODS if known == method), None)
    if chosen is None:
        common.fail(f"--method {printable(method)}: use {' or '.join(attribution.METHODS)}")
    picture = Picture.read(photo)
    faces = analyze(picture, want=("landmarks",))
    if not len(faces):
        common.fail(f"{printable(photo)}: no face found")
    # FER2013's faces, looked for by our detector: their side is 1.08 of its box, a little above its middle
    crop = Crop("box", size, size, scale=1.08, shift=(0.0, -0.03), fill="edge")
    matrices = crop.matrices({"boxes": faces.boxes}, picture.size)[:, 0]
    crops = [cut(picture.pixels, matrix, size, size, "edge") for matrix in matrices]
    made = attribution.explain(lab, np.asarray(batch(crops, grey=True), np.float32), chosen)
    names = [f"face {index}" for index in range(len(faces))]
    with writing(output) as file:
        attribution.sheet(made, names).save(file, "PNG")
    for name, shares in zip(names, made.probabilities, strict=True):
        best = int(shares.argmax())
        common.out(f"{name}: {made.classes[best]} {shares[best]:.2f}")


def _trained(system: str, recipe: str, seed: int) -> tuple[Explainable, int]:
    """Return a finished run of a system, and the side of its faces, px."""
    entry, chosen = paper_of(system, "explained")
    try:
        from mien.evaluate.attribution import Explainable
    except ImportError as error:
        raise MissingExtra(error.name or "captum", "lab") from error
    from mien.train.run import folder_of, train

    settings = chosen.settings(recipe)
    lab = chosen.make(settings, seed)
    if not isinstance(lab, Explainable):
        common.fail(f"{entry.id} does not say which layer explains it; gimefive and fer-cnn do")
    if not (folder_of(entry.id, lab) / "run.json").is_file():
        common.fail(f"train it first: mien train {entry.id} --recipe {recipe} --seed {seed}")
    trained = train(entry.id, lambda: chosen.make(settings, seed), progress=False).lab
    assert isinstance(trained, Explainable)
    return trained, int(settings.size)  # type: ignore[attr-defined]
