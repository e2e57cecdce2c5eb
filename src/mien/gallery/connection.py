"""A connection to a gallery's SQLite file: its settings, transactions, and errors in words."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from mien.core.errors import DamagedGallery, GalleryError, MienError, UnwritableOutput
from mien.gallery import schema

PATIENCE = 30.0
"""Seconds to wait for another process that is writing."""

# SQLite's result codes (sqlite.org/rescode.html); Python names them since 3.11 only as text.
_BUSY, _LOCKED, _READ_ONLY, _IO, _CORRUPT, _FULL, _CANNOT_OPEN, _NO_DATABASE = 5, 6, 8, 10, 11, 13, 14, 26
_READ_FAILED = (266, 522)  # SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ


def translated(path: Path, error: sqlite3.Error) -> Exception:
    """Return what SQLite's error means to a user; the error itself when it is a mistake of ours."""
    code = getattr(error, "sqlite_errorcode", None)
    kind = None if code is None else code & 0xFF
    if kind == _FULL:
        return UnwritableOutput(path, "the disk is full; what was acknowledged before is kept")
    if kind in (_BUSY, _LOCKED):
        return GalleryError(path, f"another process has been busy with it for {PATIENCE:.0f} s; try again")
    if kind in (_CORRUPT, _NO_DATABASE) or code in _READ_FAILED:
        return DamagedGallery(
            path, f"is damaged or no gallery ({error}); `mien gallery export` saves what can still be read"
        )
    if kind in (_READ_ONLY, _IO, _CANNOT_OPEN):
        return UnwritableOutput(path, str(error))
    return error


class Connection:
    """One open file; any number of threads may share it, and any number of processes may have their own.

    Writes are durable when their transaction ends: the write-ahead log is brought to the disk with every one
    of them (`synchronous = FULL`). A process that is killed would not need that, for what it has written is
    the system's by then; a machine that loses power does.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        """Open the file, make it where it is missing, and bring its tables to the version of this program.

        Raises:
            GalleryError: it is missing and must not be made, of a newer version, or another program's.
            DamagedGallery: it is no SQLite file.
            UnwritableOutput: it cannot be made or opened.
        """
        self.path = path
        self._lock = threading.RLock()
        self._prepare(create)
        with self._told():
            self.raw = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            with self._told():
                self._set_up()
        except BaseException:
            self.raw.close()
            raise

    def _prepare(self, create: bool) -> None:
        try:
            if self.path.exists():
                return
            if not create:
                raise GalleryError(self.path, "there is no such gallery; `mien gallery add` makes one")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Private from the first moment: it holds templates of faces. SQLite gives its other files the
            # rights of this one.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise UnwritableOutput(self.path, error.strerror or str(error)) from error

    def _set_up(self) -> None:
        run = self.raw.execute
        run("PRAGMA trusted_schema = OFF")  # a file from elsewhere may not call functions through its schema
        run("PRAGMA foreign_keys = ON")
        run("PRAGMA secure_delete = ON")
        run("PRAGMA synchronous = FULL")
        application, version = self._header()
        if application not in (0, schema.APPLICATION) or (not application and self._has_tables()):
            raise GalleryError(self.path, "is an SQLite file of another program")
        if version > len(schema.STEPS):
            raise GalleryError(
                self.path,
                f"has version {version}, this program knows {len(schema.STEPS)}: install a newer mien",
            )
        self._to_wal()
        if version < len(schema.STEPS):
            self._migrate()

    def _header(self) -> tuple[int, int]:
        application = self.raw.execute("PRAGMA application_id").fetchone()[0]
        return int(application), int(self.raw.execute("PRAGMA user_version").fetchone()[0])

    def _has_tables(self) -> bool:
        return bool(self.raw.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])

    def _to_wal(self) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                mode = self.raw.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            except sqlite3.OperationalError as error:
                # Two processes that make a gallery at once: SQLite does not wait here by itself.
                if (error.sqlite_errorcode & 0xFF) not in (_BUSY, _LOCKED) or time.monotonic() > end:
                    raise
                time.sleep(0.02)
                continue
            if mode != "wal":
                raise UnwritableOutput(
                    self.path, "this disk knows no shared memory, which SQLite's log needs"
                )
            return

    def _migrate(self) -> None:
        with self.transaction(write=True) as run:
            # Asked again: another process may have done it since.
            _, version = self._header()
            for step in schema.STEPS[version:]:
                for statement in step:
                    run.execute(statement)
            run.execute(f"PRAGMA application_id = {schema.APPLICATION}")
            run.execute(f"PRAGMA user_version = {len(schema.STEPS)}")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            meant = translated(self.path, error)
            if isinstance(meant, MienError):
                raise meant from error
            raise

    @contextlib.contextmanager
    def transaction(self, *, write: bool) -> Iterator[sqlite3.Connection]:
        """Give a transaction: all that is read belongs together; all that is written is kept, or nothing is.

        When the block has ended, what it wrote is on the disk.

        Raises:
            UnwritableOutput: full disk; the gallery is as it was.
            GalleryError: another process has been writing for longer than `PATIENCE`.
            DamagedGallery: SQLite met a damaged page.
        """
        with self._lock, self._told():
            # Who will write says so at once: two that both read first would wait for each other.
            self.raw.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield self.raw
                self.raw.execute("COMMIT")
            except BaseException:
                if self.raw.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        self.raw.execute("ROLLBACK")
                raise

    def sweep(self) -> bool:
        """Write the file anew without its free space and empty the log: deleted bytes are nowhere any more.

        Returns:
            Whether the log could be emptied; another process may be reading from it.

        Raises:
            UnwritableOutput: there is no space for a second copy of the gallery.
            GalleryError: another process is writing.
        """
        with self._lock, self._told():
            self.raw.execute("VACUUM")
            busy, _, _ = self.raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy

    def faults(self) -> list[str]:
        """Return what SQLite finds wrong with the file's pages; nothing is good."""
        with self._lock:
            try:
                found = [str(row[0]) for row in self.raw.execute("PRAGMA integrity_check(20)")]
            except sqlite3.DatabaseError as error:
                return [str(error)]
        return [] if found == ["ok"] else found

    def close(self) -> None:
        """Close the file; the last one to do so brings the log into it."""
        with self._lock, self._told():
            self.raw.close()
