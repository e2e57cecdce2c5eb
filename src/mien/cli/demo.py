"""`make demo`: analyses the photos at hand and says where the report is."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path

from mien.cli import common
from mien.cli.app import app


def photos() -> list[str]:
    """Return the sample photos at hand: a data folder beside the checkout, and scikit-image's astronaut."""
    beside = Path("..") / "shared" / "data" / "demo_photos"
    found = [str(beside)] if beside.is_dir() else []
    with contextlib.suppress(ImportError):
        import skimage

        picture = Path(skimage.__file__).parent / "data" / "astronaut.png"
        if picture.is_file() and not (beside / picture.name).is_file():
            found.append(str(picture))
    return found


def main() -> None:
    """Run `mien analyze PHOTOS -o REPORT`; the exit code is the one of that command."""
    report, *given = sys.argv[1:]
    chosen = given or photos()
    if not chosen:
        common.say("no sample photos here: make demo PHOTOS=path/to/photos")
        sys.exit(common.USAGE)
    # The report tells the command as if it had been typed.
    sys.argv = ["mien", "analyze", *chosen, "-o", report]
    common.say(shlex.join(sys.argv))
    code = app(standalone_mode=False) or common.OK
    page = Path(report).resolve() / "index.html"
    if code in (common.OK, common.SOME_FAILED) and page.is_file():
        common.say(f"open {page.as_uri()}")
    sys.exit(code)


if __name__ == "__main__":
    main()
