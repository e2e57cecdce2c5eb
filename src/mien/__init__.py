"""mien: what a face tells, and what can be trusted of it.

The doors are `analyze`, `stream`, `verify`, `Faces`, `Gallery`, `Picture`, `Model` and `Pipeline`; each is
loaded when it is first touched, so that `import mien` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.core.errors import MienError, UnreadablePicture
    from mien.core.faces import Faces
    from mien.core.picture import Limits, Picture
    from mien.gallery.gallery import Gallery
    from mien.runtime.api import analyze, stream, verify
    from mien.runtime.detect import Search
    from mien.runtime.model import Model
    from mien.runtime.pipeline import Options, Pipeline

__version__ = "0.1.0"

_DOORS = {
    "Faces": "mien.core.faces",
    "Gallery": "mien.gallery.gallery",
    "Limits": "mien.core.picture",
    "MienError": "mien.core.errors",
    "Model": "mien.runtime.model",
    "Options": "mien.runtime.pipeline",
    "Picture": "mien.core.picture",
    "Pipeline": "mien.runtime.pipeline",
    "Search": "mien.runtime.detect",
    "UnreadablePicture": "mien.core.errors",
    "analyze": "mien.runtime.api",
    "stream": "mien.runtime.api",
    "verify": "mien.runtime.api",
}

__all__ = [
    "Faces",
    "Gallery",
    "Limits",
    "MienError",
    "Model",
    "Options",
    "Picture",
    "Pipeline",
    "Search",
    "UnreadablePicture",
    "analyze",
    "stream",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _DOORS:
        raise AttributeError(f"module 'mien' has no attribute {name!r}")
    return getattr(import_module(_DOORS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_DOORS])
