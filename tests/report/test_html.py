"""The report's page in a real browser: it sorts, filters, opens pictures, stands alone, escapes names."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import programs
import shipping
from mien.core.errors import UnreadablePicture, printable
from mien.core.faces import Faces
from mien.core.picture import Picture
from mien.report import html
from mien.report.html import Run, advice, write_page
from mien.report.pictures import has_picture, picture_name, write_picture
from mien.report.tables import rows_of
from mien.report.timeline import Timeline
from mien.runtime.stream import Result

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = "<img src=x onerror=alert(1)>.jpg"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def a_run(new: int, command: str = "mien analyze photos -o report") -> Run:
    cards = (shipping.expression_card(), shipping.age_card())
    return Run(command, datetime(2026, 1, 2, 3, 4, tzinfo=UTC), 12.34, new, cards)


def found(source: str | Path, *faces: tuple[float, float, float]) -> Result:
    """Make a result of a 600 x 400 picture; a face is its height, yaw and quality."""
    count = len(faces)
    boxes = [(20 + 60 * i, 30, 20 + 60 * i + 0.8 * high, 30 + high) for i, (high, _, _) in enumerate(faces)]
    quality = np.zeros((count, 12), np.float32)
    pose = np.zeros((count, 3), np.float32)
    for i, (_, yaw, score) in enumerate(faces):
        quality[i] = score
        pose[i, 0] = yaw
    made = Faces(
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        scores=np.linspace(0.9, 0.5, count).astype(np.float32),
        landmarks=np.full((count, 5, 2), 40, np.float32),
        embeddings=np.ones((count, 128), np.float32),
        pose=pose,
        quality=quality,
        expression=np.tile(np.array([[0.2, 0.8]], np.float32), (count, 1)),
        age=np.linspace(34, 8, count).astype(np.float32) if count else np.zeros(0, np.float32),
        age_interval=np.tile(np.array([[-2, 41.2]], np.float32), (count, 1)),
        gender=np.tile(np.array([[0.87, 0.13]], np.float32), (count, 1)),
        label_names={"expression": ("sadness", "happiness")},
        picture_size=(600, 400),
        source=os.fspath(source),
    )
    return Result(os.fspath(source), made)


def failed(source: str | Path, reason: str) -> Result:
    error = UnreadablePicture(source, reason)
    return Result(error.path, Faces.empty(source=error.path), error)


def write(folder: Path, results: list[tuple[Path, Result]], command: str = "mien analyze photos") -> Path:
    picture = Picture(np.full((400, 600, 3), 90, np.uint8), "made", (600, 400))
    for path, result in results:
        if result.error is None and not has_picture(folder, path):
            write_picture(folder, path, picture, result.faces)
    rows = [row for _, result in results for row in rows_of(result)]
    return write_page(folder, [path for path, _ in results], rows, a_run(len(results), command))


NAMES = ("b.jpg", HOSTILE, "none.png", "c\nd.jpg", os.fsdecode(b"caf\xe9\n.jpg"), "gone.jpg")


def the_results() -> list[tuple[Path, Result]]:
    paths = [Path("/photos") / name for name in NAMES]
    return [
        (paths[0], found(paths[0], (100, 20, 90), (9, -70, 30), (80, 3, 55))),
        (paths[1], found(paths[1], (250, -5, 99))),
        (paths[2], found(paths[2])),
        (paths[3], found(paths[3], (33, 40, 12))),
        (paths[4], found(paths[4], (120, 1, 70))),
        (paths[5], failed(paths[5], "truncated or damaged (<b>cut</b>)")),
    ]


@dataclass
class Seen:
    """What a page did while it was open."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=programs.chromium(), args=list(FLAGS))
        yield opened
        opened.close()


def visit(browser: Browser, page: Path | str, width: int = 1280, scheme: str = "light") -> Seen:
    context: Any = browser.new_context(
        viewport={"width": width, "height": 844},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    seen = Seen(context.new_page())
    seen.page.set_default_timeout(8000)
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    seen.page.on("console", lambda message: seen.complaints.append(message.text))
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.page.on("dialog", lambda dialog: seen.complaints.append(f"dialog: {dialog.message}"))
    seen.page.goto(page if isinstance(page, str) else page.as_uri())
    return seen


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("report"), the_results(), f"mien analyze '{HOSTILE}'")


@pytest.fixture
def seen(browser: Browser, report: Path) -> Iterator[Seen]:
    visited = visit(browser, report)
    yield visited
    visited.page.context.close()
    assert visited.complaints == []
    assert [url for url in visited.requests if not url.startswith(("file:", "data:"))] == []


