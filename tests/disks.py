"""A disk that tests can fill: a small tmpfs where one may be mounted, else a limit on the size of files."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

MIEN = str(Path(sys.executable).with_name("mien"))


class Disk:
    """A folder whose disk can be full.

    Attributes:
        path: the folder.
        mounted: whether it is a disk of its own; else writes beyond a hundred bytes fail when it is "full".
    """

    def __init__(self, path: Path, *, mounted: bool) -> None:
        self.path = path
        self.mounted = mounted
        self._full = False

    def fill(self) -> None:
        """Leave no space."""
        self._full = True
        if self.mounted:
            with (self.path / ".filler").open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    return

    def free(self) -> None:
        """Give the space back."""
        self._full = False
        (self.path / ".filler").unlink(missing_ok=True)

    def lock(self) -> None:
        """Allow no writing at all, where it is a disk of its own."""
        if self.mounted:
            subprocess.run(["mount", "-o", "remount,ro", self.path], check=True)

    def names(self) -> set[str]:
        """Return the names of all that is on it, without locks, which are empty."""
        paths = (path for path in self.path.rglob("*") if path.is_file())
        return {path.name for path in paths if path.suffix != ".lock" and path.name != ".filler"}

    def run(
        self, *arguments: str | Path, expected: int, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `mien` and check its exit code."""
        limit = 100 if self._full and not self.mounted else resource.RLIM_INFINITY
        done = subprocess.run(
            [MIEN, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, **(env or {})},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)),
        )
        assert "Traceback" not in done.stderr, done.stderr[-3000:]
        assert done.returncode == expected, done.stderr[-3000:]
        return done


@contextmanager
def disk(folder: Path, megabytes: int, *, mount: bool) -> Iterator[Disk]:
    """Make a disk in a folder; without the right to mount one, its files are limited instead."""
    folder.mkdir()
    mounted = False
    if mount:
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        yield Disk(folder, mounted=mounted)
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
