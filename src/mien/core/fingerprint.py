"""What tells a file that has changed from one that has not, without reading it."""

from __future__ import annotations

import os

Fingerprint = tuple[int, int]


def fingerprint(path: str | os.PathLike[str]) -> Fingerprint:
    """Return what changes when a file does: its size and time of change; (0, 0) when it cannot be asked."""
    try:
        status = os.stat(path)  # noqa: PTH116 - works for names that are no UTF-8 and for broken links alike
    except (OSError, ValueError):
        return 0, 0
    return status.st_size, status.st_mtime_ns