def until(page: Page, expression: str) -> None:
    """Wait for an expression to hold; the page's policy forbids Playwright's way, which evaluates text."""
    end = time.monotonic() + 8
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never became true: {expression}"
        page.wait_for_timeout(20)


def column(page: Page, title: str) -> list[str]:
    heads = page.locator("#table thead th").all_inner_texts()
    place = next(i for i, text in enumerate(heads) if text.strip().startswith(title))
    rows = page.locator("#table tbody tr").all()
    cells = [row.locator("td").all_inner_texts() for row in rows]
    return [cell[place].strip() for cell in cells if len(cell) > place and len(cell) == len(heads)]


def test_numbers_sort_as_numbers_both_ways_and_pictures_without_faces_stay_last(seen: Seen) -> None:
    page = seen.page
    page.get_by_text("Table", exact=True).click()
    page.get_by_role("button", name="Height").click()
    assert column(page, "Height") == ["9", "33", "80", "100", "120", "250"]
    assert page.locator('th[aria-sort="ascending"]').inner_text().strip().startswith("Height")
    page.keyboard.press("Enter")  # the focus stays on the head that was pressed
    assert column(page, "Height") == ["250", "120", "100", "80", "33", "9"]
    page.get_by_role("button", name="Yaw").click()
    assert column(page, "Yaw") == ["\u221270", "\u22125", "1", "3", "20", "40"]
    last = page.locator("#table tbody tr").all_inner_texts()[-2:]
    assert {"no face" in text or "truncated" in text for text in last} == {True}


def test_filters_by_text_size_quality_and_missing_faces(seen: Seen) -> None:
    page = seen.page
    page.get_by_text("Table", exact=True).click()
    page.fill("#height", "90")
    assert column(page, "Height") == ["100", "250", "120"]
    page.fill("#quality", "80")
    assert column(page, "Quality") == ["90", "99"]
    page.fill("#height", "")
    page.fill("#quality", "")
    page.fill("#query", "B.JPG happiness")
    until(page, "document.getElementById('status').textContent.startsWith('3 faces in 1 picture chosen')")
    assert column(page, "Height") == ["100", "9", "80"]
    page.fill("#query", "")
    page.select_option("#show", "none")
    until(page, "document.querySelectorAll('#table tbody tr').length === 1")
    assert page.locator("#table tbody").inner_text().split() == ["none.png", "no", "face"]
    page.select_option("#show", "error")
    assert "truncated or damaged (<b>cut</b>)" in page.locator("#table tbody").inner_text()


def test_a_face_opens_its_picture_with_the_numbers_of_all_its_faces(seen: Seen) -> None:
    page = seen.page
    page.get_by_role("button", name="Face 1 of b.jpg").press("Enter")
    viewer = page.locator("#viewer")
    assert viewer.locator("h2").inner_text() == "b.jpg"
    assert page.evaluate("location.hash") == "#picture-0"
    image = viewer.locator(".stage img")
    until(page, "document.querySelector('.stage img').naturalWidth === 600")
    assert "pictures/b-" in str(image.get_attribute("src"))
    assert image.get_attribute("alt") == "b.jpg, 3 faces marked"
    assert viewer.locator(".pick b").all_inner_texts() == [f"Face {i}, happiness" for i in range(3)]
    open_face = viewer.locator('.pick[aria-expanded="true"]')
    assert "7 × 9 px, quality 30" in open_face.inner_text()
    assert "yaw \u221270°" in open_face.inner_text()
    facts = viewer.locator(".facts").inner_text()
    assert "Illumination uniformity" in facts
    assert "left eye\n40, 40" in facts
    assert "Yaw\n\u221270°" in facts
    viewer.locator(".pick").nth(2).press("Enter")
    assert "64 × 80 px" in open_face.inner_text()
    page.keyboard.press("ArrowRight")
    assert viewer.locator("h2").inner_text() == HOSTILE
    page.keyboard.press("Escape")
    assert not viewer.is_visible()


