"""`make demo`: analyses the photos at hand and says where the report is."""

from __future__ import annotations

import sys
from pathlib import Path

from mien.cli import common
from mien.cli.app import app


def photos() -> list[str]:
    """Return the sample photos at hand: a data folder beside the checkout, and scikit-image's astronaut."""
    beside = Path.cwd().parent / "shared" / "data" / "demo_photos"
    found = [str(beside)] if beside.is_dir() else []
    try:
        import skimage
    except ImportError:
        return found
    picture = Path(skimage.__file__).parent / "data" / "astronaut.png"
    return found if found or not picture.is_file() else [str(picture)]


def main() -> None:
    """Run `mien analyze PHOTOS -o REPORT`."""
    report, *given = sys.argv[1:]
    chosen = given or photos()
    if not chosen:
        common.say("no sample photos here: make demo PHOTOS=path/to/photos")
        sys.exit(common.USAGE)
    common.say(f"mien analyze {' '.join(chosen)} -o {report}")
    app([*(["analyze"]), *chosen, "-o", report], standalone_mode=False)
    common.say(f"open {Path(report).resolve() / 'index.html'}")


if __name__ == "__main__":
    main()
