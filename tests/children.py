"""The `mien` command in child processes that start quickly: imports are made once, before they fork."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_IMPORTED = [
    "children",
    "mien.cli.app",
    "mien.cli.analyze",
    "mien.report.html",
    "mien.report.journal",
    "mien.report.tables",
    "mien.runtime.footage",
    "mien.runtime.pipeline",
    "mien.runtime.stream",
    "onnxruntime",
    "pyarrow.parquet",
]


def start(arguments: Sequence[str], said: Path) -> ForkServerProcess:
    """Start `mien ARGUMENTS`; what it says on standard error goes into a file."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    child = context.Process(target=_run, args=(list(arguments), str(said)), daemon=True)
    child.start()
    return child


def _run(arguments: list[str], said: str) -> None:
    from mien.cli.app import main

    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 2)
    os.dup2(file, 1)
    sys.argv = ["mien", *arguments]
    main()