def test_how_a_face_appears_is_said_with_bars_its_interval_and_the_models_limits(seen: Seen) -> None:
    page = seen.page
    page.get_by_role("button", name="Face 0 of b.jpg").press("Enter")
    viewer = page.locator("#viewer")
    assert (
        "Appears 34 years old, likely 0 to 41; appears female, 87 %"
        in viewer.locator(".pick").first.inner_text()
    )
    facts = viewer.locator(".facts")
    assert facts.locator("h4").all_inner_texts()[:3] == ["Expression", "Age", "Gender"]
    meters = facts.locator(".meter.mood").all_inner_texts()
    assert [text.split("\n") for text in meters] == [
        ["happiness", "80 %"],
        ["sadness", "20 %"],
        ["appears female", "87 %"],
    ]
    widths = """[...document.querySelectorAll('.facts .meter.mood i')].map((bar) =>
      parseFloat(getComputedStyle(bar, '::after').width) / bar.clientWidth)"""
    assert page.evaluate(widths) == pytest.approx([0.8, 0.2, 0.87], abs=0.02)
    band = page.evaluate("""(() => { const all = document.querySelector('.years').getBoundingClientRect();
      const part = document.querySelector('.years i').getBoundingClientRect();
      return [(part.left - all.left) / all.width, (part.right - all.left) / all.width]; })()""")
    assert band == pytest.approx([0, 0.412], abs=0.01)
    assert facts.locator(".note").all_inner_texts() == [shipping.LIMITS] * 2
    plain = facts.locator("dl").first.inner_text()
    assert "Age" not in plain
    assert "Gender" not in plain


def test_expressions_and_ages_of_the_folder_are_charts_and_bands_on_the_tiles(seen: Seen) -> None:
    page = seen.page
    charts = dict(
        zip(
            page.locator(".chart figcaption").all_inner_texts(),
            (str(svg.get_attribute("aria-label")) for svg in page.locator(".chart svg").all()),
            strict=True,
        )
    )
    assert "happiness: 6; sadness: 0" in charts["Expression"]
    assert "30 to 40: 4" in charts["Age"]
    assert "0 to 10: 1" in charts["Age"]
    tile = page.locator(".tile .moods").first
    assert tile.get_attribute("title") == "happiness 80 %, sadness 20 %"
    assert page.locator(".tile .words i").first.inner_text() == "happiness, 100 px"
    parts = page.evaluate("[...document.querySelector('.moods').children].map((part) => part.clientWidth)")
    assert parts[1] / sum(parts) == pytest.approx(0.8, abs=0.02)
    about = page.locator(".models").inner_text()
    assert f"Limits: {shipping.LIMITS}" in about
    assert about.count("no commercial use") == 2
    assert "how a face appears to a model" in page.locator("#about-title ~ .note").inner_text()
    page.get_by_text("Table", exact=True).click()
    assert column(page, "Appears") == ["female"] * 6
    assert column(page, "Age")[0] == "34"


def test_a_page_without_such_fields_says_nothing_of_them(browser: Browser, tmp_path: Path) -> None:
    path = Path("/photos/bare.jpg")
    whole = found(path, (100, 20, 90)).faces
    bare = Result(str(path), Faces(whole.boxes, whole.scores, picture_size=(600, 400), source=str(path)))
    visited = visit(browser, write(tmp_path, [(path, bare)]))
    assert "appears to a model" not in visited.page.content()
    assert visited.page.locator(".moods").count() == 0
    assert "Expression" not in visited.page.locator(".chart figcaption").all_inner_texts()
    visited.page.evaluate("open(0, 0)")
    assert visited.page.locator(".facts h4").all_inner_texts() == []
    assert visited.complaints == []
    visited.page.context.close()


def test_a_video_s_page_draws_its_tracks(browser: Browser, tmp_path: Path) -> None:
    path = Path("/films/<b>.mp4, track 1")
    seen = Timeline()
    for number in range(20):
        seen.note(replace(found(path, (100, 20, 90)), frame=number, seconds=number / 10, track=(1,)))
    picture = Picture(np.full((400, 600, 3), 90, np.uint8), "made", (600, 400))
    result = found(path, (100, 20, 90))
    write_picture(tmp_path, path, picture, result.faces)
    page = write_page(tmp_path, [path], rows_of(result), a_run(1), [("<b>.mp4", seen), ("x.mp4", Timeline())])
    visited = visit(browser, page)
    timelines = visited.page.locator("#timelines")
    assert timelines.locator("h3").all_inner_texts() == ["<b>.mp4"]
    assert timelines.locator(".key li").all_inner_texts() == ["sadness", "happiness"]
    fills = visited.page.evaluate(
        "[...document.querySelectorAll('#timelines .band')].map((band) => getComputedStyle(band).fill)"
    )
    assert fills == ["rgb(77, 111, 227)", "rgb(227, 160, 8)"]
    assert visited.complaints == []
    visited.page.context.close()


