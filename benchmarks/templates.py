"""Where the five landmarks lie in the crops of a set: the template by which `mien analyze` cuts faces alike.

python benchmarks/templates.py [SET ...] [--rows 300]

Each of some train pictures, evenly spaced, goes through detection and landmarks as any photo would, four
times enlarged, since crops are smaller than the photos that the pipeline expects. Told are the medians over
the faces found, in fractions of the side, and how far landmarks scatter around them: half of the range
between the quartiles. Only detection and mesh are used, no model that was trained on the set.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt
from PIL import Image

import mien
from mien.core.fields import FIVE_POINTS
from mien.data.reader import load
from mien.runtime.verify import largest

_ENLARGED = 4


def landmarks_of(name: str, rows: int) -> npt.NDArray[np.float64]:
    """Return (n, 5, 2) landmarks in fractions of the side, of the n pictures in which a face was found."""
    images = load(name, "train")
    found = []
    for row in np.linspace(0, len(images) - 1, rows).astype(int):
        pixels = np.asarray(images.pixels[row])
        image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).convert("RGB")
        picture = image.resize((image.width * _ENLARGED, image.height * _ENLARGED), Image.Resampling.BICUBIC)
        faces = mien.analyze(picture, want=["landmarks"])
        if len(faces):
            points = largest(faces).landmarks
            assert points is not None
            found.append(points[0] / picture.size)
    return np.asarray(found, np.float64).reshape(-1, len(FIVE_POINTS), 2)


def main() -> None:
    """Print the template of each set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=["utkface", "fer2013"])
    parser.add_argument("--rows", type=int, default=300)
    options = parser.parse_args()
    for name in options.sets:
        points = landmarks_of(name, options.rows)
        low, middle, high = np.quantile(points, [0.25, 0.5, 0.75], axis=0)
        print(f"{name}: {len(points)} of {options.rows} faces found")
        for label, (x, y), (scatter_x, scatter_y) in zip(FIVE_POINTS, middle, (high - low) / 2, strict=True):
            print(f"  [{x:.4f}, {y:.4f}]  # {label}, +- {scatter_x:.3f} {scatter_y:.3f}")


if __name__ == "__main__":
    main()
