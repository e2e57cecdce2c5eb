"""Which code made a result: one number over a system's file and the networks that it is built from."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

_PARTS = "mien.nn."


def digest(file: Path, package: Path) -> str:
    """Return the SHA-256 over a system's file and the modules of `mien.nn` that it needs.

    When it changes, evidence is stale, and a training run begins in another folder.

    Args:
        file: of the system; it is read, not run.
        package: folder of the package `mien`.
    """
    found: dict[str, bytes] = {}
    waiting = [("", file)]
    while waiting:
        name, path = waiting.pop()
        found[name] = source = path.read_bytes()
        waiting += [
            (module, package.joinpath(*module.split(".")[1:]).with_suffix(".py"))
            for module in sorted(_needed(source))
            if module not in found
        ]
    whole = hashlib.sha256()
    for name, source in sorted(found.items()):
        whole.update(f"{name}\0{len(source)}\0".encode() + source)
    return whole.hexdigest()


def _needed(source: bytes) -> set[str]:
    """Return the modules of `mien.nn` that a source names in its imports."""
    needed = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(_PARTS):
            needed.add(node.module)
        elif isinstance(node, ast.Import):
            needed |= {alias.name for alias in node.names if alias.name.startswith(_PARTS)}
    return needed
