"""Fills the parts of the documentation that the program knows better: commands, fields, models, CONTRIBUTING.

MkDocs calls `on_page_markdown` for every page; a line `<!-- generated: NAME -->` becomes what `WRITERS[NAME]` returns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mien.core.card import Card
from mien.core.fields import FIELDS, Kind
from mien.runtime import assets

_SHAPES: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.BOX: "(n, 4)",
        Kind.POINTS: "(n, k, 2 or 3)",
        Kind.SCALAR: "(n,)",
        Kind.PROBABILITIES: "(n, c)",
        Kind.VALUES: "(n, c)",
        Kind.EMBEDDING: "(n, d)",
    }
)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join([_row(*header), _row(*("---" for _ in header)), *(_row(*cells) for cells in rows)])


def commands() -> str:
    """Return the reference of every command, as typer writes it from the commands themselves."""
    import click
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from mien.cli.app import app

    group = get_command(app)
    text = get_docs_for_click(
        obj=group, ctx=click.Context(group, info_name="mien"), name="mien", title="mien"
    )
    return text.partition("\n")[2].strip()


def fields() -> str:
    """Return the table of fields."""
    return _table(
        ("field", "shape", "unit", "what it is", "columns"),
        [
            (f"`{f.name}`", _SHAPES[f.kind], f.unit, f.about, ", ".join(f.labels) or "the model's")
            if f.kind in (Kind.VALUES, Kind.PROBABILITIES) or f.labels
            else (f"`{f.name}`", _SHAPES[f.kind], f.unit, f.about, "")
            for f in FIELDS.values()
        ],
    )


def _origin(asset: assets.Asset) -> str:
    if not asset.sources:
        return "bring the file"
    return "; ".join(f"`{source}`" for source in asset.sources)


def _terms(card: Card) -> str:
    return card.licence.weights + (". " + card.licence.note if card.licence.note else "")


def models() -> str:
    """Return the table of models, from their cards."""
    rows = []
    for asset in assets.table().values():
        card = asset.card
        rows.append(
            (
                f"**{card.name}**{' (default)' if asset.default else ''}<br>{card.title}",
                ", ".join(f"`{field}`" for field in card.fields),
                _terms(card),
                "yes" if card.licence.commercial else "no",
                card.training_data,
                f"{_origin(asset)}<br>{card.source}",
                "yes" if card.run_here else "no",
            )
        )
    header = ("model", "makes", "terms of the weights", "commercial use", "trained on", "source", "run here")
    return _table(header, rows)


def thresholds() -> str:
    """Return the table of the decision thresholds that cards carry."""
    rows = [
        (
            card.name,
            f"`{threshold.field}`",
            f"{threshold.value:.4f} ({threshold.metric})",
            f"{threshold.fmr:.2g} ({threshold.fmr_low:.2g} to {threshold.fmr_high:.2g})",
            f"{threshold.fnmr:.3f}",
            threshold.data,
        )
        for card in (asset.card for asset in assets.table().values())
        for threshold in card.thresholds
    ]
    return _table(("model", "field", "threshold", "FMR (95 %)", "FNMR", "measured on"), rows)


def contributing() -> str:
    """Return CONTRIBUTING.md, which lies outside the folder of the documentation."""
    return (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")


WRITERS: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "commands": commands,
        "contributing": contributing,
        "fields": fields,
        "models": models,
        "thresholds": thresholds,
    }
)
"""What can be generated, by the name that pages use."""


def fill(markdown: str) -> str:
    """Return a page with its generated parts.

    Raises:
        KeyError: a part has no writer.
    """
    return re.sub(
        r"^<!-- generated: (\w+) -->$", lambda found: WRITERS[found[1]](), markdown, flags=re.MULTILINE
    )


def on_page_markdown(markdown: str, /, **_: Any) -> str:
    """Answer MkDocs' event of the same name."""
    return fill(markdown)
