"""The models on this machine: the table of all that mien knows; getting, checking, bundling, removing."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import mien
from mien.core.atomic import try_lock, writing
from mien.core.card import CARD_KEY, Card
from mien.core.errors import (
    CardError,
    DamagedModel,
    FetchError,
    MienError,
    ModelMissing,
    PartOfMien,
    UnwritableOutput,
)
from mien.core.places import cache_folder
from mien.runtime import sources

MODELS = "MIEN_MODELS"
"""The environment variable that names the folder where models are kept."""

_REINSTALL = "pip install --force-reinstall --no-deps mien"


def package() -> Path:
    """Return the folder of mien itself, with the asset table and the models that ship."""
    return Path(str(resources.files("mien")))


@dataclass(frozen=True)
class Asset:
    """A row of the asset table.

    Attributes:
        name: of the model and of its card.
        sources: where its bytes come from, in order; empty when only the user can bring them. One that begins
            with "package:" is a file of mien itself, used where it lies.
        sha256: of the original file's bytes; empty when we have not seen it.
        default: whether it makes what nobody chose a model for.
    """

    name: str
    sources: tuple[str, ...] = ()
    sha256: str = ""
    default: bool = False

    @property
    def card(self) -> Card:
        """Its card."""
        text = (package() / "models" / "cards" / f"{self.name}.json").read_text("utf-8")
        return Card.from_json(text, f"card of {self.name}")

    @property
    def shipped(self) -> Path | None:
        """Its file inside mien itself; None for a model that is fetched or brought."""
        inside = next((source for source in self.sources if source.startswith("package:")), None)
        return None if inside is None else package() / inside.removeprefix("package:")


@dataclass(frozen=True)
class Installed:
    """A model on this machine.

    Attributes:
        card: its card, as it was installed.
        path: its file.
        default: whether it makes what nobody chose a model for.
        shipped: whether it is a part of mien itself; what the user added goes before it.
    """

    card: Card
    path: Path
    default: bool
    shipped: bool = False


class Locked(MienError):
    """Another process holds a model's lock for too long."""


def table() -> dict[str, Asset]:
    """Return the asset table, in its order."""
    data = tomllib.loads((package() / "runtime" / "assets.toml").read_text("utf-8"))
    return {
        name: Asset(name, tuple(row.get("sources", ())), row.get("sha256", ""), row.get("default", False))
        for name, row in data.items()
    }


def folder() -> Path:
    """Return the folder where models are kept: `MIEN_MODELS`, or the user's cache."""
    if chosen := os.environ.get(MODELS):
        return Path(chosen)
    return cache_folder() / "models"


def _file(name: str) -> Path:
    return folder() / f"{name}.onnx"


def _shipped(name: str) -> Path | None:
    """Return the file inside mien that a name stands for, unless the user has put his own in its place."""
    asset = None if _file(name).is_file() else table().get(name)
    return asset.shipped if asset else None


