"""Prints for how long each face of a video is seen: track, first and last second, mean size.

python examples/time_on_screen.py clip.mp4
"""

from __future__ import annotations

import sys
from collections import defaultdict

import mien


def main(video: str) -> None:
    """Print a line for each track."""
    seen: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for result in mien.stream(video, want=["boxes", "embeddings"]):
        if result.error is not None:
            sys.exit(str(result.error))
        assert result.seconds is not None
        for track, box in zip(result.track or (), result.faces.boxes, strict=True):
            seen[track].append((result.seconds, float(box[3] - box[1])))
    for track, moments in sorted(seen.items()):
        heights = [height for _, height in moments]
        print(
            f"{track}: {moments[0][0]:.2f} s to {moments[-1][0]:.2f} s, {sum(heights) / len(heights):.0f} px"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
