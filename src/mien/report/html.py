"""A folder with one page that shows what was found; it needs no network and no server."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from mien.core.atomic import writing
from mien.core.drawing import draw
from mien.core.errors import printable
from mien.core.faces import Faces
from mien.core.picture import Picture

_LONG_SIDE = 900


def picture_name(path: str | os.PathLike[str]) -> str:
    """Return the name under which a report keeps a picture's annotated copy."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16] + ".jpg"


def write_picture(folder: Path, path: str | os.PathLike[str], picture: Picture, faces: Faces) -> None:
    """Write a picture's annotated copy into a report's folder, at most 900 px long.

    Raises:
        UnwritableOutput: it cannot be written.
    """
    image = picture.image()
    image.thumbnail((_LONG_SIDE, _LONG_SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    with writing(folder / "pictures" / picture_name(path)) as file:
        draw(image, faces).save(file, "JPEG", quality=85)


def write_page(
    folder: Path, pictures: Sequence[Path], rows: Iterable[Mapping[str, Any]], facts: Mapping[str, str]
) -> Path:
    """Write a report's page; it comes last, so that a page that is there is complete.

    Args:
        folder: where the annotated copies are.
        pictures: the pictures in order.
        rows: their rows, as `report.tables.rows_of` makes them, in the same order.
        facts: what to say above all, such as the models used: a name and a text each.

    Returns:
        The page's path.
    """
    of: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of.setdefault(str(row["source"]), []).append(row)
    errors = [row for several in of.values() for row in several if row["error"]]
    faces = [row for several in of.values() for row in several if row["face"] is not None]
    cards = [_card(path, of.get(printable(path), of.get(str(path), [])), folder) for path in pictures]
    summary = {
        "pictures": str(len(pictures)),
        "faces": str(len(faces)),
        "not readable": str(len(errors)),
        **facts,
    }
    page = _template("page.html")
    parts = {
        "STYLE": _template("page.css"),
        "SCRIPT": _template("page.js"),
        "SUMMARY": "".join(
            f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in summary.items()
        ),
        "ERRORS": _errors(errors),
        "CHARTS": _charts(faces),
        "CARDS": "".join(cards),
        "TABLE": _table(faces),
    }
    for name, text in parts.items():
        page = page.replace(f"<!--{name}-->", text, 1)
    target = folder / "index.html"
    with writing(target, text=True) as file:
        file.write(page)
    return target


def _template(name: str) -> str:
    return resources.files("mien").joinpath("report", "assets", name).read_text("utf-8")


def _card(path: Path, rows: Sequence[Mapping[str, Any]], folder: Path) -> str:
    name = escape(printable(path.name))
    count = sum(row["face"] is not None for row in rows)
    file = f"pictures/{quote(picture_name(path))}"
    if not (folder / "pictures" / picture_name(path)).is_file():
        return ""
    words = "no face" if count == 0 else "1 face" if count == 1 else f"{count} faces"
    return (
        f'<figure><a href="{file}"><img src="{file}" alt="{name}, {words}" loading="lazy"></a>'
        f'<figcaption title="{escape(printable(path))}">{name}<span>{words}</span></figcaption></figure>'
    )


def _errors(errors: Sequence[Mapping[str, Any]]) -> str:
    if not errors:
        return ""
    items = "".join(
        f"<li><code>{escape(str(row['source']))}</code> {escape(str(row['error']))}</li>" for row in errors
    )
    return f'<section id="errors"><h2>Not readable</h2><ul>{items}</ul></section>'


_COLUMNS = ("score", "yaw", "pitch", "roll", "age")


def _table(faces: Sequence[Mapping[str, Any]]) -> str:
    known = [name for name in _COLUMNS if any(row.get(name) is not None for row in faces)]
    head = ["picture", "face", "height", *known, "quality"]
    body = []
    for row in faces:
        source = str(row["source"])
        height = float(row["y2"]) - float(row["y1"])
        cells = [
            f'<td title="{escape(source)}">{escape(source.rsplit("/", 1)[-1])}</td>',
            f"<td>{row['face']}</td>",
        ]
        cells.append(f"<td>{height:.0f}</td>")
        cells += [
            f"<td>{float(row[name]):.2f}</td>" if row.get(name) is not None else "<td></td>" for name in known
        ]
        quality = row.get("quality.UnifiedQualityScore")
        cells.append(f"<td>{float(quality):.0f}</td>" if quality is not None else "<td></td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    titles = "".join(f'<th scope="col"><button type="button">{name}</button></th>' for name in head)
    return f"<thead><tr>{titles}</tr></thead><tbody>{''.join(body)}</tbody>"


def _charts(faces: Sequence[Mapping[str, Any]]) -> str:
    heights = [float(row["y2"]) - float(row["y1"]) for row in faces]
    quality = [
        float(row[key]) for row in faces if (row.get(key := "quality.UnifiedQualityScore")) is not None
    ]
    yaw = [float(row["yaw"]) for row in faces if row.get("yaw") is not None]
    charts = [
        _histogram("height of faces, px", heights, [0, 20, 40, 80, 160, 320, 640, 100_000]),
        _histogram("quality, 0 to 100", quality, [0, 20, 40, 60, 70, 80, 90, 101]),
        _histogram("yaw, degrees", yaw, [-180, -60, -30, -10, 10, 30, 60, 180]),
    ]
    return "".join(charts)


def _histogram(title: str, values: Sequence[float], edges: Sequence[float]) -> str:
    if not values:
        return ""
    counts = [sum(low <= v < high for v in values) for low, high in pairwise(edges)]
    most = max(counts) or 1
    bars = []
    for index, count in enumerate(counts):
        tall = 70 * count / most
        low, high = edges[index], edges[index + 1]
        label = f"{low:g}+" if high >= 1000 else f"{low:g}"
        bars.append(
            f'<rect x="{index * 36 + 4}" y="{90 - tall:.1f}" width="28" height="{tall:.1f}"/>'
            f'<text x="{index * 36 + 18}" y="{84 - tall:.1f}">{count or ""}</text>'
            f'<text x="{index * 36 + 18}" y="104">{label}</text>'
        )
    said = escape(json.dumps(dict(zip(map(str, edges), counts, strict=False))))
    return (
        f'<figure class="chart"><svg viewBox="0 0 256 110" role="img" aria-label="{escape(title)}: {said}">'
        f"{''.join(bars)}</svg><figcaption>{escape(title)}</figcaption></figure>"
    )
