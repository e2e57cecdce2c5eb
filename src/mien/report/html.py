"""A folder with one page that shows what was found; it needs no network, no server and no other file."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from mien.core.atomic import writing
from mien.core.card import Card
from mien.core.columns import BOX
from mien.core.errors import printable
from mien.core.fields import FIELDS, FIVE_POINTS, QUALITY, Kind
from mien.report import charts
from mien.report.pictures import (
    FACES_IN_A_ROW,
    MOST_FACES,
    faces_file,
    forget_others,
    has_picture,
    picture_name,
    thumbnail_file,
)
from mien.report.tables import spelled
from mien.report.timeline import SMOOTHING_NOTE, Timeline, colours_of, figures, key, left_out

EMBEDDED = 24_000_000
"""Bytes of thumbnails that a page holds inside itself; later pictures' are in the folder beside it."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """What is worth saying of the run that a report is about.

    Attributes:
        command: what was typed.
        finished: when it was done.
        seconds: how long it took.
        new: how many pictures were analysed in it; the others were finished by an earlier run.
        models: the cards of the models used.
    """

    command: str
    finished: datetime
    seconds: float
    new: int
    models: Sequence[Card]


def write_page(
    folder: Path,
    pictures: Sequence[Path],
    rows: Iterable[Row],
    run: Run,
    videos: Sequence[tuple[str, Timeline]] = (),
) -> Path:
    """Write a report's page; it comes last, so that a page that is there is complete.

    The page holds the numbers and, up to `EMBEDDED` bytes, the thumbnails: a copy of it alone shows
    everything but the annotated pictures, and says so where they are missed. What `write_picture` left in the
    folder for pictures that are no longer among those given is deleted.

    Args:
        folder: where `write_picture` put the pictures.
        pictures: the pictures in order.
        rows: their rows, as `report.tables.rows_of` makes them.
        run: what to say of the run.
        videos: the name of each video that the pictures are of, and what its faces expressed.

    Returns:
        The page's path.

    Raises:
        UnwritableOutput: it cannot be written.
    """
    of: dict[str, list[Row]] = {}
    for row in rows:
        # Dense points and embeddings stay in the table: ten thousand pictures of them would not fit in
        # memory.
        light = {key: value for key, value in row.items() if not isinstance(value, list)}
        of.setdefault(str(row["source"]), []).append(light)
    groups = [(path, of.get(spelled(path), [])) for path in pictures]
    faces = [row for _, group in groups for row in group if row["face"] is not None]
    errors = [(i, path, group[0]) for i, (path, group) in enumerate(groups) if group and group[0]["error"]]
    data, outside = _data(folder, groups, run.models)
    script, style = _asset("page.js"), _asset("page.css")
    parts = {
        "POLICY": f"script-src {_digest(script)}; style-src {_digest(style)}",
        "STYLE": style,
        "SUMMARY": _summary(groups, faces, errors),
        "RUN": _run(run, len(pictures), outside),
        "CHARTS": _charts(faces) if faces else "<p>There is no face to count.</p>",
        "TIMELINES": _timelines(videos),
        "ERRORS": _errors(errors),
        "APPEARANCE": _APPEARANCE if any(column["key"] in _APPEARS for column in data["columns"]) else "",
        "MODELS": _models(run.models),
        # "<" never appears in the data, so that no name of a file can end it.
        "DATA": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        "SCRIPT": script,
    }
    page = _asset("page.html")
    target = folder / "index.html"
    with writing(target, text=True) as file:
        for piece in page.split("<!--"):
            name, mark, rest = piece.partition("-->")
            file.write(parts[name] + rest if mark else piece)
    forget_others(folder, pictures)
    return target


def _asset(name: str) -> str:
    return resources.files("mien").joinpath("report", "assets", name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# ---- the numbers that the page's script works on


_STRUCTURE = {"source", "face", "picture_width", "picture_height", "error", "frame", "seconds", "track", *BOX}
_LANDMARKS = tuple(f"{point}_{axis}" for point in FIVE_POINTS for axis in "xy")
_APPEARS = ("age", "best.expression", "best.gender")
_APPEARANCE = (
    "Expression, age and gender are how a face appears to a model. They are no facts about the person: "
    "not what somebody feels, not how old somebody is, not who somebody is."
)
_FIRST = ("score", "yaw", "pitch", "roll", "quality.UnifiedQualityScore", "age", "liveness")


def _data(
    folder: Path, groups: Sequence[tuple[Path, Sequence[Row]]], models: Sequence[Card]
) -> tuple[dict[str, Any], int]:
    """Return the page's data and the number of pictures whose thumbnails are not inside it."""
    faces = [row for _, group in groups for row in group if row["face"] is not None]
    columns = _columns(faces)
    pictures: list[dict[str, Any]] = []
    left, outside, first = EMBEDDED, 0, 0
    for path, group in groups:
        name = picture_name(path)
        count = sum(row["face"] is not None for row in group)
        error = group[0]["error"] if group else "not analysed"
        entry: dict[str, Any] = {
            "name": printable(path.name),
            "path": printable(path),
            "size": [group[0]["picture_width"], group[0]["picture_height"]] if group else [0, 0],
            "first": first,
            "count": count,
        }
        first += count
        if error:
            entry |= {"error": error, "advice": advice(str(error))}
        elif has_picture(folder, path):
            entry["file"] = f"pictures/{name}"
            images = {"thumbnail": thumbnail_file(folder, name)}
            if count:
                images["faces"] = faces_file(folder, name)
            sizes = sum(file.stat().st_size for file in images.values() if file.is_file())
            inside = sizes <= left
            left -= sizes if inside else left
            outside += not inside
            for key, file in images.items():
                if file.is_file():
                    entry[key] = _data_uri(file) if inside else f"thumbnails/{file.name}"
        pictures.append(entry)
    return {
        "columns": columns,
        "pictures": pictures,
        "faces_in_a_row": FACES_IN_A_ROW,
        "most_faces": MOST_FACES,
        "moods": _moods(columns),
        "limits": {field: card.limits for card in models if card.limits for field in card.fields},
        "faces": {
            "picture": [i for i, entry in enumerate(pictures) for _ in range(entry["count"])],
            "face": [row["face"] for row in faces],
            "box": [[_rounded(row.get(name), 1) for name in BOX] for row in faces],
            "landmarks": [
                [_rounded(row[name], 1) for name in _LANDMARKS] if row.get("nose_x") is not None else None
                for row in faces
            ],
            **{
                column["key"]: [_cell(row, column) for row in faces]
                for column in columns
                if column["key"] not in ("name", "face", "height")
            },
        },
    }, outside


