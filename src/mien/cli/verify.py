"""`mien verify`: do two pictures show the same person, and how often is that wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli import common


@common.guarded
def verify(
    first: Annotated[Path, typer.Argument(help="A picture.", show_default=False)],
    second: Annotated[Path, typer.Argument(help="Another picture.", show_default=False)],
    model: common.Models = None,
    terms: common.Terms = "any",
    threads: common.Threads = 0,
    threshold: Annotated[
        float | None, typer.Option(help="Decide at this similarity instead of the model's calibrated one.")
    ] = None,
    mirror: common.Mirror = False,
    json: common.Json = False,
) -> None:
    """Compare the largest face of two pictures. Exit code 0 either way; 1 when a picture cannot be used."""
    import mien
    from mien.core.errors import NoFace, UnreadablePicture

    try:
        result = mien.verify(
            first, second, model or (), terms=terms, threads=threads, threshold=threshold, mirror=mirror
        )
    except (UnreadablePicture, NoFace) as error:
        common.fail(str(error), common.SOME_FAILED)
    if json:
        common.out_json(result.to_dict())
        return
    if result.threshold is None:
        common.out(f"similarity {result.similarity:.3f} ({result.model}; no threshold is known for it)")
        return
    answer = "same person" if result.same else "different persons"
    common.out(
        f"{answer}: similarity {result.similarity:.3f}, threshold {result.threshold:.3f} ({result.model})"
    )
    if result.fmr is not None:
        common.out(
            f"at this threshold {100 * result.fmr:.3g} % of different persons pass as the same "
            f"(95 %: {100 * (result.fmr_low or 0):.3g} to {100 * (result.fmr_high or 0):.3g} %) and "
            f"{100 * (result.fnmr or 0):.3g} % of the same are missed, measured on {result.data}"
        )
