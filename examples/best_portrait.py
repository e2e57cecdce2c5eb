"""Cuts the best portrait out of a folder: the face whose picture is fittest for recognition.

python examples/best_portrait.py photos/ best.jpg
"""

from __future__ import annotations

import sys

import mien

MARGIN = 0.4
"""Of the face's box, added on each side."""


def main(folder: str, target: str) -> None:
    """Write the portrait and print where it comes from."""
    best = None
    for result in mien.stream(folder, want=["quality"]):
        for face in result.faces:
            assert face.quality is not None
            score = float(face.quality[0, face.labels("quality").index("UnifiedQualityScore")])
            if best is None or score > best[0]:
                best = score, result.source, face.boxes[0]
    if best is None:
        sys.exit(f"{folder}: no face was found")
    score, source, box = best
    left, top, right, bottom = box.tolist()
    wide, high = MARGIN * (right - left), MARGIN * (bottom - top)
    picture = mien.Picture.read(source).image()
    picture.crop((round(left - wide), round(top - high), round(right + wide), round(bottom + high))).save(
        target
    )
    print(f"{score:.0f}  {source}")


if __name__ == "__main__":
    main(*sys.argv[1:])