def test_an_unreadable_picture_has_a_page_with_the_reason_and_what_to_do(seen: Seen) -> None:
    page = seen.page
    assert page.locator("#errors article").count() == 1
    page.locator("#errors a").click()
    viewer = page.locator("#viewer")
    assert viewer.locator("h2").inner_text() == "gone.jpg"
    assert "truncated or damaged (<b>cut</b>)" in viewer.inner_text()
    assert advice("truncated or damaged") in viewer.inner_text()
    page.goto(page.url.split("#")[0] + "#picture-2")
    until(page, "document.querySelector('#viewer h2').textContent === 'none.png'")
    assert "No face was found" in viewer.inner_text()


def test_names_are_shown_as_they_are_and_never_run(seen: Seen) -> None:
    page = seen.page
    page.get_by_text("Pictures", exact=True).last.click()
    names = page.locator(".tile b").all_inner_texts()
    assert names == ["b.jpg", HOSTILE, "none.png", "c\\nd.jpg", "caf\\udce9\\n.jpg", "gone.jpg"]
    assert page.locator('img[src="x"]').count() == 0
    assert HOSTILE in page.locator(".run").inner_text()
    # Even if a name got through, the page's policy would not run it.
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"window.ran=1\">')"
    )
    page.wait_for_timeout(100)
    assert page.evaluate("window.ran") is None
    assert any("Content Security Policy" in text for text in seen.complaints)
    seen.complaints.clear()


def test_every_picture_and_control_has_a_name_and_texts_have_contrast(seen: Seen) -> None:
    page = seen.page
    nameless = """[...document.querySelectorAll('button, input, select, a[href]')]
      .filter((e) => !e.closest('[hidden]'))
      .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length))
      .map((e) => e.outerHTML)"""
    assert page.evaluate(nameless) == []
    assert page.evaluate("[...document.images].filter((i) => !i.hasAttribute('alt')).length") == 0
    assert page.locator("svg[role=img]").count() >= 6
    for label in page.locator("svg[role=img]").all():
        assert len(str(label.get_attribute("aria-label"))) > 20


