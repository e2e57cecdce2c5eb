"""Finds programs that the tests ask as witnesses and that pip cannot bring."""

from __future__ import annotations

import shutil

import pytest


def program(package: str, *names: str) -> str:
    """Return the path of the first of these programs that is here; else skip the test, which CI forbids.

    Args:
        package: Debian's name for what brings it.
        names: of the program, in order of preference.
    """
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip(f"{names[0]} is not here: apt-get install {package}")
    return found


def exiftool() -> str:
    """Return the path of ExifTool."""
    return program("libimage-exiftool-perl", "exiftool")


def chromium() -> str:
    """Return the path of a browser."""
    return program("chromium", "chromium", "chromium-browser", "google-chrome")
