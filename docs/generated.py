"""Fills the parts of the documentation that the program knows better: commands, fields, models, formats.

MkDocs calls `on_page_markdown` for every page; a line `<!-- generated: NAME -->` becomes what
`WRITERS[NAME]` returns.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mien.core.columns import names_of
from mien.core.faces import Faces
from mien.core.fields import FIELDS, Field, Kind
from mien.report.formats import FORMATS
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

# All that comes behind the first sentence of a text.
_BEHIND_FIRST_SENTENCE = re.compile(r"[.](?:\s.*)?$", re.DOTALL)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([_row(*header), _row(*("---" for _ in header)), *(_row(*cells) for cells in rows)])


def commands() -> str:
    """Return the reference of every command, as typer writes it from the commands themselves."""
    import click
    import typer
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from mien.cli.app import app

    group = get_command(app)
    assert isinstance(group, click.Group)
    text = get_docs_for_click(
        obj=group, ctx=typer.Context(group, info_name="mien"), name="mien", title="mien"
    )
    # typer cuts the list of commands at 45 letters; here is room for their first sentence.
    overview = "\n".join(
        f"- [`mien {name}`](#mien-{name}): {_BEHIND_FIRST_SENTENCE.sub('', command.help or '')}"
        for name, command in group.commands.items()
    )
    body = re.sub(r"\*\*Commands\*\*:\n\n(?:\* .*\n)+", "", text.partition("\n")[2])
    return f"{overview}\n\n## `mien`\n\n{body.strip()}"


def _columns(field: Field) -> str:
    if field.kind in (Kind.VALUES, Kind.PROBABILITIES) and not field.labels:
        return f"`{field.name}.LABEL`, labels as the model's card says"
    names = names_of(Faces.empty(), field.name)
    listed = field.kind in (Kind.POINTS, Kind.EMBEDDING) and len(names) == 1
    return ", ".join(f"`{name}`" for name in names) + (" (a list)" if listed else "")


def fields() -> str:
    """Return the table of fields."""
    return _table(
        ("field", "what it is", "shape", "unit", "columns in tables"),
        [(f"`{f.name}`", f.about, _SHAPES[f.kind], f.unit, _columns(f)) for f in FIELDS.values()],
    )


def formats() -> str:
    """Return what is written for other programs, format by format, as their modules say it."""
    return "\n\n".join(
        f"### `--format {name}`: {form.about}\n\nEnding of the file: `{form.ending}`.\n\n"
        + inspect.cleandoc(sys.modules[form.write.__module__].__doc__ or "").partition("\n")[2].strip()
        for name, form in FORMATS.items()
    )


def models() -> str:
    """Return the table of models, from their cards."""
    return _table(
        ("model", "makes", "licence of the weights", "commercial use", "file", "run here"),
        [
            (
                f"[{card.name}](#{card.name.replace('.', '')}){' (default)' if asset.default else ''}",
                ", ".join(f"`{field}`" for field in card.fields),
                card.licence.weights,
                "yes" if card.licence.commercial else "no",
                "a part of mien" if asset.shipped else "`mien models get`" if asset.sources else "bring it",
                "yes" if card.run_here else "no",
            )
            for asset in assets.table().values()
            for card in [asset.card]
        ],
    )


def _about(asset: assets.Asset) -> str:
    card = asset.card
    lines = [
        f"### {card.name}",
        f"{card.title}. Version {card.version}.",
        f"- Licence of the weights: {card.licence.weights}. {card.licence.note}",
        f"- Trained on: {card.training_data}",
        f"- From: {card.source}",
        *(f"- Fetched from: `{source}`" for source in asset.sources if not asset.shipped),
        *([f"- SHA-256 of the original file: `{asset.sha256}`"] if asset.sha256 else []),
        *([f"- Measured: {card.evidence}"] if card.evidence else []),
        *([f"- Limits: {card.limits}"] if card.limits else []),
    ]
    return "\n".join([lines[0], "", lines[1], "", *lines[2:]])


def cards() -> str:
    """Return a section for each model."""
    return "\n\n".join(_about(asset) for asset in assets.table().values())


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


def sets() -> str:
    """Return the table of data sets, and what `mien data convert` takes for each."""
    from mien.data import registry

    rows = registry.table().values()
    table = _table(
        ("set", "labels", "splits", "terms", "paper"),
        [
            (
                f"`{row.name}`",
                row.task,
                ", ".join(f"{s.name} {s.rows:,}" if s.rows else s.name for s in row.splits),
                row.terms,
                row.paper,
            )
            for row in rows
        ],
    )
    layouts = "\n".join(f"- `{row.name}`: {row.layout}." for row in rows if row.layout)
    return f"{table}\n\n`mien data convert NAME PATH` takes\n\n{layouts}"


def systems() -> str:
    """Return the table of all papers with their level and verdicts; those that are built have a page."""
    from mien import index

    return _table(
        ("#", "system", "paper", "room", "level", "claims"),
        [
            (
                str(entry.number),
                f"[{entry.id}](systems/{entry.id}.md)" if entry.system else entry.id,
                entry.title,
                entry.room,
                f"{entry.level} {index.LEVELS[entry.level]}",
                "<br>".join(
                    dict.fromkeys(
                        f"{run.evidence.holds}{' (stale)' if run.stale else ''}: {run.evidence.claim}"
                        f" ({run.evidence.data[0].split})"
                        for run in entry.runs
                    )
                ),
            )
            for entry in index.entries()
        ],
    )


def contributing() -> str:
    """Return CONTRIBUTING.md, which lies outside the folder of the documentation."""
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")
    return text.replace("](docs/", "](")


WRITERS: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "cards": cards,
        "commands": commands,
        "contributing": contributing,
        "fields": fields,
        "formats": formats,
        "models": models,
        "sets": sets,
        "systems": systems,
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