CONTRAST = """() => {
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map((v) => linear(Number(v) / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const bad = [];
  const texts = 'h1, h2, h3, h4, dt, dd, p, b, i, small, td, th, label, span, a, button, select, code';
  for (const e of document.querySelectorAll(texts)) {
    const said = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!said || !e.offsetParent || e.closest(':disabled')) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) bad.push(`${e.tagName}.${e.className} ${e.textContent.slice(0, 30)}: ${contrast}`);
  }
  return bad;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_in_both_schemes(browser: Browser, report: Path, width: int, scheme: str) -> None:
    visited = visit(browser, report, width, scheme)
    page = visited.page
    for view in ("Faces", "Pictures", "Table"):
        page.locator(".views").get_by_text(view, exact=True).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CONTRAST) == []
    # what the models are for and on which terms is read without scrolling sideways
    needed = page.evaluate("document.querySelector('.models').scrollWidth")
    assert needed <= page.evaluate("document.querySelector('.models').parentElement.clientWidth")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in background.strip("rgb()").split(",")) / 3
    assert brightness < 60 if scheme == "dark" else brightness > 200
    page.evaluate("open(0, 1)")
    assert page.locator("#viewer .pick").first.is_visible()
    assert page.evaluate("document.querySelector('#viewer').scrollWidth") <= width
    assert page.evaluate(CONTRAST) == []
    page.context.close()


def test_a_copy_of_the_page_alone_still_shows_faces_and_says_what_is_missing(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    shutil.copy(report, tmp_path / "sent by mail.html")
    visited = visit(browser, tmp_path / "sent by mail.html")
    page = visited.page
    until(page, "[...document.querySelectorAll('.crop img')].every((i) => i.naturalWidth > 0)")
    assert page.locator(".crop img").count() == 6
    page.evaluate("open(0)")
    until(page, "document.querySelector('.stage img').naturalWidth === 320")
    assert "the folder pictures is not beside it" in page.locator(".stage").inner_text()
    assert page.locator(".stage .box").count() == 3
    assert page.locator(".stage .point").count() == 15
    page.context.close()


def test_thumbnails_beyond_the_budget_are_files_beside_the_page_and_it_says_so(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [Path(f"/photos/{i}.jpg") for i in range(4)]
    results = [(path, found(path, (100, 0, 50))) for path in paths]
    write(tmp_path, results)
    sizes = sum(file.stat().st_size for file in (tmp_path / "thumbnails").iterdir())
    monkeypatch.setattr(html, "EMBEDDED", sizes // 2)
    visited = visit(browser, write(tmp_path, results))
    page = visited.page
    assert (
        "2 pictures are inside this page, those of the other 2 in the folder"
        in page.locator(".run").inner_text()
    )
    assert len(page.evaluate("data.pictures.filter((p) => p.faces.startsWith('data:'))")) == 2
    until(page, "[...document.querySelectorAll('.crop img')].every((i) => i.naturalWidth === 128)")
    assert visited.complaints == []
    page.context.close()


def test_five_thousand_pictures_load_fast_and_are_never_all_in_the_page(
    browser: Browser, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    results = []
    for index in range(5000):
        path = Path(f"/archive/{index // 100:02d}/picture {index}.jpg")
        count = int(generator.integers(0, 3))
        faces = [tuple(generator.uniform((10, -90, 0), (600, 90, 100))) for _ in range(count)]
        results.append((path, found(path, *faces)))
    rows = [row for _, result in results for row in rows_of(result)]
    page_file = write_page(tmp_path, [path for path, _ in results], rows, a_run(5000))
    assert page_file.stat().st_size < 6e6
    start = time.monotonic()
    visited = visit(browser, page_file)
    page = visited.page
    page.wait_for_selector(".tile")
    assert time.monotonic() - start < 5
    assert page.evaluate("document.querySelectorAll('*').length") < 4000
    page.locator(".views").get_by_text("Table", exact=True).click()
    assert page.locator("#table tbody tr").count() == 100
    page.get_by_role("button", name="Height").click()
    page.get_by_role("button", name="Height").click()
    heights = [int(text) for text in column(page, "Height")]
    assert heights == sorted(heights, reverse=True)
    assert heights[-1] > 550
    page.get_by_role("button", name="Next").click()
    assert page.locator("#where").inner_text().startswith("101 to 200 of ")
    page.fill("#query", "picture 4321.jpg")
    until(page, "document.getElementById('status').textContent.includes('in 1 picture ')")
    page.context.close()


def test_pictures_of_an_earlier_run_stay_and_those_no_longer_listed_go(tmp_path: Path) -> None:
    results = the_results()
    write(tmp_path, results)
    (tmp_path / "pictures" / "of the user.jpg").write_bytes(b"kept")
    first = (tmp_path / "pictures" / picture_name(results[0][0])).read_bytes()
    page = write(tmp_path, results[:2]).read_text()
    assert (tmp_path / "pictures" / picture_name(results[0][0])).read_bytes() == first
    left = {file.name for file in (tmp_path / "pictures").iterdir()}
    assert left == {picture_name(path) for path, _ in results[:2]} | {"of the user.jpg"}
    assert len(list((tmp_path / "thumbnails").iterdir())) == 4
    assert "none.png" not in page


def test_the_page_holds_its_data_as_numbers_and_no_markup_from_names(report: Path) -> None:
    text = report.read_text()
    block = text.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    data = json.loads(block)
    assert "<" not in block
    assert [entry["name"] for entry in data["pictures"]] == [printable(name) for name in NAMES]
    assert data["faces"]["box"][0] == [20, 30, 100, 130]
    assert data["faces"]["best.expression"][0] == "happiness"
    assert "embeddings" not in data["faces"]
    assert HOSTILE not in text


def test_names_of_pictures_are_safe_distinct_and_recognisable() -> None:
    assert picture_name("/a/obama.jpg").startswith("obama-")
    assert picture_name("/a/obama.jpg") != picture_name("/b/obama.jpg")
    for name in (*NAMES, "x" * 300 + ".jpg", "..", "日本.png"):
        safe = picture_name(Path("/p") / name)
        assert len(safe) <= 65
        assert all(c.isascii() and (c.isalnum() or c in "._-") for c in safe)


def test_an_empty_report_says_so(browser: Browser, tmp_path: Path) -> None:
    path = Path("/photos/none.png")
    visited = visit(browser, write(tmp_path, [(path, found(path))]))
    assert visited.page.locator(".tile").count() == 1
    assert "There is no face to count." in visited.page.locator("main").inner_text()
    assert visited.complaints == []
    visited.page.context.close()


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("no such file", "moved or deleted"),
        ("permission denied", "chmod u+r"),
        ("HEIC pictures need: pip install 'mien[heic]'", "pip install 'mien[heic]'"),
        ("too many pixels (a decompression bomb?)", "smaller copy"),
        ("damaged (broken PNG file)", "save it anew"),
    ],
)
def test_advice_fits_the_reason(reason: str, words: str) -> None:
    assert words in advice(reason)
