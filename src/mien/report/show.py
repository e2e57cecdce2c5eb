"""Shows pictures as they come on a page of this machine: motion JPEG, for nobody but who has its address."""

from __future__ import annotations

import io
import secrets
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from PIL import Image

from mien.core.errors import UnwritableOutput

_BOUNDARY = "mien-frame"
# Browsers show a picture when the next begins: where none comes for so long, the newest is sent again, s.
_AGAIN = 0.2

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>mien, live</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; --back: #f6f5f2; --ink: #1d2024; }
@media (prefers-color-scheme: dark) { :root { --back: #131518; --ink: #ece9e4; } }
body { margin: 0; min-height: 100vh; display: grid; grid-template-rows: 1fr auto; background: var(--back);
  color: var(--ink); font: 15px/1.4 system-ui, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif; }
img { width: 100%; height: calc(100vh - 3rem); object-fit: contain; }
p { margin: 0; height: 3rem; display: grid; place-items: center; }
</style>
<img src="stream" alt="What the camera shows, with the faces found in it">
<p role="status">Live; Ctrl-C in the terminal ends it.</p>
<script>
const asking = setInterval(async () => {
  try { await fetch("alive", { cache: "no-store" }); }
  catch { clearInterval(asking); document.querySelector("p").textContent = "Ended: this is the last frame."; }
}, 1000);
</script>
</html>
"""


class Screen:
    """A page that shows the newest of the pictures given to it, as long as the block runs.

    Only this machine is answered, and of its users and pages those that know the address, part of which is
    secret.

    Attributes:
        address: of the page.
    """

    def __init__(self, port: int = 0) -> None:
        """Take a port of this machine; 0 takes a free one.

        Raises:
            UnwritableOutput: the port is taken.
        """
        self._changed = threading.Condition()
        self._image: Image.Image | None = None
        self._number = 0
        self._over = False
        secret = secrets.token_urlsafe(9)
        try:
            self._server = _Server(("127.0.0.1", port), secret, self)
        except OSError as error:
            raise UnwritableOutput(f"127.0.0.1:{port}", error.strerror or str(error)) from error
        self.address = f"http://127.0.0.1:{self._server.server_port}/{secret}/"

    def __enter__(self) -> Self:
        """Begin to answer."""
        threading.Thread(target=self._server.serve_forever, name="mien-show", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell all who watch that it is over, and give the port back."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def put(self, image: Image.Image) -> None:
        """Show a picture at once."""
        with self._changed:
            self._image = image
            self._number += 1
            self._changed.notify_all()

    def pictures(self) -> Iterator[bytes]:
        """Yield the newest picture as a JPEG each time there is one, and again while there is none."""
        seen, over, jpeg = 0, False, b""
        while not over:
            with self._changed:
                if self._number == seen and not self._over:
                    self._changed.wait(_AGAIN)
                image, number, over = self._image, self._number, self._over
            if image is None:
                continue
            if number != seen:
                data = io.BytesIO()
                image.save(data, "JPEG", quality=85)
                seen, jpeg = number, data.getvalue()
            yield jpeg


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], secret: str, screen: Screen) -> None:
        self.secret = secret
        self.screen = screen
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        secret, _, name = self.path.partition("?")[0].removeprefix("/").partition("/")
        known = {"": self._page, "alive": self._alive, "stream": self._stream}.get(name)
        if known is None or not secrets.compare_digest(secret.encode(), self.server.secret.encode()):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        known()

    def _page(self) -> None:
        self._answer("text/html; charset=utf-8", _PAGE.encode())

    def _alive(self) -> None:
        self._answer("text/plain", b"yes")

    def _answer(self, kind: str, data: bytes) -> None:
        self._head(kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _head(self, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")

    def _stream(self) -> None:
        self._head(f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self.end_headers()
        line = f"--{_BOUNDARY}\r\n".encode()
        try:
            self.wfile.write(line)
            for data in self.server.screen.pictures():
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n" + line)
        except OSError:
            # who watched has closed the page
            return

    def log_message(self, *_: object) -> None:
        """Say nothing: the terminal is for results."""