def _data_uri(file: Path) -> str:
    return "data:image/webp;base64," + base64.b64encode(file.read_bytes()).decode()


def _columns(faces: Sequence[Row]) -> list[dict[str, Any]]:
    """Return what the table can show: key, title, meaning, decimals (None: text), whether shown at first."""
    keys: dict[str, None] = {}
    for row in faces:
        keys.update(dict.fromkeys(key for key, value in row.items() if isinstance(value, (int, float))))
    numbers = [key for key in keys if key not in _STRUCTURE and key not in _LANDMARKS]
    groups = dict.fromkeys(key.split(".", 1)[0] for key in numbers if "." in key)
    best = [field for field in groups if field in FIELDS and FIELDS[field].kind is Kind.PROBABILITIES]
    order = [key for key in _FIRST if key in numbers] + [key for key in numbers if key not in _FIRST]
    columns: list[dict[str, Any]] = [
        {"key": "name", "title": "Picture", "about": "name of the file", "decimals": None, "shown": True},
        {
            "key": "face",
            "title": "Face",
            "about": "its number in the picture and in faces.csv",
            "decimals": 0,
            "shown": True,
        },
        {"key": "height", "title": "Height", "about": "height of the box, px", "decimals": 0, "shown": True},
    ]
    columns += [{"key": key, **_named(key), "shown": key in _FIRST} for key in order]
    columns += [
        {
            "key": f"best.{field}",
            "title": "Appears" if field == "gender" else field.capitalize(),
            "about": f"{FIELDS[field].about}: the most probable one",
            "decimals": None,
            "shown": True,
        }
        for field in best
    ]
    return columns


_TITLES = {
    "score": ("Score", "the detector's confidence, 0 to 1", 2),
    "yaw": ("Yaw", "degrees, above 0 to the picture's right", 0),
    "pitch": ("Pitch", "degrees, above 0 up", 0),
    "roll": ("Roll", "degrees, above 0 clockwise", 0),
    "quality.UnifiedQualityScore": ("Quality", "how fit for recognition, 0 to 100", 0),
}