def _manifest(name: str) -> dict[str, Any]:
    try:
        data = json.loads((folder() / f"{name}.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def installed(terms: str = "any") -> list[Installed]:
    """Return the models on this machine: those of the table in its order, then those that the user added.

    Args:
        terms: "permissive" keeps to those whose card allows commercial use.
    """
    rows = table()
    here = sorted(path.stem for path in folder().glob("*.onnx")) if folder().is_dir() else []
    order = [name for name, row in rows.items() if name in here or row.shipped]
    found = []
    for name in order + [name for name in here if name not in rows]:
        inside = rows[name].shipped if name in rows and name not in here else None
        if inside is not None:
            card = rows[name].card
            if inside.is_file() and (terms != "permissive" or card.licence.commercial):
                found.append(Installed(card, inside, rows[name].default, shipped=True))
            continue
        try:
            card = Card.from_json(str(_manifest(name).get("card")), f"card of {name}")
        except CardError:
            continue  # `state` calls it damaged, and getting it again mends it
        if terms != "permissive" or card.licence.commercial:
            found.append(Installed(card, _file(name), name in rows and rows[name].default))
    return found


def state(name: str) -> str:
    """Return what a model is.

    Returns:
        "shipped" (a part of mien itself), "ready", "stale" (its card or mien's conversion changed since),
        "damaged" or "absent".
    """
    inside = _shipped(name)
    if inside is not None:
        return "shipped" if intact(name) else "damaged" if inside.is_file() else "absent"
    if not _file(name).is_file():
        return "absent"
    manifest = _manifest(name)
    if not manifest or not intact(name) or not _readable(manifest):
        return "damaged"
    asset = table().get(name)
    # A file of the user's under a shipped model's name has a card of its own, which nothing makes stale.
    if asset is not None and not asset.shipped and manifest.get("card") != asset.card.to_json():
        return "stale"
    return "ready"


def _readable(manifest: dict[str, Any]) -> bool:
    try:
        Card.from_json(str(manifest.get("card")))
    except CardError:
        return False
    return True


def intact(name: str) -> bool:
    """Tell whether a model's file holds the bytes that were installed, or that ship."""
    inside = _shipped(name)
    try:
        if inside is not None:
            return hashlib.sha256(inside.read_bytes()).hexdigest() == table()[name].sha256
        return hashlib.sha256(_file(name).read_bytes()).hexdigest() == _manifest(name).get("sha256")
    except OSError:
        return False


def require_detector() -> None:
    """Say which command brings the models.

    Raises:
        ModelMissing: always.
    """
    raise ModelMissing(
        next(name for name, asset in table().items() if asset.default), "mien models get --all"
    )


def model_path(name: str) -> Path:
    """Return the file of a model that is on this machine.

    Raises:
        ModelMissing: it is not here, or mien does not know it.
    """
    path = _file(name)
    if path.is_file() and Path(name).name == name:
        return path
    inside = _shipped(name)
    if inside is not None and inside.is_file():
        return inside
    raise ModelMissing(name, command_for(name))


def command_for(name: str) -> str:
    """Return the command that brings a model to this machine."""
    asset = table().get(name)
    if asset is None:
        return "mien models"
    if asset.shipped:
        return _REINSTALL
    return f"mien models get {name}" if asset.sources else f"mien models add FILE --card {name}"


def verify(name: str) -> None:
    """Check a model's bytes against those that were installed.

    Raises:
        ModelMissing, DamagedModel: it is absent, or its bytes have changed.
    """
    model_path(name)
    if intact(name):
        return
    # Another process may be just between replacing the model and its manifest.
    with contextlib.suppress(UnwritableOutput), _lock(name):
        if intact(name):
            return
    if _shipped(name) is not None:
        raise DamagedModel(name, "its SHA-256 is not the one that mien ships", _REINSTALL)
    asset = table().get(name)
    command = "get" if asset and asset.sources and not asset.shipped else "add FILE --card"
    raise DamagedModel(name, "its SHA-256 is not the one that was installed", f"mien models {command} {name}")


def source_bytes(name: str) -> bytes:
    """Return the original bytes of a model of the table, fetching them when they are not in the cache.

    Raises:
        FetchError, ChecksumMismatch: no source gives the right bytes.
    """
    asset = table().get(name)
    if asset is None or not asset.sources:
        raise FetchError(name, f"only you can bring its file: mien models add FILE --card {name}")
    return sources.fetch(name, asset.sources, asset.sha256, folder() / "downloads")


def get(name: str, *, terms: str = "any") -> Path:
    """Bring a model of the table to this machine, unless it is here and intact.

    Two processes that want the same one wait for each other. The file is complete or absent.

    Raises:
        FetchError, ChecksumMismatch: no source gives the right bytes.
        CardError: its terms are not the ones asked for.
        ModelMissing, DamagedModel: it ships with mien, and the installation is not whole.
    """
    asset = table().get(name)
    if asset is None:
        raise FetchError(name, "mien knows no such model; `mien models` lists them")
    if terms == "permissive" and not asset.card.licence.commercial:
        raise CardError(name, f"its terms ({asset.card.licence.weights}) are not permissive")
    if asset.shipped:
        verify(name)
        return model_path(name)
    with _lock(name):
        if state(name) != "ready":
            _install(asset.card, source_bytes(name))
    return _file(name)


def add(model: Path, card: Card) -> Path:
    """Install a model that the user brings.

    Args:
        model: an ONNX file: the original one when the card names an adapter, else one in mien's standard
            form.
        card: its card.

    Raises:
        CardError, ConversionError: with what does not fit.
    """
    try:
        data = model.read_bytes()
    except OSError as error:
        raise CardError(str(model), error.strerror or str(error)) from error
    with _lock(card.name):
        _install(card, data)
    return _file(card.name)


def _install(card: Card, data: bytes) -> None:
    from mien.runtime.convert.registry import ADAPTERS
    from mien.runtime.model import check_contract

    if card.adapter not in ADAPTERS:
        raise CardError(card.name, f"adapter {card.adapter!r} is unknown; known: {', '.join(ADAPTERS)}")
    model = ADAPTERS[card.adapter](data)
    for entry in [entry for entry in model.metadata_props if entry.key == CARD_KEY]:
        model.metadata_props.remove(entry)
    model.metadata_props.add(key=CARD_KEY, value=card.to_json())
    stored = model.SerializeToString()
    check_contract(stored, replace(card))
    _store(card, stored, hashlib.sha256(data).hexdigest())


def _store(card: Card, stored: bytes, source_sha256: str) -> None:
    manifest = {
        "card": card.to_json(),
        "sha256": hashlib.sha256(stored).hexdigest(),
        "source_sha256": source_sha256,
        "mien": mien.__version__,
    }
    # The manifest is written while the model waits under a temporary name: a full disk changes neither of
    # them. Only a process killed between the two renamings leaves a new manifest with an old model, which
    # counts as damaged.
    with writing(_file(card.name)) as file:
        file.write(stored)
        file.flush()
        os.fsync(file.fileno())
        with writing(folder() / f"{card.name}.json", text=True) as beside:
            json.dump(manifest, beside, indent=1, ensure_ascii=False)


def remove(name: str) -> None:
    """Delete a model from this machine.

    Raises:
        ModelMissing: it is not here.
        PartOfMien: it ships with mien.
    """
    path = model_path(name)
    if _shipped(name) is not None:
        raise PartOfMien(name)
    path.unlink()
    (folder() / f"{name}.json").unlink(missing_ok=True)


def bundle(target: Path, names: Sequence[str] = ()) -> list[str]:
    """Pack models into one file for machines without a network.

    Args:
        target: the .tar file.
        names: which; all that are ready when empty, but for those that ship: every mien has them.

    Returns:
        The names packed.

    Raises:
        ModelMissing, DamagedModel: one of them is not fit.
    """
    chosen = list(names) or [entry.card.name for entry in installed() if not entry.shipped]
    for name in chosen:
        verify(name)
    with writing(target) as file, tarfile.open(fileobj=file, mode="w", dereference=True) as archive:
        for name in chosen:
            if (inside := _shipped(name)) is not None:
                manifest = json.dumps(_manifest_of_shipped(name), indent=1, ensure_ascii=False).encode()
                entry = tarfile.TarInfo(f"{name}.json")
                entry.size = len(manifest)
                archive.addfile(entry, io.BytesIO(manifest))
                archive.add(inside, arcname=f"{name}.onnx")
                continue
            for path in (folder() / f"{name}.json", _file(name)):
                archive.add(path, arcname=path.name)
    return chosen


def _manifest_of_shipped(name: str) -> dict[str, Any]:
    asset = table()[name]
    sums = {"sha256": asset.sha256, "source_sha256": asset.sha256}
    return {"card": asset.card.to_json(), **sums, "mien": mien.__version__, "shipped": True}


def from_bundle(path: Path) -> list[str]:
    """Install the models of a bundle; nothing but models whose bytes agree with their manifests is taken.

    A model that shipped with the mien that packed it does not take the place of the one that ships with this.

    Raises:
        FetchError: the file is no bundle, or damaged.
    """
    taken = []
    try:
        with tarfile.open(path) as archive:
            members = {entry.name: entry for entry in archive if entry.isfile() and "/" not in entry.name}
            for name in sorted(entry.removesuffix(".onnx") for entry in members if entry.endswith(".onnx")):
                manifest = json.loads(_content(archive, members[f"{name}.json"]))
                data = _content(archive, members[f"{name}.onnx"])
                if not isinstance(manifest, dict) or not isinstance(manifest["card"], str):
                    raise FetchError(name, f"{path} is damaged: its manifest is none")
                if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
                    raise FetchError(name, f"{path} is damaged: its SHA-256 is not the one in its manifest")
                card = Card.from_json(manifest["card"], name)
                if card.name != name:
                    raise FetchError(name, f"{path} holds the card of {card.name} under this name")
                asset = table().get(name)
                if not (manifest.get("shipped") is True and asset is not None and asset.shipped):
                    with _lock(name):
                        _store(card, data, str(manifest["source_sha256"]))
                taken.append(name)
    except (OSError, tarfile.TarError, ValueError, KeyError) as error:
        raise FetchError(str(path), f"it is no bundle of models, or damaged ({error})") from error
    if not taken:
        raise FetchError(str(path), "it holds no models")
    return taken


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(entry)
    return file.read() if file is not None else io.BytesIO().read()


@contextlib.contextmanager
def _lock(name: str, patience: float = 600.0) -> Iterator[None]:
    """Hold a model's lock file, which a process that dies lets go."""
    path = folder() / f".{name}.lock"
    until = time.monotonic() + patience
    try:
        folder().mkdir(parents=True, exist_ok=True)
        opened = path.open("a+")
    except OSError as error:
        raise UnwritableOutput(folder(), error.strerror or str(error)) from error
    with opened as file:
        with contextlib.suppress(OSError):  # some network disks have no locks; work goes on without
            while not try_lock(file.fileno()):
                if time.monotonic() > until:
                    raise Locked(
                        f"another process has been getting {name} for {patience:.0f} s; wait, or end it"
                    )
                time.sleep(0.1)
        yield
