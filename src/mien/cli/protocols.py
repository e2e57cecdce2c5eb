"""`mien evaluate --protocol`: any recogniser with a card, judged by the field's protocols."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.cli import common

if TYPE_CHECKING:
    import numpy.typing as npt


def evaluate(protocol: str, model: str, plot: Path | None, threads: int, *, mirror: bool, json: bool) -> None:
    """Run a recogniser through detector, landmarks and its own crop on a protocol's set, and print figures.

    Args:
        protocol: its name.
        model: name or .onnx file of the recogniser; the default one when empty.
        plot: the .svg file for its DET curve.
        threads: worker threads; 0 takes all cores.
        mirror: add the mirrored face to each embedding.
        json: print JSON.
    """
    from mien.core.atomic import writing
    from mien.core.errors import MissingExtra
    from mien.runtime.embed import embed
    from mien.runtime.model import Model
    from mien.runtime.pipeline import Pipeline

    try:
        from mien.evaluate import protocols
    except ImportError as error:
        raise MissingExtra(error.name or "scikit-learn", "lab") from error
    protocols.check(protocol)
    if model and "embeddings" not in Model.load(model, threads=1).card.fields:
        # The pipeline would judge the default recogniser in its place.
        common.fail(f"{model} makes no embeddings: protocols judge recognisers")
    options = common.options_from(["embeddings"], [model] if model else [], "any", threads, 0.0, mirror)
    # Workers are the threads; each computes on one.
    pipeline = Pipeline(replace(options, threads=1))
    maker = pipeline.makers["embeddings"]
    with common.progress(quiet=json) as bar:
        task = bar.add_task("pictures", total=None)

        def embedded(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return embed(
                pixels,
                pipeline,
                threads=threads,
                progress=lambda done: bar.update(task, completed=done, total=len(pixels)),
            )

        result = protocols.judge(protocol, embedded)
    if plot is not None:
        with writing(plot) as file:
            file.write(result.draw(maker))
    if json:
        common.out_json({"model": maker, "mirrored": mirror, **result.to_dict()})
        return
    common.out(f"{maker}, faces found by {pipeline.models()[0].card.maker}")
    for line in result.lines():
        common.out(line)
