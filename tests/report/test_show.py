"""The live page: it shows what is put, in a browser too, to nobody without its address, and ends."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

import programs
from mien.core.errors import UnwritableOutput
from mien.report.show import Screen


def plain(colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (64, 48), colour)


def blue(picture: Image.Image) -> bool:
    red, _, much = picture.convert("RGB").getpixel((picture.width // 2, picture.height // 2))  # type: ignore[misc]
    return bool(much > 150 > 90 > red)


def parts(stream: http.client.HTTPResponse) -> Iterator[Image.Image]:
    """Yield the pictures of a motion JPEG, as RFC 2046 separates them."""
    while line := stream.readline():
        assert line in (b"--mien-frame\r\n", b"\r\n")
        if line == b"\r\n":
            continue
        if not (kind := stream.readline()):
            return
        assert kind == b"Content-Type: image/jpeg\r\n"
        length = int(stream.readline().removeprefix(b"Content-Length: "))
        assert stream.readline() == b"\r\n"
        yield Image.open(BytesIO(stream.read(length)))


def test_pictures_come_as_they_are_put_and_the_end_ends_the_stream() -> None:
    with Screen() as screen:
        screen.put(plain((10, 10, 10)))
        screen.put(plain((200, 40, 40)))
        stream = urllib.request.urlopen(screen.address + "stream", timeout=5)
        assert stream.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=mien-frame"
        pictures = parts(stream)
        # the newest, not all that were put
        assert next(pictures).getpixel((5, 5)) == pytest.approx((200, 40, 40), abs=4)
        screen.put(plain((40, 40, 200)))
        second = next(picture for picture in pictures if blue(picture))
        assert second.size == (64, 48)
        assert second.getpixel((5, 5)) == pytest.approx((40, 40, 200), abs=4)
    assert all(blue(picture) for picture in pictures)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(screen.address, timeout=5)


def test_only_who_has_the_address_is_answered() -> None:
    with Screen() as screen:
        where = urlsplit(screen.address)
        assert where.hostname == "127.0.0.1"
        assert len(where.path) > 12
        for path in ("/", "/stream", "/secret/stream", "/secret/", where.path.rstrip("/") + "x/stream"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{where.port}{path}", timeout=5)
        page = urllib.request.urlopen(screen.address, timeout=5)
        assert page.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_port_that_is_taken_is_said() -> None:
    with Screen() as screen:
        port = urlsplit(screen.address).port
        assert port
        with pytest.raises(UnwritableOutput, match=f"127.0.0.1:{port}"):
            Screen(port)


def test_a_browser_shows_the_picture_and_says_when_it_is_over() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=programs.chromium(), args=["--no-sandbox"])
        page = browser.new_page()
        complaints: list[str] = []
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        with Screen() as screen:
            screen.put(plain((200, 40, 40)))
            page.goto(screen.address, wait_until="commit")
            page.wait_for_function("document.querySelector('img')?.naturalWidth === 64")
            assert "Live" in page.inner_text("p")
            screen.put(plain((40, 40, 200)))
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and not blue(Image.open(BytesIO(page.screenshot()))):
                threading.Event().wait(0.05)
            assert blue(Image.open(BytesIO(page.screenshot())))
        page.wait_for_function("document.querySelector('p').textContent.startsWith('Ended')")
        # the last frame stays
        assert blue(Image.open(BytesIO(page.screenshot())))
        assert complaints == []
        browser.close()
