"""Writes one page for each paper that is built: claims, what we measured, plots, commands, caveats.

MkDocs calls `on_config` for the navigation and `on_files` for the pages; both read the index and the result
files, and import no system.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from mien import index
from mien.core.system import Claim
from mien.index import Entry, Run

_HOLDS = {
    "yes": "**It holds**",
    "no": "**It does not hold**: the second arm is the better one",
    "inconclusive": "**Inconclusive**: neither arm is better beyond chance",
}
_KINDS = {
    "arms": "Each arm's {metric}: points are seeds, bars one standard deviation",
    "confusion": "Of each true class the share, in %, that is taken for each other one",
    "reliability": "How often predictions of each confidence are right",
    "decades": "Mean absolute error by the decade of the true age",
    "boundary": "What losses do to similarities: arrows are steps, the line is where a pair counts as told",
    "learning": "Loss and validation score of each arm by rounds; bands reach from least to largest seed",
}


def built() -> list[Entry]:
    """Return the entries that have a page."""
    return [entry for entry in index.entries() if entry.system is not None]


def page(entry: Entry) -> str:
    """Return a paper's page as Markdown."""
    row = entry.system
    assert row is not None
    level = f"level {entry.level}, {index.LEVELS[entry.level]}"
    used = f" Used by `{row.serves}`." if row.serves else ""
    makes = f" Makes {', '.join(f'`{field}`' for field in row.makes)}." if row.makes else ""
    parts = [
        f"# {entry.id}",
        f"**{row.title}** ({row.year}). Room {entry.room}, {level}.{makes}{used}",
        entry.about,
    ]
    parts += [text for claim in row.claims for text in _claim(entry, claim)]
    parts += [
        text for path in plots(entry) if path.stem in _KINDS for text in _picture(entry, path, path.stem)
    ]
    if entry.commands:
        parts += ["## Commands", "```console\n" + "\n".join(entry.commands) + "\n```"]
        parts.append(
            "The data sets have to be in a folder that `MIEN_DATA` names (see [Data sets](../data.md)). Each"
            " command goes on where it was stopped."
        )
    return "\n\n".join(parts) + "\n"


def plots(entry: Entry) -> list[Path]:
    """Return the plots of a system's result files."""
    return sorted((index.results_folder() / entry.id).glob("*.svg"))


def _claim(entry: Entry, claim: Claim) -> list[str]:
    theirs = "gives no number for it" if claim.paper_value is None else f"says {claim.paper_value:g}"
    parts = [
        f"## {claim.text}",
        f"Measured by {claim.metric}: {claim.protocol}. The paper {theirs} ({claim.where}).",
    ]
    runs = [run for run in entry.runs if run.evidence.claim == claim.text]
    runs.sort(key=lambda run: -run.evidence.data[0].rows)  # the official rows, then what is left of them
    if not runs:
        return [*parts, "Not measured here yet."]
    for run in runs:
        parts += _run(entry, run)
    learning = runs[0].path.with_name(f"{runs[0].path.stem.partition('-')[0]}-learning.svg")
    return [*parts, *_picture(entry, learning, "learning", claim.metric)]


def _run(entry: Entry, run: Run) -> list[str]:
    one = run.evidence
    data = one.data[0]
    low, high = one.interval
    seeds = [f"seed {seed}" for seed in one.seeds]
    lines = [
        "| " + " | ".join(("arm", "mean", "standard deviation", *seeds)) + " |",
        "|---" * (3 + len(seeds)) + "|",
        *(
            "| "
            + " | ".join((a.name, f"**{a.mean:.4f}**", f"{a.deviation:.4f}", *(f"{v:.4f}" for v in a.values)))
            + " |"
            for a in one.arms
        ),
    ]
    if one.paper_value is not None:
        lines.append(f"| *the paper's own number* | *{one.paper_value:g}* |" + " |" * (1 + len(seeds)))
    parts = [
        f"### On {data.name}/{data.split}",
        f"{_HOLDS[one.holds]}. {one.arms[0].name} minus {one.arms[1].name}: {one.difference:+.4f}"
        f" (95 % {low:+.4f} to {high:+.4f}) on {data.rows:,} rows.",
        "\n".join(lines),
    ]
    if run.stale:
        parts.append('!!! warning "Stale"\n    The system\'s file has changed since this was measured.')
    if one.note:
        parts.append(f'!!! note "To be known"\n    {one.note[0].upper()}{one.note[1:].rstrip(".")}.')
    for kind in ("arms", "confusion", "reliability", "decades"):
        parts += _picture(entry, run.path.with_name(f"{run.path.stem}-{kind}.svg"), kind, one.metric)
    parts.append(
        f"`results/{entry.id}/{run.path.name}`: {len(one.arms)} arms of {len(one.seeds)} seeds in"
        f" {one.seconds / 60:.0f} minutes of {one.machine}, {one.finished[:10]}; {', '.join(one.packages)}."
    )
    return parts


def _picture(entry: Entry, path: Path, kind: str, metric: str = "") -> list[str]:
    about = _KINDS[kind].format(metric=metric)
    return [f"![{about}](../images/systems/{entry.id}/{path.name})", f"*{about}.*"] if path.is_file() else []


def on_config(config: Any, /) -> Any:
    """Put the pages into the navigation, behind the table of all systems."""
    for section in config.nav:
        if isinstance(section, dict) and "Papers" in section:
            section["Papers"] = [*section["Papers"], *({e.id: f"systems/{e.id}.md"} for e in built())]
    return config


def on_files(files: Any, /, *, config: Any) -> Any:
    """Add the pages and their plots."""
    for entry in built():
        files.append(File.generated(config, f"systems/{entry.id}.md", content=page(entry)))
        for path in plots(entry):
            uri = f"images/systems/{entry.id}/{path.name}"
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files
