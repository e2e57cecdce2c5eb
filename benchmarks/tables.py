"""Writes the tables of the documentation from the result files: every number in docs/ comes from a run.

python benchmarks/tables.py [--check]

What lies between `<!-- table: NAME -->` and `<!-- /table -->` in README.md and docs/*.md becomes what
`TABLES[NAME]` makes of `results/*.json`. A table whose result file is missing stays as it is. The figures of
recognisers are packed for `mien models compare`, too. `--check` only tells what is old.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mien import index
from mien.runtime import assets

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PACKED = ROOT / "src" / "mien" / "models" / "recognisers.json"
"""What `mien models compare` reads, in a mien without this folder, too."""

_BLOCK = re.compile(r"^<!-- table: ([a-z-]+) -->\n(?:.*?\n)??<!-- /table -->$", re.MULTILINE | re.DOTALL)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; columns after the first are numbers."""
    lines = [header, [":---", *("---:" for _ in header[1:])], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def result(name: str) -> dict[str, Any]:
    """Return a result file's content.

    Raises:
        FileNotFoundError: the benchmark has not been run.
    """
    data: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return data


def caption(machine: Mapping[str, Any]) -> str:
    """Return the line under a table: where, when and with what it was measured."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"*`{machine['command']}`, {machine['date']}, commit {machine['commit']}: {machine['cpu']}, "
        f"{machine['cores']} cores, Python {machine['python']}, {packages}.*"
    )


def _range(value: Mapping[str, float], digits: int = 1) -> str:
    """Return a median with its quartiles."""
    return f"{value['median']:.{digits}f} ({value['low']:.{digits}f}-{value['high']:.{digits}f})"


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"


def speed() -> str:
    """Return the whole of one picture: time, rate and the pipeline's own share."""
    data = result("speed")
    rows = []
    for threads in (1, 2):
        row = data["one_picture"][f"threads_{threads}"]
        own = _percent(row["own_share"]["median"])
        rows.append(
            [
                f"one after the other, {threads} thread{'s' * (threads > 1)}",
                _range(row["total_ms"]),
                f"{row['pictures_per_second']:.1f}",
                own,
            ]
        )
    rate = data["side_by_side_pictures_per_second"]
    rows.append(["two workers side by side", "", _range(rate), ""])
    header = ["a 640 x 480 JPEG with one face, all default fields", "ms", "pictures/s", "own cost"]
    return markdown(header, rows) + "\n\n" + caption(data["machine"])


def speed_stages() -> str:
    """Return one picture's time stage by stage."""
    measured = result("speed")["one_picture"]
    stages = [measured[f"threads_{threads}"]["stages_ms"] for threads in (1, 2)]
    rows = [[name, *(_range(stage[name], 2) for stage in stages)] for name in stages[0]]
    rows.append(["in all", *(_range(measured[f"threads_{threads}"]["total_ms"], 2) for threads in (1, 2))])
    return markdown(["stage", "ms, one thread", "ms, two threads"], rows)


def folder() -> str:
    """Return the folder of photos: rates, their ratio, memory."""
    data = result("speed")
    row = data["folder"]
    rows = [
        ["pictures/s, one worker", _range(row["one_worker_pictures_per_second"])],
        [f"pictures/s, {row['workers']} workers", _range(row["all_workers_pictures_per_second"])],
        ["ratio", _range(row["ratio"], 2)],
        ["resident memory after 100 pictures, MB", f"{row['rss_after_100_mb']:.0f}"],
        ["resident memory at the end, MB", f"{row['rss_at_end_mb']:.0f}"],
    ]
    return markdown([f"{row['photos']:,} photos", ""], rows) + "\n\n" + caption(data["machine"])


def peers() -> str:
    """Return mien beside other tools."""
    data = result("peers")
    rows = []
    for name, row in data["tools"].items():
        of_each = row["group_of_each"]
        title = " ".join([name.partition(",")[0], row.get("version", "")]).strip()
        rest = name.partition(",")[2]
        rows.append(
            [
                title + (f",{rest}" if rest else ""),
                f"{row['photos_found']} of {row['photos']}",
                *(f"{found} of {of_each}" for found in row["group_found"].values()),
                str(row["false"]),
                _range(row["photo_ms"]),
                _range(row["group_ms"]),
            ]
        )
    sides = next(iter(data["tools"].values()))["group_found"]
    header = ["", "photos", *(f"{side} px" for side in sides), "false", "ms a photo", "ms the group"]
    notes = [f"{name}: {row['note']}." for name, row in data["tools"].items() if row.get("note")]
    notes += [f"{name} is absent: {reason}." for name, reason in data["absent"].items()]
    return "\n\n".join([markdown(header, rows), *notes, caption(data["machine"])])


def big_jpeg() -> str:
    """Return reduced decoding against full decoding."""
    data = result("big-jpeg")
    rows = []
    for kind, title in (("large", "large faces only"), ("mixed", "small faces too")):
        for way in ("reduced", "full"):
            row = data[kind][way]
            rows.append(
                [
                    f"{title}, "
                    f"{'decoded at ' + format(row['scale'], '.3g') if way == 'reduced' else 'full size'}",
                    f"{row['found']} of {data[kind]['faces']}",
                    *(_range(row[f"reading_{unit}"], 0) for unit in ("ms", "peak_mb")),
                    *(_range(row[f"analysis_{unit}"], 0) for unit in ("ms", "peak_mb")),
                ]
            )
    header = ["4000 x 3000 px", "found", "reading, ms", "reading, MB", "analysis, ms", "whole process, MB"]
    return markdown(header, rows) + "\n\n" + caption(data["machine"])


def detectors() -> str:
    """Return the table of detectors and their combinations."""
    data = result("detectors")
    bins = list(data["rows"][0]["group"]["bins"])
    crops = [n for n in ("lfw_pairs", "identities", "celeba10k", "utkface") if n in data["rows"][0]]
    rows = []
    for row in data["rows"]:
        count = {name: f"{row[name]['found']} of {row[name]['faces']}" for name in ("demo", "turned", "huge")}
        group = [_percent(good / max(total, 1), 0) for good, total in row["group"]["bins"].values()]
        rows.append(
            [
                row["setup"],
                f"{row['milliseconds']:.1f}",
                *group,
                count["demo"],
                count["huge"],
                count["turned"],
                *(_percent(row[name]["found"] / row[name]["faces"]) for name in crops),
                f"{row['false']['false'] / row['false']['megapixels']:.2f}",
            ]
        )
    header = [
        "detector",
        "ms",
        *(f"{size} px" for size in bins),
        "photos",
        "huge",
        "turned",
        *crops,
        "false faces a megapixel",
    ]
    return (
        markdown(header, rows)
        + "\n\n*`python benchmarks/detectors.py`, one thread; times on one picture of 640 x 480.*"
    )


def lfw() -> str:
    """Return accuracy on LFW's official pairs."""
    data = result("lfw")
    rows = []
    for name, row in data["lfw"].items():
        at = [f"{_percent(point['fnmr'], 2)}" for point in row["operating_points"]]
        rows.append([name, f"{_percent(row['accuracy'], 2)} ± {100 * row['standard_error']:.2f}", *at])
    header = ["6,000 pairs", "accuracy, ± its standard error", "FNMR at FMR 1 %", "FNMR at FMR 0.1 %"]
    used = (
        f"*`python benchmarks/lfw.py`: {data['detector']}, mesh of {data['mesh']}, "
        f"{data['recogniser']}; "
        f"{data['pictures_without_a_found_face']} pictures without a found face.*"
    )
    return markdown(header, rows) + "\n\n" + used


def lfw_choices() -> str:
    """Return what template, margin and filling do; chosen on other people than LFW's."""
    data = result("lfw")
    best = data["chosen_on_identities"]
    keys = ("template", "margin", "fill")
    rows = [
        [
            f"{row['template']}, margin {row['margin']:g}, {row['fill']}"
            + (" (chosen)" if all(row[key] == best[key] for key in keys) else ""),
            _percent(row["identities_fnmr_at_fmr_0.001"], 2),
            _percent(row["lfw"], 2),
        ]
        for row in data["table"]
    ]
    return markdown(["crop", "other people: FNMR at FMR 0.1 %", "LFW accuracy"], rows)


def thresholds() -> str:
    """Return the operating points that the default recogniser's card carries, with both rates' intervals."""
    data = result("thresholds")
    rows = []
    for part in data["measured"]:
        for point in part["points"]:
            rates = [
                "{} ({}-{})".format(*(_percent(point[rate + end], 2) for end in ("", "_low", "_high")))
                for rate in ("fmr", "fnmr")
            ]
            faces = "with the mirrored face" if part["mirrored"] else "one pass"
            rows.append([faces, f"{point['threshold']:.4f}", *rates])
    part = data["measured"][0]
    people, strangers = part["people"], part["other_comparisons"]
    used = (
        f"*`python benchmarks/thresholds.py`: {part['makers']['embeddings']} on {part['pictures']:,} "
        f"pictures of {people} people of CelebA, {strangers:,} comparisons of strangers; "
        "95 % intervals over people.*"
    )
    return markdown(["embedding", "threshold", "FMR", "FNMR"], rows) + "\n\n" + used


def shipped() -> str:
    """Return figures, size and time of the models that mien trained, and of their int8 variants."""
    data = result("shipped")
    rows = []
    for name, variants in data["models"].items():
        for variant, row in variants.items():
            official, strict = _of_parts(row["figures"])
            times = [f"{row['ms_a_face'][f'batch_{size}']['median']:.2f}" for size in (1, 16)]
            rows.append(
                [f"{name}, {variant}", official, strict, f"{row['bytes'] / 1e6:.2f} MB", " / ".join(times)]
            )
    header = ["model", "official test", "without pictures seen in training", "size", "ms a face, 1 / 16"]
    return markdown(header, rows) + "\n\n" + caption(data["machine"])


def _of_parts(figures: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Return what is told of the official test rows, and of those without what training has seen."""
    told: dict[str, list[str]] = {}
    for one in figures:
        found = one["figures"]
        if one["field"] == "age":
            text = (
                f"age: MAE {found['MAE']:.2f} years, {_percent(found['interval coverage'])} in their interval"
            )
        else:
            text = f"{one['field']}: {_percent(found['accuracy'])}, ECE {found['ECE']:.3f}"
        told.setdefault(one["used"]["split"], []).append(text)
    parts = ["; ".join(lines) for lines in told.values()]
    return parts[0], parts[1] if len(parts) > 1 else "the same: none were seen"


def age_groups() -> str:
    """Return the errors of age and gender by decade, gender and race."""
    data = result("shipped")
    figures = {one["field"]: one for one in data["models"]["age-gender"]["float"]["figures"]}
    rows = []
    for kind, groups in figures["age"]["groups"].items():
        for name, row in groups.items():
            right = figures["gender"]["groups"][kind][name]["accuracy"]
            rows.append(
                [
                    f"{kind} {name}",
                    f"{row['rows']:.0f}",
                    f"{row['MAE']:.2f}",
                    _percent(row["interval coverage"]),
                    f"{row['interval width']:.0f}",
                    _percent(right),
                ]
            )
    header = ["group", "faces", "MAE, years", "in their 5-95 % interval", "its width, years", "gender right"]
    return markdown(header, rows) + "\n\n" + caption(data["machine"])


def domain_gap() -> str:
    """Return how the models do on pictures of other kinds than they were trained on."""
    data = result("domain-gap")
    celeba, utkface, fer = (data[name] for name in ("celeba", "utkface", "fer2013"))
    own, cut = "the set's crops", "analyze's crops"
    rows = [
        [
            "CelebA photos",
            f"{celeba['found']} of {celeba['pictures']}",
            f"smiling by happiness: ROC AUC {celeba['happiness for smiling, ROC AUC']:.3f}; "
            f"gender {_percent(celeba['gender'])}; young by age: ROC AUC "
            f"{celeba['youth for young, ROC AUC']:.3f}",
        ],
        [
            "UTKFace test, enlarged",
            f"{utkface['found']} of {utkface['pictures']}",
            f"age MAE {utkface[own]['MAE']:.2f} in the set's crops, {utkface[cut]['MAE']:.2f} in ours; "
            f"gender {_percent(utkface[own]['gender'])} and {_percent(utkface[cut]['gender'])}",
        ],
        [
            "FER+ test, enlarged",
            f"{fer['found']} of {fer['pictures']}",
            f"accuracy {_percent(fer[own]['accuracy'])} in the set's crops, "
            f"{_percent(fer[cut]['accuracy'])} in ours; the same answer for {_percent(fer['agree'])}",
        ],
    ]
    return (
        markdown(["pictures", "faces found", "what is told of them"], rows)
        + "\n\n"
        + caption(data["machine"])
    )


def lfw_of(row: Mapping[str, Any]) -> dict[str, float] | None:
    """Return a recogniser's accuracy on LFW, its standard error, and its FNMR at an FMR of 0.1 %.

    benchmarks/lfw.py tells those of one recogniser in one pass, benchmarks/fruits.py those of the others.

    Args:
        row: of fruits.json; its name is enough.
    """
    try:
        data = result("lfw")
    except FileNotFoundError:
        data = {"recogniser": ""}
    if data["recogniser"] == row["name"]:
        found, points = data["lfw"]["one pass"], data["lfw"]["one pass"]["operating_points"]
        # Rates are met a little above or below what was asked for.
        strict = min(points, key=lambda point: abs(float(point["fmr"]) - 1e-3))
    elif "lfw" in row:
        found, points = row["lfw"], row["lfw"]["points"]
        strict = next(point for point in points if point["wanted_fmr"] == 1e-3)
    else:
        return None
    return {
        "accuracy": found["accuracy"],
        "standard_error": found["standard_error"],
        "fnmr": float(strict["fnmr"]),
    }


_NOT = "not measured"


def fruits() -> str:
    """Return the recognisers by the time of their whole way and by what they tell people apart by."""
    data = result("fruits")
    stages = ("decode", "detect", "landmarks", "align and the rest", "embed")
    rows = []
    captions: dict[str, list[str]] = {}
    for row in sorted(data["recognisers"], key=lambda row: float(row["way"]["stages_ms"]["whole"]["median"])):
        way = row["way"]
        captions.setdefault(caption(way["machine"]), []).append(row["name"])
        limit, on_lfw = way["class_ms"], lfw_of(row)
        search = [_NOT, _NOT]
        if "identification" in row:
            found = row["identification"]["enrolled_from"][0]
            fnir = next(point for point in found["points"] if point["wanted_fpir"] == 1e-2)
            search = [_percent(found["rank_rates"]["1"]["rate"]), _interval(fnir, "fnir")]
        rows.append(
            [
                row["name"],
                f"{limit:,} ms" if limit else "none",
                _range(way["stages_ms"]["whole"]),
                *(f"{way['stages_ms'][stage]['median']:.1f}" for stage in stages),
                _accuracy(on_lfw),
                _percent(on_lfw["fnmr"], 2) if on_lfw else _NOT,
                *search,
                f"{way['megabytes']:.1f}",
                _terms(way["terms"], way["commercial"]),
            ]
        )
    header = [
        "recogniser",
        "class",
        "whole, ms",
        *stages,
        "LFW",
        "LFW: FNMR at FMR 0.1 %",
        "search: rank 1",
        "search: FNIR at FPIR 1 %",
        "MB",
        "terms",
    ]
    notes = [
        line if len(captions) == 1 else f"{', '.join(names)}: {line}" for line, names in captions.items()
    ]
    if data["absent"]:
        notes.insert(0, f"Known to mien, and not measured: {', '.join(data['absent'])}.")
    return "\n\n".join([markdown(header, rows), *notes])


def _terms(weights: str, commercial: bool) -> str:
    return weights + ("" if commercial else " (not commercial)")


def _accuracy(found: Mapping[str, float] | None) -> str:
    if found is None:
        return _NOT
    return f"{_percent(found['accuracy'], 2)} ± {100 * found['standard_error']:.2f}"


def packed() -> str:
    """Return the file that tells an installed mien what is known of recognisers: `PACKED`."""
    try:
        measured = {row["name"]: row for row in result("fruits")["recognisers"]}
    except FileNotFoundError:
        measured = {}
    with contextlib.suppress(FileNotFoundError):
        measured.setdefault(result("lfw")["recogniser"], {"name": result("lfw")["recogniser"]})
    figures: dict[str, dict[str, Any]] = {}
    for name, row in sorted(measured.items()):
        told: dict[str, Any] = {}
        if on_lfw := lfw_of(row):
            told |= {"lfw": on_lfw["accuracy"], "lfw_error": on_lfw["standard_error"]}
        if way := row.get("way"):
            told["time"] = {
                "network_ms": way["stages_ms"]["embed"]["median"],
                "whole_ms": way["stages_ms"]["whole"]["median"],
                "class_ms": way["class_ms"],
                "megabytes": way["megabytes"],
                "measured": f"{way['machine']['date']}, {way['machine']['cpu']}",
            }
        if told:
            figures[name] = told
    return json.dumps(figures, indent=1, ensure_ascii=False) + "\n"


def recognisers() -> str:
    """Return the recognisers that mien has a card of, as `mien models compare` tells them."""
    rows = []
    known = json.loads(packed())
    for name, asset in assets.table().items():
        card = asset.card
        if "embeddings" not in card.fields:
            continue
        told = known.get(card.maker, {})
        time = told.get("time")
        found = {"accuracy": told["lfw"], "standard_error": told["lfw_error"]} if "lfw" in told else None
        rows.append(
            [
                name + (" (default)" if asset.default else ""),
                _accuracy(found),
                *([f"{time['network_ms']:.1f}", f"{time['whole_ms']:.1f}"] if time else [_NOT] * 2),
                f"{time['megabytes']:.1f}" if time else _NOT,
                (f"{time['class_ms']:,} ms" if time["class_ms"] else "none") if time else _NOT,
                _terms(card.licence.weights, card.licence.commercial),
            ]
        )
    header = ["recogniser", "LFW", "ms a face", "whole way, ms", "MB", "FRUITS class", "terms of the weights"]
    return markdown(header, rows)


def _interval(point: Mapping[str, float], rate: str) -> str:
    """Return a rate with its 95 % interval, in per cent."""
    low, high = (100 * point[f"{rate}_{end}"] for end in ("low", "high"))
    return f"{_percent(point[rate], 2)} ({low:.2f}-{high:.2f})"


def partial_fc() -> str:
    """Return Partial FC beside the full softmax, on one process."""
    data = result("partial_fc")
    rows = []
    for row in data["compared"]:
        for way, title in (
            ("full", "full softmax"),
            ("partial", f"Partial FC, {_percent(data['sample'], 0)}"),
        ):
            point = row[way]
            partial = way == "partial"
            rows.append(
                [
                    f"{row['classes']:,}, {title}",
                    _range(point["step_ms"]),
                    f"{point['planned_ms']:.1f}",
                    _gigabytes(point["kept_bytes"][0]),
                    _gigabytes(point["peak_bytes"][0]),
                    _gigabytes(point["planned_peak_bytes"]),
                    _range(row["times_faster"]) if partial else "",
                    f"{row['times_less_memory']:.1f}" if partial else "",
                ]
            )
    header = [
        f"identities x {data['features']}, {data['batch']} faces a step",
        "step, ms",
        "planned, ms",
        "tables, GB",
        "highest memory, GB",
        "planned, GB",
        "times faster",
        "times less memory",
    ]
    return markdown(header, rows) + "\n\n" + caption(data["machine"])


def partial_fc_ranks() -> str:
    """Return Partial FC on several processes of one machine."""
    data = result("partial_fc")
    rows = [
        [
            f"{point['plan']['classes']:,} on {point['plan']['ranks']}",
            _range(point["step_ms"]),
            f"{point['planned_ms']:.1f}",
            _gigabytes(max(point["kept_bytes"])),
            _gigabytes(sum(point["kept_bytes"])),
            _gigabytes(max(point["peak_bytes"])),
            _gigabytes(sum(point["peak_bytes"])),
        ]
        for point in data["ranks"]
    ]
    header = [
        "identities on processes",
        "step, ms",
        "planned, ms",
        "tables of each, GB",
        "of all, GB",
        "highest memory of each, GB",
        "of all, GB",
    ]
    return markdown(header, rows) + f"\n\n*The same run; {data['machine']['cores']} cores.*"


def partial_fc_plan() -> str:
    """Return what the arithmetic says of more identities than one machine holds."""
    data = result("partial_fc")
    rows = [
        [
            f"{plan['classes']:,} on {plan['ranks']}",
            f"{plan['batch']:,}",
            _gigabytes(plan["kept_bytes"]),
            _gigabytes(plan["step_bytes"]),
            _gigabytes(plan["full_bytes"]),
            f"{plan['traffic_bytes'] / 1e6:.1f}",
            f"{plan['copied_traffic_bytes'] / 1e6:,.0f}",
            f"{plan['seconds']:.1f}",
            f"{plan['full_seconds']:.1f}",
        ]
        for plan in data["plans"]
    ]
    header = [
        "identities on processes",
        "faces a step",
        "tables of each, GB",
        "a step adds, GB",
        "all classes a step: in all, GB",
        "sent by each, MB a step",
        "sent with a copy in each, MB",
        "step, s",
        "all classes: step, s",
    ]
    speeds = data["constants"]
    used = (
        f"*By formula, for processes that multiply at {speeds['arithmetic'] / 1e9:.0f} GFLOP/s, make tables "
        f"at {speeds['reused'] / 1e9:.1f} GB/s and in fresh memory at {speeds['fresh'] / 1e9:.1f}, draw "
        f"{speeds['drawing'] / 1e6:.0f} million classes a second, send {speeds['network'] / 1e9:.1f} GB/s, "
        "as one core of this machine did in the same run.*"
    )
    return markdown(header, rows) + "\n\n" + used


def _gigabytes(value: float) -> str:
    """Return bytes in GB, small ones with more digits."""
    return f"{value / 1e9:.2f}" if value < 10e9 else f"{value / 1e9:,.0f}"


TABLES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "speed": speed,
        "speed-stages": speed_stages,
        "folder": folder,
        "peers": peers,
        "big-jpeg": big_jpeg,
        "detectors": detectors,
        "lfw": lfw,
        "lfw-choices": lfw_choices,
        "thresholds": thresholds,
        "fruits": fruits,
        "recognisers": recognisers,
        "partial-fc": partial_fc,
        "partial-fc-ranks": partial_fc_ranks,
        "partial-fc-plan": partial_fc_plan,
        "shipped": shipped,
        "age-groups": age_groups,
        "domain-gap": domain_gap,
        "systems": index.table,
    }
)
"""The tables by the name in the page."""


def filled(text: str) -> str:
    """Return a page with its tables as the result files have them.

    Raises:
        KeyError: it asks for a table that does not exist.
    """

    def block(match: re.Match[str]) -> str:
        try:
            table = TABLES[match[1]]()
        except FileNotFoundError:
            return match[0]
        return f"<!-- table: {match[1]} -->\n\n{table}\n\n<!-- /table -->"

    return _BLOCK.sub(block, text)


def pages() -> Iterator[Path]:
    """Yield the pages that may hold tables."""
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").glob("*.md"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail when a page is out of date"
    )
    given = parser.parse_args()
    wanted = {page: filled(page.read_text("utf-8")) for page in pages()} | {PACKED: packed()}
    old = {
        file: text for file, text in wanted.items() if not file.exists() or file.read_text("utf-8") != text
    }
    for file, text in old.items():
        print(file.relative_to(ROOT))
        if not given.check:
            file.write_text(text, encoding="utf-8")
    sys.exit(bool(old) and given.check)


if __name__ == "__main__":
    main()