def _moods(columns: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the classes of expression that the faces have: key, title, colour."""
    keys = [str(column["key"]) for column in columns if str(column["key"]).startswith("expression.")]
    titles = [key.removeprefix("expression.") for key in keys]
    return [
        {"key": key, "title": title, "colour": colour}
        for key, title, colour in zip(keys, titles, colours_of(titles), strict=True)
    ]


def _named(key: str) -> dict[str, Any]:
    if key in _TITLES:
        title, about, decimals = _TITLES[key]
        return {"title": title, "about": about, "decimals": decimals}
    group, _, label = key.partition(".")
    field = FIELDS.get(group)
    title = _words(label) if group == "quality" else f"{group} {label}".replace("_", " ").strip()
    about = f"{field.about}, {field.unit}" if field else key
    decimals = 0 if field and field.unit in ("0..100", "years", "degrees") else 2
    return {"title": title[:1].upper() + title[1:], "about": about, "decimals": decimals}


def _words(name: str) -> str:
    """Turn "HeadPoseYaw" into "Head pose yaw"."""
    text = "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()
    return text[:1].upper() + text[1:]


def _cell(row: Row, column: Mapping[str, Any]) -> Any:
    key = str(column["key"])
    if not key.startswith("best."):
        return _rounded(row.get(key), int(column["decimals"]) + 1)
    prefix = key.removeprefix("best.") + "."
    known = {name: value for name, value in row.items() if name.startswith(prefix) and value is not None}
    return max(known, key=lambda name: float(known[name])).removeprefix(prefix) if known else None


def _rounded(value: Any, decimals: int) -> float | int | None:
    if value is None:
        return None
    number = round(float(value), decimals)
    return int(number) if number == int(number) else number


# ---- the parts of the page that need no script


def _summary(
    groups: Sequence[tuple[Path, Sequence[Row]]], faces: Sequence[Row], errors: Sequence[Any]
) -> str:
    alone = sum(bool(group) and not group[0]["error"] and group[0]["face"] is None for _, group in groups)
    facts = [
        ("pictures", len(groups)),
        ("faces", len(faces)),
        ("without a face", alone),
        ("unreadable", len(errors)),
    ]
    return "".join(f"<div><dd>{count:,}</dd><dt>{name}</dt></div>" for name, count in facts)


def _run(run: Run, pictures: int, outside: int) -> str:
    earlier = f"; {pictures - run.new:,} were done by an earlier run" if run.new < pictures else ""
    said = f"{_duration(run.seconds)} for {run.new:,} picture{'' if run.new == 1 else 's'}{earlier}"
    kept = "All thumbnails are inside this page"
    if outside:
        kept = (
            f"Thumbnails of {pictures - outside:,} pictures are inside this page, "
            f"those of the other {outside:,} in the folder <code>thumbnails</code> beside it"
        )
    facts = [
        ("Finished", f'<time datetime="{run.finished.isoformat()}">{run.finished:%d %B %Y, %H:%M}</time>'),
        ("Time", escape(said)),
        ("Command", f"<code>{escape(printable(run.command))}</code>"),
        (
            "Files",
            f"{kept}; annotated pictures are in <code>pictures</code>, every number in "
            '<a href="faces.csv">faces.csv</a>.',
        ),
    ]
    return "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in facts)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _models(cards: Sequence[Card]) -> str:
    rows = []
    for card in dict.fromkeys(cards):
        terms = "commercial use allowed" if card.licence.commercial else "no commercial use"
        note = f'<span class="note">{escape(card.licence.note)}</span>' if card.licence.note else ""
        limits = f'<span class="note limits">Limits: {escape(card.limits)}</span>' if card.limits else ""
        rows.append(
            f'<tr><th scope="row">{escape(card.maker)}'
            f'<span class="note">{escape(card.title)}</span>{limits}</th>'
            f"<td>{escape(', '.join(card.fields).replace('_', ' '))}</td>"
            f"<td>{escape(card.licence.weights)}, {terms}{note}</td></tr>"
        )
    return "".join(rows)


_ADVICE = (
    (
        "no such file",
        "Was it moved or deleted while mien ran? Check the name and run the same command again.",
    ),
    ("permission denied", "Give yourself the right to read it (on Linux and macOS: chmod u+r FILE)."),
    ("heic pictures need", "Run pip install 'mien[heic]' and then the same command again."),
    ("empty file", "The copy failed or the disk was full: copy the file anew from where it came from."),
    (
        "truncated",
        "The end of the file is missing: copy or download it again.",
    ),
    (
        "decompression bomb",
        "Its size is beyond the limit: make a smaller copy of it if you trust where it comes from.",
    ),
    ("more than the limit", "Make a smaller copy of it; `mien.analyze` in Python takes other limits."),
    (
        "not a picture",
        "Open it in a picture viewer: if it shows there, save it as JPEG or PNG; else leave it out.",
    ),
    ("memory", "Close other programs, use fewer --threads, or make a smaller copy of it."),
    ("regular file", "Devices and pipes are not read: save the picture as a file."),
    ("a folder", "Name the folder itself on the command line to read the pictures in it."),
)


def advice(reason: str) -> str:
    """Return what to do about a picture that cannot be read, by the reason that `UnreadablePicture` gives."""
    lower = reason.lower()
    for words, text in _ADVICE:
        if words in lower:
            return text
    return (
        "Open it in another program: if it shows there, save it anew as JPEG or PNG and run the same "
        "command again; "
        "else fetch the file anew from where it came from."
    )


def _errors(errors: Sequence[tuple[int, Path, Row]]) -> str:
    if not errors:
        return ""
    items = "".join(
        f'<article id="error-{index}"><h3><a href="#picture-{index}">{escape(printable(path.name))}</a></h3>'
        f'<p class="path">{escape(printable(path))}</p>'
        f'<p class="reason">{escape(str(row["error"]))}</p>'
        f"<p>{escape(advice(str(row['error'])))}</p></article>"
        for index, path, row in errors
    )
    count = "One picture" if len(errors) == 1 else f"{len(errors):,} pictures"
    return (
        f'<section id="errors" aria-labelledby="errors-title">'
        f'<h2 id="errors-title">{count} could not be read</h2>'
        f"<p>The others are complete. Mend these and run the same command again: only they are read then.</p>"
        f'<div class="errors">{items}</div></section>'
    )


def _timelines(videos: Sequence[tuple[str, Timeline]]) -> str:
    parts = []
    for name, timeline in videos:
        if not timeline.tracks():
            continue
        names = "".join(
            f'<li><svg viewBox="0 0 12 12" aria-hidden="true"><rect width="12" height="12" rx="2" '
            f'fill="{colour}"/></svg>{escape(label)}</li>'
            for label, colour in key(timeline)
        )
        drawn = "".join(f'<figure class="chart">{figure}</figure>' for _, figure in figures(timeline))
        rest = left_out(timeline)
        more = f'<p class="note">{rest:,} shorter tracks are not drawn.</p>' if rest else ""
        parts.append(f'<h3>{escape(printable(name))}</h3><ul class="key">{names}</ul>{drawn}{more}')
    if not parts:
        return ""
    return (
        '<section id="timelines" aria-labelledby="timelines-title">'
        f'<h2 id="timelines-title">Expressions over time</h2>{"".join(parts)}'
        f'<p class="note">{escape(SMOOTHING_NOTE)}</p></section>'
    )


def _charts(faces: Sequence[Row]) -> str:
    def values(key: str) -> list[float]:
        return [float(row[key]) for row in faces if row.get(key) is not None]

    heights = [float(row["y2"]) - float(row["y1"]) for row in faces]
    sizes = [0, 20, 40, 80, 160, 320, 640, 1280, math.inf]
    shown = [
        charts.histogram(
            "Size",
            "height of the face, px",
            heights,
            sizes,
            ticks=[(edge, f"{edge:g}" if 0 < edge < math.inf else "") for edge in sizes],
        )
    ]
    shown += _appearances(faces)
    degrees = list(range(-90, 91, 10))
    marks = [(edge, f"{edge}°".replace("-", "\N{MINUS SIGN}")) for edge in range(-90, 91, 30)]
    for name, axis in (
        ("yaw", "turned to the picture's left (below 0) or right"),
        ("pitch", "looking down (below 0) or up"),
        ("roll", "tilted counter-clockwise (below 0) or clockwise"),
    ):
        if turns := values(name):
            shown.append(charts.histogram(name.capitalize(), axis, turns, degrees, ticks=marks))
    if scores := values("quality.UnifiedQualityScore"):
        tens = list(range(0, 101, 10))
        shown.append(charts.histogram("Quality", "fit for recognition: 0 worst, 100 best", scores, tens))
        parts = [(_words(name), values(f"quality.{name}")) for name in QUALITY[1:]]
        shown.append(
            charts.spreads(
                "Parts of quality",
                "dot: median; thick line: middle half of the faces; thin: nine of ten",
                parts,
            )
        )
    return "".join(shown)


def _appearances(faces: Sequence[Row]) -> list[str]:
    """Return the charts of what the faces express and of how old they appear, where that is known."""
    shown = []
    keys = list(dict.fromkeys(key for row in faces for key in row if key.startswith("expression.")))
    best = [_cell(row, {"key": "best.expression"}) for row in faces]
    if any(best):
        labels = [key.removeprefix("expression.") for key in keys]
        counts = [(label, best.count(label)) for label in labels]
        colours = dict(zip(labels, colours_of(labels), strict=True))
        counts.sort(key=lambda pair: -pair[1])
        shown.append(
            charts.bars(
                "Expression", "faces by the expression that is the most probable one", counts, colours
            )
        )
    ages = [float(row["age"]) for row in faces if row.get("age") is not None]
    if ages:
        edges = [*range(0, 81, 10), math.inf]
        ticks = [(edge, f"{edge:g}" if edge < math.inf else "") for edge in edges]
        shown.append(charts.histogram("Age", "years, as the faces appear", ages, edges, ticks=ticks))
    return shown
